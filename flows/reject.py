"""An image that another project has shared with this one is turned down.

The same is `b2i reject`, without Prefect. The project is the recipient's.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import RejectForm
from backup_to_image.told.offers import offer_known, told_answer
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import find_offer, reject_offer

__all__ = ["reject"]


@flow(name="reject", flow_run_name="reject {order.image}", persist_result=False, on_cancellation=[report_cancelled_order])
async def reject(order: RejectForm, project: OtcProject) -> State[Any]:
    """Reject an image that another project has shared with this one, also one that was accepted.

    It leaves this project's list of images. While its owner goes on sharing it, it can be accepted all the same.

    Args:
        order: Which image.
        project: The recipient's project; a saved block with the recipient's own credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            offer = await find_offer(order.image.strip(), ctx)
            known |= offer_known(offer)
            return await ended(told_answer(await reject_offer(offer, order, ctx)), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
