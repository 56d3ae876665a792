"""Whether a runbook could be run now: images, their age, launches, quotas, addresses. Nothing is made.

The same is `b2i runbook check`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import RunbookCheckForm
from backup_to_image.told.readiness import told_readiness
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.runbooks import check_readiness

__all__ = ["runbook_check"]


@flow(name="runbook-check", flow_run_name="check {order.runbook}", persist_result=False, on_cancellation=[report_cancelled_order])
async def runbook_check(order: RunbookCheckForm, project: OtcProject) -> State[Any]:
    """Look whether every server of a runbook could be brought back now, and all of them together. Nothing is made.

    Args:
        order: Which runbook of the worker's directory.
        project: The project in which the servers would come back; a saved block with its credentials.
    """
    try:
        if before := await begin(order):
            return before
        file = order.file(project.settings())
        async with project.connect(tell=get_run_logger().info) as ctx:
            return await ended(told_readiness(await check_readiness(file, order, ctx)), order)
    except B2iError as error:
        return await ended_badly(error, order, {"runbook": order.runbook})
