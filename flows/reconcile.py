"""Every ten minutes: what killed or impatient runs have left is finished, and their runs turn green; nothing is begun.

The same is `b2i reconcile`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from tasks.approvals import wake_runs
from tasks.orders import look_after_orders, not_reconciled, reconciled
from tasks.runs import runs_at_work, start_again

__all__ = ["reconcile"]


@flow(name="reconcile", flow_run_name="reconcile", persist_result=False)
async def reconcile(project: OtcProject) -> State[Any]:
    """Finish waits, shares already ordered and teardowns; tell what was never begun and what is past its deadline.

    Safe to run at any time and beside live runs, which it leaves alone. A run that ended as StillRunning is started again once
    its order has ended in the cloud; a crashed one, when nothing else has brought it back for five minutes; a suspended one of a
    runbook, when its question was answered from a terminal, or its time to answer is over.

    Args:
        project: The project whose orders these are; a saved block with its credentials.
    """
    try:
        async with project.connect(tell=get_run_logger().info) as ctx:
            await wake_runs(ctx)
            orders = await look_after_orders(ctx, busy=await runs_at_work())
            return await reconciled(orders, started=await start_again(orders))
    except B2iError as error:
        return await not_reconciled(error)
