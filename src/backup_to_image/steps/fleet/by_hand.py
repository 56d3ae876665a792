"""A drill that a person orders: what a night does with one image, told as a launch is, and ended by the cloud's own reason."""

from __future__ import annotations

from datetime import timedelta

from backup_to_image.errors import B2iError, CloudError, StillRunning
from backup_to_image.model import Image, LaunchDelivery, LaunchOrder
from backup_to_image.steps.context import Context, minutes
from backup_to_image.steps.fleet.verify import Drilled, drill_image, end_left_drills, left_drills
from backup_to_image.steps.orders import OpenOrder, OrderedDrill

__all__ = ["drill_by_hand"]


async def drill_by_hand(image: Image, order: LaunchOrder, ctx: Context, *, patience: timedelta) -> LaunchDelivery:
    """Launch the order's server away from its source, probe it, mark the image, and take the server down whatever comes.

    The same rules as in a night, and safe to repeat as there: the next run goes on with what a killed one has left, or ends it;
    the reconciler takes it down after the deadline. What is left behind is told in the delivery (`outcome` partly). Where it did
    not come to the probes and nothing is left, raises the reason: Refused with every one before anything is made, JobFailed,
    CloudError. Raises StillRunning where another run is at the same drill.
    """
    deadline = ctx.deadline(patience)
    before = [one for one in await left_drills(order, ctx) if _is_of(image, one)]
    drilled = await drill_image(image, order, ctx, deadline=deadline)
    left = (*drilled.left, *await end_left_drills(before, order, ctx, deadline=deadline))
    if drilled.error and not left:
        raise _ended(drilled.error, order, patience)
    delivery = drilled.launched or _not_seen(drilled, image, order)
    outcome = "partly" if left else delivery.outcome
    return delivery.model_copy(update={"outcome": outcome, "drill": True, "left_behind": left})


def _is_of(image: Image, left: OpenOrder) -> bool:
    return isinstance(left.ordered, OrderedDrill) and left.ordered.image_id == image.id


def _ended(error: B2iError, order: LaunchOrder, patience: timedelta) -> B2iError:
    """Why there was nothing to probe. Nothing runs any more, although the error may have been that something did."""
    if not isinstance(error, StillRunning):
        return error
    return CloudError(
        f"The drill of {order.name} was not there within {minutes(patience)} ({error.last_seen}), and nothing of it is left.",
        action="Give it longer with `--timeout`.",
        retryable=True,
    )


def _not_seen(drilled: Drilled, image: Image, order: LaunchOrder) -> LaunchDelivery:
    return LaunchDelivery(
        outcome="partly",
        launch_id=drilled.verified.launch_id,
        image_id=image.id,
        order_name=order.name,
        server_ids=(),
        adopted=False,
        probed=bool(order.probes),
        verified_why=drilled.verified.reason,
    )
