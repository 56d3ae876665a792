"""Plan a launch: every name resolved, every disk's fate, the exact request, and every reason against it. Nothing is made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from backup_to_image.errors import ApiError, CloudError
from backup_to_image.model import (
    Backup,
    BackupDisk,
    Check,
    Flavor,
    FlavorNeed,
    Image,
    LaunchDisk,
    LaunchOrder,
    LaunchPlan,
    LaunchPublicIp,
    LaunchRequest,
    PlannedDisk,
    SecurityGroup,
    Subnet,
    Vpc,
    Zone,
)
from backup_to_image.steps.context import Context
from backup_to_image.steps.facts import SourceFacts, facts_of, facts_of_image, recall
from backup_to_image.steps.findings import Findings
from backup_to_image.steps.launching.isolation import check_isolation, place_of
from backup_to_image.steps.launching.planner import LAUNCH_PAGE, ORDERS_PAGE, Planner
from backup_to_image.steps.launching.reach import check_probes
from backup_to_image.steps.launching.room import check_addresses, check_quota
from backup_to_image.steps.launching.surroundings import Surroundings
from backup_to_image.steps.names import SOURCE_TAG

__all__ = ["plan_for_backup", "plan_launch"]

T = TypeVar("T")
Mode = Literal["drill", "failover"]

_DISKS = "ECS api-ref/source/data_structure/data_structure_for_creating_ecss.rst"
_FLAVORS_PAGE = "ECS api-ref/source/apis_recommended/flavor_management/listing_flavor_details_and_extended_information.rst"
_KEYS_PAGE = "ECS api-ref/source/native_openstack_nova_apis/key_and_password_management/listing_ssh_key_pairs.rst"
_SPECIAL_TYPES = {"co-p1", "uh-l1"}
_SOLD = {"normal", "obt", "promotion"}
_TAG_KEY = re.compile(r"[A-Za-z0-9_-]{1,36}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_-]{0,43}")
_OUR_SERVER_TAGS = 2


async def plan_for_backup(
    order: LaunchOrder, found: Findings, ctx: Context, *, mode: Mode = "failover", around: Surroundings | None = None
) -> LaunchPlan:
    """The plan for an image that need not exist yet: its disks are those of the backup."""
    facts = facts_of(found.source, found.source_disks) if found.source else await recall(found.backup.id, ctx)
    return await _plan(order, found.image, found.backup, facts, ctx, around or Surroundings(ctx), mode, found.backup.resource_id)


async def plan_launch(
    order: LaunchOrder, image: Image, ctx: Context, *, mode: Mode = "failover", around: Surroundings | None = None
) -> LaunchPlan:
    """The plan for an image. Makes nothing and may be repeated; reads the backup behind it where that is to be seen.

    `around`: what is read once for several plans.
    """
    around = around or Surroundings(ctx)
    backup, facts = await around.backup_of(image), await facts_of_image(image, ctx)
    source_id = image.tags.get(SOURCE_TAG) or (backup.resource_id if backup else None)
    plan = await _plan(order, image, backup, facts, ctx, around, mode, source_id)
    return plan.model_copy(update={"checks": (_ready(image), *plan.checks)})


def _ready(image: Image) -> Check:
    if image.status == "active":
        return Check(rule="launch: image", verdict="passed", why=f"{image.name} is active")
    return Check(
        rule="launch: image",
        verdict="refused",
        why=f"{image.name} ({image.id}) is {image.status}, it must be active",
        action="Wait until it is Normal." if (waits := image.status in {"queued", "saving"}) else "Choose another image.",
        waiting_helps=waits,
        code="Ecs.0032",
        page=LAUNCH_PAGE,
    )


async def _plan(
    order: LaunchOrder,
    image: Image | None,
    backup: Backup | None,
    facts: SourceFacts | None,
    ctx: Context,
    around: Surroundings,
    mode: Mode,
    source_id: str | None,
) -> LaunchPlan:
    planner = Planner(order)

    async def attempt(what: str, request: Awaitable[T]) -> T | None:
        try:
            return await request
        except CloudError as error:
            words = error.words if isinstance(error, ApiError) and error.words else error.message
            planner.unknown(what, f"could not be read: {words}", because=error)
            return None

    (vpcs, subnets, groups, there), (flavors, zones, limits, keys) = await asyncio.gather(
        asyncio.gather(
            attempt("VPC", around.vpcs()),
            attempt("subnet", around.subnets()),
            attempt("security groups", around.security_groups()),
            attempt("addresses", around.servers()),
        ),
        asyncio.gather(
            attempt("flavor", around.flavors()),
            attempt("availability zone", around.zones()),
            attempt("quota", around.limits()),
            attempt("key pair", around.key_pairs()),
        ),
    )
    vpc, subnet = _network(planner, vpcs, subnets)
    if subnet and there is not None:
        check_addresses(planner, subnet, there)
    group_ids = _groups(planner, groups)
    if mode == "drill":
        source = await attempt("isolation", ctx.cloud.servers.find(source_id)) if source_id else None
        elsewhere = bool(backup and backup.replica and source is None)
        check_isolation(planner, place_of(source, facts), subnet, groups, group_ids, elsewhere=elsewhere)
    zone = _zone(planner, zones)
    places = [zone] if zone else [one.name for one in zones or () if one.available]
    flavor = _flavor(planner, flavors, facts, backup, image, places)
    if limits and flavor:
        check_quota(planner, limits, flavor)
    _key_pair(planner, keys)
    _tags(planner)
    disks, volumes = _disks(planner, backup, image, facts)
    _disk_types(planner, backup, facts, zone)
    check_probes(planner, vpc, subnet, groups, group_ids)
    request = None
    if vpc and subnet and flavor and group_ids is not None:
        request = LaunchRequest(
            image_id=image.id if image else "",
            flavor_id=flavor.id,
            name=order.name,
            vpc_id=vpc.id,
            subnet_ids=(subnet.id,),
            security_group_ids=group_ids,
            zone=zone,
            fixed_ip=str(order.network.fixed_ip) if order.network.fixed_ip else None,
            key_name=order.login.key_pair,
            system_disk_type=order.system_disk.type,
            system_disk_gb=order.system_disk.size_gb,
            data_disks=volumes,
            public_ip=LaunchPublicIp.model_validate(order.public_ip.model_dump()) if order.public_ip else None,
            tags=order.tags,
            count=order.count,
        )
    return LaunchPlan(order_name=order.name, mode=mode, request=request, disks=disks, checks=tuple(planner.checks))


def _network(planner: Planner, vpcs: list[Vpc] | None, subnets: list[Subnet] | None) -> tuple[Vpc | None, Subnet | None]:
    wanted = planner.order.network
    vpc = planner.one("VPC", wanted.vpc, vpcs, code="Ecs.0038") if vpcs is not None else None
    inside = [subnet for subnet in subnets or [] if vpc is None or subnet.vpc_id == vpc.id]
    subnet = planner.one("subnet", wanted.subnet, inside, code="Ecs.0064") if subnets is not None else None
    if vpc and subnet:
        planner.passed("network", f"VPC {vpc.name}, subnet {subnet.name} ({subnet.cidr or 'cidr not told'})")
    return vpc, subnet


def _groups(planner: Planner, groups: list[SecurityGroup] | None) -> tuple[str, ...] | None:
    wanted = planner.order.network.security_groups
    if not wanted:
        planner.passed("security groups", "the project's default group")
        return ()
    if groups is None:
        return None
    found = [planner.one("security groups", name, groups) for name in wanted]
    if any(group is None for group in found):
        return None
    planner.passed("security groups", ", ".join(group.name for group in found if group))
    return tuple(group.id for group in found if group)


def _zone(planner: Planner, zones: list[Zone] | None) -> str | None:
    wanted = planner.order.availability_zone
    if wanted is None:
        planner.passed("availability zone", "chosen by the cloud")
        return None
    if zones is None:
        return wanted
    known = {zone.name: zone for zone in zones}
    if wanted not in known:
        planner.refuse("availability zone", f"there is no {wanted!r}", f"There are: {', '.join(sorted(known))}.", code="Ecs.0005")
    elif not known[wanted].available:
        planner.refuse("availability zone", f"{wanted} is not available now", "Choose another, or wait.", waiting_helps=True)
    else:
        planner.passed("availability zone", wanted)
    return wanted


def _flavor(  # noqa: PLR0911 - one answer per way of naming a flavor
    planner: Planner,
    flavors: list[Flavor] | None,
    facts: SourceFacts | None,
    backup: Backup | None,
    image: Image | None,
    zones: Sequence[str],
) -> Flavor | None:
    wanted = planner.order.flavor
    if flavors is None:
        return None
    if isinstance(wanted, FlavorNeed):
        return _smallest(planner, wanted, flavors, image, zones)
    if wanted == "same-as-source":
        if facts is None or not facts.flavor_id:
            gone = "what its source had was not recorded when the image was made"
            if backup and backup.replica:
                gone = "its source is a server of another region, of which a replica tells name and disks alone"
            planner.refuse(
                "flavor",
                f"'same-as-source' is asked for, and {gone}",
                "Name a flavor, or {vcpus: N, ram_gb: N}.",
                code="b2i.no-facts",
                page=ORDERS_PAGE,
            )
            return None
        wanted = facts.flavor_id
    flavor = planner.one("flavor", wanted, flavors, code="Ecs.0005")
    if flavor is None:
        return None
    if not _sold(flavor, zones):
        states = ", ".join(f"{flavor.state_in(zone)} in {zone}" for zone in zones) or flavor.state
        planner.refuse(
            "flavor", f"{flavor.name} is {states}", "Choose another flavor or zone.", code="Ecs.0319", page=_FLAVORS_PAGE
        )
        return None
    misfit = _misfit(flavor, image)
    if misfit:
        planner.refuse("flavor", misfit, "Choose a flavor that fits the image.", code="Ecs.0029")
        return None
    planner.passed("flavor", f"{flavor.name}: {flavor.vcpus} vCPUs, {flavor.ram_mb // 1024} GB")
    return flavor


def _smallest(
    planner: Planner, need: FlavorNeed, flavors: Sequence[Flavor], image: Image | None, zones: Sequence[str]
) -> Flavor | None:
    fitting = [
        flavor
        for flavor in flavors
        if flavor.vcpus >= need.vcpus
        and flavor.ram_mb >= need.ram_gb * 1024
        and _sold(flavor, zones)
        and not _misfit(flavor, image)
    ]
    if not fitting:
        planner.refuse(
            "flavor",
            f"no flavor on sale has {need.vcpus} vCPUs and {need.ram_gb} GB",
            "Ask for less, or name a zone.",
            code="Ecs.0319",
        )
        return None
    flavor = min(fitting, key=lambda one: (one.vcpus, one.ram_mb, one.name))
    planner.passed("flavor", f"{flavor.name}, the smallest with {need.vcpus} vCPUs and {need.ram_gb} GB")
    return flavor


def _sold(flavor: Flavor, zones: Sequence[str]) -> bool:
    """Whether one of these zones sells it; where none is known, whether it is sold at all."""
    return any(flavor.state_in(zone) in _SOLD for zone in zones) if zones else flavor.state in _SOLD


def _misfit(flavor: Flavor, image: Image | None) -> str:
    if image and image.min_ram_mb and flavor.ram_mb < image.min_ram_mb:
        return f"{flavor.name} has {flavor.ram_mb} MB of memory, the image wants {image.min_ram_mb} at least"
    if image and image.max_ram_mb and flavor.ram_mb > image.max_ram_mb:
        return f"{flavor.name} has {flavor.ram_mb} MB of memory, the image takes {image.max_ram_mb} at most"
    return ""


def _key_pair(planner: Planner, keys: list[str] | None) -> None:
    wanted = planner.order.login.key_pair
    if wanted is None:
        planner.passed("login", "the accounts inside the image")
    elif keys is not None and wanted not in keys:
        planner.refuse(
            "login",
            f"there is no key pair {wanted!r}",
            f"There are: {', '.join(sorted(keys)) or 'none'}.",
            code="Ecs.0909",
            page=_KEYS_PAGE,
        )
    elif keys is not None:
        planner.passed("login", f"key pair {wanted}")


def _tags(planner: Planner) -> None:
    tags = planner.order.tags
    wrong = [f"{key}={value}" for key, value in tags.items() if not (_TAG_KEY.fullmatch(key) and _TAG_VALUE.fullmatch(value))]
    if wrong:
        planner.refuse(
            "tags",
            f"{', '.join(wrong)}: keys are 1-36, values 0-43 letters, digits, '_' or '-'",
            "Correct them.",
            code="Ecs.0912",
        )
    if len(tags) > 10 - _OUR_SERVER_TAGS:
        planner.refuse(
            "tags",
            f"{len(tags)} tags; {10 - _OUR_SERVER_TAGS} are the most beside ours",
            "Leave some out.",
            code="Ecs.0905",
            page=ORDERS_PAGE,
        )
    if any(key.startswith("b2i-") for key in tags):
        planner.refuse("tags", "keys that begin with 'b2i-' are our own marks", "Choose other keys.", page=ORDERS_PAGE)


def _disks(
    planner: Planner, backup: Backup | None, image: Image | None, facts: SourceFacts | None
) -> tuple[tuple[PlannedDisk, ...], tuple[LaunchDisk, ...]]:
    order = planner.order
    disks = backup.disks if backup else ()
    if not disks:
        if order.data_disks:
            planner.refuse(
                "disks",
                "the backup behind the image is not to be seen from here, so its data disks cannot be retuned",
                "Leave out `data_disks`: they come back as they were.",
                page=_DISKS,
            )
        else:
            planner.unknown("disks", "the backup behind the image is not to be seen; its disks come back as they were")
    devices = {disk.id: disk.device for disk in facts.disks} if facts else {}
    system = next((disk for disk in disks if disk.system), None)
    smallest = image.min_disk_gb if image and image.min_disk_gb else system.size_gb if system else 0
    if order.system_disk.size_gb is not None and order.system_disk.size_gb < smallest:
        planner.refuse(
            "system disk",
            f"{order.system_disk.size_gb} GB is less than the image's {smallest} GB, and disks never shrink",
            f"Ask for {smallest} GB or more, or leave the size out.",
            code="Ecs.0007",
            page=_DISKS,
        )
    elif smallest > 1024:
        planner.refuse(
            "system disk", f"it has {smallest} GB, a launch takes 1024 at most", "This image cannot be launched.", page=_DISKS
        )
    else:
        planner.passed(
            "system disk", f"{order.system_disk.type}, {order.system_disk.size_gb or smallest or 'as in the image'} GB"
        )
    volumes, chosen = _retuned(planner, disks, devices)
    planned = tuple(
        PlannedDisk(
            disk_id=disk.disk_id,
            device=devices.get(disk.disk_id, ""),
            system=disk.system,
            size_gb=disk.size_gb,
            becomes=_fate(disk, chosen.get(disk.disk_id), order),
        )
        for disk in disks
    )
    return planned, volumes


def _disk_types(planner: Planner, backup: Backup | None, facts: SourceFacts | None, zone: str | None) -> None:
    """Whether each disk may become what is ordered: a type changes within its family only (BEHAVIOUR.md 11)."""
    order = planner.order
    known = {disk.id: disk for disk in facts.disks} if facts else {}
    wrong: list[str] = []
    kinds: set[str] = {order.system_disk.type, *(one.type for one in order.data_disks)}
    for disk in backup.disks if backup else ():
        was = known.get(disk.disk_id)
        names = {disk.disk_id, disk.snapshot_id, was.device if was else None}
        wish = order.system_disk if disk.system else next((one for one in order.data_disks if one.source in names), None)
        if wish and was and was.type and (was.type in _SPECIAL_TYPES) != (wish.type in _SPECIAL_TYPES):
            wrong.append(f"{was.device or disk.disk_id} is {was.type} and cannot become {wish.type}")
    if wrong:
        planner.refuse("disk types", "; ".join(wrong), "Choose a type of the same family.", code="Ecs.0046", page=_DISKS)
    else:
        where = zone or "the zone that the cloud chooses"
        kept = ", ".join(sorted(kinds))
        planner.unknown("disk types", f"only the launch tells whether {where} sells {kept} (Ecs.0043, Ecs.0044)")


def _retuned(
    planner: Planner, disks: tuple[BackupDisk, ...], devices: dict[str, str]
) -> tuple[tuple[LaunchDisk, ...], dict[str, LaunchDisk]]:
    chosen: dict[str, LaunchDisk] = {}
    for wanted in planner.order.data_disks if disks else ():
        matches: Callable[[BackupDisk], bool] = lambda disk, source=wanted.source: (  # noqa: E731 - one use, three ways of naming a disk
            source in {disk.disk_id, disk.snapshot_id, devices.get(disk.disk_id)}
        )
        disk = next((disk for disk in disks if matches(disk)), None)
        if disk is None or disk.system:
            known = ", ".join(f"{devices.get(one.disk_id) or one.disk_id} ({one.size_gb} GB)" for one in disks if not one.system)
            what = "is the system disk; see `system_disk`" if disk else "is no disk of this backup"
            planner.refuse("data disks", f"{wanted.source} {what}", f"Its data disks: {known or 'none'}.", page=_DISKS)
            continue
        if disk.disk_id in chosen:
            planner.refuse("data disks", f"{wanted.source} is named twice", "Name each disk once.", page=_DISKS)
            continue
        size = wanted.size_gb or disk.size_gb
        if size < disk.size_gb:
            planner.refuse(
                "data disks",
                f"{wanted.source} has {disk.size_gb} GB and would get {size}, but disks never shrink",
                f"Ask for {disk.size_gb} GB or more.",
                code="Ecs.0007",
                page=_DISKS,
            )
        chosen[disk.disk_id] = LaunchDisk(snapshot_id=disk.snapshot_id or disk.disk_id, type=wanted.type, size_gb=size)
    if disks and not any(check.rule == "launch: data disks" for check in planner.checks):
        count = sum(not disk.system for disk in disks)
        planner.passed("data disks", f"{count} restored by the image, {len(chosen)} of them changed")
    return tuple(chosen.values()), chosen


def _fate(disk: BackupDisk, retuned: LaunchDisk | None, order: LaunchOrder) -> str:
    if disk.system:
        size = order.system_disk.size_gb
        return (
            f"{order.system_disk.type}, {size} GB instead of {disk.size_gb}"
            if size and size != disk.size_gb
            else order.system_disk.type
        )
    if retuned is None:
        return "restored as it was"
    return f"{retuned.type}, {retuned.size_gb} GB instead of {disk.size_gb}" if retuned.size_gb != disk.size_gb else retuned.type
