"""Tasks on servers."""

from __future__ import annotations

from prefect import task

from backup_to_image.model import Image, LaunchDelivery, LaunchOrder
from backup_to_image.steps.context import Context
from backup_to_image.steps.launch import launch_server as find_or_launch_server
from tasks.events import server_launched
from tasks.policy import RETRY

__all__ = ["launch_server"]


@task(name="launch server", task_run_name="launch server {order.name}", **RETRY)
async def launch_server(image: Image, order: LaunchOrder, ctx: Context) -> LaunchDelivery:
    """The server of this order, ACTIVE and probed; launched unless it is there already."""
    launched = await find_or_launch_server(image, order, ctx)
    server_launched(launched)
    return launched
