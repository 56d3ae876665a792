"""Tasks on nights: which night a run is for, and what a night would do."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import cast

from prefect import task
from prefect.runtime import flow_run
from prefect.server.schemas.schedules import CronSchedule  # the server's own: what it schedules is what counts

from backup_to_image.errors import UsageError
from backup_to_image.model.night import NightPlan
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.last_night import last_reports
from backup_to_image.steps.fleet.night import night_of, retirement_of, survey_for
from backup_to_image.steps.fleet.night_plan import check_members, plan_night
from backup_to_image.steps.fleet.shards import shares_note
from tasks.policy import RETRY

__all__ = ["newest_start", "night_to_do", "plan_of_night", "starts"]

_MOST_MISSED = 1000


@task(name="plan night", task_run_name="plan night of {policy.name}", **RETRY)
async def plan_of_night(policy: Policy, ctx: Context) -> NightPlan:
    """What a night would do, server by server, each looked at by every rule. Makes nothing."""
    survey = survey_for(policy, ctx)
    plan = await check_members(await plan_night(policy, ctx, survey, retirement=retirement_of(policy, ctx)), policy, ctx, survey)
    note = shares_note(policy, plan)
    return plan.model_copy(update={"notes": (*plan.notes, note)}) if note else plan


async def night_to_do(policy: Policy, ctx: Context, *, given: str = "") -> date | None:
    """The night that this run is for: the given one, else that of its scheduled start, however late it begins.

    Where later starts of the schedule have been missed as well, it is the newest of them, since an image of the newest backup
    serves for all: missed nights are caught up once. None where that one was worked through already. Raises UsageError.
    """
    if given.strip():
        try:
            return date.fromisoformat(given.strip())
        except ValueError:
            raise UsageError(f"night: {given!r} is no date; write it as 2026-11-25, or leave it empty.") from None
    begins = cast("datetime", flow_run.scheduled_start_time)
    newest = night_of(await newest_start(policy, begins, ctx.clock.now()), policy)
    if newest == night_of(begins, policy):
        return newest
    done = [date.fromisoformat(one.night) for one in await last_reports(ctx) if one.policy == policy.name]
    return None if any(night >= newest for night in done) else newest


async def newest_start(policy: Policy, begins: datetime, now: datetime) -> datetime:
    """The last start of the policy's schedule that has come by now, from one on that is known."""
    if policy.schedule is None:
        return begins
    return max([begins, *await starts(policy.schedule, policy.timezone, begins, now)])


async def starts(cron: str, timezone: str, after: datetime, until: datetime) -> list[datetime]:
    """When a schedule begins runs in that time, as Prefect's server counts it."""
    schedule = CronSchedule(cron=cron, timezone=timezone)
    found = await schedule.get_dates(_MOST_MISSED, start=after + timedelta(seconds=1), end=until)  # pyright: ignore[reportArgumentType] - Prefect's own datetime type is one
    return [cast("datetime", one) for one in found]
