"""What a cancelled run leaves behind it: a report of what its order has in the cloud.

Cancelling ends the run's process wherever it is, and the cloud works on. So the report is made after that, by a hook in a process
of its own, which knows nothing but the order and asks the cloud. A run that ends in any other way, as together with its worker,
is not cancelled and gets no such report.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.form import NightResult, OrderForm, RunResult, policy_named
from backup_to_image.steps.leftovers import Leftover, Leftovers, look_for_leftovers
from backup_to_image.steps.night_left import NightLeft, look_for_night
from backup_to_image.steps.orders import stop_orders_of
from tasks import pages
from tasks.night_report import publish_cancelled_night
from tasks.report import publish
from tasks.runs import stop_shards

__all__ = ["look_behind", "look_behind_night", "report_cancelled", "report_cancelled_night"]

_PATIENCE = 30.0
"""A person waits for the run to be shown as cancelled."""


async def report_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what the cancelled order has in the cloud, in the run's log and on its page, and what to do with it."""
    given = flow.validate_parameters(flow_run.parameters)
    left = await look_behind(cast("OrderForm", given["order"]), cast("OtcProject", given["project"]), run_id=str(flow_run.id))
    result = RunResult.of(left)
    logger = flow_run_logger(flow_run, flow)
    for line in pages.leftover_lines(result, left):
        logger.warning(line)
    await publish(result, flow_run.id, flow_run.tags)


async def look_behind(form: OrderForm, project: OtcProject, *, run_id: str) -> Leftovers:
    """What the order has in the cloud; where the cloud does not tell in time, the order alone and the reason.

    The order itself is marked as stopped, so that no reconciler goes on with it. One that only checks has nothing there, whatever
    other orders of its backup have.
    """
    unread: dict[str, str] = {}
    try:
        if not form.dry_run:
            async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
                await stop_orders_of(run_id, ctx)
                return await look_for_leftovers(form.order(ctx.settings), ctx)
    except (B2iError, TimeoutError) as error:
        unread["the cloud"] = error.message if isinstance(error, B2iError) else f"no answer within {_PATIENCE:.0f} s"
    return Leftovers(things=(Leftover(kind="backup", id=form.backup_id),), seen_at=datetime.now(UTC), unread=unread)


async def report_cancelled_night(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what the cancelled night has in the cloud, server by server, and how to go on."""
    given = flow.validate_parameters(flow_run.parameters)
    name, project = str(given["policy"]), cast("OtcProject", given["project"])
    left = NightLeft(seen_at=datetime.now(UTC))
    if not given["dry_run"]:
        shards = await stop_shards(flow_run.id)
        left = await look_behind_night(name, project, run_ids=(str(flow_run.id), *shards))
    words = pages.night_left_sentence(left)
    logger = flow_run_logger(flow_run, flow)
    logger.warning(words)
    result = NightResult.of_cancelled(words, at_work=bool(left.there or left.asked or left.unread))
    await publish_cancelled_night(name, result, words, pages.night_left_page(left), flow_run.id, flow_run.tags)


async def look_behind_night(name: str, project: OtcProject, *, run_ids: tuple[str, ...]) -> NightLeft:
    """What the night has in the cloud; where the cloud does not tell in time, the reason."""
    try:
        async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
            for run_id in run_ids:
                await stop_orders_of(run_id, ctx)
            return await look_for_night(policy_named(name, ctx.settings).policy, ctx)
    except (B2iError, TimeoutError) as error:
        why = error.message if isinstance(error, B2iError) else f"no answer within {_PATIENCE:.0f} s"
        return NightLeft(seen_at=datetime.now(UTC), unread=why)
