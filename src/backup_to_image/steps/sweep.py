"""Sweep up what nobody needs any more and somebody pays for: dead images, drill servers that stayed, shares that are over.

In two steps. What is seen for the first time is marked in the journal and told; it is removed when it has been seen for the grace
time, and only where that is ordered. So nothing goes of which nobody could have known, and what is merely slow has time to end.
Only what carries our mark in this project is touched. No backup is deleted, no server but a drill's, and no image that could be
of use: those of servers that are gone are told and left to retention.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from backup_to_image.errors import ApiError, B2iError, CloudError, NoAnswer, NotFound, StillRunning
from backup_to_image.journal import Lease, Record, hold
from backup_to_image.model import Disk, Image, PublicIp, Server, Value
from backup_to_image.steps import expiry
from backup_to_image.steps.context import Context
from backup_to_image.steps.expiry import Expiry
from backup_to_image.steps.names import DRILL_TAG, HOLD_TAG, LAUNCH_TAG, SOURCE_TAG, launch_id
from backup_to_image.steps.orders import OpenOrder, OrderedImage, OrderedTeardown, open_orders
from backup_to_image.steps.share import unshare_image
from backup_to_image.steps.survey import Survey
from backup_to_image.steps.teardown import DRILL_FACT, find_launch, tear_down
from backup_to_image.waiting import IMAGE, passes

__all__ = ["Listed", "NotRemoved", "Removed", "Sweeping", "Swept", "sweep"]

_KIND = "sweep"
_FIRST_SEEN = "first_seen"
_WHEN: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)
_MAKING = IMAGE.pending | {"creating"}
_KNOWN = IMAGE.success | IMAGE.failure | _MAKING
_TIMES_THE_SLOWEST = 4
_LEAST_STUCK = timedelta(hours=6)
"""However quick this project's images are: longer than any order waits by default."""
_GENERATIONS = 64
_PATIENCE = timedelta(minutes=10)
_LOOK_EVERY = 3.0

Kind = Literal["image", "drill", "share"]
Action = Literal["marked", "waits", "due", "removed", "left", "kept"]


class Sweeping(Value):
    """One thing that nobody needs any more, and what becomes of it."""

    kind: Kind
    """image: dead or never finished. drill: the servers of one drill with their disks and addresses. share: one that is over."""
    id: str
    """The image's, the launch's; of a share the image's and the recipient project's, with a slash between."""
    name: str
    why: str
    age_s: int
    """Since it was made; of a share since it was over."""
    gb: int = 0
    """What it keeps billed: the backup behind an image, the disks of servers."""
    first_seen: AwareDatetime
    due: AwareDatetime
    """When it may be removed."""
    action: Action
    """marked: seen for the first time. waits: for its grace time. due: `apply` would remove it. kept: somebody holds it."""


class Removed(Value):
    """What is proven to be gone."""

    kind: Kind
    id: str
    name: str
    gb: int = 0


class NotRemoved(Value):
    """What was to go and is there, and why."""

    kind: Kind
    id: str
    name: str
    code: str | None
    reason: str


class Listed(Value):
    """What is not the sweep's to remove, and somebody may want to know of."""

    kind: Literal["image"] = "image"
    id: str
    name: str
    why: str
    server_id: str | None = None
    gb: int = 0


class Swept(Value):
    """What was found, and what became of it."""

    found: tuple[Sweeping, ...] = ()
    removed: tuple[Removed, ...] = ()
    left: tuple[NotRemoved, ...] = ()
    listed: tuple[Listed, ...] = ()
    unread: dict[str, str] = {}
    """What could not be looked at, by name, with the cloud's words."""

    @property
    def bad(self) -> bool:
        return bool(self.found or self.left or self.unread)


class _Candidate(Value):
    kind: Kind
    id: str
    name: str
    why: str
    since: AwareDatetime
    gb: int = 0
    kept: str = ""
    """Why it stays although it fits."""
    mark: str
    """Under which it is remembered: another thing never gets its grace time."""
    seen: AwareDatetime | None = None
    """When it was known first, where the journal knew of it before."""
    share: Expiry | None = None

    def as_removed(self) -> Removed:
        return Removed(kind=self.kind, id=self.id, name=self.name, gb=self.gb)

    def as_left(self, error: B2iError | str) -> NotRemoved:
        if isinstance(error, str):
            return NotRemoved(kind=self.kind, id=self.id, name=self.name, code=None, reason=error)
        words = error.words if isinstance(error, ApiError) and error.words else error.message
        return NotRemoved(kind=self.kind, id=self.id, name=self.name, code=error.code, reason=words)


class _Kept(Exception):
    """Something speaks against the removal at the last moment; the message is the reason."""


async def sweep(ctx: Context, *, grace: timedelta = timedelta(hours=24), apply: bool = False) -> Swept:
    """Find what nobody needs any more, remember since when, and remove what has been known for the grace time if `apply` says so.

    Safe to repeat, and beside live runs: what an open order or a live run is at is left alone. Without `apply` the cloud is only
    read. What goes wrong with one thing is told with it; raises JournalError.
    """
    now = ctx.clock.now()
    looked = await _look(ctx, grace)
    noted = {record.name: record for record in await ctx.journal.records(_KIND) if record.project_id == ctx.project_id}
    await _forget_what_is_over(noted, looked, ctx)
    found: list[Sweeping] = []
    removed: list[Removed] = []
    left: list[NotRemoved] = []
    for one in looked.candidates:
        before = one.seen or _first_seen(noted.get(one.mark))
        first = min(before or now, now)
        due = first + grace
        action: Action = "kept" if one.kept else "due" if now >= due else "waits" if before else "marked"
        if before is None:
            await _note(one.mark, first, ctx)
        if apply and action == "due":
            action = await _remove(one, ctx, grace, removed, left)
        found.append(
            Sweeping(
                kind=one.kind,
                id=one.id,
                name=one.name,
                why=one.why + (f"; {one.kept}" if one.kept else ""),
                age_s=max(0, round((now - one.since).total_seconds())),
                gb=one.gb,
                first_seen=first,
                due=due,
                action=action,
            )
        )
    return Swept(found=tuple(found), removed=tuple(removed), left=tuple(left), listed=looked.listed, unread=looked.unread)


# -- looking ----------------------------------------------------------------------------------------------------------------


class _Looked(Value):
    candidates: tuple[_Candidate, ...]
    listed: tuple[Listed, ...]
    unread: dict[str, str]


async def _look(ctx: Context, grace: timedelta) -> _Looked:
    survey = Survey(ctx)
    images, backups, servers, disks = await asyncio.gather(survey.images(), survey.backups(), survey.servers(), survey.disks())
    unread = survey.unread()
    in_use = await _in_use(ctx, grace)
    ours = [image for image in images if SOURCE_TAG in image.tags and image.owner == ctx.project_id]
    gb = {backup.id: backup.size_gb for backup in backups}
    sizes = {disk.id: disk.size_gb for disk in disks.values()}
    sources = None if "servers" in unread else servers
    candidates = [*_images(images, ours, gb, sources, in_use, ctx), *_drills(list(servers.values()), sizes, in_use, ctx)]
    try:
        candidates += await _shares(ctx)
        candidates += [] if sources is None else await _rests_of_drills(sources, in_use, ctx)
    except CloudError as error:
        unread["what drills and shares have left"] = error.message
    order: tuple[Kind, ...] = ("image", "drill", "share")
    candidates.sort(key=lambda one: (order.index(one.kind), one.since, one.id))
    listed = (*_vanished(ours, sources, gb), *_strange(ours, gb))
    return _Looked(candidates=tuple(candidates), listed=listed, unread=unread)


async def _in_use(ctx: Context, grace: timedelta) -> _InUse:
    return _InUse([order for order in await open_orders(ctx) if _lives(order, ctx, grace)], ctx)


def _lives(order: OpenOrder, ctx: Context, grace: timedelta) -> bool:
    """Whether somebody may be at it still: an order that is over its time by more than the grace time protects nothing."""
    return order.deadline is None or ctx.clock.now() < order.deadline + grace


class _InUse:
    """What the open orders are at."""

    def __init__(self, orders: Sequence[OpenOrder], ctx: Context) -> None:
        self.backups: set[str] = set()
        self.launches: set[str] = set()
        for order in orders:
            wanted = order.ordered
            if isinstance(wanted, OrderedImage):
                self.backups.add(wanted.backup_id)
            elif isinstance(wanted, OrderedTeardown):
                self.launches.add(wanted.launch_id)
            else:
                image, name = wanted.image_id, wanted.order.name
                marks = (launch_id(ctx.project_id, image, name, wanted.mode, number) for number in range(_GENERATIONS))
                self.launches.update(marks)


def _images(
    images: Collection[Image],
    ours: Collection[Image],
    gb: Mapping[str, int],
    sources: Mapping[str, Server] | None,
    in_use: _InUse,
    ctx: Context,
) -> list[_Candidate]:
    """Images of ours that are dead, or have been on their way for far longer than any has taken; their servers exist."""
    now, limit = ctx.clock.now(), _stuck_after(images)
    found: list[_Candidate] = []
    for image in ours:
        if image.created_at is None or image.backup_id in in_use.backups:
            continue
        if sources is not None and image.tags[SOURCE_TAG] not in sources:
            continue
        if image.status == "killed":
            why = "it is killed: it never became an image, and pins its backup"
        elif image.status in _MAKING and now - image.created_at > limit:
            why = f"it is {image.status} for {_hours(now - image.created_at)}, and no order is open for it"
        else:
            continue
        found.append(
            _Candidate(
                kind="image",
                id=image.id,
                name=image.name,
                why=why,
                since=image.created_at,
                gb=gb.get(image.backup_id or "", 0),
                kept=_held(image) or ("" if sources is not None else "kept: whether its server exists could not be looked at"),
                mark=f"image {image.id}",
            )
        )
    return found


def _stuck_after(images: Collection[Image]) -> timedelta:
    took = [one.active_at - one.created_at for one in images if one.status == "active" and one.active_at and one.created_at]
    return max(_LEAST_STUCK, max(took, default=timedelta(0)) * _TIMES_THE_SLOWEST)


def _held(image: Image) -> str:
    return "kept: it is held" if HOLD_TAG in image.tags else "kept: it is protected" if image.protected else ""


def _drills(servers: Sequence[Server], sizes: Mapping[str, int], in_use: _InUse, ctx: Context) -> list[_Candidate]:
    """The servers of drills that no open order is at, those of one launch together."""
    by_launch: dict[str, list[Server]] = {}
    for server in servers:
        mark = server.tags.get(DRILL_TAG)
        if mark and server.status != "DELETED" and mark not in in_use.launches:
            by_launch.setdefault(mark, []).append(server)
    found: list[_Candidate] = []
    for mark, group in by_launch.items():
        made = min((one.created_at for one in group if one.created_at), default=ctx.clock.now())
        held = any(HOLD_TAG in one.tags for one in group)
        ids = sorted(one.id for one in group)
        found.append(
            _Candidate(
                kind="drill",
                id=mark,
                name=", ".join(sorted(one.name for one in group)),
                why=f"{len(group)} drill server{'' if len(group) == 1 else 's'}, and no drill is under way",
                since=made,
                gb=sum(sizes.get(disk.id, disk.size_gb or 0) for one in group for disk in one.disks),
                kept="kept: it is held" if held else _not_a_drill(mark, servers),
                mark=f"drill {mark} {' '.join(ids)}",
            )
        )
    return found


def _not_a_drill(mark: str, servers: Sequence[Server]) -> str:
    """Drill and failover never have one launch id; where they seem to, or the mark is none of ours, a person has to look."""
    if not re.fullmatch("[0-9a-f]{12}", mark):
        return f"kept: {mark!r} is no launch id"
    mixed = any(server.tags.get(LAUNCH_TAG) == mark for server in servers)
    mixed = mixed or any(server.tags.get(DRILL_TAG) == mark and LAUNCH_TAG in server.tags for server in servers)
    return "kept: a server of it carries the mark of a failover too" if mixed else ""


async def _rests_of_drills(servers: Mapping[str, Server], in_use: _InUse, ctx: Context) -> list[_Candidate]:
    """Disks and addresses of drills whose teardown ended half done: written down while the servers still carried their mark."""
    marks = {server.tags.get(DRILL_TAG) for server in servers.values()}
    records = [one for one in await ctx.journal.records("teardown") if one.project_id == ctx.project_id and one.state == "intent"]
    rests = [one for one in records if one.facts.get(DRILL_FACT) is True and one.name not in in_use.launches | marks]
    listed = await ctx.cloud.public_ips.list() if rests else []
    found: list[_Candidate] = []
    for noted in rests:
        disks = await _still_there(noted, ctx)
        ports = noted.ids("ports")
        addresses = [ip for ip in listed if ip.id in noted.ids("addresses") and (not ip.port_id or ip.port_id in ports)]
        if disks or addresses:
            found.append(_rest(noted, disks, addresses))
    return found


async def _still_there(noted: Record, ctx: Context) -> list[Disk]:
    """Its disks that hang on nobody else's server."""
    ids = noted.ids("disks")
    there = [disk async for disk in ctx.cloud.disks.list(ids=ids) if disk.id in ids]
    return [disk for disk in there if not set(disk.server_ids) - set(noted.ids("servers"))]


def _rest(noted: Record, disks: Sequence[Disk], addresses: Sequence[PublicIp]) -> _Candidate:
    left = [*(f"disk {disk.name or disk.id}" for disk in disks), *(f"address {ip.address}" for ip in addresses)]
    return _Candidate(
        kind="drill",
        id=noted.name,
        name=", ".join(left),
        why="the drill's server is gone, this was left behind",
        since=noted.written_at,
        gb=sum(disk.size_gb for disk in disks),
        mark=f"drill {noted.name} {' '.join(sorted([*(disk.id for disk in disks), *(ip.id for ip in addresses)]))}",
    )


async def _shares(ctx: Context) -> list[_Candidate]:
    """Shares that are over and still there. The end was agreed when they were made, so they are known since then."""
    found: list[_Candidate] = []
    for over in await expiry.due(ctx):
        try:
            members = {member.project_id for member in await ctx.cloud.images.members(over.image_id)}
        except NotFound:
            await expiry.forget(over.image_id, (over.project_id,), ctx)
            continue
        if over.project_id not in members:
            await expiry.forget(over.image_id, (over.project_id,), ctx)
        else:
            found.append(
                _Candidate(
                    kind="share",
                    id=f"{over.image_id}/{over.project_id}",
                    name=over.image_name,
                    why=f"its share with {over.project_id} was to end on {over.ends_at:%Y-%m-%d %H:%M} UTC",
                    since=over.ends_at,
                    mark=f"share {over.image_id} {over.project_id}",
                    seen=over.ends_at,
                    share=over,
                )
            )
    return found


def _vanished(ours: Collection[Image], sources: Mapping[str, Server] | None, gb: Mapping[str, int]) -> tuple[Listed, ...]:
    """Images of servers that exist no more, whatever their state: they may be the last that is left of them."""
    if sources is None:
        return ()
    gone = "its server exists no more; only retention deletes such images, by a rule that names them"
    return tuple(
        Listed(
            id=image.id,
            name=image.name,
            why=gone if image.status == "active" else f"it is {image.status}, and {gone}",
            server_id=image.tags[SOURCE_TAG],
            gb=gb.get(image.backup_id or "", 0),
        )
        for image in sorted(ours, key=lambda one: (one.tags[SOURCE_TAG], one.name))
        if image.tags[SOURCE_TAG] not in sources and image.status in _KNOWN
    )


def _strange(ours: Collection[Image], gb: Mapping[str, int]) -> tuple[Listed, ...]:
    return tuple(
        Listed(
            id=image.id,
            name=image.name,
            why=f"its status {image.status!r} is none that is known: look at it in the console",
            server_id=image.tags[SOURCE_TAG],
            gb=gb.get(image.backup_id or "", 0),
        )
        for image in ours
        if image.status not in _KNOWN
    )


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:.0f} h"


# -- remembering ------------------------------------------------------------------------------------------------------------


def _first_seen(record: Record | None) -> datetime | None:
    """When it was seen first; None where nobody knows, so that its grace time begins now."""
    try:
        return _WHEN.validate_python(record.facts.get(_FIRST_SEEN)) if record else None
    except ValidationError:
        return None


async def _note(mark: str, first: datetime, ctx: Context) -> None:
    record = Record(
        kind=_KIND,
        project_id=ctx.project_id,
        name=mark,
        state="seen",
        written_at=first,
        facts={_FIRST_SEEN: first.isoformat()},
    )
    await ctx.journal.write(record)


async def _forget_what_is_over(noted: Mapping[str, Record], looked: _Looked, ctx: Context) -> None:
    """What is not found any more has ended well, or is gone; nothing that could not be looked at is taken for that."""
    if looked.unread:
        return
    still = {one.mark for one in looked.candidates}
    for mark, record in noted.items():
        if mark not in still:
            await ctx.journal.forget(record)


# -- removing ---------------------------------------------------------------------------------------------------------------


async def _remove(one: _Candidate, ctx: Context, grace: timedelta, removed: list[Removed], left: list[NotRemoved]) -> Action:
    """Remove one thing and prove it; what goes wrong is told, and the others still have their turn. Raises JournalError."""
    ctx.tell(f"removing {one.kind} {one.name} ({one.id}): {one.why}")
    try:
        in_use = await _in_use(ctx, grace)
        if one.kind == "image":
            await _remove_image(one, in_use, ctx)
        elif one.kind == "drill":
            await _remove_drill(one, in_use, ctx)
        elif one.share is not None:
            await _end_share(one.share, ctx)
    except _Kept as why:
        ctx.tell(f"{one.kind} {one.name}: left alone, {why}")
        return "kept"
    except (CloudError, StillRunning) as error:
        left.append(one.as_left(error))
        return "left"
    removed.append(one.as_removed())
    noted = await ctx.journal.read(_KIND, ctx.project_id, one.mark)
    if noted is not None:
        await ctx.journal.forget(noted)
    return "removed"


@asynccontextmanager
async def _alone(kind: str, name: str, ctx: Context) -> AsyncGenerator[Lease]:
    """The lease under which it is made, unless a live run has it."""
    async with AsyncExitStack() as stack:
        try:
            lease = await stack.enter_async_context(hold(ctx.journal, kind, ctx.project_id, name, deadline=ctx.clock.now()))
        except StillRunning:
            raise _Kept("a live run is at it") from None
        yield lease


async def _remove_image(one: _Candidate, in_use: _InUse, ctx: Context) -> None:
    """Delete the image, never its backup, under the lease of its making, and look until neither its id nor the list knows it."""
    deadline = ctx.deadline(_PATIENCE)
    try:
        image = await ctx.cloud.images.get(one.id)
    except NotFound:
        return
    async with _alone("image", image.backup_id or image.id, ctx) as lease:
        against = await _against(image, in_use, ctx)
        if against:
            raise _Kept(against)
        while not await _gone(one.id, ctx):
            await lease.check()
            try:
                await ctx.cloud.images.delete(one.id, delete_backup=False)
            except NotFound:
                pass
            except NoAnswer:
                ctx.tell(f"no answer to the deletion of image {one.name}; looking whether it is gone")
            if await _gone_by(one.id, ctx, ctx.deadline(ctx.settings.settle.image)):
                return
            if ctx.clock.now() >= deadline:
                raise StillRunning(f"The deletion of image {one.name}", last_seen="it is still there", deadline=deadline)


async def _against(image: Image, in_use: _InUse, ctx: Context) -> str:
    """What speaks against the deletion of this image as it is now: lists are late, and others act meanwhile."""
    source = image.tags.get(SOURCE_TAG)
    fits = image.status == "killed" or image.status in _MAKING
    reasons = (
        (source is None, "it does not carry our mark"),
        (not fits, f"it is {image.status} by now"),
        (bool(_held(image)), _held(image)),
        (image.backup_id in in_use.backups, "an order is at it"),
        (source is not None and await ctx.cloud.servers.find(source) is None, "its server exists no more"),
    )
    return next((reason for applies, reason in reasons if applies), "")


async def _gone_by(image_id: str, ctx: Context, deadline: datetime) -> bool:
    while not await _gone(image_id, ctx):
        if ctx.clock.now() >= deadline:
            return False
        await ctx.clock.sleep(_LOOK_EVERY)
    return True


async def _gone(image_id: str, ctx: Context) -> bool:
    """Whether both witnesses say so; trouble that passes says nothing."""
    try:
        image = await ctx.cloud.images.get(image_id)
        if image.status != "deleted":
            return False
    except NotFound:
        pass
    except CloudError as error:
        if not passes(error):
            raise
        return False
    try:
        listed = [one async for one in ctx.cloud.images.list(ids=[image_id], owner=ctx.project_id)]
    except CloudError as error:
        if not passes(error):
            raise
        return False
    return not any(one.id == image_id and one.status != "deleted" for one in listed)


async def _remove_drill(one: _Candidate, in_use: _InUse, ctx: Context) -> None:
    """By teardown, which proves that nothing is left; not while its launch is under way, and never a failover."""
    if one.id in in_use.launches:
        raise _Kept("an order is at it")
    found = await find_launch(one.id, ctx)
    foreign = [server.name for server in found.servers if server.tags.get(DRILL_TAG) != one.id or LAUNCH_TAG in server.tags]
    if foreign:
        raise _Kept(f"{', '.join(foreign)} carries the mark of a failover")
    held = [server.name for server in found.servers if HOLD_TAG in server.tags]
    if held:
        raise _Kept(f"{', '.join(held)} is held")
    if one.mark.split()[2:] != sorted(server.id for server in found.servers) and found.servers:
        raise _Kept("it has other servers by now")
    base = found.noted.name if found.noted else one.id
    async with _alone("launch", base, ctx):
        done = await tear_down(found, ctx, patience=_PATIENCE)
    if done.left_behind:
        raise StillRunning("The teardown", last_seen=f"left behind: {', '.join(done.left_behind)}", deadline=None)


async def _end_share(over: Expiry, ctx: Context) -> None:
    again = [one for one in await expiry.due(ctx) if (one.image_id, one.project_id) == (over.image_id, over.project_id)]
    if not again:
        raise _Kept("its end has been put off")
    try:
        image = await ctx.cloud.images.get(over.image_id)
        await unshare_image(image, (over.project_id,), ctx, deadline=ctx.deadline(_PATIENCE))
    except NotFound:
        pass  # with its image
    await expiry.forget(over.image_id, (over.project_id,), ctx)
