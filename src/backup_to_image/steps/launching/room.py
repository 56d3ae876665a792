"""Whether there is room for a launch: what it takes of the quota, and addresses in the subnet as far as servers tell."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from backup_to_image.model import Check, Flavor, Limits, Server, Subnet
from backup_to_image.steps.launching.planner import LAUNCH_PAGE, Planner

__all__ = ["addresses_in", "check_addresses", "check_quota", "quota_checks"]

_QUOTA_PAGE = "ECS api-ref/source/apis_recommended/tenant_quota_management/querying_tenant_quotas.rst"
_NOBODYS = 3
"""Addresses of a subnet that no server can have: the network's, the gateway's, the broadcast's."""
_UNSEEN = 3
"""So many more may be taken by what no list of servers shows: the cloud's own, load balancers, gateways."""


def check_quota(planner: Planner, limits: Limits, flavor: Flavor) -> None:
    """What it takes of servers, vCPUs and memory; refused where one of them has not so much left."""
    planner.checks += quota_checks(limits, [flavor] * planner.order.count, "launch: quota")


def quota_checks(limits: Limits, flavors: Sequence[Flavor], rule: str) -> tuple[Check, ...]:
    """What a server of each of these flavors takes together: refused where there is too little of something."""
    takes: list[str] = []
    short: list[Check] = []
    for what, quota, need in (
        ("servers", limits.servers, len(flavors)),
        ("vCPUs", limits.vcpus, sum(flavor.vcpus for flavor in flavors)),
        ("MB of memory", limits.ram_mb, sum(flavor.ram_mb for flavor in flavors)),
    ):
        if quota.free is None:
            takes.append(f"{need} {what} (no limit)")
            continue
        takes.append(f"{need} of {max(0, quota.free)} free {what}")
        if quota.free < need:
            why = f"{need} {what} are needed, {max(0, quota.free)} of {quota.limit} are free"
            action = "Free some, or ask for a larger quota."
            short.append(Check(rule=rule, verdict="refused", why=why, action=action, code="Ecs.0001", page=_QUOTA_PAGE))
    return tuple(short) or (Check(rule=rule, verdict="passed", why=f"takes {', '.join(takes)}"),)


def check_addresses(planner: Planner, subnet: Subnet, servers: Sequence[Server]) -> None:
    """Whether the subnet has an address for each server, and the one that the order names.

    Only servers of this project tell which are taken; what else has an address there is not to be seen.
    """
    wanted = planner.order.network.fixed_ip
    if not subnet.cidr:
        planner.unknown("addresses", f"the cloud does not tell the size of subnet {subnet.name}")
        return
    inside = ip_network(subnet.cidr, strict=False)
    taken = _taken(subnet, servers)
    if wanted:
        _check_fixed(planner, subnet, str(wanted), taken)
        return
    count = planner.order.count
    free = addresses_in(subnet, servers) or 0
    seen = f"servers of this project have {len(taken)} of the {inside.num_addresses} addresses of {subnet.cidr}"
    if free < count:
        planner.refuse(
            "addresses",
            f"{seen}: no room for {count} more",
            "Choose another subnet, or remove servers from it.",
            code="Ecs.0012",
            page=LAUNCH_PAGE,
        )
    elif free < count + _UNSEEN:
        planner.warn("addresses", f"{seen}: perhaps no room for {count} more", "Look what else has an address there.")
    else:
        planner.passed("addresses", f"{seen}: room for {count} more, as far as servers tell")


def addresses_in(subnet: Subnet, servers: Sequence[Server]) -> int | None:
    """How many addresses are free there, as far as servers of this project tell; None where the cloud does not tell its size."""
    if not subnet.cidr:
        return None
    return ip_network(subnet.cidr, strict=False).num_addresses - _NOBODYS - len(_taken(subnet, servers))


def _taken(subnet: Subnet, servers: Sequence[Server]) -> dict[str, Server]:
    inside = ip_network(subnet.cidr, strict=False)
    return {
        address.ip: server
        for server in servers
        for address in server.addresses
        if not address.floating and address.vpc_id in {"", subnet.vpc_id} and ip_address(address.ip) in inside
    }


def _check_fixed(planner: Planner, subnet: Subnet, wanted: str, taken: dict[str, Server]) -> None:
    inside = ip_network(subnet.cidr, strict=False)
    if ip_address(wanted) not in inside:
        planner.refuse("fixed address", f"{wanted} is not in {subnet.cidr}", "Choose an address of the subnet.", code="Ecs.0012")
    elif wanted in {subnet.gateway, str(inside.network_address), str(inside.broadcast_address)}:
        planner.refuse("fixed address", f"{wanted} is no server's to have", "Choose another address.", code="Ecs.0010")
    elif server := taken.get(wanted):
        planner.refuse(
            "fixed address",
            f"{wanted} is taken by {server.name} ({server.id})",
            "Choose another address, or remove that server.",
            code="Ecs.0010",
        )
    else:
        planner.passed("fixed address", f"{wanted} is no server's of this project")
