"""What a night that somebody stopped has in the cloud: from the same lists that it began with."""

from __future__ import annotations

from datetime import datetime

from backup_to_image.model import Value
from backup_to_image.model.night import FleetMember
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.night import survey_for
from backup_to_image.steps.fleet.night_plan import plan_night

__all__ = ["NightLeft", "look_for_night"]


class NightLeft(Value):
    """The servers of a stopped night, by what the cloud has of them at a moment."""

    seen_at: datetime
    there: tuple[FleetMember, ...] = ()
    """Their backup has its image, made or being made."""
    asked: tuple[FleetMember, ...] = ()
    """Their image was asked for, or is about to be seen."""
    untouched: tuple[FleetMember, ...] = ()
    """Nothing was asked for."""
    unread: str = ""
    """Why it could not be looked at."""


async def look_for_night(policy: Policy, ctx: Context) -> NightLeft:
    """Look at every server of the policy. Makes nothing. Raises JournalError; what a list does not tell stands in `unread`."""
    plan = await plan_night(policy, ctx, survey_for(policy, ctx))
    asked: set[str] = set()
    for member in plan.with_action("make"):
        noted = await ctx.journal.read("image", ctx.project_id, member.backup.id) if member.backup else None
        if noted is not None and noted.state in {"intent", "sent"}:
            asked.add(member.server_id)
    waiting = plan.with_action("make", "back_up")
    return NightLeft(
        seen_at=ctx.clock.now(),
        there=plan.with_action("adopt"),
        asked=tuple(one for one in waiting if one.server_id in asked),
        untouched=tuple(one for one in waiting if one.server_id not in asked),
        unread="; ".join(check.why for check in plan.refusals if check.rule == "lists"),
    )
