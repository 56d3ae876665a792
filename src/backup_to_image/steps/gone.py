"""Whether something that was deleted is gone: the grant of a deletion comes in any case and proves nothing."""

from __future__ import annotations

from contextlib import suppress

from backup_to_image.errors import NotFound
from backup_to_image.steps.context import Context

__all__ = ["image_is_gone"]


async def image_is_gone(image_id: str, ctx: Context) -> bool:
    """Whether neither its id nor the list knows it. Raises CloudError."""
    with suppress(NotFound):
        if (await ctx.cloud.images.get(image_id)).status != "deleted":
            return False
    listed = [one async for one in ctx.cloud.images.list(ids=[image_id], owner=ctx.project_id)]
    return not any(one.id == image_id and one.status != "deleted" for one in listed)
