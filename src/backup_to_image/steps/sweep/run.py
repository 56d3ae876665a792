"""One sweep: look, remember since when, remove what is due and ordered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from backup_to_image.errors import CloudError, StillRunning
from backup_to_image.journal import Record
from backup_to_image.model import Value
from backup_to_image.model.swept import Listed, NotRemoved, Removed, SweepAction, Sweeping, SweepKind, Swept
from backup_to_image.steps.context import Context
from backup_to_image.steps.names import SOURCE_TAG
from backup_to_image.steps.survey import Survey
from backup_to_image.steps.sweep.candidate import Candidate, Kept, in_use
from backup_to_image.steps.sweep.drills import drills_that_stayed, remove_drill, rests_of_drills
from backup_to_image.steps.sweep.images import dead_images, images_to_look_at, remove_image
from backup_to_image.steps.sweep.shares import end_share, shares_that_are_over

__all__ = ["sweep"]

_KIND = "sweep"
_FIRST_SEEN = "first_seen"
_WHEN: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)


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
        action: SweepAction = "kept" if one.kept else "due" if now >= due else "waits" if before else "marked"
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
    candidates: tuple[Candidate, ...]
    listed: tuple[Listed, ...]
    unread: dict[str, str]


async def _look(ctx: Context, grace: timedelta) -> _Looked:
    survey = Survey(ctx)
    images, backups, servers, disks = await asyncio.gather(survey.images(), survey.backups(), survey.servers(), survey.disks())
    unread = survey.unread()
    busy = await in_use(ctx, grace)
    ours = [image for image in images if SOURCE_TAG in image.tags and image.owner == ctx.project_id]
    gb = {backup.id: backup.size_gb for backup in backups}
    sizes = {disk.id: disk.size_gb for disk in disks.values()}
    sources = None if "servers" in unread else servers
    candidates = [
        *dead_images(images, ours, gb, sources, busy, ctx),
        *drills_that_stayed(list(servers.values()), sizes, busy, ctx),
    ]
    try:
        candidates += await shares_that_are_over(ctx)
        candidates += [] if sources is None else await rests_of_drills(sources, busy, ctx)
    except CloudError as error:
        unread["what drills and shares have left"] = error.message
    order: tuple[SweepKind, ...] = ("image", "drill", "share")
    candidates.sort(key=lambda one: (order.index(one.kind), one.since, one.id))
    listed = images_to_look_at(ours, sources, gb)
    return _Looked(candidates=tuple(candidates), listed=listed, unread=unread)


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


async def _remove(one: Candidate, ctx: Context, grace: timedelta, removed: list[Removed], left: list[NotRemoved]) -> SweepAction:
    """Remove one thing and prove it; what goes wrong is told, and the others still have their turn. Raises JournalError."""
    ctx.tell(f"removing {one.kind} {one.name} ({one.id}): {one.why}")
    try:
        busy = await in_use(ctx, grace)
        if one.kind == "image":
            await remove_image(one, busy, ctx)
        elif one.kind == "drill":
            await remove_drill(one, busy, ctx)
        elif one.share is not None:
            await end_share(one.share, ctx)
    except Kept as why:
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
