"""A server is launched from a full-ECS image and asked whether it lives.

The same is `b2i launch`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import LaunchForm, LaunchingForm
from backup_to_image.told.launch import told_launch, told_plan
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.servers import drill_server, find_launchable, launch_server, plan_launch

__all__ = ["launch", "launch_as_ordered"]


@flow(name="launch", flow_run_name="launch {order.launch}", persist_result=False, on_cancellation=[report_cancelled_order])
async def launch(order: LaunchForm, project: OtcProject) -> State[Any]:
    """Launch the server that a launch order describes from a full-ECS image, unless it is there already, and ask its probes.

    Run it again at any time: the same order, image and project is the same server. Everything that speaks against it is told at
    once, before anything is launched.

    Args:
        order: Which image, and which launch order of the worker's directory.
        project: The project in which the server is launched; a saved block with its credentials.
    """
    return await launch_as_ordered(order, project)


async def launch_as_ordered(order: LaunchingForm, project: OtcProject) -> State[Any]:
    """The same for each way of saying what the server is to be: a file of the worker, or a form that is filled in."""
    try:
        if before := await begin(order):
            return before
        wanted = order.order(project.settings())
        async with project.connect(tell=get_run_logger().info) as ctx:
            image = await find_launchable(order.image.strip(), ctx)
            if order.dry_run:
                plan = await plan_launch(image, wanted, ctx, mode=order.mode, another=order.another)
                return await ended(told_plan(plan, image.id), order)
            if order.drill:
                launched = await drill_server(image, wanted, ctx, patience=order.patience)
            else:
                launched = await launch_server(image, wanted, ctx, another=order.another, patience=order.patience)
            return await ended(told_launch(launched), order)
    except B2iError as error:
        return await ended_badly(error, order, {"image_id": order.image})
