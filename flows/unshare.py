"""An image is taken back from other projects until none of them stands in its list of members.

The same is `b2i unshare`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import UnshareForm
from backup_to_image.told.shares import members_known, told_unshared
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import find_image_to_unshare, unshare_from

__all__ = ["unshare"]


@flow(name="unshare", flow_run_name="take back {order.image}", persist_result=False, on_cancellation=[report_cancelled_order])
async def unshare(order: UnshareForm, project: OtcProject) -> State[Any]:
    """Take an image back from projects, whether they have accepted it or not.

    It is gone for them at once and without notice. Servers that they have made of it live on, but their OS cannot be reinstalled.
    Run it again at any time: who does not have it is left alone.

    Args:
        order: Which image, and from whom.
        project: The project whose image it is; a saved block with its credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            image = await find_image_to_unshare(order.image, tuple(order.projects), ctx)
            async with members_known(image, ctx, known):
                shares = await unshare_from(image, order, ctx)
            return await ended(told_unshared(shares), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
