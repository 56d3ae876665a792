"""Tasks on nights: which night a run is for, and what a night would do."""

from __future__ import annotations

from datetime import date, datetime
from typing import cast

from prefect import task
from prefect.runtime import flow_run

from backup_to_image.errors import UsageError
from backup_to_image.model.night import NightPlan
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.night import night_of, survey_for
from backup_to_image.steps.night_plan import check_members, plan_night
from tasks.policy import RETRY

__all__ = ["night_to_do", "plan_of_night"]


@task(name="plan night", task_run_name="plan night of {policy.name}", **RETRY)
async def plan_of_night(policy: Policy, ctx: Context) -> NightPlan:
    """What a night would do, server by server, each looked at by every rule. Makes nothing."""
    survey = survey_for(policy, ctx)
    return await check_members(await plan_night(policy, ctx, survey), policy, ctx, survey)


def night_to_do(policy: Policy, *, given: str = "") -> date:
    """The night that this run is for: the given one, else that of its scheduled start. Raises UsageError."""
    if given.strip():
        try:
            return date.fromisoformat(given.strip())
        except ValueError:
            raise UsageError(f"night: {given!r} is no date; write it as 2026-11-25, or leave it empty.") from None
    begins = cast("datetime", flow_run.scheduled_start_time)
    return night_of(begins, policy)
