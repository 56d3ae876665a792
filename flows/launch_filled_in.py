"""A server is launched from a full-ECS image as a form says that is filled in, where no launch order lies on the worker.

The same as `flows.launch` otherwise. Without Prefect a file says it: `b2i launch`.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.forms import FilledInForm
from flows.launch import launch_as_ordered
from tasks.cancelled import report_cancelled_order

__all__ = ["launch_filled_in"]


@flow(
    name="launch-filled-in", flow_run_name="launch {order.name}", persist_result=False, on_cancellation=[report_cancelled_order]
)
async def launch_filled_in(order: FilledInForm, project: OtcProject) -> State[Any]:
    """Launch a server from a full-ECS image, unless it is there already, and ask its probes.

    Run it again at any time: the same name, image and project is the same server. Everything that speaks against it is told at
    once, before anything is launched.

    Args:
        order: Which image, and what the server is to be: the keys of a launch order.
        project: The project in which the server is launched; a saved block with its credentials.
    """
    return await launch_as_ordered(order, project)
