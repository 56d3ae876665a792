"""Which of an order's probes this host can reach, said beforehand; nothing is sent for it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from backup_to_image.model import Probe, SecurityGroup, SecurityRule, Subnet, Vpc
from backup_to_image.steps.launching.planner import Planner

__all__ = ["check_probes"]

_RULE = "probes"
_PAGE = "docs/launch-orders.md"
_EVERYBODY = {"", "0.0.0.0/0", "::/0"}
_ANY_TCP = {"", "any", "tcp", "6"}


def _own_address_towards(address: str) -> str | None:
    """The address with which this host would go there, as its kernel has it; None where it has no route. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as towards:
            towards.connect((address, 9))
            return str(towards.getsockname()[0])
    except OSError:
        return None


def check_probes(
    planner: Planner,
    vpc: Vpc | None,
    subnet: Subnet | None,
    groups: Iterable[SecurityGroup] | None,
    group_ids: Sequence[str] | None,
) -> None:
    """Say of each probe whether it can be reached from here. Never a refusal: networks know roads that no list shows."""
    probes = planner.order.probes
    if not probes:
        planner.passed(_RULE, "the order asks for none: ACTIVE is all the proof")
        return
    road, own, blocked = _road(planner, vpc, subnet)
    told: list[str] = []
    lost: list[str] = []
    for probe in probes:
        if probe.console is not None:
            told.append(f"{probe.name} is asked of the cloud")
            continue
        shut = blocked or _shut(_port(probe), own, _chosen(groups, group_ids))
        (lost if shut else told).append(f"{probe.name} {shut or road}")
    why = "; ".join((*lost, *told))
    if not lost:
        planner.passed(_RULE, why)
    elif told:
        planner.warn(_RULE, why, "What cannot be reached stays silent, which is not the image's fault.", page=_PAGE)
    else:
        planner.warn(_RULE, why, "Use a console probe, or a worker in that network.", page=_PAGE)


def _road(planner: Planner, vpc: Vpc | None, subnet: Subnet | None) -> tuple[str, str | None, str]:
    """How this host gets to the server, with which address, and why not at all."""
    if planner.order.public_ip:
        return "by the server's public address", None, ""
    if subnet is None or not subnet.cidr:
        return "perhaps: the subnet is not known", None, ""
    inside = ip_network(subnet.cidr, strict=False)
    target = planner.order.network.fixed_ip or next(iter(inside.hosts()), inside.network_address)
    own = _own_address_towards(str(target))
    if own is None:
        return "", None, f"cannot be reached from this host: it has no route into {subnet.cidr}"
    near = [inside, *([ip_network(vpc.cidr, strict=False)] if vpc and vpc.cidr else [])]
    if target.is_loopback or any(ip_address(own) in net for net in near):
        return "can be reached: this host is in its network", own, ""
    return f"may be reached through a gateway, from {own}", own, ""


def _port(probe: Probe) -> int:
    return probe.http.port if probe.http else probe.tcp or probe.ssh or 0


def _chosen(groups: Iterable[SecurityGroup] | None, group_ids: Sequence[str] | None) -> list[SecurityGroup]:
    """The groups that the server would be in: those of the order, else the project's default group."""
    if group_ids:
        return [group for group in groups or () if group.id in group_ids]
    return [group for group in groups or () if group.name == "default"] if group_ids is not None else []


def _shut(port: int, own: str | None, groups: Sequence[SecurityGroup]) -> str:
    """Why the groups' rules let nobody from here in at this port; "" where they do, or where nobody knows."""
    if not groups or not all(group.rules for group in groups):
        return ""
    rules = [rule for group in groups for rule in group.rules if _opens(rule, port)]
    names = ", ".join(group.name for group in groups)
    if any(_lets_in(rule, own) for rule in rules):
        return ""
    if not rules:
        return f"cannot be reached: {names} lets nobody in at port {port}"
    only = ", ".join(sorted({rule.remote_net or "members of a group" for rule in rules}))
    return f"cannot be reached from this host: {names} lets only {only} in at port {port}"


def _opens(rule: SecurityRule, port: int) -> bool:
    first, last = rule.first_port, rule.last_port
    covers = first is None or first <= port <= (last if last is not None else first)
    here = rule.direction.lower() == "ingress" and rule.ip_version.lower() != "ipv6" and rule.protocol.lower() in _ANY_TCP
    return here and covers


def _lets_in(rule: SecurityRule, own: str | None) -> bool:
    """Whether the rule lets this host in; by a public address it comes from an address that it does not know itself."""
    if rule.remote_group:
        return False
    if rule.remote_net in _EVERYBODY or own is None:
        return True
    try:
        return ip_address(own) in ip_network(rule.remote_net, strict=False)
    except ValueError:
        return True
