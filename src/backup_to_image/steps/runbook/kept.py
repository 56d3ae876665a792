"""What the last look at each runbook came to, kept in the journal for the morning's board."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ValidationError

from backup_to_image.journal import JournalError, Record
from backup_to_image.model.board import BoardRunbook
from backup_to_image.model.readiness import Readiness
from backup_to_image.steps.context import Context

__all__ = ["keep_readiness", "last_looks"]

_KIND, _TOLD = "readiness", "told"
_MOST_REASONS = 5
_FORGET_AFTER = timedelta(days=14)
"""Whoever has not looked for so long has no runbook of that name any more."""


async def keep_readiness(seen: Readiness, ctx: Context) -> None:
    """Keep it in place of the last look at the same runbook. What cannot be kept is told, and no failure."""
    reasons = [f"{one.rule}: {one.why}" for one in seen.against]
    reasons += [f"{server.source}: {server.against[0].why}" for server in seen.servers if server.against]
    told = BoardRunbook(
        name=seen.runbook,
        modes=seen.modes,
        at=seen.at,
        ready=seen.ready,
        score=seen.score,
        servers=len(seen.servers),
        reasons=tuple(reasons[:_MOST_REASONS]),
    )
    facts = {_TOLD: told.model_dump(mode="json")}
    now = ctx.clock.now()
    record = Record(kind=_KIND, project_id=ctx.project_id, name=seen.runbook, state="done", written_at=now, facts=facts)
    try:
        await ctx.journal.write(record)
    except JournalError as error:
        ctx.tell(f"warning: the board will not know of this: {error.message}")


async def last_looks(ctx: Context) -> tuple[BoardRunbook, ...]:
    """The last look at each runbook of this project; what is older than two weeks is passed over. Raises JournalError."""
    found: list[BoardRunbook] = []
    for record in await ctx.journal.records(_KIND):
        if record.project_id != ctx.project_id or ctx.clock.now() - record.written_at > _FORGET_AFTER:
            continue
        try:
            found.append(BoardRunbook.model_validate(record.facts.get(_TOLD)))
        except ValidationError:
            ctx.tell(f"warning: the last look at the runbook {record.name!r} cannot be read and is passed over")
    return tuple(sorted(found, key=lambda one: one.name))
