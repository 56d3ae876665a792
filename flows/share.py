"""An image is shared with other projects until they stand in its list of members; without projects it is told who has it.

The same is `b2i share`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import ShareForm
from backup_to_image.told.shares import members_known, told_shares
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import find_image_to_share, list_members, share_with

__all__ = ["share"]


@flow(name="share", flow_run_name="share {order.image}", persist_result=False, on_cancellation=[report_cancelled_order])
async def share(order: ShareForm, project: OtcProject) -> State[Any]:
    """Share an image that is there with projects that b2i.yaml on the worker names, or tell who has it.

    Each recipient then accepts it with their own log-in. Run it again at any time: who has it already is left alone. Everything
    that speaks against it is told at once, before anything is shared.

    Args:
        order: Which image, with whom, and until when.
        project: The project whose image it is; a saved block with its credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            image = await find_image_to_share(order.image, tuple(order.projects), ctx)
            if not order.projects:
                return await ended(told_shares(await list_members(image, ctx)), order)
            async with members_known(image, ctx, known):
                shares = await share_with(image, order, ctx)
            return await ended(told_shares(shares), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
