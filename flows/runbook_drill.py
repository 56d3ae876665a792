"""The servers of a runbook are brought back beside those that are there, proven, and taken down again whatever came of it.

The same is `b2i runbook drill`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.forms import DrillForm
from flows.runbook_failover import bring_back
from tasks.cancelled import report_cancelled_order

__all__ = ["runbook_drill"]


@flow(name="runbook-drill", flow_run_name="drill {order.runbook}", persist_result=False, on_cancellation=[report_cancelled_order])
async def runbook_drill(order: DrillForm, project: OtcProject) -> State[Any]:
    """Drill a runbook: launch its servers apart from what is there, ask their probes and the people it names, take all down.

    Run it again at any time: an unfinished drill is gone on with. What it took is measured and kept as evidence.

    Args:
        order: Which runbook of the worker's directory.
        project: The project in which the servers are launched; a saved block with its credentials.
    """
    return await bring_back(order, project)
