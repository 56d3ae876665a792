"""A night over a fleet: every server of a policy has an image of tonight, or the report says why not.

What is done for one server is given as an argument: `steps.pipeline.image_from_backup`, or the same steps as Prefect tasks. Here
is what a fleet adds: who comes when, how many at a time, that one server's failure is its own, and the night's end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol

from backup_to_image.errors import B2iError
from backup_to_image.journal import JournalError, hold
from backup_to_image.model import Backup, Delivery, Image, ImageOrder, LaunchOrder
from backup_to_image.model.night import FleetMember, NightPlan, NightReport, ServerNight, Verified
from backup_to_image.model.policy import Policy, VerifyRule
from backup_to_image.model.results import Phase
from backup_to_image.steps.back_up import BackedUp, back_up
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.fleet.last_night import KeptNight, began_before, keep_report, last_reports, night_kept
from backup_to_image.steps.fleet.night_plan import go_or_refuse, image_order, plan_night_patiently
from backup_to_image.steps.fleet.outcome import delivered, failed, failed_after, not_served, outcome_of, report_of
from backup_to_image.steps.fleet.shards import Share, keep_part, shared_out_for
from backup_to_image.steps.fleet.verify import choose_sample, end_left_drills, last_turns, left_drills, verify_image
from backup_to_image.steps.names import doubted_by_drill
from backup_to_image.steps.orders import OpenOrder
from backup_to_image.steps.retention.retire import Retired, Retirement
from backup_to_image.steps.survey import Survey
from backup_to_image.steps.validate import Look
from backup_to_image.steps.window import NoPlace, Turn, Window

__all__ = [
    "MakeImage",
    "VerifyImage",
    "night_of",
    "retirement_of",
    "run_night",
    "sample_of",
    "survey_for",
]

log = logging.getLogger(__name__)

_SLACK = timedelta(hours=2)
"""Lists are read back a little further than the oldest backup that a policy takes."""
_TELL_EVERY = timedelta(seconds=30)


class VerifyImage(Protocol):
    """What is done for one image of the sample: a drill."""

    async def __call__(self, image: Image, drill: LaunchOrder, ctx: Context, *, deadline: datetime, night: date) -> Verified: ...


class MakeImage(Protocol):
    """What is done for one server: validate its order, make the image, share it."""

    async def __call__(self, order: ImageOrder, ctx: Context, *, look: Look) -> Delivery: ...


def night_of(moment: datetime, policy: Policy) -> date:
    """The night that a moment belongs to: the local date on which it began."""
    return moment.astimezone(policy.zone).date()


def survey_for(policy: Policy, ctx: Context) -> Survey:
    """The project's lists, read back as far as a night needs."""
    return Survey(ctx, since=ctx.clock.now() - policy.backup.newest_within - _SLACK)


def retirement_of(policy: Policy, ctx: Context, *, shard: bool = False) -> Retirement | None:
    """What deletes the images that the policy no longer keeps; None where its nights delete nothing."""
    return Retirement(policy, ctx, Survey(ctx), shard=shard) if policy.retention.apply else None


async def sample_of(plan: NightPlan, policy: Policy, night: date, survey: Survey, ctx: Context) -> tuple[str, ...]:
    """Whose new images are launched as a drill tonight. Raises JournalError."""
    if policy.verify == "none":
        return ()
    return choose_sample(plan.members, await survey.images(), policy.verify, night, turns=await last_turns(ctx))


async def run_night(
    policy: Policy,
    ctx: Context,
    *,
    make: MakeImage,
    verify: VerifyImage = verify_image,
    drill: LaunchOrder | None = None,
    night: date | None = None,
    detail: Callable[[str], None] | None = None,
    stopped: Callable[[NightReport], None] | None = None,
    share: Share | None = None,
) -> NightReport:
    """Give every server of the policy its image, many at a time; the report names each server and what came of it.

    Run it again at any time: what is there is adopted, and only what is missing is made; the same night keeps its deadline. Stop
    it at any time: what the cloud was asked for is found by the next run, and `stopped` hears how far it came. `detail` takes the
    lines of single servers. `drill` launches what is verified, where the policy verifies a sample. `share`: only this shard of
    the night, whose report is a part. Raises Refused where something speaks against the whole night, before anything is made;
    JournalError.
    """
    night = night or night_of(ctx.clock.now(), policy)
    shared = await shared_out_for(policy, share, ctx) if share else None
    if share and shared:
        policy = shared.narrowed(policy, share, ctx.clock.now())
    began, requests = ctx.clock.now(), ctx.cloud.requests
    retirement = retirement_of(policy, ctx, shard=share is not None)
    first = await began_before(policy.name, night, ctx)
    plan, survey = await plan_night_patiently(policy, ctx, lambda: survey_for(policy, ctx), began=first, retirement=retirement)
    go_or_refuse(plan)
    for note in plan.notes:
        ctx.tell(f"warning: {note}")
    sample = shared.sample if shared else await sample_of(plan, policy, night, survey, ctx)
    tight = _is_tight(plan)
    if share and shared:
        plan = shared.part_of(plan, share)
    async with (
        nullcontext(KeptNight(began_at=first or began, deadline=share.deadline)) if share else night_kept(policy, night, ctx)
    ) as kept:
        shift = _Shift(policy, plan, ctx, survey, retirement, make, kept, detail, tight=tight, shared=share is not None)
        if policy.verify != "none" and drill:
            await shift.verify_with(verify, drill, policy.verify, night, sample)

        def report_on(servers: tuple[ServerNight, ...]) -> NightReport:
            asked, told = ctx.cloud.requests - requests, (*plan.notes, *shift.notes)
            return report_of(
                servers,
                policy,
                plan,
                kept,
                ctx,
                night=night,
                began=began,
                requests=asked,
                notes=told,
                retired=shift.retired,
                left=shift.left,
            )

        try:
            servers = await shift.work()
            if not share:
                await shift.end_left_drills()
            if retirement and not share and outcome_of(servers, policy) != "failed":
                await shift.retire_the_rest(retirement)
        except asyncio.CancelledError:
            report = report_on(await shift.so_far())
            if stopped:
                stopped(report)
            await (keep_part(report, share, ctx, cut_off=True) if share else keep_report(report, ctx))
            raise
        report = report_on(servers)
        await (keep_part(report, share, ctx) if share else keep_report(report, ctx))
    return report


def _is_tight(plan: NightPlan) -> bool:
    """Whether the quota has no room for all new images beside the old ones."""
    free = plan.quota.free if plan.quota else None
    return free is not None and free < len(plan.with_action("make", "back_up"))


@dataclass(frozen=True)
class _Errand:
    """One server whose backup is to be an image; `under_way`: the journal says that it was asked for."""

    member: FleetMember
    backup: Backup
    under_way: bool = False
    phases: tuple[Phase, ...] = ()
    """What was done for it before."""

    @property
    def waits_long(self) -> bool:
        """Whether its backup is still being made, which must keep nobody else from being looked at."""
        return self.member.action == "make" and self.backup.status != "available"


class _Shift:
    """The servers of one night, at work."""

    def __init__(
        self,
        policy: Policy,
        plan: NightPlan,
        ctx: Context,
        survey: Survey,
        retirement: Retirement | None,
        make: MakeImage,
        kept: KeptNight,
        detail: Callable[[str], None] | None,
        *,
        tight: bool,
        shared: bool,
    ) -> None:
        self.policy = policy
        self.plan = plan
        self.ctx = ctx
        self.survey = survey
        self.retirement = retirement
        self.make = make
        self.night = kept
        self.deadline = kept.deadline
        self.detail = detail
        self.shared = shared
        most = policy.limits.images_at_once
        self.window = Window(most, ctx.clock, beside=most if tight else None, tell=ctx.tell)
        self.done: dict[str, ServerNight] = {}
        self.retired: list[str] = []
        self.left: list[str] = []
        self._notes: dict[str, str] = {}
        self._sample: frozenset[str] = frozenset()
        self._drill: LaunchOrder | None = None
        self._left_drills: tuple[OpenOrder, ...] = ()
        self._verify: Callable[[Image, Context], Awaitable[Verified]] | None = None
        self._drill_place: Callable[[str], AbstractAsyncContextManager[object]] = lambda _: nullcontext()
        self._told_at = ctx.clock.now()

    async def verify_with(
        self, verify: VerifyImage, drill: LaunchOrder, rule: VerifyRule, night: date, sample: tuple[str, ...]
    ) -> None:
        """Launch the new images of these servers as a drill, once they are good."""
        self._sample = frozenset(sample)
        self._drill, self._left_drills = drill, await left_drills(drill, self.ctx)
        named = sorted(one.server_name for one in self.plan.members if one.server_id in self._sample)
        self.ctx.tell(f"{self.policy.name}: tonight's drills: {', '.join(named) or 'none is left'}")
        drills = asyncio.Semaphore(rule.at_once)

        def place(server_id: str) -> AbstractAsyncContextManager[object]:
            if not self.shared:
                return drills
            # So many at once in all shards: each drill has one of so many places, which the journal gives to one at a time.
            name = f"{self.policy.name} {sample.index(server_id) % rule.at_once + 1}"
            return hold(self.ctx.journal, "drill-place", self.ctx.project_id, name, deadline=self.deadline)

        async def drilled(image: Image, ctx: Context) -> Verified:
            return await verify(image, drill, ctx, deadline=self.deadline, night=night)

        self._verify, self._drill_place = drilled, place

    async def work(self) -> tuple[ServerNight, ...]:
        """Every server, each on its own; in the plan's order."""
        for member in self.plan.with_action("skip", "refuse"):
            self._is_done(not_served(member))
        errands = await self._errands()
        by_vault: dict[str, list[FleetMember]] = {}
        for member in self.plan.with_action("back_up"):
            by_vault.setdefault(member.vault_id or "", []).append(member)
        first = f", {sum(map(len, by_vault.values()))} to be backed up first" if by_vault else ""
        self.ctx.tell(
            f"{self.policy.name}: {len(self.plan.members)} servers, {len(errands)} have a backup{first}; "
            f"{self.policy.limits.images_at_once} images at a time, {until(self.deadline)}"
        )
        async with asyncio.TaskGroup() as group:
            for vault_id, members in by_vault.items():
                group.create_task(self._back_up(vault_id, members, group))
            for errand in errands:
                group.create_task(self._serve(errand))
        return tuple(self.done[member.server_id] for member in self.plan.members)

    async def end_left_drills(self) -> None:
        """What earlier runs have left of their drills goes, where the night did not come back to it."""
        if self._drill:
            self.left += await end_left_drills(self._left_drills, self._drill, self.ctx, deadline=self.deadline)

    async def so_far(self) -> tuple[ServerNight, ...]:
        """What there is of a night that is stopped: of a server that has not ended, whether the cloud works on its image."""
        return tuple([self.done.get(member.server_id) or await self._cut_off(member) for member in self.plan.members])

    async def _cut_off(self, member: FleetMember) -> ServerNight:
        try:
            asked_for = member.backup is not None and await self._was_asked_for(member.backup)
        except JournalError:
            asked_for = False
        told = not_served(member)
        if asked_for or member.action == "adopt":
            words = {"outcome": "late", "reason": "the night was stopped; the cloud works on", "image_id": member.image_id}
        else:
            words = {"outcome": "failed", "reason": "the night was stopped before its turn; nothing was asked for"}
        return told.model_copy(update=words | {"code": "b2i.interrupted", "action": "The same command goes on."})

    async def _errands(self) -> list[_Errand]:
        """First what is on its way, then what failed last night, then the oldest backups; what is there comes beside them."""
        failed = {
            one.server_id
            for report in await last_reports(self.ctx)
            if report.policy == self.policy.name
            for one in report.servers
            if one.bad
        }
        found = [
            _Errand(member, member.backup, await self._was_asked_for(member.backup))
            for member in self.plan.with_action("adopt", "make")
            if member.backup is not None
        ]

        def when(errand: _Errand) -> tuple[bool, bool, datetime, str]:
            ident = errand.member.server_id
            return not errand.under_way, ident not in failed, errand.backup.created_at or self.deadline, ident

        return sorted(found, key=when)

    async def _was_asked_for(self, backup: Backup) -> bool:
        noted = await self.ctx.journal.read("image", self.ctx.project_id, backup.id)
        return noted is not None and noted.state in {"intent", "sent"}

    async def _back_up(self, vault_id: str, members: list[FleetMember], group: asyncio.TaskGroup) -> None:
        """Back up the servers of one vault; each is served as soon as its backup is there."""
        by_id = {member.server_id: member for member in members}
        began = self.ctx.clock.now()

        def ended(one: BackedUp) -> None:
            member = by_id.pop(one.server_id)
            phase = Phase(name="backup", began_at=began, ended_at=self.ctx.clock.now())
            if one.backup:
                now_with_it = member.model_copy(update={"backup": one.backup})
                group.create_task(self._serve(_Errand(now_with_it, one.backup, phases=(phase,))))
                return
            told = failed(member, one.why_not(member.server_name))
            self._is_done(told.model_copy(update={"backup_id": one.backup_id, "phases": (phase,)}))

        try:
            await back_up(
                tuple(by_id),
                vault_id,
                self.ctx,
                order=f"night of {self.policy.name}",
                deadline=min(self.deadline, began + self.policy.backup.wait),
                since=self.night.began_at,
                told=ended,
            )
        except B2iError as error:
            for member in list(by_id.values()):
                self._is_done(failed(member, error))

    async def _serve(self, errand: _Errand) -> None:
        """One server's part, from its turn to its end; whatever goes wrong stays with it."""
        member = errand.member
        adopts = member.action == "adopt" and not errand.under_way
        async with self.window.turn(at_once=errand.waits_long, adopts=adopts, under_way=errand.under_way) as turn:
            try:
                told = delivered(member, await self._made(errand, turn))
            except B2iError as error:
                told = failed(member, error)
            except Exception as error:  # the others go on; our own mistake is told like any other
                log.debug("unexpected", exc_info=error)
                mistake = B2iError(f"b2i itself made a mistake ({type(error).__name__}: {error}).", code="b2i.unexpected")
                told = failed(member, mistake)
        try:
            told = await self._afterwards(errand, told, turn)
        finally:
            turn.leave()
        self._is_done(told.model_copy(update={"phases": (*errand.phases, *turn.phases)}))

    async def _made(self, errand: _Errand, turn: Turn) -> Delivery:
        left = self.deadline - self.ctx.clock.now()
        if left <= timedelta(0):
            raise NoPlace(self.deadline)
        order = image_order(self.policy, errand.backup, timeout=left)
        return await self.make(order, self.ctx.for_server(turn, self._lines_of(errand.member)), look=self.survey.look)

    async def _afterwards(self, errand: _Errand, told: ServerNight, turn: Turn) -> ServerNight:
        """The server has a good new image: it is verified if it is its turn, and then what no rule keeps any more goes."""
        drilled = errand.member.server_id in self._sample
        rolling = self.retirement if self.policy.retention.when == "rolling" else None
        if self.shared and told.outcome == "adopted":
            rolling = None  # each image that a shard makes lets one go; what else no rule keeps goes at the night's end
        if told.outcome not in {"made", "adopted"} or told.image_id is None or not (drilled or rolling):
            return told
        ctx = self.ctx.for_server(turn, self._lines_of(errand.member))
        try:
            image = await ctx.cloud.images.get(told.image_id)
            if drilled and self._verify and (told.doubtful is None or doubted_by_drill(image)):
                told = await self._verified(told, image, turn, partial(self._verify, image, ctx))
                image = await ctx.cloud.images.get(image.id)  # it carries the drill's mark now
            if rolling and told.outcome != "partly" and told.doubtful is None:
                told = await self._replaced(told, image, turn, rolling)
        except B2iError as error:
            return failed_after(told, error)
        return told

    async def _verified(
        self, told: ServerNight, image: Image, turn: Turn, drill: Callable[[], Awaitable[Verified]]
    ) -> ServerNight:
        async with self._drill_place(told.server_id):
            began = self.ctx.clock.now()
            verified = await drill()
            turn.note("verify", began, self.ctx.clock.now())
        if verified.left_behind:
            self.left.append(f"{told.server_name}: {verified.left_behind}")
        if verified.ok:
            return told.model_copy(update={"verified": verified, "doubtful": None})
        words = {"reason": f"the image is there, and its drill did not verify it: {verified.reason}", "code": "b2i.not-verified"}
        action = f"Look at what the probes said; `b2i launch {image.id} --spec FILE` launches it once more."
        return told.model_copy(update=words | {"outcome": "partly", "verified": verified, "action": action})

    async def _replaced(self, told: ServerNight, image: Image, turn: Turn, rolling: Retirement) -> ServerNight:
        began = self.ctx.clock.now()
        retired = await rolling.after(told.server_id, image, made=1 + self._count("made"))
        if retired.removals:
            turn.note("retire", began, self.ctx.clock.now())
        return told.model_copy(update={"retired": self._heard(retired)})

    async def retire_the_rest(self, retirement: Retirement) -> None:
        """At the night's end: images of servers that are gone or were not served tonight; all of them where it says so.

        A server whose night went wrong keeps what it has: who knows whether its new image is as good as the rules take it for.
        """
        bad = {one.server_id for one in self.done.values() if one.bad}
        try:
            made = self._count("made")
            plan = await retirement.plan(made=made)
            going = tuple(one for one in plan.delete if one.decision.server_id not in bad)
            self._heard(await retirement.apply(plan.model_copy(update={"delete": going}), made=made))
        except B2iError as error:
            self._note(error.message)

    def _heard(self, retired: Retired) -> tuple[str, ...]:
        """Keep what was deleted, and what could not be."""
        self.retired += retired.deleted
        for image_id in retired.deleted:
            self._notes.pop(image_id, None)
        for one in retired.failed:
            self._note(f"image {one.doomed.image_name} ({one.doomed.image_id}): {one.reason}", about=one.doomed.image_id)
        if retired.stopped:
            self._note(retired.stopped)
        return retired.deleted

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know although it stopped nothing."""
        return tuple(self._notes.values())

    def _note(self, words: str, *, about: str = "") -> None:
        """Tell it, and keep it for the report; of one thing the last word alone."""
        if self._notes.get(about or words) != words:
            self.ctx.tell(f"warning: {words}")
        self._notes[about or words] = words

    def _count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.done.values())

    def _lines_of(self, member: FleetMember) -> Callable[[str], None]:
        def tell(line: str) -> None:
            if line.startswith("warning:"):
                self.ctx.tell(f"warning: {member.server_name}: {line.removeprefix('warning:').strip()}")
            elif self.detail:
                self.detail(f"{member.server_name}: {line}")

        return tell

    def _is_done(self, one: ServerNight) -> None:
        self.done[one.server_id] = one
        if one.bad:
            self.ctx.tell(f"{one.server_name} {one.outcome}: {one.reason}" + (f" {one.action}" if one.action else ""))
        now, left = self.ctx.clock.now(), len(self.plan.members) - len(self.done)
        if now < self._told_at + _TELL_EVERY and left:
            return
        self._told_at = now
        counted = Counter(told.outcome for told in self.done.values())
        words = ", ".join(f"{counted[outcome]} {outcome}" for outcome in _WORDS if counted[outcome])
        going_on = f"; {self.window.at_work} images at work, {left} servers to go, {until(self.deadline)}" if left else ""
        self.ctx.tell(f"{self.policy.name}: {words}{going_on}")


_WORDS = ("made", "adopted", "skipped", "partly", "late", "failed")
