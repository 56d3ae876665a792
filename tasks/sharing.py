"""Tasks of both sides of sharing. Each looks for its own result first, so each may run again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from prefect import task

from backup_to_image.errors import CloudError
from backup_to_image.forms import AcceptOffersForm, RejectForm, ShareForm, UnshareForm
from backup_to_image.model import Image, LaunchOrder
from backup_to_image.steps.context import Context
from backup_to_image.steps.sharing import accept_offers, offers
from backup_to_image.steps.sharing import owner as sharing
from backup_to_image.steps.sharing.accept_offers import AcceptedOffers
from backup_to_image.steps.sharing.members import offer_image
from backup_to_image.steps.sharing.offers import Answered, Offer
from backup_to_image.steps.sharing.owner import Shares
from backup_to_image.steps.sharing.vaults import Room
from tasks.events import image_shared, image_taken_back, offer_answered
from tasks.policy import RETRY

__all__ = [
    "accept_offer",
    "accept_trusted",
    "find_image_to_share",
    "find_image_to_unshare",
    "find_offer",
    "list_members",
    "list_offers",
    "offer_to",
    "reject_offer",
    "share_with",
    "unshare_from",
]


@task(name="find image", task_run_name="find image {image}", **RETRY)
async def find_image_to_share(image: str, projects: tuple[str, ...], ctx: Context) -> Image:
    """The image of that id or unique name. Raises Refused, with what is wrong with the projects too."""
    return await sharing.find_image_to_share(image, projects, ctx)


@task(name="find image", task_run_name="find image {image}", **RETRY)
async def find_image_to_unshare(image: str, projects: tuple[str, ...], ctx: Context) -> Image:
    """The same where it is taken back."""
    return await sharing.find_image_to_unshare(image, projects, ctx)


@task(name="list members", task_run_name="list members of {image.name}", **RETRY)
async def list_members(image: Image, ctx: Context) -> Shares:
    """Whom the image is shared with, each with its end."""
    return await sharing.look_at_shares(image, ctx)


@task(name="share with", task_run_name="share {image.name}", **RETRY)
async def share_with(image: Image, order: ShareForm, ctx: Context) -> Shares:
    """Share the image and prove it by the member list. Who has it already is left alone."""
    projects = tuple(order.projects)
    shares = await sharing.share(image, projects, ctx, share_for=order.ends_after(), patience=order.patience)
    have = tuple(member.project_id for member in shares.members if member.result in {"made", "adopted"})
    if have:
        image_shared(image, have)
    return shares


@task(name="unshare from", task_run_name="take back {image.name}", **RETRY)
async def unshare_from(image: Image, order: UnshareForm, ctx: Context) -> Shares:
    """End the shares and prove it by the member list."""
    shares = await sharing.unshare(image, tuple(order.projects), ctx, patience=order.patience)
    gone = tuple(member.project_id for member in shares.members if member.result in {"made", "adopted"})
    if gone:
        image_taken_back(image, gone)
    return shares


@task(name="list offers", task_run_name="list offers", **RETRY)
async def list_offers(ctx: Context) -> tuple[Offer, ...]:
    """Everything that others have shared with this project."""
    return await offers.list_offers(ctx)


@task(name="find offer", task_run_name="find offer {image}", **RETRY)
async def find_offer(image: str, ctx: Context) -> Offer:
    """The offer of that image. Raises Refused where there is none."""
    return await offers.find_offer(image, ctx)


@task(name="accept offer", task_run_name="accept {offer.image.name}", **RETRY)
async def accept_offer(
    offer: Offer,
    ctx: Context,
    *,
    vault: str | None,
    despite_size: bool,
    launch: LaunchOrder | None,
    room: Room | None = None,
    patience: timedelta,
) -> Answered:
    """Take the image into a vault of this project, and prove as its recipient that it is there and could be launched."""
    answered = await offers.accept(
        offer, ctx, vault=vault, despite_size=despite_size, launch=launch, room=room, patience=patience
    )
    offer_answered(answered)
    return answered


@task(name="accept offers", task_run_name="accept offers", **RETRY)
async def accept_trusted(order: AcceptOffersForm, ctx: Context) -> AcceptedOffers:
    """Take what the senders on the list offer; each offer ends for itself."""
    done = await accept_offers.accept_offers(ctx, vault=order.into, despite_size=order.despite_size, patience=order.patience)
    for one in done.wanted:
        if one.answered:
            offer_answered(one.answered)
    return done


@task(name="offer image", task_run_name="offer {image.name}", **RETRY)
async def offer_to(
    image: Image,
    projects: tuple[str, ...],
    ctx: Context,
    *,
    deadline: datetime,
    share_for: timedelta | None,
    there: Collection[str],
) -> dict[str, CloudError]:
    """Share the image until the projects are members; returns whom the cloud refused, with its reason."""
    refused = await offer_image(image, projects, ctx, deadline=deadline, share_for=share_for, there=there)
    if have := tuple(project for project in projects if project not in refused):
        image_shared(image, have)
    return refused


@task(name="reject offer", task_run_name="reject {offer.image.name}", **RETRY)
async def reject_offer(offer: Offer, order: RejectForm, ctx: Context) -> Answered:
    """Turn the image down, also one that was accepted before."""
    answered = await offers.reject(offer, ctx, patience=order.patience)
    offer_answered(answered)
    return answered
