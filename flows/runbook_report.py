"""The evidence of a run, told in short, and whether it is as it was written: also of a run that a terminal has done.

The same is `b2i runbook report --verify`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import RunbookReportForm
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.runbooks import verify_evidence

__all__ = ["runbook_report"]


@flow(
    name="runbook-report", flow_run_name="report {order.record}", persist_result=False, on_cancellation=[report_cancelled_order]
)
async def runbook_report(order: RunbookReportForm, project: OtcProject) -> State[Any]:
    """Look whether a record of a runbook's run, and the whole chain of its folder, are as they were written. Nothing is made.

    Args:
        order: Which record of the worker's evidence directory.
        project: A saved block; its settings file says where evidence lies.
    """
    try:
        if before := await begin(order):
            return before
        return await ended(await verify_evidence(order.path(project.settings()), order.head), order)
    except B2iError as error:
        return await ended_badly(error, order)
