"""What trusted projects offer to this one is taken, without anybody who looks.

The same is `b2i accept --all`, without Prefect. The project is the recipient's.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import AcceptOffersForm
from backup_to_image.told.offers import told_all_offers
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import accept_trusted

__all__ = ["accept_offers"]


@flow(name="accept-offers", flow_run_name="accept offers", persist_result=False, on_cancellation=[report_cancelled_order])
async def accept_offers(order: AcceptOffersForm, project: OtcProject) -> State[Any]:
    """Accept every unanswered offer of the senders that `accept_from` in b2i.yaml on the worker names, and tell the rest.

    Each offer ends for itself. What somebody has rejected stays rejected; what others offer is never accepted. Run it again at
    any time: what is accepted is left alone.

    Args:
        order: Into which vault, and how patiently.
        project: The recipient's project; a saved block with the recipient's own credentials.
    """
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            return await ended(told_all_offers(await accept_trusted(order, ctx), ctx.settings), order)
    except B2iError as error:
        return await ended_badly(error, order)
