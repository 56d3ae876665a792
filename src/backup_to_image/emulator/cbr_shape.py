"""Backups, vaults, restore points and tasks as CBR writes them, and what can be computed about them."""

from __future__ import annotations

from typing import Any

from .cloud import Cloud
from .making import fraction
from .store import moment
from .wire import Doc

__all__ = ["PROVIDERS", "backup_body", "child_body", "images_of", "made_at", "spell", "used_mb", "vault_body"]

PROVIDERS = {
    "OS::Nova::Server": "0daac4c5-6707-4851-97ba-169e36266b66",
    "OS::Cinder::Volume": "d1603440-187d-4516-af25-121250c7cc97",
}

_SPELLINGS = ("zone", "bare", "seconds")


def spell(cloud: Cloud, identity: str, text: str | None) -> str | None:
    """A moment in one of CBR's three spellings; which one belongs to the thing, or is chosen by a switch."""
    if not text:
        return text
    chosen = cloud.switches["cbr_times"]
    if chosen == "mixed":
        chosen = _SPELLINGS[int(fraction(identity) * len(_SPELLINGS))]
    when = moment(text)
    if chosen == "bare":
        return when.strftime("%Y-%m-%dT%H:%M:%S.%f")
    if chosen == "seconds":
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}+00:00"


def _without_empty(cloud: Cloud, body: Doc, *names: str) -> Doc:
    """Empty fields are left out, null or blank: the examples and the tables differ (BEHAVIOUR.md 14)."""
    looks = cloud.switches["empty_fields"]
    for name in names:
        if body[name] in (None, "", []):
            if looks == "absent":
                del body[name]
            elif looks == "null":
                body[name] = None
            elif body[name] is None:
                body[name] = ""
    return body


def images_of(cloud: Cloud, backup: Doc, project: str, *, as_listed: bool = False) -> list[Doc]:
    """Images that this project made of the backup and that use it up; `as_listed`: as far as lists show them already."""
    until = cloud.faults.listed_until if as_listed else None
    frees = cloud.switches["killed_image"] == "frees"
    return [
        image
        for image in cloud.walk("image", project, backup_id=backup["id"])
        if (until is None or image["created_at"] <= until) and not (frees and image["status"] == "killed")
    ]


def made_at(cloud: Cloud, backup: Doc) -> str:
    """What the region tells as the time when a backup was created; of a replica that may be the time of its copying."""
    original = cloud.switches["replica_times"] == "original"
    told: str = backup.get("taken_at", backup["created_at"]) if original else backup["created_at"]
    return told


def backup_body(cloud: Cloud, backup: Doc, viewer: str, *, with_children: bool) -> Doc:
    """A backup; lists leave its children out even where it has some (BEHAVIOUR.md 4.2)."""
    share = None if viewer == backup["project"] else cloud.get("backup-member", share_id(cloud, backup["id"], viewer))
    of_server = backup["resource_type"] == "OS::Nova::Server"
    info: Doc = {
        "auto_trigger": backup["auto"],
        "supported_restore_mode": backup["restore_mode"],
        "incremental": backup["incremental"],
    }
    if of_server:
        info["contain_system_disk"] = backup["contain_system_disk"]
        info["support_lld"] = True
        info["os_images_data"] = [{"image_id": image["id"]} for image in images_of(cloud, backup, viewer, as_listed=True)]
        _without_empty(cloud, info, "os_images_data")
        if info.get("os_images_data") == "":
            info["os_images_data"] = []
    else:
        info.update(_disk_info(cloud, backup["disks"][0]))
    body: Doc = {
        "id": backup["id"],
        "name": backup["name"],
        "description": backup["description"],
        "status": backup["status"],
        "resource_type": backup["resource_type"],
        "resource_id": backup["resource_id"],
        "resource_name": backup["resource_name"],
        "resource_size": backup["size"],
        "resource_az": backup["az"],
        "image_type": backup["image_type"],
        "checkpoint_id": backup["checkpoint_id"],
        "vault_id": (share or {}).get("vault_id") or backup["vault_id"],
        "project_id": _told_project(cloud, backup),
        "provider_id": PROVIDERS[backup["resource_type"]],
        **_times(cloud, backup, backup["id"]),
        "updated_at": spell(cloud, backup["id"], backup["updated_at"]),
        "expired_at": spell(cloud, backup["id"], backup["expired_at"]),
        "enterprise_project_id": 0,
        "extend_info": info,
        "children": [child_body(cloud, backup, disk) for disk in backup["disks"]] if with_children and of_server else [],
    }
    return _without_empty(cloud, body, "description", "expired_at")


def _told_project(cloud: Cloud, backup: Doc) -> str:
    told: str = backup["project"]
    return backup.get("source_project", told) if cloud.switches["replica_project"] == "source" else told


def _times(cloud: Cloud, backup: Doc, identity: str) -> Doc:
    """When it was created, and of a replica perhaps when the state was taken that it holds."""
    told: Doc = {"created_at": spell(cloud, identity, made_at(cloud, backup))}
    if "taken_at" in backup and cloud.switches["replica_times"] != "copied":
        told["protected_at"] = spell(cloud, identity, backup["taken_at"])
    return told


def child_body(cloud: Cloud, backup: Doc, disk: Doc) -> Doc:
    """One disk of a server backup."""
    return {
        "id": disk["id"],
        "name": disk["name"],
        "status": backup["status"],
        "resource_type": "OS::Cinder::Volume",
        "resource_id": disk["volume_id"],
        "resource_name": disk["name"],
        "resource_size": disk["size"],
        "image_type": backup["image_type"],
        "checkpoint_id": backup["checkpoint_id"],
        "vault_id": backup["vault_id"],
        "project_id": _told_project(cloud, backup),
        "provider_id": PROVIDERS["OS::Cinder::Volume"],
        "parent_id": backup["id"],
        **_times(cloud, backup, disk["id"]),
        "children": [],
        "extend_info": {"auto_trigger": backup["auto"], "incremental": backup["incremental"], **_disk_info(cloud, disk)},
    }


def _disk_info(cloud: Cloud, disk: Doc) -> Doc:
    marked = disk["system"] and cloud.switches["bootable_marks"] == "agree"
    return {"snapshot_id": disk["snapshot_id"], "bootable": disk["system"], "encrypted": disk["encrypted"], "system_disk": marked}


def share_id(cloud: Cloud, backup_id: str, project: str) -> str:
    """The id of the record that shares a backup with a project; "" where there is none."""
    found = next(cloud.walk("backup-member", backup_id=backup_id, dest_project=project), None)
    return found["id"] if found else ""


def used_mb(cloud: Cloud, vault: Doc) -> int:
    """What lies in a vault, MB: its backups, accepted backups and images of others, and whatever else."""
    own = sum(backup["stored_mb"] for backup in cloud.walk("backup", vault_id=vault["id"]))
    images = sum(
        member["stored_mb"] for member in cloud.walk("image-member", vault_id=vault["id"]) if member["status"] == "accepted"
    )
    shares = sum(
        backup["stored_mb"]
        for member in cloud.walk("backup-member", vault_id=vault["id"])
        if member["status"] == "accepted" and (backup := cloud.get("backup", member["backup_id"])) is not None
    )
    return own + images + shares + vault["extra_used_mb"]


def vault_body(cloud: Cloud, vault: Doc) -> Doc:
    """A vault. `used` is MB, `size` and `allocated` are GB."""
    resources = [body for identity in vault["resources"] if (body := _resource(cloud, vault, identity)) is not None]
    return {
        "id": vault["id"],
        "name": vault["name"],
        "project_id": vault["project"],
        "provider_id": PROVIDERS["OS::Nova::Server" if vault["object_type"] == "server" else "OS::Cinder::Volume"],
        "created_at": spell(cloud, vault["id"], vault["created_at"]),
        "enterprise_project_id": 0,
        "auto_bind": vault["auto_bind"],
        "bind_rules": {},
        "auto_expand": False,
        "locked": vault["locked"],
        "user_id": vault["user_id"],
        "tags": [{"key": key, "value": value} for key, value in vault["tags"].items()],
        "resources": resources,
        "billing": {
            "status": vault["status"],
            "object_type": vault["object_type"],
            "protect_type": vault["protect_type"],
            "size": vault["size"],
            "used": used_mb(cloud, vault),
            "allocated": sum(resource["size"] for resource in resources),
            "charging_mode": "post_paid",
            "cloud_type": "public",
            "consistent_level": "crash_consistent",
            "spec_code": f"vault.{vault['protect_type']}.{vault['object_type']}.normal",
        },
    }


def _resource(cloud: Cloud, vault: Doc, identity: str) -> Doc | None:
    backups = [backup for backup in cloud.walk("backup", resource_id=identity) if backup["vault_id"] == vault["id"]]
    more: Doc = {
        "protect_status": "protecting" if any(backup["status"] == "protecting" for backup in backups) else "available",
        "backup_size": sum(backup["stored_mb"] for backup in backups),
        "backup_count": len(backups),
        "extra_info": {},
    }
    found = resource(cloud, identity)
    return None if found is None else {**found, **more}


def resource(cloud: Cloud, identity: str) -> Any:
    """A server or disk as vaults and restore points name it; None where it is gone."""
    server = cloud.get("server", identity)
    if server is not None:
        volumes = [volume for volume_id in server["volumes"] if (volume := cloud.get("volume", volume_id)) is not None]
        return {
            "id": identity,
            "name": server["name"],
            "type": "OS::Nova::Server",
            "size": sum(volume["size"] for volume in volumes),
        }
    volume = cloud.get("volume", identity)
    if volume is not None:
        return {"id": identity, "name": volume["name"], "type": "OS::Cinder::Volume", "size": volume["size"]}
    return None
