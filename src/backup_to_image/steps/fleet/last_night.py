"""What the journal knows of each policy's last night: when it began and until when it may last, and what it came to.

The same night, killed and started again, waits no longer than it would have; the next morning's board and the next night read the
report.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date, datetime

from pydantic import AwareDatetime, ValidationError

from backup_to_image.journal import JournalError, Record
from backup_to_image.model import Value
from backup_to_image.model.night import NightReport
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context, until

__all__ = ["KeptNight", "began_before", "keep_report", "last_reports", "night_kept"]

_NIGHT, _REPORT = "night", "night-report"
_DATE, _SECONDS, _TOLD = "night", "seconds", "report"


class KeptNight(Value):
    """A night that is on."""

    began_at: AwareDatetime
    """For the first time."""
    deadline: AwareDatetime


async def began_before(policy: str, night: date, ctx: Context) -> datetime | None:
    """When this night began for the first time; None if it has not. Raises JournalError."""
    before = await ctx.journal.read(_NIGHT, ctx.project_id, policy)
    return before.first_intent_at if before and before.facts.get(_DATE) == night.isoformat() else None


@asynccontextmanager
async def night_kept(policy: Policy, night: date, ctx: Context) -> AsyncGenerator[KeptNight]:
    """Keep in the journal that the night is on; one that was killed keeps its deadline. Raises JournalError."""
    now, patience = ctx.clock.now(), policy.limits.deadline
    kept = KeptNight(began_at=now, deadline=now + patience)
    facts = {_DATE: night.isoformat(), _SECONDS: patience.total_seconds()}
    before = await ctx.journal.read(_NIGHT, ctx.project_id, policy.name)
    if before and before.facts.get(_DATE) == night.isoformat():
        kept = kept.model_copy(update={"began_at": before.first_intent_at or now})
        cut_off = before.state == "open" and before.facts == facts
        if cut_off and before.deadline and now < before.deadline < kept.deadline:
            kept = kept.model_copy(update={"deadline": before.deadline})
            ctx.tell(f"the night of {night} was interrupted; going on {until(kept.deadline)}")
    record = Record(
        kind=_NIGHT,
        project_id=ctx.project_id,
        name=policy.name,
        state="open",
        written_at=now,
        first_intent_at=kept.began_at,
        deadline=kept.deadline,
        facts=facts,
    )
    await ctx.journal.write(record)
    yield kept
    try:
        await ctx.journal.write(record.model_copy(update={"state": "done"}))
    except JournalError as error:
        ctx.tell(error.message)


async def keep_report(report: NightReport, ctx: Context) -> None:
    """Keep a night's report in place of the policy's last one. Raises JournalError."""
    record = Record(
        kind=_REPORT,
        project_id=ctx.project_id,
        name=report.policy,
        state="done",
        written_at=ctx.clock.now(),
        facts={_TOLD: report.model_dump(mode="json", exclude_defaults=True)},
    )
    await ctx.journal.write(record)


async def last_reports(ctx: Context) -> tuple[NightReport, ...]:
    """The last report of each policy in this project, by its name; one that cannot be read is told. Raises JournalError."""
    found: list[NightReport] = []
    for record in await ctx.journal.records(_REPORT):
        if record.project_id != ctx.project_id:
            continue
        try:
            found.append(NightReport.model_validate(record.facts.get(_TOLD)))
        except ValidationError:
            ctx.tell(f"warning: the report of the last night of {record.name!r} cannot be read and is passed over")
    return tuple(sorted(found, key=lambda report: report.policy))
