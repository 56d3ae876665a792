"""The servers of a runbook are brought back for real, group by group, and stay.

The same is `b2i runbook failover`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.evidence import keeper
from backup_to_image.forms import FailoverForm, RunbookForm
from backup_to_image.steps.runbook.acts import Acts
from backup_to_image.steps.runbook.measure import measure
from backup_to_image.steps.runbook.run import run_runbook
from backup_to_image.told.recovery import told_run
from flows.image_from_backup import make_image
from tasks.approvals import ask_people, may_suspend
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.events import runbook_finished
from tasks.runbooks import do_step, launch_one, take_down

__all__ = ["bring_back", "runbook_failover"]

_ACTS = Acts(make=make_image, launch=launch_one, take_down=take_down, step=do_step)


@flow(
    name="runbook-failover",
    flow_run_name="failover {order.runbook}",
    persist_result=False,
    on_cancellation=[report_cancelled_order],
)
async def runbook_failover(order: FailoverForm, project: OtcProject) -> State[Any]:
    """Bring the servers of a runbook back for real, each group when those that it needs are up, and ask people where it says so.

    Run it again at any time: what is up stays up, what was answered is not asked again, and what has ended is not done twice.

    Args:
        order: Which runbook of the worker's directory, and its name once more.
        project: The project in which the servers come back; a saved block with its credentials.
    """
    return await bring_back(order, project)


async def bring_back(order: RunbookForm, project: OtcProject) -> State[Any]:
    """Run a runbook, suspended while only people are waited for."""
    try:
        if before := await begin(order):
            return before
        file = order.file(project.settings())
        async with project.connect(tell=get_run_logger().info) as ctx:
            while True:
                run, adopted = await run_runbook(
                    file,
                    ctx,
                    mode=order.mode,
                    keep=keeper(ctx),
                    acts=_ACTS,
                    by=order.by,
                    unattended=order.approve_all,
                    leave=may_suspend(),
                    anyway=order.anyway,
                    again=order.once_more,
                )
                if run.state == "open":
                    await ask_people(run, ctx)
                    continue
                told = told_run(run, measure(run), adopted=adopted)
                runbook_finished(run, told.title)
                return await ended(told, order)
    except B2iError as error:
        return await ended_badly(error, order, {"runbook": order.runbook, "mode": order.mode})
