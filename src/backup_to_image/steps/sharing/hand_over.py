"""The handshake of a share, for whoever has the log-ins of both sides: share, accept, prove. `b2i sweep` ends what has an end.

Every step adopts what is there, whoever did it. The owner's journal keeps the order until it has ended; the answer inside it is
the recipient's own order. Cut off, the same command goes on; `b2i reconcile` of either side finishes its own half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal, Protocol

from backup_to_image.errors import B2iError, CloudError, NotFound, Refused, StillRunning
from backup_to_image.model import Backup, Check, Image, LaunchOrder, Report, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.failure import Failure
from backup_to_image.steps.findings import Findings
from backup_to_image.steps.launching.plan import plan_for_backup, plan_launch
from backup_to_image.steps.orders import OrderedAnswer, OrderedHandOver, cut_off_order, ordered
from backup_to_image.steps.sharing.members import members_refused, offer_image
from backup_to_image.steps.sharing.offers import Answered, Offer, accept
from backup_to_image.steps.sharing.owner import CheckedShare, Shares, check_share, look_at_shares, membership
from backup_to_image.steps.sharing.vaults import Room, Vaults
from backup_to_image.waiting import IMAGE_JOB, Pace, passes, quiet, wait

__all__ = ["HandedOver", "hand_over"]

_REGIONS = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"
_PACE = Pace((3.0,))
_HOUR = timedelta(hours=1)


class Share(Protocol):
    """What `offer_image` does."""

    async def __call__(
        self,
        image: Image,
        projects: tuple[str, ...],
        ctx: Context,
        *,
        deadline: datetime,
        share_for: timedelta | None,
        there: Collection[str],
    ) -> dict[str, CloudError]: ...


class Take(Protocol):
    """What `accept` does."""

    async def __call__(
        self,
        offer: Offer,
        ctx: Context,
        *,
        vault: str | None,
        despite_size: bool,
        launch: LaunchOrder | None,
        room: Room | None,
        patience: timedelta,
    ) -> Answered: ...


class HandedOver(Value):
    """What came of handing an image over, seen from both sides."""

    shares: Shares
    """As its owner sees it."""
    recipient: str
    answered: Answered | None = None
    """As the recipient sees it; None where it is shared and not accepted."""
    failure: Failure | None = None
    """Why it is not accepted."""
    report: Report

    @property
    def outcome(self) -> Literal["made", "adopted", "partly"]:
        """partly: shared and not accepted, or accepted and something speaks against using it."""
        if self.answered is None or self.answered.outcome == "partly":
            return "partly"
        both = {self.answered.outcome, self.shares.outcome}
        return "adopted" if both == {"adopted"} else "made"


async def hand_over(
    image: Image,
    owner: Context,
    recipient: Context,
    *,
    vault: str | None = None,
    despite_size: bool = False,
    share_for: timedelta | None = None,
    launch: LaunchOrder | None = None,
    patience: timedelta = _HOUR,
    to: str = "",
    share: Share = offer_image,
    take: Take = accept,
) -> HandedOver:
    """Share the owner's image with the recipient's project, accept it there, and prove it as the recipient.

    `to` is how the recipient's log-in is called, for the command that goes on; `share` and `take` do the two steps. Safe to
    repeat, also where either side was done by hand; what the recipient had rejected is accepted anew. Raises Refused with every
    reason of both sides before anything is shared; the cloud's reason where it was not shared; StillRunning at the deadline. What
    goes wrong once it is shared is told in the value.
    """
    checked, report = await _checked(image, owner, recipient, vault=vault, despite_size=despite_size, launch=launch)
    if not report.ok:
        raise Refused(report)
    project = recipient.project_id
    wanted = OrderedHandOver(image_id=image.id, image_name=image.name, recipient=project, share_for=share_for, to=to)
    async with ordered(wanted, owner, patience=patience) as deadline:
        there = checked.members
        refused = await share(image, (project,), owner, deadline=deadline, share_for=share_for, there=there)
        members_refused(refused)
        answered, failure = None, None
        try:
            offer = await _await_offer(image, recipient, deadline)
            if offer.state == "rejected":
                recipient.tell(f"{project} had rejected {image.name}; it is accepted anew, as ordered")
            answered = await take(
                offer,
                recipient,
                vault=vault,
                despite_size=despite_size,
                launch=launch,
                room=_room(image, checked.backup),
                patience=deadline - owner.clock.now(),
            )
        except StillRunning:
            raise
        except B2iError as error:
            failure = Failure.of(error)
    became = {project: membership(project, None, owner, so_before=project in there)}
    shares = await look_at_shares(image, owner, became)
    return HandedOver(shares=shares, recipient=project, answered=answered, failure=failure, report=report)


async def _checked(
    image: Image,
    owner: Context,
    recipient: Context,
    *,
    vault: str | None,
    despite_size: bool,
    launch: LaunchOrder | None,
) -> tuple[CheckedShare, Report]:
    """Every reason on both sides, as far as it can be known before the recipient has the image."""
    project = recipient.project_id
    checked, state, begun = await asyncio.gather(
        check_share(image, (project,), owner), _state(image, owner, project), _begun(image, recipient)
    )
    apart = _regions(owner, recipient)
    checks = [*checked.report.checks, *apart]
    if state == "rejected":
        why = f"{project} has rejected it before; it is accepted anew, as ordered"
        checks.append(Check(rule="answer", verdict="warned", why=why))
    to_come = state != "accepted" and not apart
    if to_come and not begun and image.backup_id:
        room = _room(image, checked.backup) or Room(gb=image.min_disk_gb, all_disks=False)
        chosen = await Vaults(recipient).choose(image.id, room, named=vault, despite_size=despite_size)
        checks += chosen.checks
    if to_come and launch:
        checks += await _plan(image, checked.backup, launch, recipient)
    return checked, Report(subject=f"handing over {image.name} ({image.id})", checks=tuple(checks))


async def _state(image: Image, owner: Context, project: str) -> str | None:
    """pending, accepted or rejected; None where the recipient does not have it, or it is not the owner's to tell."""
    if image.owner != owner.project_id or project == owner.project_id:
        return None
    member = await quiet(owner.cloud.images.member(image.id, project))
    return member.status if member else None


async def _begun(image: Image, recipient: Context) -> bool:
    """Whether an earlier run was cut off when it had asked the cloud to accept it: then a vault was chosen already."""
    before = await cut_off_order(OrderedAnswer.name_of(image.id), recipient)
    if before is None or not isinstance(before.ordered, OrderedAnswer):
        return False
    return before.ordered.answer == "accepted" and before.record.job_id is not None


def _regions(owner: Context, recipient: Context) -> tuple[Check, ...]:
    here, there = owner.cloud.region, recipient.cloud.region
    if here is None or there is None or here == there:
        return ()
    why = f"the image is in {here} and the recipient in {there}; images are shared within one region"
    action = "Copy the backup to the other region, and make an image of the copy there."
    return (Check(rule="same region", verdict="refused", why=why, action=action, code="IMG.0108", page=_REGIONS),)


async def _plan(image: Image, backup: Backup | None, launch: LaunchOrder, recipient: Context) -> tuple[Check, ...]:
    """What speaks against the launch in the recipient's project, which needs no image; the disks are those the owner sees."""
    if backup:
        plan = await plan_for_backup(launch, Findings(backup=backup, image=image), recipient)
    else:
        plan = await plan_launch(launch, image, recipient)
    return plan.checks


def _room(image: Image, backup: Backup | None) -> Room | None:
    """What it takes in a vault: its owner sees all its disks."""
    if image.backup_id is None or backup is None or not backup.disks:
        return None
    return Room(gb=sum(disk.size_gb for disk in backup.disks), all_disks=True)


async def _await_offer(image: Image, recipient: Context, deadline: datetime) -> Offer:
    """The offer as the recipient sees it, which may be a while after the owner does. Raises StillRunning at the deadline."""

    async def seen() -> Offer | None:
        try:
            offered = await recipient.cloud.images.get(image.id)
            member = await recipient.cloud.images.member(image.id, recipient.project_id)
        except NotFound:
            return None
        except CloudError as error:
            if not passes(error):
                raise
            return None
        return Offer(image=offered, state=member.status, offered_at=member.created_at)

    offer, _ = await wait(
        seen,
        state=lambda _: "SUCCESS",
        states=IMAGE_JOB,
        what=f"The offer of {image.name} to {recipient.project_id}",
        deadline=deadline,
        pace=_PACE,
        clock=recipient.clock,
        handle={"image": image.id},
    )
    return offer
