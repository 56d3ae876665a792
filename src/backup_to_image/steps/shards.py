"""A night that several workers share: who does which servers, and one report of all their parts.

A shard is a night of its own over its part of the servers, with its share of the places and of the requests. Whoever shares the
night out knows nothing of how a shard is started: he reads the journal, in which each leaves its report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Self

from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.journal import Record
from backup_to_image.model import Value
from backup_to_image.model.night import FleetMember, NightPlan, NightReport, ServerNight
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context, until

__all__ = ["Share", "await_parts", "check_shareable", "forget_parts", "keep_part"]

_PART, _REPORT, _ATTEMPT = "night-part", "report", "attempt"
_LOOK_EVERY = 5.0
_GRACE = timedelta(minutes=5)
"""A shard ends at the night's deadline; its report may come a little later, from a run that was brought back."""


class Share(Value):
    """One shard of a night: the first of four. `attempt` and `deadline` are those of the whole night."""

    number: int
    of: int
    attempt: str
    deadline: datetime

    @classmethod
    def all_of(cls, policy: Policy, deadline: datetime) -> tuple[Self, ...]:
        """The shards of a night: never more than there are places."""
        of = min(policy.limits.shards, policy.limits.images_at_once)
        # A night that was killed and goes on keeps its deadline, and so its shards; one that is given again has new ones.
        attempt = f"{deadline:%Y%m%dT%H%M%S}"
        return tuple(cls(number=number, of=of, attempt=attempt, deadline=deadline) for number in range(1, of + 1))

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"

    def has(self, server_id: str) -> bool:
        """Whether this shard does that server; the same in every night."""
        return int(hashlib.sha256(server_id.encode()).hexdigest()[:8], 16) % self.of == self.number - 1

    def part_of(self, plan: NightPlan) -> NightPlan:
        members = tuple(member for member in plan.members if self.has(member.server_id))
        return plan.model_copy(update={"members": members})

    def narrowed(self, policy: Policy, now: datetime) -> Policy:
        """The policy with this shard's places, until the whole night's deadline."""
        most = policy.limits.images_at_once
        places = most // self.of + (1 if self.number <= most % self.of else 0)
        limits = policy.limits.model_copy(
            update={"images_at_once": places, "deadline": max(timedelta(0), self.deadline - now), "shards": 1}
        )
        return policy.model_copy(update={"limits": limits})


def check_shareable(policy: Policy) -> None:
    """Raises UsageError for what only a single run can do: it has to see the whole fleet."""
    problems: list[str] = []
    if policy.backup.make_one != "never":
        problems.append("limits.shards: with `backup.make_one` servers of one vault are backed up together, by one run.")
    if policy.retention.apply:
        problems.append("limits.shards: with `retention.apply` deletions of the whole policy are counted, by one run.")
    if policy.verify != "none":
        problems.append("limits.shards: with `verify` one run chooses the night's sample.")
    if problems:
        raise UsageError(problems, action="Leave `shards` out, or let `b2i retention --apply` and CBR's own policies do that.")


async def keep_part(report: NightReport, share: Share, ctx: Context) -> None:
    """Leave a shard's report for whoever shared the night out. Raises JournalError."""
    record = Record(
        kind=_PART,
        project_id=ctx.project_id,
        name=_name(report.policy, share),
        state="done",
        written_at=ctx.clock.now(),
        facts={_REPORT: report.model_dump(mode="json", exclude_defaults=True), _ATTEMPT: share.attempt},
    )
    await ctx.journal.write(record)


async def await_parts(
    policy: Policy, shares: tuple[Share, ...], ctx: Context, *, start: Callable[[Share], Awaitable[None]]
) -> tuple[NightReport, ...]:
    """Start every shard and wait for their reports, until a little after the deadline. Raises JournalError."""
    missing = {share.number: share for share in shares}
    found: list[NightReport] = []
    for share in shares:
        if await _part(policy, share, ctx) is None:
            await start(share)
    end = shares[0].deadline + _GRACE
    ctx.tell(f"{policy.name}: {len(shares)} shards at work, {until(end)}")
    while missing:
        for share in list(missing.values()):
            part = await _part(policy, share, ctx)
            if part is None:
                continue
            found.append(part)
            del missing[share.number]
            ctx.tell(f"{policy.name}: shard {share} has ended, {len(missing)} to go")
        if ctx.clock.now() >= end:
            break
        if missing:
            await ctx.clock.sleep(_LOOK_EVERY)
    return tuple(found)


async def forget_parts(policy: Policy, shares: tuple[Share, ...], ctx: Context) -> None:
    """The parts are in the night's report now. Raises JournalError."""
    for share in shares:
        record = await ctx.journal.read(_PART, ctx.project_id, _name(policy.name, share))
        if record:
            await ctx.journal.forget(record)


def silent(member: FleetMember) -> ServerNight:
    """A server whose shard told nothing: nobody knows, so it has failed."""
    return ServerNight(
        server_id=member.server_id,
        server_name=member.server_name,
        outcome="failed",
        reason="its shard has told nothing until the night's deadline",
        code="b2i.shard-silent",
        action="Look at the shard's run; the same night again adopts what was made.",
        backup_id=member.backup.id if member.backup else None,
        backup_created_at=member.backup.created_at if member.backup else None,
    )


async def _part(policy: Policy, share: Share, ctx: Context) -> NightReport | None:
    record = await ctx.journal.read(_PART, ctx.project_id, _name(policy.name, share))
    if record is None or record.facts.get(_ATTEMPT) != share.attempt:
        return None
    try:
        return NightReport.model_validate(record.facts.get(_REPORT))
    except ValidationError:
        return None


def _name(policy: str, share: Share) -> str:
    return f"{policy} {share}"
