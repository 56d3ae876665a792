"""Accept what trusted projects offer, without anybody who looks: those that `accept_from` of b2i.yaml names, and no others.

For a recipient who lets this run every night. What nobody has answered yet is accepted; what somebody has rejected stays so.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Literal

from backup_to_image.errors import B2iError, Refused, StillRunning
from backup_to_image.model import Check, Report, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.failure import Failure
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.orders import OrderedAnswer, cut_off_order
from backup_to_image.steps.sharing.offers import Answered, Offer, accept, list_offers
from backup_to_image.steps.sharing.vaults import Vaults

__all__ = ["AcceptedOffer", "AcceptedOffers", "Result", "accept_offers", "look_for_offers"]

_PAGE = "docs/configuration.md"
_AT_ONCE = 4
"""Each is copied into a vault, for minutes, and asks the cloud little meanwhile."""
_HOUR = timedelta(hours=1)

Result = Literal["made", "adopted", "partly", "refused", "failed", "still_running", "not_listed"]


class AcceptedOffer(Value):
    """One offer, and what this run has done with it."""

    offer: Offer
    result: Result | None = None
    """not_listed: its sender is not on the list, so that it was left unanswered. None: it had an answer, and was left alone."""
    answered: Answered | None = None
    failure: Failure | None = None
    why: str = ""
    """Why it was left as it is."""
    action: str = ""


class AcceptedOffers(Value):
    """Everything that is offered, each with its own outcome."""

    offers: tuple[AcceptedOffer, ...]

    @property
    def wanted(self) -> tuple[AcceptedOffer, ...]:
        """Those that were to be accepted now."""
        return tuple(one for one in self.offers if one.result not in {None, "not_listed"})

    @property
    def outcome(self) -> Literal["made", "adopted", "partly", "refused", "failed", "still_running"]:
        """adopted: nothing was left to accept. Where none was accepted: what holds of them, the most hopeful first."""
        results = {one.result for one in self.wanted}
        if results <= {"made", "adopted"}:
            return "made" if "made" in results else "adopted"
        if results & {"made", "adopted", "partly"}:
            return "partly"
        return "still_running" if "still_running" in results else "failed" if "failed" in results else "refused"


async def accept_offers(
    ctx: Context, *, vault: str | None = None, despite_size: bool = False, patience: timedelta = _HOUR
) -> AcceptedOffers:
    """Accept and prove every unanswered offer of the senders on the list, several at a time; each ends for itself.

    A vault that this run has put something into counts with less room for the next. What others offer is told and left
    unanswered. Safe to repeat: what is accepted is left alone, what was cut off is gone on with, what somebody has rejected stays
    rejected. Raises Refused where the list is empty, CloudError where the offers cannot be read.
    """
    offers = await list_offers(ctx)
    if not ctx.settings.senders:
        raise Refused(_nobody_on_the_list(offers, ctx))
    deadline, gate, vaults = ctx.deadline(patience), asyncio.Semaphore(_AT_ONCE), Vaults(ctx)

    async def one(offer: Offer) -> AcceptedOffer:
        async with gate:
            left = await _left_alone(offer, ctx)
            return left or await _accept(offer, ctx, vaults, vault=vault, despite_size=despite_size, deadline=deadline)

    return AcceptedOffers(offers=tuple(await asyncio.gather(*(one(offer) for offer in offers))))


async def look_for_offers(ctx: Context) -> Leftovers:
    """How the offers of the senders on the list stand at this moment, for whoever has stopped a command. Raises CloudError."""
    things = tuple(
        Leftover(kind="member", id=offer.image.id, name=offer.image.name, status=offer.state)
        for offer in await list_offers(ctx)
        if offer.image.owner.lower() in ctx.settings.senders
    )
    return Leftovers(things=things, seen_at=ctx.clock.now())


async def _left_alone(offer: Offer, ctx: Context) -> AcceptedOffer | None:
    """What is not accepted here; None for what is, also where an earlier run was cut off at it."""
    if offer.image.owner.lower() not in ctx.settings.senders:
        if offer.state != "pending":
            return AcceptedOffer(offer=offer, why=f"it is {offer.state}")
        why = f"its sender {offer.image.owner} is not on the list"
        ctx.tell(f"{offer.image.name} ({offer.image.id}): {why}; it is left unanswered")
        return AcceptedOffer(offer=offer, result="not_listed", why=why, action=_line(offer.image.owner, ctx))
    try:
        before = await cut_off_order(OrderedAnswer.name_of(offer.image.id), ctx)
    except B2iError as error:
        return _failed(offer, error)
    said = before.ordered.answer if before and isinstance(before.ordered, OrderedAnswer) else None
    if said == "rejected" and offer.state != "rejected":
        why, action = "somebody has rejected it, which the cloud has not heard yet", "`b2i reconcile` tells it."
        return AcceptedOffer(offer=offer, why=why, action=action)
    if offer.state == "rejected" or (offer.state == "accepted" and said is None):
        return AcceptedOffer(offer=offer, why=f"it is {offer.state}")
    return None


async def _accept(
    offer: Offer, ctx: Context, vaults: Vaults, *, vault: str | None, despite_size: bool, deadline: datetime
) -> AcceptedOffer:
    left = deadline - ctx.clock.now()
    if left <= timedelta(0):
        late = StillRunning(f"Accepting {offer.image.name}", last_seen="not asked for yet", deadline=deadline)
        return AcceptedOffer(offer=offer, result="still_running", failure=Failure.of(late))
    try:
        answered = await accept(offer, ctx, vault=vault, despite_size=despite_size, vaults=vaults, patience=left)
    except StillRunning as late:
        return AcceptedOffer(offer=offer, result="still_running", failure=Failure.of(late))
    except B2iError as error:
        vaults.give_back(offer.image.id)
        return _failed(offer, error)
    return AcceptedOffer(offer=offer, result=answered.outcome, answered=answered)


def _failed(offer: Offer, error: B2iError) -> AcceptedOffer:
    result: Result = "refused" if isinstance(error, Refused) else "failed"
    return AcceptedOffer(offer=offer, result=result, failure=Failure.of(error))


def _line(sender: str, ctx: Context) -> str:
    name = ctx.settings.alias_of(sender) or sender
    listed = ", ".join((*ctx.settings.accept_from, name))
    return f"If what it offers may be taken unasked: `accept_from: [{listed}]` in {ctx.settings.file or 'b2i.yaml'}."


def _nobody_on_the_list(offers: tuple[Offer, ...], ctx: Context) -> Report:
    senders = dict.fromkeys(offer.image.owner for offer in offers if offer.state == "pending")
    names = ", ".join(ctx.settings.alias_of(sender) or sender for sender in senders)
    waiting = f"; unanswered are offers of {names}" if names else ""
    check = Check(
        rule="senders",
        verdict="refused",
        why=f"b2i.yaml names nobody whose offers are taken unasked{waiting}",
        action=f"Add those whom you trust to {ctx.settings.file or 'b2i.yaml'}: `accept_from: [{names or 'ALIAS_OR_ID'}]`.",
        code="b2i.not-allowed",
        page=_PAGE,
    )
    return Report(subject="accepting what is offered", checks=(check,))
