"""Shares that are over and still there: found, and ended."""

from __future__ import annotations

from backup_to_image.errors import NotFound
from backup_to_image.steps.context import Context
from backup_to_image.steps.sharing import expiry
from backup_to_image.steps.sharing.expiry import Expiry
from backup_to_image.steps.sharing.members import unshare_image
from backup_to_image.steps.sweep.candidate import PATIENCE, Candidate, Kept

__all__ = ["end_share", "shares_that_are_over"]


async def shares_that_are_over(ctx: Context) -> list[Candidate]:
    """Shares that are over and still there. The end was agreed when they were made, so they are known since then."""
    found: list[Candidate] = []
    for over in await expiry.due(ctx):
        try:
            members = {member.project_id for member in await ctx.cloud.images.members(over.image_id)}
        except NotFound:
            await expiry.forget(over.image_id, (over.project_id,), ctx)
            continue
        if over.project_id not in members:
            await expiry.forget(over.image_id, (over.project_id,), ctx)
        else:
            found.append(
                Candidate(
                    kind="share",
                    id=f"{over.image_id}/{over.project_id}",
                    name=over.image_name,
                    why=f"its share with {over.project_id} was to end on {over.ends_at:%Y-%m-%d %H:%M} UTC",
                    since=over.ends_at,
                    mark=f"share {over.image_id} {over.project_id}",
                    seen=over.ends_at,
                    share=over,
                )
            )
    return found


async def end_share(over: Expiry, ctx: Context) -> None:
    again = [one for one in await expiry.due(ctx) if (one.image_id, one.project_id) == (over.image_id, over.project_id)]
    if not again:
        raise Kept("its end has been put off")
    try:
        image = await ctx.cloud.images.get(over.image_id)
        await unshare_image(image, (over.project_id,), ctx, deadline=ctx.deadline(PATIENCE))
    except NotFound:
        pass  # with its image
    await expiry.forget(over.image_id, (over.project_id,), ctx)
