"""Images of ours that are dead or never finished: found, and deleted without their backups."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from backup_to_image.errors import CloudError, NoAnswer, NotFound, StillRunning
from backup_to_image.model import Image, Server
from backup_to_image.model.swept import Listed
from backup_to_image.steps.context import Context
from backup_to_image.steps.gone import image_is_gone
from backup_to_image.steps.names import HOLD_TAG, SOURCE_TAG
from backup_to_image.steps.sweep.candidate import PATIENCE, Candidate, InUse, Kept, alone
from backup_to_image.waiting import IMAGE, passes

__all__ = ["dead_images", "images_to_look_at", "remove_image"]

_MAKING = IMAGE.pending | {"creating"}
_KNOWN = IMAGE.success | IMAGE.failure | _MAKING
_TIMES_THE_SLOWEST = 4
_LEAST_STUCK = timedelta(hours=6)
"""However quick this project's images are: longer than any order waits by default."""
_LOOK_EVERY = 3.0


def dead_images(
    images: Collection[Image],
    ours: Collection[Image],
    gb: Mapping[str, int],
    sources: Mapping[str, Server] | None,
    in_use: InUse,
    ctx: Context,
) -> list[Candidate]:
    """Images of ours that are dead, or have been on their way for far longer than any has taken; their servers exist."""
    now, limit = ctx.clock.now(), _stuck_after(images)
    found: list[Candidate] = []
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
            Candidate(
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


def images_to_look_at(ours: Collection[Image], sources: Mapping[str, Server] | None, gb: Mapping[str, int]) -> tuple[Listed, ...]:
    """What is no sweep's to remove: images of servers that are gone, and those in a state that nobody knows."""
    return (*_vanished(ours, sources, gb), *_strange(ours, gb))


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


async def remove_image(one: Candidate, in_use: InUse, ctx: Context) -> None:
    """Delete the image, never its backup, under the lease of its making, and look until neither its id nor the list knows it."""
    deadline = ctx.deadline(PATIENCE)
    try:
        image = await ctx.cloud.images.get(one.id)
    except NotFound:
        return
    async with alone("image", image.backup_id or image.id, ctx) as lease:
        against = await _against(image, in_use, ctx)
        if against:
            raise Kept(against)
        while not await _gone(one.id, ctx):
            await lease.check()
            try:
                await ctx.cloud.images.delete(one.id, delete_backup=False, guard=lease.still_mine)
            except NotFound:
                pass
            except NoAnswer:
                ctx.tell(f"no answer to the deletion of image {one.name}; looking whether it is gone")
            if await _gone_by(one.id, ctx, ctx.deadline(ctx.settings.settle.image)):
                return
            if ctx.clock.now() >= deadline:
                raise StillRunning(f"The deletion of image {one.name}", last_seen="it is still there", deadline=deadline)


async def _against(image: Image, in_use: InUse, ctx: Context) -> str:
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
    """Whether it is; trouble that passes says nothing."""
    try:
        return await image_is_gone(image_id, ctx)
    except CloudError as error:
        if not passes(error):
            raise
        return False
