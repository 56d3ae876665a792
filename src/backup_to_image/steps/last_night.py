"""What the last night of each policy came to, kept for whoever asks in the morning: the board, the next night."""

from __future__ import annotations

from pydantic import ValidationError

from backup_to_image.journal import Record
from backup_to_image.model.night import NightReport
from backup_to_image.steps.context import Context

__all__ = ["keep_report", "last_reports"]

_KIND, _REPORT = "night-report", "report"


async def keep_report(report: NightReport, ctx: Context) -> None:
    """Keep a night's report in place of the policy's last one. Raises JournalError."""
    record = Record(
        kind=_KIND,
        project_id=ctx.project_id,
        name=report.policy,
        state="done",
        written_at=ctx.clock.now(),
        facts={_REPORT: report.model_dump(mode="json", exclude_defaults=True)},
    )
    await ctx.journal.write(record)


async def last_reports(ctx: Context) -> tuple[NightReport, ...]:
    """The last report of each policy in this project, by its name; one that cannot be read is told. Raises JournalError."""
    found: list[NightReport] = []
    for record in await ctx.journal.records(_KIND):
        if record.project_id != ctx.project_id:
            continue
        try:
            found.append(NightReport.model_validate(record.facts.get(_REPORT)))
        except ValidationError:
            ctx.tell(f"warning: the report of the last night of {record.name!r} cannot be read and is passed over")
    return tuple(sorted(found, key=lambda report: report.policy))
