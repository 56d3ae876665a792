"""A night that several workers share: who does which servers, and one report of all their parts.

A shard is a night of its own over its part of the servers, with its share of the places and of the requests. Whoever shares the
night out knows nothing of how a shard is started: he is told what became of it (`Workers`), and reads the journal, in which each
leaves its report.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.journal import Record
from backup_to_image.model import Value
from backup_to_image.model.night import FleetMember, NightPlan, NightReport, ServerNight
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context, minutes, until

__all__ = [
    "Fate",
    "Parts",
    "Share",
    "SharedOut",
    "Workers",
    "attempt_of",
    "await_parts",
    "forget_parts",
    "keep_part",
    "keep_shared_out",
    "share_out",
    "shared_out_before",
    "shared_out_for",
    "shares_note",
    "silent",
]

_PART, _REPORT, _ATTEMPT = "night-part", "report", "attempt"
_SHARED_OUT, _HOW = "night-shares", "how"
_LOOK_EVERY = 5.0
_GRACE = timedelta(minutes=5)
"""A shard ends at the night's deadline; its report may come a little later, from a run that was brought back."""
_NOBODY = timedelta(minutes=3)
"""A free worker takes a shard within seconds, and needs some more to begin it."""


class Share(Value):
    """One shard of a night: the first of four. `attempt` and `deadline` are those of the whole night."""

    number: int
    of: int
    attempt: str
    deadline: datetime

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"


class SharedOut(Value):
    """Who does what in one night: decided once and kept, so that all go by it however the lists change meanwhile."""

    attempt: str
    places: tuple[int, ...]
    """Of each shard, so many images at a time."""
    vaults: dict[str, int] = {}
    """Which shard does the servers of a vault; empty where the night makes no backups."""
    sample: tuple[str, ...] = ()
    """The servers whose new images are drilled tonight."""
    going: tuple[str, ...] | None = None
    """The images that go at the night's end; None until that is decided."""

    @property
    def of(self) -> int:
        return len(self.places)

    def shares(self, deadline: datetime) -> tuple[Share, ...]:
        return tuple(Share(number=one + 1, of=self.of, attempt=self.attempt, deadline=deadline) for one in range(self.of))

    def number_for(self, member: FleetMember) -> int:
        """Which shard does that server."""
        return self.vaults.get(member.vault_id or "") or _hashed(member.server_id, self.of)

    def part_of(self, plan: NightPlan, share: Share) -> NightPlan:
        """The plan with the servers of one shard alone."""
        members = tuple(member for member in plan.members if self.number_for(member) == share.number)
        return plan.model_copy(update={"members": members})

    def narrowed(self, policy: Policy, share: Share, now: datetime) -> Policy:
        """The policy with one shard's places, until the whole night's deadline."""
        changes = {"images_at_once": self.places[share.number - 1], "deadline": max(timedelta(0), share.deadline - now)}
        return policy.model_copy(update={"limits": policy.limits.model_copy(update=changes | {"shards": 1})})


def attempt_of(deadline: datetime) -> str:
    """A night that was killed and goes on keeps its deadline, and so its shards; one that is given again has new ones."""
    return f"{deadline:%Y%m%dT%H%M%S}"


def share_out(policy: Policy, plan: NightPlan, *, attempt: str = "", sample: Sequence[str] = ()) -> SharedOut:
    """Every server to one shard; where the night makes backups, those of one vault to the same, since one run backs them up.

    The biggest vault goes to the emptiest shard. There are never more shards than places or than there is to share out, and a
    shard has places as its servers are many.
    """
    makes_backups = policy.backup.make_one != "never"
    together = Counter(member.vault_id for member in plan.members if makes_backups and member.vault_id)
    alone = [member.server_id for member in plan.members if not (makes_backups and member.vault_id)]
    of = max(1, min(policy.limits.shards, policy.limits.images_at_once, len(together) + len(alone)))
    servers = dict.fromkeys(range(1, of + 1), 0)
    for server_id in alone:
        servers[_hashed(server_id, of)] += 1
    vaults: dict[str, int] = {}
    for vault_id, count in sorted(together.items(), key=lambda one: (-one[1], one[0])):
        vaults[vault_id] = min(servers, key=lambda number: (servers[number], number))
        servers[vaults[vault_id]] += count
    return SharedOut(
        attempt=attempt,
        places=_places(policy.limits.images_at_once, list(servers.values())),
        vaults=vaults,
        sample=tuple(sample),
    )


def shares_note(policy: Policy, plan: NightPlan) -> str:
    """What somebody should know of how this night would be shared out; empty if nothing."""
    shared, wanted = share_out(policy, plan), policy.limits.shards
    if not shared.vaults or shared.of >= min(wanted, policy.limits.images_at_once):
        return ""
    why = "one run backs up all servers of a vault (`backup.make_one`)"
    if shared.of == 1:
        return f"limits.shards: shards make no difference: {why}, and all of these lie in one vault"
    return (
        f"limits.shards: {shared.of} of {wanted} shards have something to do: {why}, and these lie in {len(shared.vaults)} vaults"
    )


def _hashed(server_id: str, of: int) -> int:
    return int(hashlib.sha256(server_id.encode()).hexdigest()[:8], 16) % of + 1


def _places(most: int, servers: list[int]) -> tuple[int, ...]:
    """One for each shard, and of the others as its servers are many."""
    left, total = most - len(servers), max(1, sum(servers))
    exact = [left * one / total for one in servers]
    places = [1 + int(one) for one in exact]
    by_remainder = sorted(range(len(servers)), key=lambda one: (int(exact[one]) - exact[one], one))
    for one in by_remainder[: most - sum(places)]:
        places[one] += 1
    return tuple(places)


async def shared_out_before(policy: str, attempt: str, ctx: Context) -> SharedOut | None:
    """How this night was shared out; None if it has not been, or not in this journal. Raises JournalError."""
    record = await ctx.journal.read(_SHARED_OUT, ctx.project_id, policy)
    try:
        found = SharedOut.model_validate(record.facts.get(_HOW)) if record else None
    except ValidationError:
        return None
    return found if found and found.attempt == attempt else None


async def shared_out_for(policy: Policy, share: Share, ctx: Context) -> SharedOut:
    """How the night of this shard was shared out. Raises UsageError where its night has left nothing for it, JournalError."""
    found = await shared_out_before(policy.name, share.attempt, ctx)
    if found is None or found.of != share.of:
        raise UsageError(
            f"The journal {ctx.journal.place} knows nothing of the night that this shard is a part of.",
            action="All workers of a shared night need the same journal: `journal:` in their b2i.yaml.",
        )
    return found


async def keep_shared_out(policy: Policy, shared: SharedOut, ctx: Context) -> None:
    """Keep how the night is shared out; the policy's next night takes its place. Raises JournalError."""
    await ctx.journal.write(
        Record(
            kind=_SHARED_OUT,
            project_id=ctx.project_id,
            name=policy.name,
            state="done",
            written_at=ctx.clock.now(),
            facts={_HOW: shared.model_dump(mode="json")},
        )
    )


# -- the parts ----------------------------------------------------------------------------------------------------------


class Fate(Value):
    """What became of a shard that has left no report yet."""

    state: Literal["waiting", "at_work", "ended"]
    """waiting: no worker has begun it. at_work: also one that is to be brought back. ended: for good."""
    reason: str = ""
    """Why it is not at work, in a sentence without a full stop."""
    action: str = ""


@dataclass(frozen=True)
class Workers:
    """Who gets shards to work, and knows what becomes of them."""

    start: Callable[[Share], Awaitable[None]]
    """Unless it is at work; one that has ended begins anew."""
    fates: Callable[[Sequence[Share]], Awaitable[Mapping[int, Fate]]]
    """By number; of what cannot be seen just now, nothing."""


class Parts(Value):
    """What the shards of a night have left: their reports, and by number what became of those that have left none."""

    reports: tuple[NightReport, ...] = ()
    cut_off: tuple[NightReport, ...] = ()
    """How far shards came that were stopped and have ended so."""
    fates: dict[int, Fate] = {}

    @property
    def told(self) -> tuple[NightReport, ...]:
        """All that any shard has said."""
        return (*self.reports, *self.cut_off)


async def keep_part(report: NightReport, share: Share, ctx: Context, *, cut_off: bool = False) -> None:
    """Leave a shard's report for whoever shared the night out. Raises JournalError.

    `cut_off`: it was stopped, and its part is over only if it is not begun again.
    """
    record = Record(
        kind=_PART,
        project_id=ctx.project_id,
        name=_name(report.policy, share),
        state="open" if cut_off else "done",
        written_at=ctx.clock.now(),
        facts={_REPORT: report.model_dump(mode="json", exclude_defaults=True), _ATTEMPT: share.attempt},
    )
    await ctx.journal.write(record)


async def await_parts(policy: Policy, shares: tuple[Share, ...], ctx: Context, *, workers: Workers) -> Parts:
    """Start every shard and wait for their reports: until all have ended, or until a little after the deadline.

    A shard that has ended for good without a report is told at once; one that a person starts again while others are at work is
    waited for. Raises JournalError.
    """
    missing = {share.number: share for share in shares}
    found: list[NightReport] = []
    for share in shares:
        if await _part(policy, share, ctx) is None:
            await workers.start(share)
    end = shares[0].deadline + _GRACE
    ctx.tell(f"{policy.name}: {len(shares)} shards at work, {until(end)}")
    fates: Mapping[int, Fate] = {}
    watch = _Watch(policy, ctx)
    while True:
        # First what became of them, then their reports: one that has ended has left its report before.
        fates = await workers.fates(tuple(missing.values()))
        for share in list(missing.values()):
            part = await _part(policy, share, ctx)
            if part is None:
                watch.look(share, fates.get(share.number))
                continue
            found.append(part)
            del missing[share.number]
            ctx.tell(f"{policy.name}: shard {share} has ended, {len(missing)} to go")
        over = all(number in fates and fates[number].state == "ended" for number in missing)
        if over or ctx.clock.now() >= end:
            break
        await ctx.clock.sleep(_LOOK_EVERY)
    stopped = [await _part(policy, share, ctx, cut_off=True) for share in missing.values()]
    return Parts(
        reports=tuple(found),
        cut_off=tuple(one for one in stopped if one),
        fates={number: fate for number, fate in fates.items() if number in missing},
    )


class _Watch:
    """Tells once of each shard that nobody begins, and of each that has ended without a report."""

    def __init__(self, policy: Policy, ctx: Context) -> None:
        self._policy = policy
        self._ctx = ctx
        self._waiting_since: dict[int, datetime] = {}
        self._told: dict[int, str] = {}

    def look(self, share: Share, fate: Fate | None) -> None:
        if fate is None:
            return
        now, number = self._ctx.clock.now(), share.number
        since = self._waiting_since.setdefault(number, now)
        if fate.state != "waiting":
            del self._waiting_since[number]
        if fate.state == "ended":
            self._tell(share, "ended", f"has ended without a report: {fate.reason}", fate)
        elif fate.state == "waiting" and now >= since + _NOBODY:
            self._tell(share, "waiting", f"has not begun for {minutes(now - since)}: {fate.reason}", fate)
        elif fate.state == "at_work":
            self._told.pop(number, None)

    def _tell(self, share: Share, what: str, words: str, fate: Fate) -> None:
        if self._told.get(share.number) != what:
            self._ctx.tell(f"warning: {self._policy.name}: shard {share} {words.rstrip('.')}. {fate.action}".rstrip())
        self._told[share.number] = what


async def forget_parts(policy: Policy, shares: tuple[Share, ...], ctx: Context) -> None:
    """The parts are in the night's report now. Raises JournalError."""
    for share in shares:
        record = await ctx.journal.read(_PART, ctx.project_id, _name(policy.name, share))
        if record:
            await ctx.journal.forget(record)


_AGAIN = "The same night again does its servers, and adopts what was made."


def silent(member: FleetMember, fate: Fate | None) -> ServerNight:
    """A server of which its shard told nothing: nobody knows, so it has failed."""
    ended = fate is not None and fate.state == "ended"
    if fate is None or not fate.reason:
        reason = "its shard has told nothing until the night's deadline"
    elif ended:
        reason = f"its shard has ended without a report: {fate.reason}"
    else:
        reason = f"its shard has told nothing until the night's deadline: {fate.reason}"
    return ServerNight(
        server_id=member.server_id,
        server_name=member.server_name,
        outcome="failed",
        reason=reason,
        code="b2i.shard-ended" if ended else "b2i.shard-silent",
        action=f"{fate.action if fate and fate.action else 'Look at the run of the shard.'} {_AGAIN}",
        backup_id=member.backup.id if member.backup else None,
        backup_created_at=member.backup.created_at if member.backup else None,
    )


async def _part(policy: Policy, share: Share, ctx: Context, *, cut_off: bool = False) -> NightReport | None:
    record = await ctx.journal.read(_PART, ctx.project_id, _name(policy.name, share))
    if record is None or record.facts.get(_ATTEMPT) != share.attempt or (record.state == "open") != cut_off:
        return None
    try:
        return NightReport.model_validate(record.facts.get(_REPORT))
    except ValidationError:
        return None


def _name(policy: str, share: Share) -> str:
    return f"{policy} {share}"
