"""A launch is taken down: its servers, disks and addresses, and it is proven that nothing is left.

The same is `b2i teardown`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import TeardownForm
from backup_to_image.told.teardown import told_teardown
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.servers import tear_down

__all__ = ["teardown"]


@flow(name="teardown", flow_run_name="teardown {order.launch_id}", persist_result=False, on_cancellation=[report_cancelled_order])
async def teardown(order: TeardownForm, project: OtcProject) -> State[Any]:
    """Remove the servers of a launch with their disks and addresses; all but drill servers only with the server's name.

    Only what carries the launch's mark in this project is touched. Run it again at any time: what is gone counts as done.

    Args:
        order: Which launch, and the name of its server.
        project: The project in which it was launched; a saved block with its credentials.
    """
    try:
        if before := await begin(order):
            return before
        async with project.connect(tell=get_run_logger().info) as ctx:
            return await ended(told_teardown(await tear_down(order, ctx)), order)
    except B2iError as error:
        return await ended_badly(error, order, {"launch_id": order.launch_id})
