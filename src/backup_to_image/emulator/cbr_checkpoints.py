"""Restore points and tasks: a backup made now, and the log of what CBR is doing (BEHAVIOUR.md 4.4)."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from .cbr_shape import PROVIDERS, resource, spell, used_mb
from .cloud import Cloud
from .making import backup_document, backup_seconds
from .services import Handler
from .store import moment
from .wire import Answer, Call, Doc, Refusal

__all__ = ["ROUTES", "backup_done", "begin_backup", "begin_log", "busy", "end_log"]

# States of a vault in which it takes backups; lock is a change of capacity, nothing to do with WORM (BEHAVIOUR.md 4.2).
_OPEN = {"available", "lock"}


def create_checkpoint(cloud: Cloud, call: Call) -> Answer:
    """createCheckpoint: a restore point in protecting; what could not be backed up stands in skipped_resources of the 200."""
    asked: Doc = call.body["checkpoint"]
    parameters: Doc = asked.get("parameters", {})
    vault = cloud.own("vault", asked["vault_id"].lower(), call.project)
    if vault is None:
        raise Refusal(404, "BackupService.6105", "no such vault")
    wanted, excluded = _wanted(vault, parameters)
    _admit(cloud, call, vault, wanted)
    taken: list[Doc] = []
    skipped: list[Doc] = []
    for identity in wanted:
        why = _obstacle(cloud, identity)
        if why is None:
            taken.append(resource(cloud, identity))
        elif why[0] == "BackupService.6203" and cloud.switches["busy_backup"] == "refused":
            raise Refusal(400, "BackupService.6125", "another backup task runs")
        else:
            named = resource(cloud, identity) or {"name": None, "type": "OS::Nova::Server"}
            skipped.append({"id": identity, "type": named["type"], "name": named["name"], "code": why[0], "reason": why[1]})
    automatic = bool(parameters.get("auto_trigger", False))
    name = parameters.get("name") or f"{'autobk' if automatic else 'manualbk'}_{uuid.uuid4().hex[:4]}"
    checkpoint = cloud.new(
        "checkpoint",
        {
            "project": call.project,
            "vault_id": vault["id"],
            "status": "protecting" if taken else "available",
            "resources": [entry for identity in wanted if (entry := resource(cloud, identity)) is not None],
            "skipped": skipped,
            "name": name,
            "description": parameters.get("description", ""),
        },
    )
    for entry in taken:
        backup = begin_backup(cloud, entry["id"], vault, checkpoint, name, automatic=automatic, excluded=excluded)
        backup["incremental"] = bool(parameters.get("incremental", True))
        backup["description"] = checkpoint["description"]
        backup["fate"] = call.struck.get("backup-fails")
        cloud.save("backup", backup)
    body = _body(cloud, checkpoint)
    body["status"] = "protecting"  # also when there is nothing to do, as the documented answer has it
    extra = {"name": name, "description": checkpoint["description"], "retention_duration": -1}
    return Answer(200, {"checkpoint": {**body, "extra_info": extra}})


def _wanted(vault: Doc, parameters: Doc) -> tuple[list[str], set[str]]:
    """The resources to back up, and the disks to leave out."""
    details: list[Doc] = parameters.get("resource_details", [])
    excluded = {str(disk).lower() for entry in details for disk in entry.get("extra_info", {}).get("exclude_volumes", [])}
    named: list[str] = parameters.get("resources", []) or [entry["id"] for entry in details]
    wanted = [identity.lower() for identity in named] or list(vault["resources"])
    for identity in wanted:
        if identity not in vault["resources"]:
            raise Refusal(400, "BackupService.6135", "the resource is not in this vault")
    return wanted, excluded


def _admit(cloud: Cloud, call: Call, vault: Doc, wanted: list[str]) -> None:
    if vault["status"] not in _OPEN:
        raise Refusal(400, "BackupService.6113", f"a vault in {vault['status']} takes no backups")
    if vault["protect_type"] != "backup":
        raise Refusal(400, "BackupService.6124", "a replication vault takes no backups")
    if not wanted:
        raise Refusal(400, "BackupService.0001", "there is nothing to back up")
    if "vault-full" in call.struck or used_mb(cloud, vault) >= vault["size"] * 1024:
        raise Refusal(400, "BackupService.6114", "vault full")


def busy(cloud: Cloud, resource_id: str) -> bool:
    """A backup of that server or disk is being made."""
    return any(backup["status"] in {"waiting_protect", "protecting"} for backup in cloud.walk("backup", resource_id=resource_id))


def _obstacle(cloud: Cloud, identity: str) -> tuple[str, str] | None:
    server = cloud.get("server", identity)
    if server is None and cloud.get("volume", identity) is None:
        return "BackupService.6215", "the resource is gone"
    if busy(cloud, identity):
        return "BackupService.6203", "backup running"
    if server is not None and server["status"] not in {"ACTIVE", "SHUTOFF"}:
        return "BackupService.7101", f"a server in {server['status']} cannot be backed up"
    return None


def begin_backup(
    cloud: Cloud,
    resource_id: str,
    vault: Doc,
    checkpoint: Doc,
    name: str,
    *,
    automatic: bool = False,
    excluded: set[str] | None = None,
) -> Doc:
    """A backup in protecting, of a server or of one disk; it is available when its time has come."""
    server = cloud.get("server", resource_id)
    if server is None:
        volumes = [cloud.get("volume", resource_id) or {}]
        server = cloud.get("server", volumes[0].get("server_id") or "") or {
            "id": resource_id,
            "project": vault["project"],
            "name": volumes[0]["name"],
            "az": volumes[0]["az"],
            "os": None,
            "flavor": None,
        }
    else:
        found = (cloud.get("volume", identity) for identity in server["volumes"])
        volumes = [volume for volume in found if volume is not None and volume["id"] not in (excluded or set())]
    backup = backup_document(
        server, volumes, vault, name=name, created_at=cloud.stamp(), checkpoint_id=checkpoint["id"], automatic=automatic
    )
    if server["id"] != resource_id:
        backup.update(resource_type="OS::Cinder::Volume", resource_id=resource_id, resource_name=volumes[0]["name"])
    backup["status"] = "protecting"
    backup["due"] = cloud.due(backup_seconds(server, volumes))
    backup["log_id"] = begin_log(cloud, "backup", backup)["id"]
    return cloud.new("backup", backup)


def backup_done(cloud: Cloud, backup: Doc, when: datetime) -> None:
    """A backup is made, or failed; with the last one its restore point is settled."""
    fate = backup.get("fate")
    backup["status"] = "error" if fate else "available"
    backup["updated_at"] = cloud.stamp(when)
    cloud.save("backup", backup)
    end_log(cloud, backup, when, fate)
    checkpoint = cloud.get("checkpoint", backup["checkpoint_id"])
    siblings = list(cloud.walk("backup", checkpoint_id=backup["checkpoint_id"]))
    if checkpoint is not None and not any(sibling["status"] == "protecting" for sibling in siblings):
        checkpoint["status"] = "error" if any(sibling["status"] == "error" for sibling in siblings) else "available"
        cloud.save("checkpoint", checkpoint)


def get_checkpoint(cloud: Cloud, call: Call) -> Answer:
    """getCheckpoint: available or error once every backup in it is."""
    checkpoint = cloud.own("checkpoint", call.path["checkpoint_id"].lower(), call.project)
    if checkpoint is None:
        raise Refusal(404, "BackupService.6217", "no such restore point")
    return Answer(200, {"checkpoint": _body(cloud, checkpoint)})


def _body(cloud: Cloud, checkpoint: Doc) -> Doc:
    vault = cloud.get("vault", checkpoint["vault_id"]) or {"name": ""}
    return {
        "id": checkpoint["id"],
        "status": checkpoint["status"],
        "created_at": spell(cloud, checkpoint["id"], checkpoint["created_at"]),
        "project_id": checkpoint["project"],
        "vault": {
            "id": checkpoint["vault_id"],
            "name": vault["name"],
            "resources": [
                {
                    "id": entry["id"],
                    "name": entry["name"],
                    "type": entry["type"],
                    "protect_status": "protecting" if busy(cloud, entry["id"]) else "available",
                    "resource_size": entry["size"],
                }
                for entry in checkpoint["resources"]
            ],
            "skipped_resources": checkpoint["skipped"],
        },
    }


def begin_log(cloud: Cloud, kind: str, backup: Doc, when: datetime | None = None) -> Doc:
    """A task begins: backup or delete."""
    vault = cloud.get("vault", backup["vault_id"]) or {"name": None}
    return cloud.new(
        "operation-log",
        {
            "project": backup["project"],
            "operation_type": kind,
            "status": "running",
            "checkpoint_id": backup["checkpoint_id"],
            "vault_id": backup["vault_id"],
            "vault_name": vault["name"],
            "resource": {"id": backup["resource_id"], "name": backup["resource_name"], "type": backup["resource_type"]},
            "backup": {
                "backup_id": backup["id"],
                "backup_name": backup["name"],
                "incremental": str(backup["incremental"]).lower(),
            },
            "created_at": cloud.stamp(when),
            "until": backup.get("due"),
            "ended_at": None,
            "error": None,
        },
    )


def end_log(cloud: Cloud, backup: Doc, when: datetime, error: Doc | None) -> None:
    """The task of a backup is over."""
    log = cloud.get("operation-log", backup.get("log_id") or "")
    if log is not None:
        log.update(status="failed" if error else "success", ended_at=cloud.stamp(when), error=error)
        cloud.save("operation-log", log)


def list_logs(cloud: Cloud, call: Call) -> Answer:
    """listOperationLogs: newest first."""
    query = call.query
    found = [log for log in cloud.walk("operation-log", call.project, newest_first=True) if _log_fits(log, query)]
    limit, offset = query.get("limit", 1000), query.get("offset", 0)
    page = found[offset : offset + limit]
    return Answer(
        200, {"operation_logs": [_log_body(cloud, log) for log in page], "count": len(found), "limit": limit, "offset": offset}
    )


def _log_fits(log: Doc, query: Doc) -> bool:
    given: Doc = {
        "operation_type": log["operation_type"],
        "status": log["status"],
        "provider_id": PROVIDERS[log["resource"]["type"]],
        "resource_id": log["resource"]["id"],
        "resource_name": log["resource"]["name"],
        "vault_id": log["vault_id"],
        "vault_name": log["vault_name"],
    }
    if any(name in query and query[name] != value for name, value in given.items()):
        return False
    return not (query.get("start_time", "") > log["created_at"] or query.get("end_time", "~") < log["created_at"])


def get_log(cloud: Cloud, call: Call) -> Answer:
    """GetOperationLog."""
    log = cloud.own("operation-log", call.path["operation_log_id"].lower(), call.project)
    if log is None:
        raise Refusal(404, "BackupService.6500", "no such task")
    return Answer(200, {"operation_log": _log_body(cloud, log)})


def _log_body(cloud: Cloud, log: Doc) -> Doc:
    error: Doc = log["error"] or {"code": "", "reason": ""}
    body: Doc = {
        "id": log["id"],
        "status": log["status"],
        "operation_type": log["operation_type"],
        "checkpoint_id": log["checkpoint_id"],
        "vault_id": log["vault_id"],
        "vault_name": log["vault_name"],
        "project_id": log["project"],
        "provider_id": PROVIDERS[log["resource"]["type"]],
        "created_at": spell(cloud, log["id"], log["created_at"]),
        "started_at": spell(cloud, log["id"], log["created_at"]),
        "updated_at": spell(cloud, log["id"], log["ended_at"] or cloud.stamp()),
        "error_info": {"code": error["code"], "message": error["reason"]},
        "extra_info": {
            "resource": log["resource"],
            "backup": log["backup"],
            "common": {"progress": _progress(cloud, log), "request_id": f"req-{log['id'][:8]}", "task_id": ""},
        },
    }
    if log["ended_at"]:
        body["ended_at"] = spell(cloud, log["id"], log["ended_at"])
    return body


def _progress(cloud: Cloud, log: Doc) -> int:
    if log["ended_at"] or not log["until"]:
        return 100 if log["ended_at"] else 0
    begun = moment(log["created_at"])
    whole: Any = max(moment(log["until"]) - begun, timedelta(milliseconds=1))
    return max(0, min(99, int(100 * (cloud.now() - begun) / whole)))


ROUTES: dict[str, Handler] = {
    "createCheckpoint": create_checkpoint,
    "getCheckpoint": get_checkpoint,
    "listOperationLogs": list_logs,
    "getOperationLog": get_log,
}
