"""A night that several workers share, as its one run sees it: planned once, shared out, and told in one report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date

from backup_to_image.model.night import NightReport
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.last_night import keep_report, night_kept
from backup_to_image.steps.night import report_of, survey_for
from backup_to_image.steps.night_plan import go_or_refuse, plan_night_patiently
from backup_to_image.steps.shards import Share, await_parts, check_shareable, forget_parts, silent

__all__ = ["run_shared_night"]


async def run_shared_night(
    policy: Policy, ctx: Context, *, start: Callable[[Share], Awaitable[None]], night: date
) -> NightReport:
    """Share the night out, wait for every part of it, and report on all servers; `start` gets each shard to work.

    Run it again at any time: shards that are at work are waited for, not started twice. A server whose shard tells nothing until
    the deadline has failed. Raises Refused where something speaks against the whole night; UsageError, JournalError.
    """
    check_shareable(policy)
    began, requests = ctx.clock.now(), ctx.cloud.requests
    plan, _ = await plan_night_patiently(policy, ctx, lambda: survey_for(policy, ctx))
    go_or_refuse(plan)
    for note in plan.notes:
        ctx.tell(f"warning: {note}")
    async with night_kept(policy, night, ctx) as kept:
        shares = Share.all_of(policy, kept.deadline)
        parts = await await_parts(policy, shares, ctx, start=start)
        told = {one.server_id: one for part in parts for one in part.servers}
        servers = tuple(told.get(member.server_id) or silent(member) for member in plan.members)
        asked = ctx.cloud.requests - requests + sum(part.requests for part in parts)
        notes = tuple(dict.fromkeys([*plan.notes, *(note for part in parts for note in part.notes)]))
        report = report_of(servers, policy, plan, kept, ctx, night=night, began=began, requests=asked, notes=notes)
        await keep_report(report, ctx)
        await forget_parts(policy, shares, ctx)
    return report
