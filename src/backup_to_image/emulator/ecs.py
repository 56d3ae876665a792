"""Elastic Cloud Server: finding servers and what they need; launching and what follows stand in ecs_launch and ecs_power."""

from __future__ import annotations

import re
from typing import Any

from . import ecs_jobs, ecs_launch, ecs_power, jobs
from .cloud import Cloud
from .ecs_native import DISCOVERY, HELPERS
from .ecs_order import SOLD, flavor_state, used_quota
from .ecs_view import console_log, find, server_body, visible
from .routing import Operation
from .services import Service
from .things import device_name, quota
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["SERVICE"]

_PAGE = 25
_TAG_LIMIT = 10

# A status filter finds intermediate states too (listing_details_about_ecss.rst).
_FOUND_AS = {
    "ACTIVE": {"ACTIVE", "REBOOT", "HARD_REBOOT", "REBUILD", "MIGRATING", "RESIZE"},
    "SHUTOFF": {"SHUTOFF", "RESIZE", "REBUILD"},
    "ERROR": {"ERROR", "REBUILD"},
    "VERIFY_RESIZE": {"VERIFY_RESIZE", "REVERT_RESIZE"},
}

# Codes for parts of a body that do not fit the contract: part (list positions as *), rule, code. First match wins; else Ecs.0005.
_BODY_CODES = (
    ("server/name", "maxLength", "Ecs.0914"),
    ("server/name", "minLength|pattern", "Ecs.0915"),
    ("server/description", ".*", "Ecs.0041"),
    ("server/adminPass", ".*", "Ecs.0011"),
    ("server/(server_)?tags", "maxItems", "Ecs.0905"),
    ("server/(server_)?tags/.*", ".*", "Ecs.0906"),
    ("server/nics", "maxItems", "Ecs.0050"),
    ("server/data_volumes", "maxItems", "Ecs.0042"),
    ("server/(data_volumes/\\d+|root_volume)/volumetype", "enum", "Ecs.0043"),
    ("server/(data_volumes/\\d+|root_volume)/metadata.*", ".*", "Ecs.0912"),
    ("server/count", "maximum", "Ecs.0913"),
    ("servers", "maxItems", "Ecs.0118"),
    ("tags", "maxItems", "Ecs.0905"),
    ("tags/.*", ".*", "Ecs.0907"),
)


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """ECS's words for a request that does not fit the contract."""
    code = "Ecs.0005"
    if problem.where == "path":
        code = {"project_id": "Ecs.0023", "job_id": "Common.0011"}.get(problem.name, "Ecs.0005")
    elif problem.where == "body" and problem.rule == "required" and not problem.name and "missing" in problem.message:
        code = "Common.0002"
    elif problem.where == "body" and operation.id in {"createServers", "deleteServers", "serverTagsAction"}:
        fitting = (
            code for part, rule, code in _BODY_CODES if re.fullmatch(part, problem.name) and re.fullmatch(rule, problem.rule)
        )
        code = next(fitting, "Ecs.0005")
    return Refusal(400, code, problem.message)


def get_server(cloud: Cloud, call: Call) -> Answer:
    """getServer: one server; 404 while it is being made, after a failed creation, and when it is gone."""
    return Answer(200, {"server": server_body(cloud, find(cloud, call.path["server_id"].lower(), call.project))})


def list_servers_detail(cloud: Cloud, call: Call) -> Answer:
    """listServersDetail: the project's servers that fit, newest first; `offset` is a page number, and 0 is page 1."""
    query = call.query
    found = [
        server for server in cloud.walk("server", call.project, newest_first=True) if visible(server) and _fits(server, query)
    ]
    limit = query.get("limit", _PAGE)
    start = (max(1, query.get("offset", 1)) - 1) * limit
    return Answer(200, {"servers": [server_body(cloud, server) for server in found[start : start + limit]], "count": len(found)})


def _fits(server: Doc, query: dict[str, Any]) -> bool:
    tags = [f"{key}={value}" for key, value in server["tags"].items()]
    status = query.get("status")
    return (
        ("name" not in query or _like(query["name"], server["name"]))
        and (status is None or server["status"] in _FOUND_AS.get(status, {status}))
        and query.get("flavor") in {None, server["flavor"]}
        and ("tags" not in query or any(query["tags"] in tag for tag in tags))
        and ("not-tags" not in query or not any(query["not-tags"] in tag for tag in tags))
        and query.get("reservation_id") in {None, server.get("reservation_id")}
        and ("ip" not in query or any(query["ip"] in nic["ip"] for nic in server["nics"]))
    )


def _like(wanted: str, name: str) -> bool:
    """Fuzzy: the name holds it; a dot stands for any one character."""
    return re.search(".".join(re.escape(part) for part in wanted.split(".")), name) is not None


def list_flavors(cloud: Cloud, call: Call) -> Answer:
    """listFlavors: all flavors; with a zone, those that are sold there."""
    zone = call.query.get("availability_zone")
    zones = {found["id"] for found in cloud.walk("availability-zone")}
    flavors = [
        flavor for flavor in cloud.walk("flavor") if zone is None or (zone in zones and flavor_state(flavor, zone) in SOLD)
    ]
    return Answer(200, {"flavors": [_flavor_body(cloud, call, flavor) for flavor in flavors]})


def _flavor_body(cloud: Cloud, call: Call, flavor: Doc) -> Doc:
    region_wide = flavor.get("state", "normal")
    differing = [f"{zone}({state})" for zone, state in sorted(flavor["az"].items()) if state != region_wide]
    specs: Doc = {
        "ecs:performancetype": "normal",
        "ecs:generation": str(flavor["id"]).partition(".")[0],
        "ecs:virtualization_env_types": "CloudCompute",
        "resource_type": "IOoptimizedS3_1",
        "cond:operation:status": region_wide,
        **flavor["extra"],
    }
    if differing:
        specs["cond:operation:az"] = ",".join(differing)
    address = f"{call.origin}:{cloud.port('ecs')}/v2.1/{call.project}/flavors/{flavor['id']}"
    return {
        "id": flavor["id"],
        "name": flavor["id"],
        "vcpus": str(flavor["vcpus"]),
        "ram": flavor["ram"],
        "disk": "0",
        "swap": "",
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "links": [{"rel": "self", "href": address}],
        "os_extra_specs": specs,
    }


def server_tags_action(cloud: Cloud, call: Call) -> Answer:
    """serverTagsAction: add or remove tags; doing it twice changes nothing more."""
    server = find(cloud, call.path["server_id"].lower(), call.project)
    asked: list[Doc] = call.body["tags"]
    keys = [tag["key"] for tag in asked]
    if len(set(keys)) < len(keys):
        raise Refusal(400, "Ecs.0908", "the tag key cannot be duplicate")
    tags = dict(server["tags"])
    if call.body["action"] == "create":
        tags |= {tag["key"]: tag["value"] for tag in asked}
        if len(tags) > _TAG_LIMIT:
            raise Refusal(400, "Ecs.0905", "the number of tags exceeds the maximum")
    else:
        for tag in asked:
            if tag.get("value") in {None, "", tags.get(tag["key"])}:
                tags.pop(tag["key"], None)
    server["tags"] = tags
    cloud.save("server", server)
    return Answer(int(cloud.switches["tags_status"]))


def list_server_tags(cloud: Cloud, call: Call) -> Answer:
    """listServerTags: the server's tags as pairs."""
    server = find(cloud, call.path["server_id"].lower(), call.project)
    return Answer(200, {"tags": [{"key": key, "value": value} for key, value in server["tags"].items()]})


def list_server_disks(cloud: Cloud, call: Call) -> Answer:
    """listServerDisks: the disks attached to a server, system disk first."""
    server = find(cloud, call.path["server_id"].lower(), call.project)
    attachments: list[Doc] = []
    for position, volume_id in enumerate(server["volumes"]):
        volume = cloud.get("volume", volume_id)
        if volume is not None:
            attachments.append(
                {
                    "id": volume_id,
                    "volumeId": volume_id,
                    "serverId": server["id"],
                    "size": volume["size"],
                    "device": volume["device"] or device_name(position),
                    "bootIndex": position,
                    "bus": "virtio",
                    "pciAddress": f"0000:02:{position + 1:02x}.0",
                }
            )
    free = max(0, 23 - len(attachments))
    return Answer(
        200,
        {
            "volumeAttachments": attachments,
            "attachableQuantity": {"free_scsi": free, "free_blk": min(free, 15), "free_disk": free},
        },
    )


def get_server_limits(cloud: Cloud, call: Call) -> Answer:
    """getServerLimits: quota and use; servers that are being made count from the order on."""
    limits, used = quota(cloud, call.project), used_quota(cloud, call.project)
    absolute = {
        "maxTotalInstances": limits["instances"],
        "maxTotalCores": limits["cores"],
        "maxTotalRAMSize": limits["ram"],
        "totalInstancesUsed": used["instances"],
        "totalCoresUsed": used["cores"],
        "totalRAMUsed": used["ram"],
        "maxTotalKeypairs": -1,
        "maxServerMeta": 128,
        "maxServerGroups": 10,
        "maxServerGroupMembers": 16,
        "maxImageMeta": 128,
        "maxPersonality": 5,
        "maxPersonalitySize": 10240,
        "maxSecurityGroups": -1,
        "maxSecurityGroupRules": -1,
        "maxTotalFloatingIps": limits["eips"],
        "totalFloatingIpsUsed": cloud.store.count("publicip", call.project),
        "totalSecurityGroupsUsed": cloud.store.count("security-group", call.project),
        "totalServerGroupsUsed": 0,
    }
    return Answer(200, {"absolute": absolute})


def list_availability_zones(cloud: Cloud, call: Call) -> Answer:
    """listAvailabilityZones: the zones of the region."""
    del call
    zones = [
        {"zoneName": zone["id"], "zoneState": {"available": zone["available"]}, "hosts": None}
        for zone in cloud.walk("availability-zone")
    ]
    return Answer(200, {"availabilityZoneInfo": zones})


def get_console_output(cloud: Cloud, call: Call) -> Answer:
    """getConsoleOutput: the last rows of the serial console; -1 for all."""
    asked = call.body["os-getConsoleOutput"]["length"]
    server = find(cloud, call.path["server_id"].lower(), call.project)
    try:
        rows = int(asked)
    except ValueError:
        raise Refusal(400, "Ecs.0005", "length must be an integer") from None
    return Answer(200, {"output": console_log(cloud, server, rows)})


def list_keypairs(cloud: Cloud, call: Call) -> Answer:
    """listKeypairs: the caller's own key pairs: they belong to the user, not to the project."""
    if call.caller is None:
        raise LookupError("listKeypairs was let in without a caller")
    mine = cloud.walk("keypair", user_id=call.caller.user["id"])
    pairs = [{name: pair[name] for name in ("name", "fingerprint", "public_key")} | {"type": "ssh"} for pair in mine]
    return Answer(200, {"keypairs": [{"keypair": pair} for pair in pairs]})


SERVICE = Service(
    name="ecs",
    routes={
        "createServers": ecs_launch.create_servers,
        "createServersV11": ecs_launch.create_servers_v11,
        "getEcsJob": ecs_jobs.get_ecs_job,
        "getServer": get_server,
        "listServersDetail": list_servers_detail,
        "serversAction": ecs_power.servers_action,
        "deleteServers": ecs_power.delete_servers,
        "changeOs": ecs_power.change_os,
        "listFlavors": list_flavors,
        "serverTagsAction": server_tags_action,
        "listServerTags": list_server_tags,
        "listServerDisks": list_server_disks,
        "getServerLimits": get_server_limits,
        "listAvailabilityZones": list_availability_zones,
        "getConsoleOutput": get_console_output,
        "listKeypairs": list_keypairs,
    },
    malformed=malformed,
    discovery=DISCOVERY,
    helpers=HELPERS,
    transitions={ecs_jobs.KIND: jobs.runner({"createServer": ecs_launch.WORK, **ecs_power.WORK}), "server": ecs_launch.move_on},
)
