"""Shares with an end: until when a project is to have an image, written down beside the share. `b2i sweep` ends what is over.

The cloud knows no end of a share, so the journal is all that does. It is written before the share is asked for, so that no crash
leaves a share without its end; the end of a share that never came about is forgotten when its day has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from pydantic import AwareDatetime

from backup_to_image.journal import Record
from backup_to_image.model import Image, Value
from backup_to_image.steps.context import Context

__all__ = ["Expiry", "due", "end_known", "ends", "forget", "note"]

_KIND = "share-expiry"
_PROJECT, _NAME = "project", "image_name"


class Expiry(Value):
    """One project's share of one image, and its end."""

    image_id: str
    image_name: str
    project_id: str
    """The recipient's."""
    ends_at: AwareDatetime


async def note(image: Image, projects: Iterable[str], ctx: Context, *, share_for: timedelta) -> None:
    """Write down that these projects have the image for so long from now; the later word counts. Raises JournalError."""
    now = ctx.clock.now()
    for project in projects:
        record = Record(
            kind=_KIND,
            project_id=ctx.project_id,
            name=_name(image.id, project),
            state="open",
            written_at=now,
            deadline=now + share_for,
            image_id=image.id,
            facts={_PROJECT: project, _NAME: image.name},
        )
        await ctx.journal.write(record)


async def end_known(image: Image, projects: Iterable[str], ctx: Context) -> set[str]:
    """Those of these projects whose share of the image is to end some day. Raises JournalError."""
    return {one for one in projects if await ctx.journal.read(_KIND, ctx.project_id, _name(image.id, one)) is not None}


async def ends(image_id: str, ctx: Context) -> dict[str, AwareDatetime]:
    """When the shares of this image end, by recipient; who is not named here keeps it. Raises JournalError."""
    return {
        str(record.facts.get(_PROJECT)): record.deadline
        for record in await ctx.journal.records(_KIND)
        if record.project_id == ctx.project_id and record.image_id == image_id and record.deadline
    }


async def forget(image_id: str, projects: Iterable[str], ctx: Context) -> None:
    """The share has ended, or is to have no end any more. Raises JournalError."""
    for project in projects:
        noted = await ctx.journal.read(_KIND, ctx.project_id, _name(image_id, project))
        if noted is not None:
            await ctx.journal.forget(noted)


async def due(ctx: Context) -> tuple[Expiry, ...]:
    """The shares of this project's images that should have ended by now, the oldest first. Raises JournalError."""
    now, found = ctx.clock.now(), list[Expiry]()
    for record in await ctx.journal.records(_KIND):
        project, image = record.facts.get(_PROJECT), record.image_id
        if record.project_id != ctx.project_id or record.deadline is None or record.deadline > now:
            continue
        if not isinstance(project, str) or image is None:
            ctx.tell(f"warning: the journal's end of share {record.name!r} cannot be read and is passed over; look who has it")
            continue
        name = str(record.facts.get(_NAME) or image)
        found.append(Expiry(image_id=image, image_name=name, project_id=project, ends_at=record.deadline))
    return tuple(sorted(found, key=lambda one: (one.ends_at, one.image_id, one.project_id)))


def _name(image_id: str, project: str) -> str:
    return f"{image_id} {project}"
