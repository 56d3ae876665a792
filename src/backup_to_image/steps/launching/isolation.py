"""Whether a drill stays away from its source: a clone has its source's identity and starts its services (BEHAVIOUR.md 11)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from backup_to_image.model import SecurityGroup, Server, Subnet, Value
from backup_to_image.steps.facts import SourceFacts
from backup_to_image.steps.launching.planner import Planner

__all__ = ["Place", "check_isolation", "place_of"]

_PAGE = "docs/how-to-verify.md"
_ADVICE = "Name a subnet and a security group for drills alone: a copy has its source's identity and starts its services."


class Place(Value):
    """Where the source server is, or was when its image was made."""

    name: str
    there: bool
    vpc_id: str = ""
    addresses: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    """Names and ids, as far as the cloud tells them."""


def place_of(source: Server | None, facts: SourceFacts | None) -> Place | None:
    """The source's place as the cloud has it, else as it was recorded; None where neither tells."""
    if source:
        return Place(
            name=source.name,
            there=True,
            vpc_id=source.vpc_id,
            addresses=tuple(address.ip for address in source.addresses if not address.floating),
            groups=frozenset({*source.security_group_ids, *source.security_group_names}),
        )
    if facts and (facts.addresses or facts.security_groups):
        return Place(
            name=facts.name,
            there=False,
            vpc_id=facts.vpc_id,
            addresses=facts.addresses,
            groups=frozenset(facts.security_groups),
        )
    return None


def check_isolation(
    planner: Planner,
    place: Place | None,
    subnet: Subnet | None,
    groups: Iterable[SecurityGroup] | None,
    group_ids: tuple[str, ...] | None,
    *,
    elsewhere: bool = False,
) -> None:
    """Refuse a drill in a subnet or security group of its source; with `beside_source` in the order it is a warning.

    `elsewhere`: the source is a server of another region.
    """
    if elsewhere:
        planner.passed("isolation", "its source is a server of another region, and so in other subnets and security groups")
        return
    if place is None:
        planner.unknown(
            "isolation",
            "the source server is not to be seen, and nothing was recorded of where it was; look that nobody is there",
        )
        return
    used: list[str] = []
    if subnet and subnet.cidr and place.vpc_id in {"", subnet.vpc_id}:
        inside = ip_network(subnet.cidr, strict=False)
        if any(ip_address(address) in inside for address in place.addresses):
            used.append(f"subnet {subnet.name}")
    if shared := place.groups & _named(planner, groups, group_ids):
        names = {group.id: group.name for group in groups or ()}
        used.append(f"security group {', '.join(sorted({names.get(one, one) for one in shared}))}")
    verb = "is" if place.there else "was, when its image was made,"
    beside = f"{place.name} itself, which the drill is a copy of, {verb} in {' and '.join(used)}"
    if not used:
        planner.passed("isolation", f"{place.name} {verb} in another subnet and in other security groups")
    elif planner.order.network.beside_source:
        planner.warn("isolation", f"{beside}; the order allows it (beside_source)", _ADVICE, page=_PAGE)
    else:
        allowed = "To drill there all the same, write `beside_source: true` under `network`."
        planner.refuse("isolation", beside, f"{_ADVICE} {allowed}", page=_PAGE)


def _named(planner: Planner, groups: Iterable[SecurityGroup] | None, group_ids: tuple[str, ...] | None) -> set[str]:
    """Names and ids of the groups that the server would be in."""
    wanted = {*planner.order.network.security_groups, *(group_ids or ())} or {"default"}
    return wanted | {word for group in groups or () if {group.id, group.name} & wanted for word in (group.id, group.name)}
