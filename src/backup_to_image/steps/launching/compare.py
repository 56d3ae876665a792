"""A launched server beside what it should be: the disks of the backup, in their sizes and order, and its recorded source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from backup_to_image.errors import CloudError
from backup_to_image.model import (
    Backup,
    DataDiskOrder,
    Disk,
    DisksResult,
    Drift,
    Image,
    LaunchOrder,
    Server,
    ServerDisk,
    Value,
)
from backup_to_image.steps.context import Context
from backup_to_image.steps.facts import SourceFacts, backup_of, facts_of_image
from backup_to_image.waiting import passes, quiet

__all__ = ["Compared", "Known", "compare", "what_is_known"]

_LOOK_EVERY = 5.0
_OURS = "b2i-"


class Known(Value):
    """What a launched server can be compared with."""

    backup: Backup | None
    facts: SourceFacts | None
    min_disk_gb: int


class Compared(Value):
    """What came of it for one server."""

    disks: DisksResult
    drift: tuple[Drift, ...]


async def what_is_known(image: Image, ctx: Context) -> Known:
    """Read the backup's disks and the source's facts, where they are to be seen."""
    return Known(backup=await backup_of(image, ctx), facts=await facts_of_image(image, ctx), min_disk_gb=image.min_disk_gb)


async def compare(server: Server, order: LaunchOrder, known: Known, ctx: Context) -> Compared:
    """Look at the server's disks until all are seen as they should be, or its settle time has passed: lists may be late.

    Never raises what the cloud says: what cannot be read is not known.
    """
    wanted = _wanted(order, known)
    now = ctx.clock.now()
    settled = min(now, server.created_at or now) + ctx.settings.settle.server
    while True:
        attached: list[_Attached] = []
        try:
            attached = await _attached(server, ctx)
            ok, answer = _judge(wanted, attached)
            again = ok is False or _unseen(attached)
        except CloudError as error:
            ok, answer, again = None, f"its disks cannot be read: {error.message}", passes(error)
        left = (settled - ctx.clock.now()) / timedelta(seconds=1)
        if not again or left <= 0:
            disks = DisksResult(server_id=server.id, ok=ok, answer=answer)
            return Compared(disks=disks, drift=tuple(_drift(server, attached, order, known.facts)))
        await ctx.clock.sleep(min(_LOOK_EVERY, left))
        server = await quiet(ctx.cloud.servers.find(server.id)) or server


# -- disks --------------------------------------------------------------------------------------------------------------


class _Wanted(Value):
    """The disks that a server should have. `data` is None where nobody knows them."""

    system_gb: int
    data: tuple[int, ...] | None = None
    devices: tuple[str, ...] = ()
    """Where each data disk hung on the source; empty where that is not known, and with it their order."""


class _Attached(Value):
    """One disk of a server as the cloud has it; the size is None while EVS does not list it."""

    hung: ServerDisk
    disk: Disk | None = None

    @property
    def device(self) -> str:
        return self.hung.device or (self.disk.devices[0] if self.disk and self.disk.devices else "")

    @property
    def size_gb(self) -> int | None:
        return self.disk.size_gb if self.disk else self.hung.size_gb

    @property
    def system(self) -> bool:
        return self.hung.boot_index == 0 or (self.hung.boot_index is None and bool(self.disk and self.disk.bootable))


def _wanted(order: LaunchOrder, known: Known) -> _Wanted:
    disks = known.backup.disks if known.backup else ()
    system = next((disk.size_gb for disk in disks if disk.system), 0)
    least = order.system_disk.size_gb or known.min_disk_gb or system
    if not disks:
        return _Wanted(system_gb=least)
    devices = {disk.id: disk.device for disk in known.facts.disks} if known.facts else {}
    data = [disk for disk in disks if not disk.system]
    hung = [devices.get(disk.disk_id, "") for disk in data]
    if all(hung):
        data.sort(key=lambda disk: _by_device(devices[disk.disk_id]))
        hung.sort(key=_by_device)
    sizes: list[int] = []
    for disk in data:
        retuned = _ordered_disk(order.data_disks, disk.disk_id, disk.snapshot_id, devices.get(disk.disk_id))
        sizes.append(retuned.size_gb if retuned and retuned.size_gb else disk.size_gb)
    return _Wanted(system_gb=least, data=tuple(sizes), devices=tuple(hung) if all(hung) else ())


def _ordered_disk(orders: Iterable[DataDiskOrder], *names: str | None) -> DataDiskOrder | None:
    return next((one for one in orders if one.source in {name for name in names if name}), None)


async def _attached(server: Server, ctx: Context) -> list[_Attached]:
    """The server's disks, the system disk first, the others in the order of their devices."""
    ids = [disk.id for disk in server.disks]
    listed = {disk.id: disk async for disk in ctx.cloud.disks.list(ids=ids)} if ids else {}
    found = [_Attached(hung=hung, disk=listed.get(hung.id)) for hung in server.disks]
    return sorted(found, key=lambda one: (not one.system, *_by_device(one.device), one.hung.boot_index or 0))


def _by_device(device: str) -> tuple[int, str]:
    """/dev/vdz comes before /dev/vdaa."""
    return len(device), device


def _unseen(attached: Sequence[_Attached]) -> bool:
    return not attached or any(one.size_gb is None for one in attached)


def _judge(wanted: _Wanted, attached: Sequence[_Attached]) -> tuple[bool | None, str]:
    """Whether all that should be there is; False only where everything was seen."""
    if _unseen(attached) or not any(one.system for one in attached):
        listed = sum(one.size_gb is not None for one in attached)
        return None, f"not known: of its {len(attached)} disks the cloud shows {listed}, or not which is the system disk"
    system = next(one.size_gb or 0 for one in attached if one.system)
    data = [one.size_gb or 0 for one in attached if not one.system]
    seen = f"system disk {system} GB, {_listed(data)}"
    small = f"the system disk has {system} GB, not {wanted.system_gb}" if system < wanted.system_gb else ""
    if wrong := "; ".join(filter(None, (small, _wrong_data(wanted.data or (), data)))):
        return False, wrong
    if wanted.data is None:
        return None, f"not known: the backup is not to be seen from here; {seen}"
    return _judge_order(wanted, [one.device for one in attached if not one.system], data, seen)


def _judge_order(wanted: _Wanted, devices: Sequence[str], sizes: Sequence[int], seen: str) -> tuple[bool, str]:
    known = wanted.data or ()
    if len(set(known)) <= 1:  # one size alone has no order
        return True, seen
    if not wanted.devices or not all(devices):
        return True, f"{seen}; whether they are in the source's order is not known"
    if any(have < want for have, want in zip(sizes, known, strict=False)):
        return False, f"its data disks are in another order: {_listed(sizes)}, not {_listed(known)}"
    return True, f"{seen}, in the source's order"


def _wrong_data(wanted: Sequence[int], have: Sequence[int]) -> str:
    """What is missing or smaller, whatever the order: the largest that is wanted goes with the largest that is there."""
    most, there = sorted(wanted, reverse=True), sorted(have, reverse=True)
    if len(there) < len(most):
        missing = list(most)
        for size in there:
            fits = next((one for one in missing if one == size), next((one for one in missing if one < size), missing[-1]))
            missing.remove(fits)
        return f"{len(most) - len(there)} of {len(most)} data disks missing: {_listed(missing)}"
    small = [(want, got) for want, got in zip(most, there, strict=False) if got < want]
    return "; ".join(f"a data disk has {got} GB, not {want}" for want, got in small)


def _listed(sizes: Sequence[int]) -> str:
    if not sizes:
        return "no data disk"
    return f"data disks of {', '.join(map(str, sizes))} GB" if len(sizes) > 1 else f"a data disk of {sizes[0]} GB"


# -- drift --------------------------------------------------------------------------------------------------------------


def _drift(server: Server, attached: Sequence[_Attached], order: LaunchOrder, facts: SourceFacts | None) -> list[Drift]:
    """What is other than the order says, and than at the source, as far as that is known."""
    unlike = _unlike_order(server, order, facts)
    if facts is None:
        return unlike
    found: list[tuple[str, str, str, bool]] = []
    if facts.flavor_id and server.flavor_id:
        found.append(("flavor", facts.flavor_id, server.flavor_id, order.flavor != "same-as-source"))
    if facts.server_id:
        found += _drift_of_place(server, order, facts)
        found += [
            (f"tag {key}", facts.tags.get(key, ""), server.tags.get(key, ""), key in order.tags)
            for key in sorted({*facts.tags, *server.tags})
            if not key.startswith(_OURS)
        ]
    if facts.disks and attached and not _unseen(attached):
        found += _drift_of_disks(attached, order, facts)
    told = {one.what for one in unlike}
    return unlike + [
        Drift(server_id=server.id, what=what, source=source, server=here, ordered=ordered)
        for what, source, here, ordered in found
        if source != here and what not in told
    ]


def _unlike_order(server: Server, order: LaunchOrder, facts: SourceFacts | None) -> list[Drift]:
    """What an adopted server has otherwise than the order says now: its name makes it the same server, not its keys."""
    flavor = order.flavor if isinstance(order.flavor, str) and order.flavor != "same-as-source" else None
    asked = (
        ("flavor", flavor, server.flavor_id, facts.flavor_id if facts else None),
        ("availability zone", order.availability_zone, server.zone, facts.zone if facts else None),
    )
    return [
        Drift(server_id=server.id, what=what, source=source or "", server=here, ordered=False, order=wanted)
        for what, wanted, here, source in asked
        if wanted and here and here != wanted
    ]


def _drift_of_place(server: Server, order: LaunchOrder, facts: SourceFacts) -> list[tuple[str, str, str, bool]]:
    found: list[tuple[str, str, str, bool]] = []
    if facts.zone and server.zone:
        found.append(("availability zone", facts.zone, server.zone, order.availability_zone is not None))
    groups = sorted(set(server.security_group_names or server.security_group_ids))
    if facts.security_groups and groups and not {*facts.security_groups} & {*server.security_group_ids}:
        named = bool(order.network.security_groups)
        found.append(("security groups", ", ".join(sorted(set(facts.security_groups))), ", ".join(groups), named))
    if facts.host_name and server.host_name:
        follows = server.name != facts.name and server.host_name.lower() == server.name.lower()
        found.append(("host name", facts.host_name, server.host_name, follows))
    return found


def _drift_of_disks(attached: Sequence[_Attached], order: LaunchOrder, facts: SourceFacts) -> list[tuple[str, str, str, bool]]:
    source = sorted(facts.disks, key=lambda disk: (disk.boot_index != 0, *_by_device(disk.device)))
    found = [("number of disks", str(len(source)), str(len(attached)), False)]
    for was, now in zip(source, attached, strict=False):
        wish = order.system_disk if now.system else _ordered_disk(order.data_disks, was.id, was.device)
        label = f"disk {was.device or was.id}"
        if was.size_gb is not None:
            found.append((f"size of {label}", f"{was.size_gb} GB", f"{now.size_gb} GB", bool(wish and wish.size_gb)))
        if was.type and now.disk and now.disk.type:
            found.append((f"type of {label}", was.type, now.disk.type, bool(wish and "type" in wish.model_fields_set)))
    return found
