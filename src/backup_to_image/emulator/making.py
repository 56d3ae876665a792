"""How a backup is made of a server and an image of a backup: the documents, their sizes, how long it takes at speed 1."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable

from .wire import Doc

__all__ = ["NewId", "backup_document", "backup_seconds", "fraction", "image_document", "image_seconds", "random_id"]

# Gives the id of a part by its role; seeds make ids from names, the running cloud at random.
NewId = Callable[[str], str]

# About how long a full-ECS image takes at speed 1; its size moves that by up to a quarter either way.
_IMAGE_SECONDS = 120.0
_BACKUP_SECONDS = 90.0


def random_id(role: str) -> str:
    """An id for something new."""
    del role
    return str(uuid.uuid4())


def fraction(text: str) -> float:
    """A number between 0 and 1 that belongs to this text for ever."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def _weight(gigabytes: float, identity: str) -> float:
    """0.75 for the smallest to 1.25 for the largest, with a little of its own for each."""
    return 0.75 + 0.4 * gigabytes / (gigabytes + 300) + 0.1 * fraction(identity)


def image_seconds(backup: Doc) -> float:
    """How long an image of this backup takes at speed 1: 90 to 150 s, always the same for the same backup."""
    return _IMAGE_SECONDS * _weight(backup["size"], backup["id"])


def backup_seconds(server: Doc, volumes: list[Doc]) -> float:
    """How long a backup of this server takes at speed 1: 68 to 113 s."""
    return _BACKUP_SECONDS * _weight(sum(volume["size"] for volume in volumes), server["id"])


def backup_document(
    server: Doc,
    volumes: list[Doc],
    vault: Doc,
    *,
    name: str,
    created_at: str,
    checkpoint_id: str,
    automatic: bool,
    new_id: NewId = random_id,
) -> Doc:
    """An available backup of a server's disks (a subset where some are left out)."""
    disks: list[Doc] = [
        {
            "id": new_id(f"child{position}"),
            "name": volume["name"],
            "volume_id": volume["id"],
            "snapshot_id": new_id(f"snapshot{position}"),
            "size": volume["size"],
            "type": volume["type"],
            "device": volume["device"],
            "system": volume["bootable"],
            "encrypted": volume["encrypted"],
            "multiattach": volume["multiattach"],
            "cmk_id": volume.get("cmk_id"),
        }
        for position, volume in enumerate(volumes)
    ]
    size = sum(disk["size"] for disk in disks)
    return {
        "id": new_id("backup"),
        "project": server["project"],
        "name": name,
        "description": "",
        "status": "available",
        "created_at": created_at,
        "updated_at": created_at,
        "expired_at": None,
        "resource_type": "OS::Nova::Server",
        "resource_id": server["id"],
        "resource_name": server["name"],
        "size": size,
        "az": server["az"],
        "image_type": "backup",
        "checkpoint_id": checkpoint_id,
        "vault_id": vault["id"],
        "auto": automatic,
        "incremental": automatic,
        "restore_mode": "backup",
        "contain_system_disk": any(disk["system"] for disk in disks),
        "bms": bool(server.get("bare_metal")),
        "os": server["os"],
        "flavor": server["flavor"],
        "stored_mb": int(size * 1024 * (0.03 if automatic else 0.3)),
        "disks": disks,
    }


def image_document(backup: Doc, *, project: str, name: str, created_at: str, identity: str | None = None) -> Doc:
    """A queued full-ECS image of a backup, owned by that project."""
    system = next((disk for disk in backup["disks"] if disk["system"]), None)
    system_facts: Doc = backup["os"] or {}
    key = next((disk["cmk_id"] for disk in backup["disks"] if disk["encrypted"]), None)
    return {
        "id": identity or str(uuid.uuid4()),
        "project": project,
        "name": name,
        "status": "queued",
        "created_at": created_at,
        "updated_at": created_at,
        "active_at": None,
        "protected": False,
        "tags": {},
        "backup_id": backup["id"],
        "whole": True,
        "public": False,
        "min_disk": system["size"] if system else 0,
        "min_ram": 0,
        "max_ram": 0,
        "description": "",
        "size_bytes": None,
        "os": backup["os"],
        # The inverted mark (BEHAVIOUR.md 7): "true" means that nothing can be injected.
        "attributes": {"__support_fc_inject": "true"} if system_facts.get("inject") is False else {},
        "cmk_id": key,
        "disks": backup["disks"],
        "flavor": backup["flavor"],
        # An image of somebody else's backup cannot be shared, even after that backup is gone.
        "of_shared_backup": backup["project"] != project,
        "gb": backup["size"],
    }
