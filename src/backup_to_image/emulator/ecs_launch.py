"""createServers: from an order that is in order to a server that is up, or to nothing at all (BEHAVIOUR.md 11)."""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import datetime
from functools import partial

from . import ecs_jobs, eip, jobs
from .cloud import Cloud
from .ecs_image import inherited_profile
from .ecs_order import Disk, Order, free_addresses, read_order, used_addresses
from .things import device_name
from .wire import Answer, Call, Doc, Refusal

__all__ = ["BOOT_SECONDS", "WORK", "begin_boot", "create_servers", "create_servers_v11", "move_on"]

# Durations at speed 1, seconds.
_BUILD_SECONDS = 60.0
_UNSEEN_SECONDS = 20.0
BOOT_SECONDS = 15.0

# Refusals that need a look at other services. Whether they come at once or in the job is not stated (BEHAVIOUR.md 3 and 14).
_LATE = {"Ecs.0001", "Ecs.0012", "Ecs.0013", "Ecs.0021", "Ecs.0032", "Ecs.0034", "Ecs.0043", "Ecs.0044", "Ecs.0048", "Ecs.0319"}


def create_servers(cloud: Cloud, call: Call) -> Answer:
    """createServers: the ids are known at once, the servers are made by a job."""
    if call.caller is None:
        raise LookupError("createServers was let in without a caller")
    user = call.caller.user
    if call.body.get("dry_run"):  # form and mandatory fields, which the contract has checked already
        if cloud.switches["dry_run_checks"] == "everything":
            read_order(cloud, call.project, user, call.body["server"])
        return Answer(202, {})
    try:
        if "quota-gone" in call.struck:
            raise Refusal(400, "Ecs.0001", "insufficient ECS quota")  # noqa: TRY301 - refused where every refusal may be put off
        order = read_order(cloud, call.project, user, call.body["server"])
    except Refusal as refusal:
        if cloud.switches["launch_refusals"] == "at_once" or refusal.code not in _LATE:
            raise
        never = [str(uuid.uuid4()) for _ in range(call.body["server"].get("count", 1))]
        job = ecs_jobs.start(
            cloud,
            call,
            "createServer",
            never,
            seconds=_BUILD_SECONDS / 4,
            outcome=jobs.fail_with(refusal.code, refusal.message),
            leave=[],
        )
        return ecs_jobs.taken(cloud, job, serverIds=never)
    profile = call.struck.get("guest-silent", {}).get("profile") or inherited_profile(cloud, order.backup)
    reservation = f"r-{uuid.uuid4().hex[:8]}"
    servers = [_build(cloud, call, order, name, profile, reservation, user["id"]) for name in order.names]
    outcome, detail = _fate(call, servers)
    ids = [server["id"] for server in servers]
    job = ecs_jobs.start(cloud, call, "createServer", ids, seconds=_BUILD_SECONDS, outcome=outcome, **detail)
    return ecs_jobs.taken(cloud, job, serverIds=ids)


def create_servers_v11(cloud: Cloud, call: Call) -> Answer:
    """createServersV11: Huawei's call; OTC documents no such path (the contract's example createServersV11.on-otc)."""
    del cloud, call
    raise Refusal(404, "Ecs.0000", "request error")


def _fate(call: Call, servers: list[Doc]) -> tuple[Doc | None, Doc]:
    """How the faults of this call let its job end, and what a failure leaves behind."""
    leftovers = call.struck.get("leftovers")
    if leftovers is not None:
        return jobs.fail_with(leftovers["code"], "failed to undo the creation"), {"leave": list(leftovers["leave"])}
    partly = call.struck.get("one-fails")
    if partly is not None:
        return jobs.fail_with(partly["code"], "failed to create the ECS"), {"leave": [], "failing": [servers[-1]["id"]]}
    return None, {"leave": []}


def _build(cloud: Cloud, call: Call, order: Order, name: str, profile: str, reservation: str, user_id: str) -> Doc:
    asked = order.asked
    server_id = str(uuid.uuid4())
    nics = [_nic(cloud, server_id, name, profile if position == 0 else None, *nic) for position, nic in enumerate(order.nics)]
    volumes = [
        _volume(cloud, call.project, order, server_id, name, position, disk)["id"] for position, disk in enumerate(order.disks)
    ]
    shown = cloud.switches["building_server"]
    server = cloud.new(
        "server",
        {
            "id": server_id,
            "project": call.project,
            "name": name,
            "description": asked.get("description", ""),
            "status": "BUILD",
            "task_state": "spawning",
            "hidden": shown != "shown",
            "due": cloud.due(_UNSEEN_SECONDS) if shown == "hidden_first" else None,
            "booting": False,
            "flavor": order.flavor["id"],
            "az": order.zone,
            "image_id": order.image["id"],
            "key_name": asked.get("key_name"),
            "vpc_id": asked["vpcid"].lower(),
            "nics": nics,
            "security_groups": order.groups,
            "volumes": volumes,
            "tags": order.tags,
            "metadata": {**asked.get("metadata", {}), "image_name": order.image["name"]},
            "os": order.image.get("os"),
            "locked": False,
            "launched_at": None,
            "updated_at": cloud.stamp(),
            "profile": profile,
            "listens": True,
            "ports": {str(port): real for port, real in cloud.guests.ports(server_id).items()},
            "user_id": user_id,
            "reservation_id": reservation,
        },
    )
    given: Doc | None = asked.get("publicip")
    if given is not None:
        answers_at = partial(cloud.guests.also_at, server_id)
        publicip = order.publicip or eip.allocate(cloud, call.project, given["eip"], answers_at=answers_at)
        eip.bind(cloud, publicip, nics[0], delete_on_termination=bool(given.get("delete_on_termination")))
        answers_at(publicip["address"], again=True)
    return server


def _nic(cloud: Cloud, server_id: str, name: str, profile: str | None, subnet: Doc, fixed: str | None) -> Doc:
    """A NIC with its address: the one asked for, else one that follows from the server's id and is free on this machine."""
    digest = hashlib.sha256(f"{server_id}/{subnet['id']}".encode()).hexdigest()
    free = free_addresses(subnet, used_addresses(cloud), int(digest[:8], 16)) if fixed is None else iter([fixed])
    address = next(free) if profile is None else cloud.guests.move_in(server_id, name, profile, free)
    mac = "fa:16:3e:" + ":".join(re.findall("..", digest[8:14]))
    return {"port_id": str(uuid.uuid4()), "mac": mac, "subnet_id": subnet["id"], "ip": address}


def _volume(cloud: Cloud, project: str, order: Order, server_id: str, name: str, position: int, disk: Disk) -> Doc:
    return cloud.new(
        "volume",
        {
            "project": project,
            "name": f"{name}-volume-{position:04d}",
            "size": disk.size,
            "type": disk.type,
            "az": order.zone,
            "status": "creating",
            "server_id": server_id,
            "device": device_name(position) if position < 26 else f"/dev/vda{device_name(position - 26)[-1]}",
            "bootable": disk.system,
            "encrypted": disk.encrypted,
            "cmk_id": disk.cmk_id,
            "multiattach": disk.multiattach,
            "snapshot_id": disk.snapshot_id,
            "metadata": {},
            "image_id": disk.image_id,
        },
    )


def begin_boot(cloud: Cloud, server: Doc, when: datetime) -> None:
    """The server is ACTIVE for the cloud from now on; its system needs a while longer."""
    server.update(
        status="ACTIVE",
        task_state=None,
        hidden=False,
        booting=True,
        updated_at=cloud.stamp(when),
        due=cloud.due(BOOT_SECONDS, when),
    )
    cloud.save("server", server)


def move_on(cloud: Cloud, server: Doc, when: datetime) -> None:
    """The transition of servers: one that is being made begins to answer by its id, one that boots is up."""
    del when
    if server.get("hidden"):
        server["hidden"] = False
    elif server.get("booting"):
        server["booting"] = False
    cloud.save("server", server)


def _made(cloud: Cloud, job: Doc, when: datetime) -> None:
    for server in ecs_jobs.servers_of(cloud, job):
        _finish(cloud, server, when)


def _finish(cloud: Cloud, server: Doc, when: datetime) -> None:
    for volume in _disks_of(cloud, server):
        volume["status"] = "in-use"
        cloud.save("volume", volume)
    server["launched_at"] = cloud.stamp(when)
    begin_boot(cloud, server, when)


def _not_made(cloud: Cloud, job: Doc, when: datetime) -> None:
    """Roll a failed creation back; what the fault `leftovers` names stays."""
    leave = set(job["detail"]["leave"])
    failing = job["detail"].get("failing")
    for server in ecs_jobs.servers_of(cloud, job):
        if failing is not None and server["id"] not in failing:
            _finish(cloud, server, when)
        elif "server" in leave:
            server.update(
                status="ERROR", task_state=None, hidden=False, due=None, updated_at=cloud.stamp(when), fault=job["fail_reason"]
            )
            cloud.save("server", server)
        else:
            _undo(cloud, server, leave)


def _undo(cloud: Cloud, server: Doc, leave: set[str]) -> None:
    ports = {nic["port_id"] for nic in server["nics"]}
    for publicip in list(cloud.walk("publicip", server["project"])):
        if publicip["port_id"] in ports:
            eip.unbind(cloud, publicip)
            if "eip" not in leave:
                eip.release(cloud, publicip)
    for volume in _disks_of(cloud, server):
        if ("system_disk" if volume["bootable"] else "data_disks") in leave:
            volume.update(status="available", server_id=None, device=None)
            cloud.save("volume", volume)
        else:
            cloud.remove("volume", volume["id"])
    cloud.guests.move_out(server["id"])
    cloud.remove("server", server["id"])


def _disks_of(cloud: Cloud, server: Doc) -> list[Doc]:
    found = (cloud.get("volume", volume_id) for volume_id in server["volumes"])
    return [volume for volume in found if volume is not None]


WORK = jobs.Work(finish=_made, failed=_not_made)
