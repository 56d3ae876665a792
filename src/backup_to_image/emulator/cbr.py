"""Cloud Backup and Recovery (BEHAVIOUR.md 4).

Backups and vaults are here, restore points and tasks in cbr_checkpoints, sharing in cbr_members.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from . import cbr_checkpoints, cbr_members
from .cbr_shape import backup_body, child_body, images_of, made_at, vault_body
from .cloud import Cloud
from .routing import Operation
from .services import Service
from .store import moment
from .things import backup_of_child
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["SERVICE"]

# How long a backup takes to go, at speed 1.
_DELETE_SECONDS = 10.0


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """CBR's words for a request that does not fit the contract."""
    if operation.id == "updateBackupMember" and problem.where == "body":
        return Refusal(400, "BackupService.6706", problem.message)
    return Refusal(400, "BackupService.9900", problem.message)


def get_backup(cloud: Cloud, call: Call) -> Answer:
    """getBackup: own backups, those shared with the caller, and single disks of them."""
    identity = call.path["backup_id"].lower()
    backup = cloud.get("backup", identity)
    if backup is not None and _visible(cloud, backup, call.project):
        return Answer(200, {"backup": backup_body(cloud, backup, call.project, with_children=True)})
    if backup is None and (found := backup_of_child(cloud, identity)) is not None and _visible(cloud, found[0], call.project):
        return Answer(200, {"backup": child_body(cloud, *found)})
    raise Refusal(404, "BackupService.6200", "no such backup")


def delete_backup(cloud: Cloud, call: Call) -> Answer:
    """deleteBackup: accepted with 204; the backup passes through deleting and is gone later."""
    backup = cloud.get("backup", call.path["backup_id"].lower())
    if backup is None or not _visible(cloud, backup, call.project):
        raise Refusal(404, "BackupService.6200", "no such backup")
    if backup["project"] != call.project:
        return _let_go(cloud, call, backup)
    if any(True for _ in cloud.walk("image", call.project, backup_id=backup["id"])):
        raise Refusal(400, "BackupService.6204", "an image was made from this backup")
    if backup["status"] not in {"available", "error"}:
        raise Refusal(400, "BackupService.6201", f"a backup in {backup['status']} cannot be deleted")
    others = cloud.walk("backup", resource_id=backup["resource_id"])
    if any(other["status"] in {"protecting", "waiting_protect"} and other.get("due") for other in others):
        raise Refusal(400, "BackupService.6216", "the next backup of the same resource is being made")
    vault = cloud.get("vault", backup["vault_id"])
    expired = backup["expired_at"] is not None and moment(backup["expired_at"]) <= cloud.now()
    if vault is not None and vault["locked"] and backup["auto"] and not expired:
        raise Refusal(400, "BackupService.6220", "locked vault, automatic backup")
    begin_deletion(cloud, backup)
    return Answer(204)


def _let_go(cloud: Cloud, call: Call, backup: Doc) -> Answer:
    """A recipient gives an accepted backup back."""
    if images_of(cloud, backup, call.project):
        raise Refusal(400, "BackupService.6710", "an image was made from this shared backup")
    share = next(cloud.walk("backup-member", backup_id=backup["id"], dest_project=call.project), None)
    if share is None or share["status"] != "accepted":
        raise Refusal(400, "BackupService.6707", "not allowed on a backup of another project")
    cloud.remove("backup-member", share["id"])
    return Answer(204)


def begin_deletion(cloud: Cloud, backup: Doc, when: datetime | None = None) -> None:
    """The backup goes into deleting and is gone a little later; its task says so."""
    backup["status"], backup["updated_at"] = "deleting", cloud.stamp(when)
    backup["due"] = cloud.due(_DELETE_SECONDS, when)
    backup["log_id"] = cbr_checkpoints.begin_log(cloud, "delete", backup, when)["id"]
    cloud.save("backup", backup)


def list_backups(cloud: Cloud, call: Call) -> Answer:
    """listBackups: own ones unless own_type says otherwise; children stay empty."""
    query = call.query
    if "parent_id" in query:
        return _children(cloud, call)
    found = [backup for backup in _candidates(cloud, call) if _fits(cloud, backup, query)]
    for key, reverse in reversed(_sorting(query.get("sort"))):
        found.sort(key=lambda backup, key=key: _sorted_by(cloud, backup, key), reverse=reverse)
    page, offset, limit = paged(found, query)
    body = [backup_body(cloud, backup, call.project, with_children=False) for backup in page]
    return Answer(200, {"backups": body, "count": len(found), "offset": offset, "limit": limit})


def _children(cloud: Cloud, call: Call) -> Answer:
    parent = cloud.get("backup", call.query["parent_id"])
    disks: list[Doc] = parent["disks"] if parent is not None and _visible(cloud, parent, call.project) else []
    body = [child_body(cloud, parent, disk) for disk in disks if parent is not None]
    page, offset, limit = paged(body, call.query)
    return Answer(200, {"backups": page, "count": len(body), "offset": offset, "limit": limit})


def _candidates(cloud: Cloud, call: Call) -> Iterator[Doc]:
    own_type = call.query.get("own_type", "private")
    if own_type in {"private", "all_granted"} and "member_status" not in call.query:
        equal = {"resource_id": call.query["resource_id"]} if "resource_id" in call.query else {}
        yield from cloud.walk("backup", call.project, newest_first=True, **equal)
    if own_type in {"shared", "all_granted"}:
        for share in cloud.walk("backup-member", dest_project=call.project, newest_first=True):
            backup = cloud.get("backup", share["backup_id"])
            if backup is not None and call.query.get("member_status") in {None, share["status"]}:
                yield backup


def _fits(cloud: Cloud, backup: Doc, query: Doc) -> bool:
    for name, key in (
        ("checkpoint_id", "checkpoint_id"),
        ("vault_id", "vault_id"),
        ("name", "name"),
        ("resource_id", "resource_id"),
        ("resource_name", "resource_name"),
        ("resource_type", "resource_type"),
        ("resource_az", "az"),
        ("image_type", "image_type"),
    ):
        if name in query and query[name] != backup[key]:
            return False
    if "status" in query and backup["status"] not in query["status"]:
        return False
    if "start_time" in query and moment(made_at(cloud, backup)) < _time(query["start_time"]):
        return False
    if "end_time" in query and moment(made_at(cloud, backup)) > _time(query["end_time"]):
        return False
    if "used_percent" in query:
        vault = cloud.get("vault", backup["vault_id"])
        return vault is not None and backup["stored_mb"] * 100 >= int(query["used_percent"]) * vault["size"] * 1024
    return True


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as reason:
        raise Refusal(400, "BackupService.9900", f"{text} is no time") from reason
    if when.tzinfo is None:
        raise Refusal(400, "BackupService.9900", f"{text} has no zone")
    return when


def _sorting(text: str | None) -> list[tuple[str, bool]]:
    if text is None:
        return []
    parts = (part.partition(":") for part in text.split(","))
    return [(key, direction != "asc") for key, _, direction in parts]


def _sorted_by(cloud: Cloud, backup: Doc, key: str) -> str:
    if key == "protected_at":
        return str(backup.get("taken_at", backup["created_at"]))
    return made_at(cloud, backup) if key == "created_at" else str(backup.get(key) or "")


def paged(found: list[Any], query: Doc) -> tuple[list[Any], int, int]:
    """One page of a CBR list, by marker or offset, with both numbers as answers repeat them; 1000 by default."""
    limit, offset = query.get("limit", 1000), query.get("offset", 0)
    start = offset
    if "marker" in query:
        positions = [position for position, entry in enumerate(found) if entry["id"] == query["marker"]]
        if not positions:
            raise Refusal(400, "BackupService.9900", "marker not found")
        start = positions[0] + 1
    return found[start : start + limit], offset, limit


def _visible(cloud: Cloud, backup: Doc, project: str) -> bool:
    if (
        backup["project"] == project
        or next(cloud.walk("backup-member", backup_id=backup["id"], dest_project=project), None) is not None
    ):
        return True
    if cloud.switches["recipient_sees_backup"] == "no":
        return False
    members = (cloud.get("image-member", f"{image['id']}/{project}") for image in cloud.walk("image", backup_id=backup["id"]))
    return any(member is not None and member["status"] == "accepted" for member in members)


def get_vault(cloud: Cloud, call: Call) -> Answer:
    """GetVault."""
    vault = cloud.own("vault", call.path["vault_id"].lower(), call.project)
    if vault is None:
        raise Refusal(404, "BackupService.6105", "no such vault")
    return Answer(200, {"vault": vault_body(cloud, vault)})


def list_vaults(cloud: Cloud, call: Call) -> Answer:
    """ListVaults."""
    query = call.query
    found = [
        vault
        for vault in cloud.walk("vault", call.project, newest_first=True)
        if all(query.get(name, vault[name]) == vault[name] for name in ("id", "name", "object_type", "protect_type", "status"))
        and query.get("cloud_type", "public") == "public"
        and "policy_id" not in query
        and ("resource_ids" not in query or set(query["resource_ids"].split(",")) & set(vault["resources"]))
    ]
    page, offset, limit = paged(found, query)
    return Answer(
        200, {"vaults": [vault_body(cloud, vault) for vault in page], "count": len(found), "limit": limit, "offset": offset}
    )


def backup_moved(cloud: Cloud, backup: Doc, when: datetime) -> None:
    """What became of a backup whose time has come: made, restored, failed or gone."""
    if backup["status"] == "deleting":
        for share in list(cloud.walk("backup-member", backup_id=backup["id"])):
            cloud.remove("backup-member", share["id"])
        cloud.remove("backup", backup["id"])
        cbr_checkpoints.end_log(cloud, backup, when, None)
        return
    if backup["status"] == "restoring":
        backup["status"] = "available"
        cloud.save("backup", backup)
        return
    cbr_checkpoints.backup_done(cloud, backup, when)


SERVICE = Service(
    name="cbr",
    routes={
        "getBackup": get_backup,
        "deleteBackup": delete_backup,
        "listBackups": list_backups,
        "getVault": get_vault,
        "listVaults": list_vaults,
        **cbr_members.ROUTES,
        **cbr_checkpoints.ROUTES,
    },
    malformed=malformed,
    transitions={"backup": backup_moved},
)
