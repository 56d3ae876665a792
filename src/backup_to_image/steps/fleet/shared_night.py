"""A night that several workers share, as its one run sees it: planned once, shared out, and told in one report."""

from __future__ import annotations

from datetime import date, datetime

from backup_to_image.errors import CloudError
from backup_to_image.model import LaunchOrder
from backup_to_image.model.night import NightPlan, NightReport, ServerNight
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import CLOCK_SLACK
from backup_to_image.steps.fleet.last_night import KeptNight, began_before, keep_report, night_kept
from backup_to_image.steps.fleet.night import retirement_of, sample_of, survey_for
from backup_to_image.steps.fleet.night_plan import go_or_refuse, plan_night_patiently
from backup_to_image.steps.fleet.outcome import outcome_of, report_of
from backup_to_image.steps.fleet.shards import (
    Parts,
    SharedOut,
    Workers,
    attempt_of,
    await_parts,
    forget_parts,
    keep_shared_out,
    share_out,
    shared_out_before,
    shares_note,
    silent,
)
from backup_to_image.steps.fleet.verify import end_left_drills, left_drills
from backup_to_image.steps.names import POLICY_TAG, encode_tag
from backup_to_image.steps.retention.retire import Retirement
from backup_to_image.steps.survey import Survey

__all__ = ["run_shared_night"]


async def run_shared_night(
    policy: Policy, ctx: Context, *, workers: Workers, night: date, drill: LaunchOrder | None = None
) -> NightReport:
    """Share the night out, wait for every part of it, and report on all servers; `workers` do the shards.

    Run it again at any time: how the night was shared out is kept, shards that are at work are waited for, not started twice. A
    server of a shard that has ended without a report, or tells nothing until the deadline, has failed. Raises Refused where
    something speaks against the whole night; UsageError, JournalError.
    """
    began, requests = ctx.clock.now(), ctx.cloud.requests
    first = await began_before(policy.name, night, ctx)
    retirement = retirement_of(policy, ctx)
    plan, survey = await plan_night_patiently(policy, ctx, lambda: survey_for(policy, ctx), began=first, retirement=retirement)
    go_or_refuse(plan)
    notes = list(filter(None, [*plan.notes, shares_note(policy, plan)]))
    for note in notes:
        ctx.tell(f"warning: {note}")
    async with night_kept(policy, night, ctx) as kept:
        drills = await left_drills(drill, ctx) if drill else ()
        shared = await _shared_out(policy, plan, night, kept, survey, ctx)
        shares = shared.shares(kept.deadline)
        parts = await await_parts(policy, shares, ctx, workers=workers)
        servers = _told(plan, parts, shared)
        retired = [image_id for part in parts.told for image_id in part.retired]
        notes += [note for part in parts.told for note in part.notes]
        left = [words for part in parts.told for words in part.left_behind]
        if drill:
            left += await end_left_drills(drills, drill, ctx, deadline=kept.deadline)
        if policy.retention.apply and outcome_of(servers, policy) != "failed":
            gone, said = await _retire_the_rest(policy, shared, servers, len(retired), kept.began_at, ctx)
            retired += gone
            notes += said
        asked, told = ctx.cloud.requests - requests + sum(part.requests for part in parts.told), tuple(dict.fromkeys(notes))
        report = report_of(
            servers,
            policy,
            plan,
            kept,
            ctx,
            night=night,
            began=began,
            requests=asked,
            notes=told,
            retired=retired,
            left=left,
        )
        await keep_report(report, ctx)
        await forget_parts(policy, shares, ctx)
    return report


async def _shared_out(policy: Policy, plan: NightPlan, night: date, kept: KeptNight, survey: Survey, ctx: Context) -> SharedOut:
    """As it was decided when the night began, and written down before any shard begins."""
    attempt = attempt_of(kept.deadline)
    if before := await shared_out_before(policy.name, attempt, ctx):
        return before
    wanted = share_out(policy, plan, attempt=attempt, sample=await sample_of(plan, policy, night, survey, ctx))
    await keep_shared_out(policy, wanted, ctx)
    return wanted


def _told(plan: NightPlan, parts: Parts, shared: SharedOut) -> tuple[ServerNight, ...]:
    """What came of each server, in the plan's order; of a shard that was stopped, what it had come to."""
    cut_off = [one for part in parts.cut_off for one in part.servers]
    told = {one.server_id: one for one in cut_off if one.code != "b2i.interrupted" or one.outcome == "late"}
    told |= {one.server_id: one for part in parts.reports for one in part.servers}
    return tuple(
        told.get(member.server_id) or silent(member, parts.fates.get(shared.number_for(member))) for member in plan.members
    )


async def _retire_the_rest(
    policy: Policy, shared: SharedOut, servers: tuple[ServerNight, ...], retired: int, began_at: datetime, ctx: Context
) -> tuple[tuple[str, ...], list[str]]:
    """What no shard could see: images of servers that are gone or were not served; all of them where it says `after_night`.

    Returns the deleted images and what somebody should know. What goes is decided once and kept, so that a run that is killed
    here deletes no more the second time. A server whose night went wrong keeps what it has.
    """
    bad = {one.server_id for one in servers if one.bad}
    survey, mine = Survey(ctx), encode_tag(policy.name)
    try:
        tonight = [one for one in await survey.images() if one.created_at and one.created_at >= began_at - CLOCK_SLACK]
        reported = sum(one.outcome == "made" for one in servers)
        made = max(reported, sum(one.tags.get(POLICY_TAG) == mine for one in tonight))
        # A shard that was killed and began again tells neither what it had made before, nor what it had deleted: not more.
        retirement = Retirement(policy, ctx, survey, spent=retired + made - reported)
        plan = await retirement.plan(made=made)
        going = tuple(one for one in plan.delete if one.decision.server_id not in bad)
        if shared.going is None:
            shared = shared.model_copy(update={"going": tuple(one.doomed.image_id for one in going)})
            await keep_shared_out(policy, shared, ctx)
        going = tuple(one for one in going if one.doomed.image_id in (shared.going or ()))
        done = await retirement.apply(plan.model_copy(update={"delete": going}), made=made)
    except CloudError as error:
        return (), [error.message]
    notes = [f"image {one.doomed.image_name} ({one.doomed.image_id}): {one.reason}" for one in done.failed]
    notes += [done.stopped] if done.stopped else []
    for note in notes:
        ctx.tell(f"warning: {note}")
    return done.deleted, notes
