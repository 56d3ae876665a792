"""CBR bodies as values (BEHAVIOUR.md 4)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backup_to_image.model import Backup, BackupDisk, BackupFailure, BackupMember, RestorePoint, SkippedResource, Vault
from backup_to_image.otc.wire import Body, flag, maybe, moment, need, need_part, part, parts, text, whole

__all__ = ["backup", "failure", "member", "restore_point", "vault"]

_KINDS: dict[str, Literal["server", "disk"]] = {"OS::Nova::Server": "server", "OS::Cinder::Volume": "disk"}


def backup(body: Body, operation: str) -> Backup:
    extra = part(body, "extend_info")
    children = parts(body, "children")
    return Backup(
        id=need(body, "id", operation),
        name=text(body, "name"),
        description=text(body, "description"),
        status=need(body, "status", operation),
        kind=_KINDS.get(need(body, "resource_type", operation), "other"),
        resource_id=need(body, "resource_id", operation),
        resource_name=text(body, "resource_name"),
        size_gb=whole(body, "resource_size") or 0,
        zone=maybe(body, "resource_az"),
        vault_id=maybe(body, "vault_id"),
        restore_point_id=maybe(body, "checkpoint_id"),
        project_id=need(body, "project_id", operation),
        created_at=moment(body, "created_at"),
        protected_at=moment(body, "protected_at"),
        expires_at=moment(body, "expired_at"),
        automatic=flag(extra, "auto_trigger") or False,
        replica=text(body, "image_type").lower() == "replication",
        copied_at=_copied_at(body),
        contains_system_disk=flag(extra, "contain_system_disk"),
        encrypted=any(flag(part(one, "extend_info"), "encrypted") for one in (body, *children)),
        image_ids=tuple(dict.fromkeys(text(one, "image_id") for one in parts(extra, "os_images_data") if text(one, "image_id"))),
        restore_mode=text(extra, "supported_restore_mode"),
        disks=tuple(_disk(child, operation) for child in children),
    )


def _copied_at(body: Body) -> datetime | None:
    """When the copying of this replica began, by the cloud's record of it; the records of a backup are of its copies."""
    own = text(body, "id")
    records = (one for one in parts(body, "replication_records") if text(one, "destination_backup_id") == own)
    return min((began for one in records if (began := moment(one, "created_at"))), default=None)


def _disk(body: Body, operation: str) -> BackupDisk:
    extra = part(body, "extend_info")
    return BackupDisk(
        backup_id=text(body, "id"),
        disk_id=need(body, "resource_id", operation),
        name=text(body, "resource_name", "name"),
        size_gb=whole(body, "resource_size") or 0,
        # An example has the two apart; either makes it the system disk (BEHAVIOUR.md 14).
        system=bool(flag(extra, "system_disk") or flag(extra, "bootable")),
        encrypted=flag(extra, "encrypted") or False,
        snapshot_id=maybe(extra, "snapshot_id"),
    )


def vault(body: Body, operation: str) -> Vault:
    billing = need_part(body, "billing", operation)
    return Vault(
        id=need(body, "id", operation),
        name=text(body, "name"),
        status=need(billing, "status", operation),
        object_type=need(billing, "object_type", operation),
        protect_type=text(billing, "protect_type"),
        size_gb=whole(billing, "size") or 0,
        used_mb=whole(billing, "used") or 0,
        locked=flag(body, "locked") or False,
        project_id=text(body, "project_id"),
        server_ids=tuple(text(one, "id") for one in parts(body, "resources") if text(one, "type") in {"OS::Nova::Server", ""}),
    )


def restore_point(body: Body, operation: str) -> RestorePoint:
    inside = part(body, "vault")
    skipped = (
        SkippedResource(id=text(one, "id"), name=text(one, "name"), code=maybe(one, "code"), reason=text(one, "reason"))
        for one in parts(inside, "skipped_resources")
    )
    return RestorePoint(
        id=need(body, "id", operation),
        status=need(body, "status", operation),
        vault_id=text(inside, "id"),
        created_at=moment(body, "created_at"),
        skipped=tuple(skipped),
    )


def failure(body: Body) -> BackupFailure:
    told = part(body, "error_info")
    return BackupFailure(code=maybe(told, "code"), reason=text(told, "message"))


def member(body: Body, operation: str) -> BackupMember:
    return BackupMember(
        backup_id=need(body, "backup_id", operation),
        project_id=need(body, "dest_project_id", operation),
        status=need(body, "status", operation),
        vault_id=maybe(body, "vault_id"),
        image_id=maybe(body, "image_id"),
    )
