"""An image that another project has shared with this one is taken into a vault and proven to be there.

The same is `b2i accept`, without Prefect. The project is the recipient's.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import AcceptForm, expected_launch
from backup_to_image.told.offers import offer_known, told_answer, told_offers
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import accept_offer, find_offer, list_offers

__all__ = ["accept"]


@flow(name="accept", flow_run_name="accept {order.image}", persist_result=False, on_cancellation=[report_cancelled_order])
async def accept(order: AcceptForm, project: OtcProject) -> State[Any]:
    """Accept an image that another project has shared with this one, or tell what is offered.

    It is copied into a vault of this project, and billed there. Run it again at any time: what is accepted stays so. Every reason
    against every vault is told at once, before anything is asked for.

    Args:
        order: Which image, and into which vault.
        project: The recipient's project; a saved block with the recipient's own credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        launch = expected_launch(order, project.settings())
        async with project.connect(tell=get_run_logger().info) as ctx:
            if not order.image.strip():
                return await ended(told_offers(await list_offers(ctx), ctx.settings), order)
            offer = await find_offer(order.image.strip(), ctx)
            known |= offer_known(offer)
            answered = await accept_offer(
                offer, ctx, vault=order.into, despite_size=order.despite_size, launch=launch, patience=order.patience
            )
            return await ended(told_answer(answered), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
