"""The system disk of a server is replaced by an image's; its data disks stay as they are.

The same is `b2i change-os`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import ChangeForm
from backup_to_image.told.change import change_known, told_change, told_change_plan
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.servers import change_os as replace_system_disk
from tasks.servers import plan_change

__all__ = ["change_os"]


@flow(
    name="change-os", flow_run_name="change OS of {order.server}", persist_result=False, on_cancellation=[report_cancelled_order]
)
async def change_os(order: ChangeForm, project: OtcProject) -> State[Any]:
    """Replace the system disk of a server by that of a full-ECS image; the old one is deleted.

    Data disks of the server stay as they are, those of the image are not restored: to have them, launch a new server. Run it
    again at any time: what is done is adopted. Everything that speaks against it is told at once, before anything is changed.

    Args:
        order: Which server, which image, and that data disks stay as they are.
        project: The project whose server it is; a saved block with its credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            plan = await plan_change(order, ctx)
            known |= change_known(plan)
            if order.dry_run:
                return await ended(told_change_plan(plan), order)
            return await ended(told_change(await replace_system_disk(plan, order, ctx)), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
