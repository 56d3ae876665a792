"""Sharing of backups between projects, which is a different road from sharing images (BEHAVIOUR.md 9, last point)."""

from __future__ import annotations

from .cbr_shape import spell, used_mb
from .cloud import Cloud
from .services import Handler
from .wire import Answer, Call, Doc, Refusal

__all__ = ["ROUTES"]

# So many projects a backup can be shared with.
_LIMIT = 10


def _owned(cloud: Cloud, call: Call) -> Doc:
    backup = cloud.own("backup", call.path["backup_id"].lower(), call.project)
    if backup is not None:
        return backup
    if next(cloud.walk("backup-member", backup_id=call.path["backup_id"].lower(), dest_project=call.project), None) is not None:
        raise Refusal(400, "BackupService.6714", "a shared backup cannot be shared on")
    raise Refusal(404, "BackupService.6200", "no such backup")


def list_members(cloud: Cloud, call: Call) -> Answer:
    """listBackupMembers: to the owner all of them, to a recipient his own."""
    identity, query = call.path["backup_id"].lower(), call.query
    backup = cloud.get("backup", identity)
    shares = list(cloud.walk("backup-member", backup_id=identity))
    if backup is None or (backup["project"] != call.project and all(share["dest_project"] != call.project for share in shares)):
        raise Refusal(404, "BackupService.6200", "no such backup")
    found = [
        share
        for share in shares
        if call.project in {backup["project"], share["dest_project"]}
        and all(
            query.get(name, share[key]) == share[key]
            for name, key in (
                ("dest_project_id", "dest_project"),
                ("image_id", "image_id"),
                ("status", "status"),
                ("vault_id", "vault_id"),
            )
        )
    ]
    start = query.get("offset", 0)
    if "marker" in query:
        start = next((position + 1 for position, share in enumerate(found) if share["id"] == query["marker"]), len(found))
    page = found[start : start + query.get("limit", 1000)]
    return Answer(200, {"members": [_body(cloud, share) for share in page], "count": len(found)})


def add_members(cloud: Cloud, call: Call) -> Answer:
    """addBackupMembers: offers the backup to projects; all of them or none."""
    backup = _owned(cloud, call)
    if backup["resource_type"] != "OS::Nova::Server" and cloud.switches["disk_backup_sharing"] == "refused":
        raise Refusal(400, "BackupService.6700", "only backups of servers can be shared")
    if backup["status"] != "available":
        raise Refusal(400, "BackupService.6702", f"a backup in {backup['status']} cannot be shared")
    if any(disk["encrypted"] for disk in backup["disks"]) and cloud.switches["encrypted_images"] == "refused":
        raise Refusal(400, "BackupService.6709", "encrypted disks, no sharing")
    vault = cloud.get("vault", backup["vault_id"])
    if vault is not None and vault["status"] not in {"available", "lock"}:
        raise Refusal(400, "BackupService.6712", "vault state forbids sharing")
    shares = list(cloud.walk("backup-member", backup_id=backup["id"]))
    wanted: list[str] = [project.lower() for project in call.body["members"]]
    for project in wanted:
        if project == call.project or cloud.get("project", project) is None:
            raise Refusal(400, "BackupService.6704", "project cannot be a share member")
        if any(share["dest_project"] == project for share in shares):
            raise Refusal(400, "BackupService.6703", "already shared with this project")
    if len(shares) + len(wanted) > _LIMIT:
        raise Refusal(400, "BackupService.6701", "share limit reached")
    made = [
        cloud.new(
            "backup-member",
            {
                "project": call.project,
                "backup_id": backup["id"],
                "dest_project": project,
                "status": "pending",
                "vault_id": None,
                "image_id": None,
                "updated_at": cloud.stamp(),
            },
        )
        for project in wanted
    ]
    return Answer(200, {"members": [_body(cloud, share) for share in made]})


def _share(cloud: Cloud, call: Call) -> Doc:
    """The share named by backup and recipient, if the caller is one of the two."""
    member = call.path["member_id"].lower()
    found = next(cloud.walk("backup-member", backup_id=call.path["backup_id"].lower(), dest_project=member), None)
    if found is None or call.project not in {found["project"], member}:
        raise Refusal(404, "BackupService.6705", "no such share member")
    return found


def get_member(cloud: Cloud, call: Call) -> Answer:
    """GetBackupMember."""
    return Answer(200, {"member": _body(cloud, _share(cloud, call))})


def update_member(cloud: Cloud, call: Call) -> Answer:
    """updateBackupMember: the recipient accepts into a vault of his own, or rejects."""
    share = _share(cloud, call)
    if call.project != share["dest_project"]:
        raise Refusal(400, "BackupService.6707", "only the recipient can answer")
    vault_id = None
    if call.body["status"] == "accepted":
        vault_id = _room(cloud, call, share)["id"]
    share.update(status=call.body["status"], vault_id=vault_id, updated_at=cloud.stamp())
    cloud.save("backup-member", share)
    return Answer(200, {"member": _body(cloud, share)})


def _room(cloud: Cloud, call: Call, share: Doc) -> Doc:
    vault = cloud.own("vault", call.body["vault_id"].lower(), call.project)
    backup = cloud.get("backup", share["backup_id"])
    if vault is None:
        raise Refusal(404, "BackupService.6105", "no such vault")
    if vault["object_type"] != "server" or vault["protect_type"] != "backup":
        raise Refusal(400, "BackupService.6713", "vault type differs from resource type")
    if vault["status"] not in {"available", "lock"}:
        raise Refusal(400, "BackupService.6712", "vault state forbids accepting")
    needed = backup["stored_mb"] if backup else 0
    if "vault-full" in call.struck or used_mb(cloud, vault) + needed > vault["size"] * 1024:
        raise Refusal(400, "BackupService.6114", "vault full")
    return vault


def delete_member(cloud: Cloud, call: Call) -> Answer:
    """deleteBackupMember: the owner ends a share."""
    share = _share(cloud, call)
    cloud.remove("backup-member", share["id"])
    return Answer(204)


def _body(cloud: Cloud, share: Doc) -> Doc:
    body = {
        "id": share["id"],
        "status": share["status"],
        "backup_id": share["backup_id"],
        "dest_project_id": share["dest_project"],
        "created_at": spell(cloud, share["id"], share["created_at"]),
    }
    if share["vault_id"]:
        body["vault_id"] = share["vault_id"]
    if share["image_id"]:
        body["image_id"] = share["image_id"]
    if share["updated_at"] != share["created_at"]:
        body["updated_at"] = spell(cloud, share["id"], share["updated_at"])
    return body


ROUTES: dict[str, Handler] = {
    "listBackupMembers": list_members,
    "addBackupMembers": add_members,
    "getBackupMember": get_member,
    "updateBackupMember": update_member,
    "deleteBackupMember": delete_member,
}
