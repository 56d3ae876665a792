"""What a launched server's answers prove of its image: marked as verified where every probe answered, with the date."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

from backup_to_image.errors import CloudError, NotFound
from backup_to_image.model import Image, LaunchDelivery, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.names import DOUBTFUL_TAG, SOURCE_TAG, VERIFIED_TAG, doubt_of_drill, doubted_by_drill

__all__ = ["Proof", "doubt", "prove", "with_proof"]


class Proof(Value):
    """What a launch says of its image."""

    answered: bool
    """Every server is there as ordered, and every probe answered."""
    marked: bool = False
    ours: bool = True
    """Whether the image may be marked by us at all."""
    why: str = ""
    """Why it is not marked, in a sentence without a full stop; empty where it is."""


async def prove(delivery: LaunchDelivery, image: Image, day: date, ctx: Context) -> Proof:
    """Mark the image as verified if every probe of its servers answered. Safe to repeat; never raises what the cloud says.

    A drill's doubt is taken back; one for another reason stays, and so does an image that somebody else has made or owns.
    """
    if unproven := _unproven(delivery):
        return Proof(answered=False, why=unproven)
    if SOURCE_TAG not in image.tags or image.owner != ctx.project_id:
        return Proof(answered=True, ours=False, why="it answers every probe; it was made by somebody else, so it is not marked")
    try:
        stays = await _mark(image.id, day, ctx)
    except CloudError as error:
        return Proof(answered=True, why=f"it answers every probe, and could not be marked as verified: {error.message}")
    return Proof(answered=True, marked=not stays, why=stays)


def _unproven(delivery: LaunchDelivery) -> str:
    if silent := [f"{one.probe}: {one.answer}" for one in delivery.probes if not one.ok]:
        return f"its server does not answer every probe ({'; '.join(silent)})"
    if wrong := [one.answer for one in delivery.disks if one.ok is False]:
        return f"its disks are not as they should be: {'; '.join(dict.fromkeys(wrong))}"
    if delivery.outcome == "partly":
        return "not all that was ordered is there"
    return "" if delivery.probed else "not probed: its server is ACTIVE, and the launch order asks for no probes"


async def _mark(image_id: str, day: date, ctx: Context) -> str:
    """Set the mark, and take a drill's doubt back; else the reason why the image stays as it is."""
    image = await ctx.cloud.images.get(image_id)  # another run, or this one, may have doubted it since it was read
    if DOUBTFUL_TAG in image.tags:
        if not doubted_by_drill(image):
            return "it answers every probe, and stays doubtful: its source server was started while it was made"
        with suppress(NotFound):
            await ctx.cloud.images.remove_tag(image.id, DOUBTFUL_TAG)
    await ctx.cloud.images.set_tag(image.id, VERIFIED_TAG, f"{day:%Y%m%d}")
    return ""


async def with_proof(delivery: LaunchDelivery, image: Image, ctx: Context) -> LaunchDelivery:
    """The delivery of a launch with what it proves of its image, marked today. A mark that cannot be set is no failure of it."""
    proof = await prove(delivery, image, ctx.clock.now().date(), ctx)
    told = "is marked as verified" if proof.marked else f"is not marked as verified: {proof.why}"
    if delivery.probed:
        ctx.tell(f"launch {delivery.launch_id}: image {image.name} {told}")
    return delivery.model_copy(update={"verified": proof.marked, "verified_why": proof.why})


async def doubt(image: Image, night: date, ctx: Context) -> str:
    """Mark the image as doubtful: it does not count as good until a drill of it is answered. What was marked before stays so.

    One that was verified once is not doubted: images do not change, so something else has.
    """
    if SOURCE_TAG not in image.tags or image.owner != ctx.project_id or {VERIFIED_TAG, DOUBTFUL_TAG} & set(image.tags):
        return ""
    try:
        await ctx.cloud.images.set_tag(image.id, DOUBTFUL_TAG, doubt_of_drill(night))
    except CloudError as error:
        return f"; it could not be marked as doubtful: {error.message.rstrip('.')}"
    return "; it is marked as doubtful until a drill of it is answered"
