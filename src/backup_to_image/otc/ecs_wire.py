"""ECS bodies as values, and a launch as ECS takes it (BEHAVIOUR.md 6, 11)."""

from __future__ import annotations

import re
from typing import Any, cast

from backup_to_image.model import Address, Flavor, Job, LaunchRequest, Limits, Quota, Server, ServerDisk, Zone
from backup_to_image.otc.wire import Body, flag, maybe, moment, need, need_part, part, parts, tags, text, whole

__all__ = ["disk", "flavor", "job", "launch_body", "limits", "server", "zone"]

_ZONE_STATE = re.compile(r"([^,()\s]+)\s*\(([^()]*)\)")


def server(body: Body, operation: str) -> Server:
    size, told, groups = part(body, "flavor"), part(body, "metadata"), parts(body, "security_groups")
    return Server(
        id=need(body, "id", operation),
        name=text(body, "name"),
        status=need(body, "status", operation).upper(),
        task_state=maybe(body, "OS-EXT-STS:task_state"),
        created_at=moment(body, "created"),
        flavor_id=text(size, "id", "name"),
        vcpus=whole(size, "vcpus") or 0,
        ram_mb=whole(size, "ram") or 0,
        zone=maybe(body, "OS-EXT-AZ:availability_zone"),
        image_id=maybe(told, "metering.image_id") or maybe(part(body, "image"), "id"),
        key_name=maybe(body, "key_name"),
        host_name=text(body, "OS-EXT-SRV-ATTR:hostname"),
        locked=flag(body, "locked") or False,
        fault=text(part(body, "fault"), "message"),
        vpc_id=text(told, "vpc_id"),
        addresses=tuple(_addresses(part(body, "addresses"))),
        security_group_ids=tuple(text(group, "id") for group in groups if text(group, "id")),
        security_group_names=tuple(text(group, "name") for group in groups if text(group, "name")),
        disks=tuple(
            ServerDisk(
                id=need(one, "id", operation),
                device=text(one, "device"),
                boot_index=whole(one, "bootIndex"),
                delete_on_termination=flag(one, "delete_on_termination"),
            )
            for one in parts(body, "os-extended-volumes:volumes_attached")
        ),
        tags=tags(body),
        metadata={name: text(told, name) for name in told},
    )


def _addresses(networks: Body) -> list[Address]:
    return [
        Address(
            ip=text(one, "addr"),
            version=whole(one, "version") or 4,
            floating=text(one, "OS-EXT-IPS:type").lower() == "floating",
            port_id=maybe(one, "OS-EXT-IPS:port_id"),
            mac=maybe(one, "OS-EXT-IPS-MAC:mac_addr"),
            vpc_id=vpc,
        )
        for vpc in networks
        for one in parts(networks, vpc)
        if text(one, "addr")
    ]


def job(body: Body, operation: str) -> Job:
    """A job with its sub-jobs: the cause of a failure sits in the one that failed (BEHAVIOUR.md 3)."""
    inside = part(body, "entities")
    subs = parts(inside, "sub_jobs")
    nothing: Body = {}
    broken = next((sub for sub in subs if text(sub, "status").upper() == "FAIL"), nothing)
    reasons = (
        text(body, "fail_reason", "message"),
        text(broken, "fail_reason"),
        text(part(broken, "entities"), "errorcode_message"),
    )
    ids = (text(one, "server_id") for one in (inside, *(part(sub, "entities") for sub in subs)))
    ended = [sub for sub in subs if text(sub, "status").upper() in {"SUCCESS", "FAIL"}]
    return Job(
        id=need(body, "job_id", operation),
        service="ecs",
        kind=text(body, "job_type"),
        status=need(body, "status", operation).upper(),
        error_code=maybe(broken, "error_code") or maybe(body, "error_code", "code"),
        fail_reason="; ".join(dict.fromkeys(reason for reason in reasons if reason)),
        began_at=moment(body, "begin_time"),
        ended_at=moment(body, "end_time"),
        server_ids=tuple(dict.fromkeys(ident for ident in ids if ident)),
        progress=len(ended) / len(subs) if subs else None,
    )


def disk(body: Body, operation: str) -> ServerDisk:
    return ServerDisk(
        id=need(body, "volumeId", operation),
        device=text(body, "device"),
        boot_index=whole(body, "bootIndex"),
        size_gb=whole(body, "size"),
    )


def flavor(body: Body, operation: str) -> Flavor:
    extra = part(body, "os_extra_specs")
    return Flavor(
        id=need(body, "id", operation),
        name=text(body, "name"),
        vcpus=whole(body, "vcpus") or 0,
        ram_mb=whole(body, "ram") or 0,
        state=text(extra, "cond:operation:status") or "normal",
        zones={zone: state.strip() for zone, state in _ZONE_STATE.findall(text(extra, "cond:operation:az"))},
        architecture=text(extra, "ecs:instance_architecture"),
    )


def limits(body: Body, operation: str) -> Limits:
    told = need_part(body, "absolute", operation)

    def quota(used: str, most: str) -> Quota:
        limit = whole(told, most)
        return Quota(used=whole(told, used) or 0, limit=None if limit is None or limit < 0 else limit)

    return Limits(
        servers=quota("totalInstancesUsed", "maxTotalInstances"),
        vcpus=quota("totalCoresUsed", "maxTotalCores"),
        ram_mb=quota("totalRAMUsed", "maxTotalRAMSize"),
    )


def zone(body: Body, operation: str) -> Zone:
    return Zone(name=need(body, "zoneName", operation), available=flag(part(body, "zoneState"), "available") is not False)


def launch_body(request: LaunchRequest, *, dry_run: bool) -> dict[str, Any]:
    """Only documented fields, and those without a value left out (ECS .../lifecycle_management/creating_ecss.rst)."""
    nics: list[dict[str, Any]] = [{"subnet_id": subnet} for subnet in request.subnet_ids]
    if request.fixed_ip:
        nics[0]["ip_address"] = request.fixed_ip
    root: dict[str, Any] = {"volumetype": request.system_disk_type}
    if request.system_disk_gb is not None:
        root["size"] = request.system_disk_gb
    server: dict[str, Any] = {
        "name": request.name,
        "imageRef": request.image_id,
        "flavorRef": request.flavor_id,
        "vpcid": request.vpc_id,
        "nics": nics,
        "root_volume": root,
        "availability_zone": request.zone,
        "security_groups": [{"id": group} for group in request.security_group_ids],
        "data_volumes": [
            {
                "volumetype": one.type,
                "size": one.size_gb,
                **({"extendparam": {"snapshotId": one.snapshot_id}} if one.snapshot_id else {}),
            }
            for one in request.data_disks
        ],
        "key_name": request.key_name,
        "tags": [f"{key}.{value}" for key, value in request.tags.items()],
        "description": request.description,
        "count": request.count if request.count > 1 else None,
    }
    if request.public_ip:
        bandwidth = {"size": request.public_ip.bandwidth_mbit, "sharetype": "PER", "chargemode": "traffic"}
        # The default of delete_on_termination is false, which would leave a billed address behind.
        server["publicip"] = {"eip": {"iptype": request.public_ip.type, "bandwidth": bandwidth}, "delete_on_termination": True}
    told: dict[str, Any] = {"server": {name: value for name, value in server.items() if value not in (None, "", [])}}
    if dry_run:
        told["dry_run"] = True
    return told


def ids(body: Body, name: str) -> tuple[str, ...]:
    value = body.get(name)
    return tuple(str(one) for one in cast("list[Any]", value) if one) if isinstance(value, list) else ()
