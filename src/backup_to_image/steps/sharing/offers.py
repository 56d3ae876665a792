"""The recipient's side of sharing, with the recipient's own log-in: what is offered, and what is said to it.

The answer may be given as often as one likes, and changed: the later word counts, in the cloud as in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from backup_to_image.errors import ApiError, CloudError, ErrorClass, JobFailed, NoAnswer, NotFound, Refused
from backup_to_image.model import Check, Image, LaunchOrder, Member, Report, Value
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.launching.launchable import launchable, launchable_as
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.once import job_failed, pause_or_raise
from backup_to_image.steps.orders import OpenOrder, OrderedAnswer, close, cut_off_order, note_job, ordered
from backup_to_image.steps.sharing.checks import state_check
from backup_to_image.steps.sharing.owner import is_id
from backup_to_image.steps.sharing.vaults import Room, Vaults
from backup_to_image.waiting import IMAGE_JOB, Pace, passes, quiet, wait

__all__ = ["Answered", "Offer", "accept", "answer_offer", "find_offer", "follow_job", "list_offers", "look_for_answer", "reject"]

_PAGE = "IMS api-ref/source/ims_apis/image_sharing/updating_the_sharing_status_for_images.rst"
# The native road where the batch call is in trouble rather than against it.
_TROUBLE = {"IMG.0114", "IMG.0061", "IMG.0014", "IMG.0018"}
_CLEAR = {ErrorClass.PERMANENT, ErrorClass.CONFIGURE}
_STATES: tuple[Literal["pending", "accepted", "rejected"], ...] = ("pending", "accepted", "rejected")
_PACE = Pace((3.0,))
_HOUR = timedelta(hours=1)

Answer = Literal["accepted", "rejected"]


class Offer(Value):
    """An image that another project has shared with this one."""

    image: Image
    state: str
    """pending (nobody has answered), accepted or rejected."""
    offered_at: AwareDatetime | None = None


class Answered(Value):
    """What came of an answer, seen as the recipient sees it."""

    image: Image
    state: str
    adopted: bool
    """Whether it had been answered so before."""
    vault_id: str | None = None
    """Where this command has put it; the cloud does not tell where an earlier one did."""
    job_id: str | None = None
    proof: tuple[Check, ...] = ()
    report: Report | None = None

    @property
    def outcome(self) -> Literal["made", "adopted", "partly"]:
        """partly: accepted, and something speaks against using it."""
        if any(check.verdict == "refused" for check in self.proof):
            return "partly"
        return "adopted" if self.adopted else "made"


async def list_offers(ctx: Context, *, name: str | None = None) -> tuple[Offer, ...]:
    """Everything that others have shared with this project: unanswered offers first, then by date. Raises CloudError."""
    found: list[Offer] = []
    for state in _STATES:
        listed = [
            image
            async for image in ctx.cloud.images.list(visibility="shared", member_status=state, name=name)
            if image.owner != ctx.project_id
        ]
        members = await asyncio.gather(*(quiet(ctx.cloud.images.member(image.id, ctx.project_id)) for image in listed))
        found += [_offer(image, member, state) for image, member in zip(listed, members, strict=True)]
    by_id = {offer.image.id: offer for offer in found}  # one that was answered while we read stands on two lists
    return tuple(sorted(by_id.values(), key=lambda one: (_rank(one), _seconds(one), one.image.id)))


async def find_offer(reference: str, ctx: Context) -> Offer:
    """The offer of that image: by its id, or by a name that only one offered image has. Raises Refused where there is none."""
    if is_id(reference):
        try:
            image = await ctx.cloud.images.get(reference.lower())
            if image.owner == ctx.project_id:
                why, action = "it is this project's own image", "There is nothing to accept: use it."
                raise Refused(_missing(reference, why, action=action))
            return _offer(image, await ctx.cloud.images.member(image.id, ctx.project_id), "pending")
        except NotFound as error:
            said = f"{error.cloud_code or error.status}: {error.words}"
            why = f"no image {reference!r} is shared with this project, or not any more ({said})"
            raise Refused(_missing(reference, why, code=error.cloud_code or "")) from None
    named = await list_offers(ctx, name=reference) if 0 < len(reference) <= 128 else ()
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(offer.image.id for offer in named)
        raise Refused(_missing(reference, f"{len(named)} offered images are called so", action=f"Name the id instead: {ids}."))
    raise Refused(_missing(reference, f"no image called {reference[:40]!r} is shared with this project"))


async def accept(
    offer: Offer,
    ctx: Context,
    *,
    vault: str | None = None,
    despite_size: bool = False,
    launch: LaunchOrder | None = None,
    room: Room | None = None,
    vaults: Vaults | None = None,
    patience: timedelta = _HOUR,
) -> Answered:
    """Accept an offered image into a vault of this project, and prove as its recipient that it is there and could be launched.

    `vault` is an id or a name; without it the emptiest that fits is taken. `launch` is an order whose plan becomes part of the
    proof. `room` is what the image takes, where somebody knows it who sees more than its recipient; `vaults` are those of this
    project where several offers are accepted at a time. Safe to repeat: what is accepted stays so. Raises Refused with every
    reason against every vault before anything is asked for; the cloud's reason; StillRunning at the deadline.
    """
    before = await cut_off_order(OrderedAnswer.name_of(offer.image.id), ctx)
    begun_in: str | None = None
    if before and isinstance(before.ordered, OrderedAnswer):
        offer = await follow_job(offer, before, ctx, deadline=ctx.deadline(patience))
        begun_in = before.ordered.vault_id
    if offer.state == "accepted":
        if before:
            await close(before.record, ctx)
        return await answer_offer(offer, "accepted", None, ctx, deadline=ctx.deadline(patience), launch=launch)
    checks, vault_id = [state_check(offer.image)], None
    if offer.image.backup_id:
        room = room or await _needed(offer.image, ctx)
        vaults = vaults or Vaults(ctx)
        chosen = await vaults.choose(offer.image.id, room, named=vault, rather=begun_in, despite_size=despite_size)
        checks += chosen.checks
        vault_id = chosen.vault.id if chosen.vault else None
        if chosen.vault:
            ctx.tell(f"vault {chosen.vault.name}: {chosen.why}")
    report = Report(subject=f"accepting {offer.image.name} ({offer.image.id})", checks=tuple(checks))
    if not report.ok:
        raise Refused(report)
    wanted = OrderedAnswer(image_id=offer.image.id, image_name=offer.image.name, answer="accepted", vault_id=vault_id)
    async with ordered(wanted, ctx, patience=patience) as deadline:
        done = await answer_offer(offer, "accepted", vault_id, ctx, deadline=deadline, launch=launch)
    return done.model_copy(update={"report": report})


async def reject(offer: Offer, ctx: Context, *, patience: timedelta = timedelta(minutes=10)) -> Answered:
    """Reject an offered image, also one that was accepted before; it may be accepted again while it is offered.

    Safe to repeat. Raises the cloud's reason; StillRunning at the deadline.
    """
    before = await cut_off_order(OrderedAnswer.name_of(offer.image.id), ctx)
    if before:
        offer = await follow_job(offer, before, ctx, deadline=ctx.deadline(patience))
    wanted = OrderedAnswer(image_id=offer.image.id, image_name=offer.image.name, answer="rejected")
    async with ordered(wanted, ctx, patience=patience) as deadline:
        return await answer_offer(offer, "rejected", None, ctx, deadline=deadline)


async def follow_job(offer: Offer, order: OpenOrder, ctx: Context, *, deadline: datetime) -> Offer:
    """The offer, once the job has ended that an earlier run was given for its order; as it is where it had none.

    Also before something else is said: what is at work in the cloud would have the last word.
    """
    job_id = order.record.job_id
    if isinstance(order.ordered, OrderedAnswer) and offer.state != order.ordered.answer and job_id:
        with contextlib.suppress(ApiError, JobFailed):  # what became of it, asking again tells
            await _await_job(job_id, offer.image, f"The answer to the offer of {offer.image.name}", ctx, deadline)
        member = await quiet(ctx.cloud.images.member(offer.image.id, ctx.project_id))
        return _offer(offer.image, member, offer.state)
    return offer


async def answer_offer(
    offer: Offer,
    answer: Answer,
    vault_id: str | None,
    ctx: Context,
    *,
    deadline: datetime,
    launch: LaunchOrder | None = None,
) -> Answered:
    """Say it, unless it is said, and prove it. Raises the cloud's reason, StillRunning at the deadline."""
    image, adopted, job_id = offer.image, offer.state == answer, None
    if not adopted:
        job_id = await _Answering(image, answer, vault_id, ctx, deadline).bring_about()
    proof = await _prove(image, answer, ctx, deadline, launch)
    seen = await quiet(ctx.cloud.images.get(image.id)) or image
    taken = vault_id if answer == "accepted" and not adopted else None
    return Answered(image=seen, state=answer, adopted=adopted, vault_id=taken, job_id=job_id, proof=proof)


async def look_for_answer(image: Image, ctx: Context) -> Leftovers:
    """How it stands with an offer at this moment, for whoever has stopped a command. Raises CloudError."""
    member = await ctx.cloud.images.member(image.id, ctx.project_id)
    things = (
        Leftover(kind="image", id=image.id, name=image.name, status=image.status),
        Leftover(kind="member", id=member.project_id, status=member.status),
    )
    return Leftovers(things=things, seen_at=ctx.clock.now())


@dataclass
class _Answering:
    """One answer to one offer, by the batch call, and by the native one where that is in trouble."""

    image: Image
    answer: Answer
    vault_id: str | None
    ctx: Context
    deadline: datetime
    _alone_at_once: bool = True
    """Whether the native call may be sent at once where the answer does not show: not while a lost request may be at work."""

    @property
    def what(self) -> str:
        return f"{'Accepting' if self.answer == 'accepted' else 'Rejecting'} {self.image.name}"

    async def bring_about(self) -> str | None:
        """Returns the job that did it, where it is known."""
        refusal: CloudError | None = None
        job_id: str | None = None
        try:
            job_id = await self._ask()
            if job_id:
                await _await_job(job_id, self.image, self.what, self.ctx, self.deadline)
        except (ApiError, JobFailed) as error:
            if error.cloud_code in _TROUBLE:
                self.ctx.tell(f"{self.what}: {error.code}: the batch call is in trouble; asking by the native one")
            else:
                refusal = error
        await self._await_answer(refusal)
        return job_id

    async def _ask(self) -> str | None:
        """By the batch call; None where no answer came."""
        into = f" into vault {self.vault_id}" if self.vault_id else ""
        self.ctx.tell(f"{self.what}{into} {until(self.deadline)}")
        while True:
            try:
                job_id = await self.ctx.cloud.images.set_member([self.image.id], self.answer, vault_id=self.vault_id)
            except NoAnswer as silence:
                self._alone_at_once = not silence.sent
                self.ctx.tell(f"{self.what}: no answer to the request; looking what became of it")
                return None
            except ApiError as refusal:
                if refusal.error_class is not ErrorClass.WAIT:
                    raise
                await pause_or_raise(refusal, self.ctx, self.deadline)
            else:
                await note_job(OrderedAnswer.name_of(self.image.id), job_id, self.ctx)
                return job_id

    async def _await_answer(self, refusal: CloudError | None) -> None:
        """Look until the cloud has the answer. Where it does not come, ask once more by the native call, and hear its reason."""
        began = self.ctx.clock.now()
        patience = self.ctx.settings.settle.image
        alone = refusal is not None
        heard_at = began

        async def done() -> bool | None:
            nonlocal refusal, alone, heard_at
            try:
                member = await self.ctx.cloud.images.member(self.image.id, self.ctx.project_id)
            except CloudError as error:
                if not passes(error):
                    raise
                return None
            if member.status == self.answer:
                return True
            now = self.ctx.clock.now()
            if refusal is not None and (_is_clear(refusal) or now - heard_at >= patience):
                raise refusal
            if not alone and (self._alone_at_once or now - began >= patience):
                alone = True
                try:
                    await self.ctx.cloud.images.set_member_one(self.image.id, self.answer, vault_id=self.vault_id)
                except CloudError as error:
                    refusal, heard_at = error, now
                    if isinstance(error, ApiError) and error.error_class is ErrorClass.WAIT:
                        refusal, alone = None, False
                        self.ctx.tell(f"{error.code}: {error.words}; asking again, {until(self.deadline)}")
            return None

        await wait(
            done,
            state=lambda _: "SUCCESS",
            states=IMAGE_JOB,
            what=self.what,
            deadline=self.deadline,
            pace=_PACE,
            clock=self.ctx.clock,
            handle={"image": self.image.id},
        )


async def _await_job(job_id: str, image: Image, what: str, ctx: Context, deadline: datetime) -> None:
    job, good = await wait(
        lambda: ctx.cloud.images.job(job_id),
        state=lambda seen: seen.status,
        states=IMAGE_JOB,
        what=what,
        deadline=deadline,
        pace=_PACE,
        clock=ctx.clock,
        handle={"job": job_id, "image": image.id},
    )
    if not good:
        raise job_failed(what, job)


def _is_clear(refusal: CloudError) -> bool:
    """Whether it proves that nothing comes of the request any more."""
    return isinstance(refusal, JobFailed) or (isinstance(refusal, ApiError) and refusal.error_class in _CLEAR)


async def _prove(image: Image, answer: Answer, ctx: Context, deadline: datetime, launch: LaunchOrder | None) -> tuple[Check, ...]:
    """Look as its recipient: what is accepted stands on the ordinary list and can be used; what is rejected is not there."""
    accepted = answer == "accepted"

    async def listed() -> bool | None:
        try:
            found = [one async for one in ctx.cloud.images.list(ids=[image.id])]
        except CloudError as error:
            if not passes(error):
                raise
            return None
        return True if bool(found) is accepted else None

    await wait(
        listed,
        state=lambda _: "SUCCESS",
        states=IMAGE_JOB,
        what=f"The list of images with {image.name} on it" if accepted else f"The list of images without {image.name}",
        deadline=deadline,
        pace=_PACE,
        clock=ctx.clock,
        handle={"image": image.id},
    )
    if not accepted:
        return (Check(rule="listed", verdict="passed", why="it is not on this project's list of images"),)
    found = Check(rule="listed", verdict="passed", why="it is on this project's list of images")
    seen = await ctx.cloud.images.get(image.id)
    usable, could = await asyncio.gather(_backup_usable(seen, ctx), _launchable(seen, ctx, deadline, launch))
    return (found, state_check(seen), *usable, *could)


async def _launchable(image: Image, ctx: Context, deadline: datetime, launch: LaunchOrder | None) -> tuple[Check, ...]:
    if image.status != "active":
        return ()  # which is refused already, and why a launch would be
    return await launchable_as(image, launch, ctx) if launch else (await launchable(image, ctx, deadline=deadline),)


async def _backup_usable(image: Image, ctx: Context) -> tuple[Check, ...]:
    """The backup that a launch reads: no page says whether a recipient sees it (BEHAVIOUR.md 14)."""
    if image.backup_id is None:
        return ()
    try:
        backup = await ctx.cloud.backups.get(image.backup_id)
    except CloudError as error:
        why = f"the backup behind it is not to be seen from this project ({error.code})"
        action = "The proof is a server: `b2i launch` with probes."
        return (Check(rule="backup behind it", verdict="unknowable", why=why, action=action),)
    fine = backup.status == "available"
    why = f"the backup behind it is {backup.status}"
    action = "" if fine else "Wait until it is available before you launch."
    return (Check(rule="backup behind it", verdict="passed" if fine else "warned", why=why, action=action),)


async def _needed(image: Image, ctx: Context) -> Room:
    """How much the image takes in a vault, at most: all its disks, where the backup shows them, or at least the system disk."""
    backup = await quiet(ctx.cloud.backups.get(image.backup_id)) if image.backup_id else None
    if backup and backup.disks:
        return Room(gb=sum(disk.size_gb for disk in backup.disks), all_disks=True)
    return Room(gb=image.min_disk_gb, all_disks=False)


def _offer(image: Image, member: Member | None, state: str) -> Offer:
    return Offer(image=image, state=member.status if member else state, offered_at=member.created_at if member else None)


def _rank(offer: Offer) -> int:
    return next((rank for rank, state in enumerate(_STATES) if state == offer.state), len(_STATES))


def _seconds(offer: Offer) -> float:
    return offer.offered_at.timestamp() if offer.offered_at else 0.0


def _missing(
    reference: str, why: str, *, action: str = "`b2i accept` lists what is offered, or ask its owner to share it.", code: str = ""
) -> Report:
    check = Check(rule="offered", verdict="refused", why=why, action=action, code=code, page=_PAGE)
    return Report(subject=f"image {reference}", checks=(check,))
