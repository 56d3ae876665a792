"""What happens to servers that are there: started, stopped, rebooted, deleted, given another OS (BEHAVIOUR.md 11 and 12)."""

from __future__ import annotations

from datetime import datetime

from . import ecs_jobs, eip, jobs
from .cloud import Cloud
from .ecs_image import backup_behind, inherited_profile, usable_image
from .ecs_launch import begin_boot
from .ecs_order import key_pair, used_quota
from .ecs_view import find, publicip_of
from .things import quota
from .wire import Answer, Call, Doc, Refusal

__all__ = ["WORK", "change_os", "delete_servers", "servers_action"]

# Seconds at speed 1. Changing the OS takes one to four minutes (BEHAVIOUR.md 12).
_SECONDS = {"os-start": 10.0, "os-stop/SOFT": 15.0, "os-stop/HARD": 5.0, "reboot/SOFT": 20.0, "reboot/HARD": 10.0}
_DELETE_SECONDS = 20.0
_CHANGE_SECONDS = 90.0

_BEING_BACKED_UP = {"waiting_protect", "protecting"}


def servers_action(cloud: Cloud, call: Call) -> Answer:
    """serversAction: start, stop or reboot; all servers are looked at before any is touched."""
    action, order = next(iter(call.body.items()))
    servers = _called(cloud, call, order["servers"])
    kind = order.get("type", "SOFT")
    allowed = {"os-start": {"SHUTOFF"}, "os-stop": {"ACTIVE"}, "reboot": {"ACTIVE"}}[action]
    for server in servers:
        idle = action != "reboot" and server["status"] in {"ACTIVE", "SHUTOFF"} and server["status"] not in allowed
        if server["status"] not in allowed and not (idle and cloud.switches["wrong_power_state"] == "taken"):
            raise Refusal(400, "Ecs.0100", f"the server is {server['status']}")
    moving = [server["id"] for server in servers if server["status"] in allowed]
    for server in servers:
        if server["status"] in allowed:
            task = {"os-start": "powering-on", "os-stop": "powering-off", "reboot": "rebooting"}[action]
            server.update(task_state=task, booting=False, due=None, updated_at=cloud.stamp())
            if action == "reboot":
                server["status"] = "HARD_REBOOT" if kind == "HARD" else "REBOOT"
            cloud.save("server", server)
    job_type = {"os-start": "startServers", "os-stop": "stopServers", "reboot": "rebootServers"}[action]
    seconds = _SECONDS[action if action == "os-start" else f"{action}/{kind}"]
    job = ecs_jobs.start(cloud, call, job_type, [server["id"] for server in servers], seconds=seconds, moving=moving)
    return ecs_jobs.taken(cloud, job)


def _called(cloud: Cloud, call: Call, named: list[Doc]) -> list[Doc]:
    """The servers of a batch, each once, none of them locked or busy."""
    servers = [find(cloud, server_id, call.project) for server_id in dict.fromkeys(entry["id"].lower() for entry in named)]
    for server in servers:
        if server.get("locked"):
            raise Refusal(400, "Ecs.0605", "the server is locked")
        if server.get("task_state") not in {None, "spawning"}:
            raise Refusal(501, "Ecs.0603", "other commands are being executed")
    return servers


def _moving(cloud: Cloud, job: Doc) -> list[Doc]:
    return [server for server in ecs_jobs.servers_of(cloud, job) if server["id"] in job["detail"]["moving"]]


def _up_again(cloud: Cloud, job: Doc, when: datetime) -> None:
    for server in _moving(cloud, job):
        begin_boot(cloud, server, when)


def _down(cloud: Cloud, job: Doc, when: datetime) -> None:
    for server in _moving(cloud, job):
        server.update(status="SHUTOFF", task_state=None, updated_at=cloud.stamp(when))
        cloud.save("server", server)


def _as_before(cloud: Cloud, job: Doc, when: datetime) -> None:
    """A start, stop or reboot that failed changed nothing."""
    for server in _moving(cloud, job):
        status = "SHUTOFF" if job["job_type"] == "startServers" else "ACTIVE"
        server.update(status=status, task_state=None, updated_at=cloud.stamp(when))
        cloud.save("server", server)


def delete_servers(cloud: Cloud, call: Call) -> Answer:
    """deleteServers: without `delete_volume` data disks are kept, without `delete_publicip` the EIP's own setting decides."""
    servers = _called(cloud, call, call.body["servers"])
    for server in servers:
        if server["status"] == "BUILD":
            raise Refusal(400, "Ecs.0100", "the server is still being made")
        if _backup_runs(cloud, server):
            raise Refusal(400, "Ecs.0073", "the system disk is being backed up")
    for server in servers:
        server.update(task_state="deleting", booting=False, due=None, updated_at=cloud.stamp())
        cloud.save("server", server)
    job = ecs_jobs.start(
        cloud,
        call,
        "deleteServers",
        [server["id"] for server in servers],
        seconds=_DELETE_SECONDS,
        delete_volume=call.body.get("delete_volume", False),
        delete_publicip=call.body.get("delete_publicip"),
    )
    return ecs_jobs.taken(cloud, job)


def _backup_runs(cloud: Cloud, server: Doc) -> bool:
    return any(
        backup["status"] in _BEING_BACKED_UP for backup in cloud.walk("backup", server["project"], resource_id=server["id"])
    )


def _deleted(cloud: Cloud, job: Doc, when: datetime) -> None:
    del when
    for server in ecs_jobs.servers_of(cloud, job):
        publicip = publicip_of(cloud, server)
        if publicip is not None:
            _part_with_publicip(cloud, publicip, job["detail"]["delete_publicip"])
        for position, volume_id in enumerate(server["volumes"]):
            volume = cloud.get("volume", volume_id)
            if volume is None:
                continue
            gone = cloud.switches["system_disk_on_delete"] == "deleted" if position == 0 else job["detail"]["delete_volume"]
            if gone and not _shared_with_another(cloud, volume, server):
                cloud.remove("volume", volume_id)
            else:
                volume.update(status="available", server_id=None, device=None)
                cloud.save("volume", volume)
        cloud.guests.move_out(server["id"])
        cloud.remove("server", server["id"])


def _shared_with_another(cloud: Cloud, volume: Doc, server: Doc) -> bool:
    if not volume["multiattach"]:
        return False
    return any(
        volume["id"] in other["volumes"] for other in cloud.walk("server", server["project"]) if other["id"] != server["id"]
    )


def _part_with_publicip(cloud: Cloud, publicip: Doc, wanted: bool | None) -> None:
    if wanted is None:
        wanted = bool(publicip.get("delete_on_termination")) and cloud.switches["delete_publicip_default"] == "eip_decides"
    eip.unbind(cloud, publicip)
    if wanted:
        eip.release(cloud, publicip)


def _not_deleted(cloud: Cloud, job: Doc, when: datetime) -> None:
    for server in ecs_jobs.servers_of(cloud, job):
        server.update(task_state=None, updated_at=cloud.stamp(when))
        cloud.save("server", server)


def change_os(cloud: Cloud, call: Call) -> Answer:
    """changeOs: a new system disk from the image's; data disks stay as they are, those of the image are not written."""
    order: Doc = call.body["os-change"]
    server = _called(cloud, call, [{"id": call.path["server_id"]}])[0]
    if server["status"] != "SHUTOFF" and not (server["status"] == "ERROR" and server.get("os_change_failed")):
        raise Refusal(400, "Ecs.0100", f"the server is {server['status']}, it must be stopped")
    system = cloud.get("volume", server["volumes"][0]) if server["volumes"] else None
    if system is None or not system["bootable"]:
        raise Refusal(400, "Ecs.0105", "no system disk found")
    if "keyname" in order and call.caller is not None:
        key_pair(cloud, call.caller.user, order["keyname"])
    elif cloud.switches["change_os_keyname"] == "required":
        raise Refusal(400, "Ecs.0005", "keyname is missing")
    image = usable_image(cloud, order["imageid"], call.project)
    backup = backup_behind(cloud, image)
    attributes: Doc = image.get("attributes") or {}
    if str(attributes.get("__support_fc_inject", "false")) == "true":
        raise Refusal(400, "Ecs.0007", "the image has no Cloud-Init")
    if int(image.get("min_disk") or 0) > system["size"]:
        raise Refusal(400, "Ecs.0007", f"the image needs a system disk of {image['min_disk']} GB")
    if 0 <= quota(cloud, call.project)["volumes"] <= used_quota(cloud, call.project)["volumes"]:
        raise Refusal(400, "Ecs.0021", "insufficient EVS disk quota")
    server.update(status="REBUILD", task_state="rebuilding", updated_at=cloud.stamp())
    cloud.save("server", server)
    metadata: Doc = order.get("metadata", {})
    job = ecs_jobs.start(
        cloud,
        call,
        "changeOs",
        [server["id"]],
        seconds=_CHANGE_SECONDS,
        image_id=image["id"],
        profile=inherited_profile(cloud, backup),
        key_name=order.get("keyname"),
        encrypted=metadata.get("__system__encrypted") == "1",
        cmk_id=metadata.get("__system__cmkid"),
    )
    return ecs_jobs.taken(cloud, job)


def _os_changed(cloud: Cloud, job: Doc, when: datetime) -> None:
    detail: Doc = job["detail"]
    for server in ecs_jobs.servers_of(cloud, job):
        image = cloud.get("image", detail["image_id"]) or {}
        old = cloud.get("volume", server["volumes"][0]) or {}
        fresh = {name: value for name, value in old.items() if name not in {"id", "created_at", "due"}}
        new = cloud.new(
            "volume",
            fresh
            | {"image_id": detail["image_id"], "snapshot_id": None, "encrypted": detail["encrypted"], "cmk_id": detail["cmk_id"]},
        )
        cloud.remove("volume", server["volumes"][0])
        server["volumes"] = [new["id"], *server["volumes"][1:]]
        server["metadata"] = {**server["metadata"], "image_name": image.get("name", "")}
        server.update(
            image_id=detail["image_id"],
            key_name=detail["key_name"] or server.get("key_name"),
            os=image.get("os"),
            os_change_failed=False,
        )
        server["profile"] = detail["profile"]
        cloud.guests.furnish(server["id"], detail["profile"])
        begin_boot(cloud, server, when)


def _os_not_changed(cloud: Cloud, job: Doc, when: datetime) -> None:
    for server in ecs_jobs.servers_of(cloud, job):
        server.update(
            status="ERROR", task_state=None, os_change_failed=True, fault=job["fail_reason"], updated_at=cloud.stamp(when)
        )
        cloud.save("server", server)


WORK = {
    "startServers": jobs.Work(finish=_up_again, failed=_as_before),
    "rebootServers": jobs.Work(finish=_up_again, failed=_as_before),
    "stopServers": jobs.Work(finish=_down, failed=_as_before),
    "deleteServers": jobs.Work(finish=_deleted, failed=_not_deleted),
    "changeOs": jobs.Work(finish=_os_changed, failed=_os_not_changed),
}
