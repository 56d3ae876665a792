"""Tasks of both sides of sharing. Each looks for its own result first, so each may run again."""

from __future__ import annotations

from prefect import task

from backup_to_image.forms import AcceptForm, RejectForm, ShareForm, UnshareForm
from backup_to_image.model import Image
from backup_to_image.steps import offers, sharing
from backup_to_image.steps.context import Context
from backup_to_image.steps.offers import Answered, Offer
from backup_to_image.steps.sharing import Shares
from tasks.events import image_shared, image_taken_back, offer_answered
from tasks.policy import RETRY

__all__ = [
    "accept_offer",
    "find_image_to_share",
    "find_image_to_unshare",
    "find_offer",
    "list_members",
    "list_offers",
    "reject_offer",
    "share_with",
    "unshare_from",
]


@task(name="find image", task_run_name="find image {order.image}", **RETRY)
async def find_image_to_share(order: ShareForm, ctx: Context) -> Image:
    """The image of that id or unique name. Raises Refused, with what is wrong with the projects too."""
    return await sharing.find_image_to_share(order.image, tuple(order.projects), ctx)


@task(name="find image", task_run_name="find image {order.image}", **RETRY)
async def find_image_to_unshare(order: UnshareForm, ctx: Context) -> Image:
    """The same where it is taken back."""
    return await sharing.find_image_to_unshare(order.image, tuple(order.projects), ctx)


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
async def accept_offer(offer: Offer, order: AcceptForm, ctx: Context) -> Answered:
    """Take the image into a vault of this project, and prove as its recipient that it is there."""
    answered = await offers.accept(
        offer, ctx, vault=order.vault.strip() or None, despite_size=order.despite_size, patience=order.patience
    )
    offer_answered(answered)
    return answered


@task(name="reject offer", task_run_name="reject {offer.image.name}", **RETRY)
async def reject_offer(offer: Offer, order: RejectForm, ctx: Context) -> Answered:
    """Turn the image down, also one that was accepted before."""
    answered = await offers.reject(offer, ctx, patience=order.patience)
    offer_answered(answered)
    return answered
