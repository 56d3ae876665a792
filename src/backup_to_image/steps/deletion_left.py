"""What a run that was stopped has deleted: asked of the cloud afterwards, since nobody of that run is left to say it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from backup_to_image.errors import CloudError
from backup_to_image.steps.context import Context
from backup_to_image.steps.gone import image_is_gone
from backup_to_image.steps.retention.retire import RetirementPlan
from backup_to_image.steps.sweep import Removed, Sweeping, Swept, sweep

__all__ = ["as_first_seen", "due", "gone_images", "gone_since"]


def due(swept: Swept) -> tuple[Sweeping, ...]:
    """What may be removed now."""
    return tuple(one for one in swept.found if one.action == "due")


def as_first_seen(swept: Swept, looked: Swept) -> Swept:
    """A sweep right after a look of the same run, in which what that look saw for the first time is still new."""
    new = {(one.kind, one.id) for one in looked.found if one.action == "marked"}
    found = [
        one.model_copy(update={"action": "marked"}) if one.action == "waits" and (one.kind, one.id) in new else one
        for one in swept.found
    ]
    return swept.model_copy(update={"found": tuple(found)})


async def gone_since(looked: Swept, ctx: Context, *, grace: timedelta) -> Swept:
    """What of all that was due then is gone by now, and what there still is. Removes nothing. Raises JournalError."""
    now = await sweep(ctx, grace=grace)
    still = {(one.kind, one.id) for one in now.found}
    missing = [one for one in due(looked) if (one.kind, one.id) not in still]
    images = {one.id for one in missing if one.kind == "image"}
    gone = set(await _gone([one.id for one in missing if one.id in images], ctx))
    # What a list that could not be read does not show may be there.
    removed = [one for one in missing if (one.id in gone if one.id in images else not now.unread)]
    told = tuple(Removed(kind=one.kind, id=one.id, name=one.name, gb=one.gb) for one in removed)
    return now.model_copy(update={"removed": told})


async def gone_images(plan: RetirementPlan, ctx: Context) -> tuple[str, ...]:
    """The images of the plan that were to go and are gone. One that cannot be asked for now is not taken for gone."""
    return await _gone([one.decision.image_id for one in plan.delete], ctx)


async def _gone(image_ids: Sequence[str], ctx: Context) -> tuple[str, ...]:
    gone: list[str] = []
    for image_id in image_ids:
        try:
            gone += [image_id] if await image_is_gone(image_id, ctx) else []
        except CloudError as error:
            ctx.tell(f"image {image_id} cannot be looked at: {error.message}")
    return tuple(gone)
