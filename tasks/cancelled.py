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
from backup_to_image.console import Console
from backup_to_image.errors import B2iError
from backup_to_image.forms import ActionForm, ImageForm, OrderForm, ServerForm, length, policy_named
from backup_to_image.run_results import NightResult, RetentionResult, RunResult, SweepResult
from backup_to_image.steps.context import Context
from backup_to_image.steps.deletion_left import gone_images, gone_since
from backup_to_image.steps.fleet.night_left import NightLeft, look_for_night
from backup_to_image.steps.leftovers import Leftover, Leftovers, look_for_leftovers
from backup_to_image.steps.of_server import left_of_server_order
from backup_to_image.steps.orders import stop_orders_of
from backup_to_image.told.told import Told
from tasks import deletion_pages, pages, told_pages
from tasks.ending import leave_told
from tasks.left_of_order import left_of_order
from tasks.night_report import publish_cancelled_night
from tasks.report import publish
from tasks.retention import leave_retention, plan_of
from tasks.runs import stop_shards
from tasks.sweep import leave_sweep, sweepings_of

__all__ = [
    "look_behind",
    "look_behind_night",
    "look_behind_order",
    "report_cancelled",
    "report_cancelled_night",
    "report_cancelled_order",
    "report_cancelled_retention",
    "report_cancelled_sweep",
]

_PATIENCE = 30.0
"""A person waits for the run to be shown as cancelled."""


async def report_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what the cancelled order has in the cloud, in the run's log and on its page, and what to do with it."""
    given = flow.validate_parameters(flow_run.parameters)
    left = await look_behind(cast("ImageForm", given["order"]), cast("OtcProject", given["project"]), run_id=str(flow_run.id))
    result = RunResult.of(left)
    logger = flow_run_logger(flow_run, flow)
    for line in pages.leftover_lines(result, left):
        logger.warning(line)
    await publish(result, flow_run.id, flow_run.tags, _console_of(given))


async def look_behind(form: ImageForm, project: OtcProject, *, run_id: str) -> Leftovers:
    """What the order has in the cloud; where the cloud does not tell in time, the order alone and the reason.

    The order itself is marked as stopped, so that no reconciler goes on with it. One that only checks has nothing there, whatever
    other orders of its backup have.
    """
    unread: dict[str, str] = {}
    try:
        if not form.dry_run:
            async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
                await stop_orders_of(run_id, ctx)
                return await _left_of(form, ctx, run_id=run_id)
    except (B2iError, TimeoutError) as error:
        unread["the cloud"] = _why_not(error)
    things = (Leftover(kind="backup", id=form.backup_id),) if isinstance(form, OrderForm) else ()
    return Leftovers(things=things, seen_at=datetime.now(UTC), unread=unread)


async def _left_of(form: ImageForm, ctx: Context, *, run_id: str) -> Leftovers:
    order = form.order(ctx.settings)
    if isinstance(form, ServerForm):
        return await left_of_server_order(form.server.strip(), form.backup, order, ctx, run_id=run_id)
    return await look_for_leftovers(order, ctx)


async def report_cancelled_order(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what a cancelled order of one command has in the cloud, and how to go on with it."""
    given = flow.validate_parameters(flow_run.parameters)
    form = cast("ActionForm", given["order"])
    left = await look_behind_order(form, cast("OtcProject", given["project"]), run_id=str(flow_run.id))
    told = Told.of_cancelled(left)
    on = told_pages.go_on(told, form)
    logger = flow_run_logger(flow_run, flow)
    for line in told_pages.lines(told, on):
        logger.warning(line)
    await leave_told(told, form, on, flow_run.id, flow_run.tags, _console_of(given))


async def look_behind_order(form: ActionForm, project: OtcProject, *, run_id: str) -> Leftovers:
    """What the order has in the cloud, or why the cloud does not tell. The order itself is marked as stopped."""
    try:
        async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
            await stop_orders_of(run_id, ctx)
            return await left_of_order(form, ctx)
    except (B2iError, TimeoutError) as error:
        return Leftovers(seen_at=datetime.now(UTC), unread={"the cloud": _why_not(error)})


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
        return NightLeft(seen_at=datetime.now(UTC), unread=_why_not(error))


async def report_cancelled_sweep(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what the cancelled sweep has removed."""
    given = flow.validate_parameters(flow_run.parameters)
    project, grace = cast("OtcProject", given["project"]), str(given["grace"])
    looked, so_far, unread = await sweepings_of(flow_run.id), None, ""
    if looked is not None:
        try:
            async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
                so_far = await gone_since(looked, ctx, grace=length(grace, "grace"))
        except (B2iError, TimeoutError) as error:
            unread = _why_not(error)
    words = deletion_pages.cancelled_sweep_sentence(so_far, looked, unread)
    page = deletion_pages.sweep_page(so_far, words, seen_at=datetime.now(UTC)) if so_far else f"# {words}"
    await leave_sweep(flow_run.id, SweepResult.of_cancelled(so_far or looked, words), words, page)
    flow_run_logger(flow_run, flow).warning(words)


async def report_cancelled_retention(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Name what the cancelled retention has deleted."""
    given = flow.validate_parameters(flow_run.parameters)
    policy, project = str(given["policy"]), cast("OtcProject", given["project"])
    plan, gone, unread = await plan_of(flow_run.id), tuple[str, ...](), ""
    if plan is not None:
        try:
            async with asyncio.timeout(_PATIENCE), project.connect() as ctx:
                gone = await gone_images(plan, ctx)
        except (B2iError, TimeoutError) as error:
            unread = _why_not(error)
    words = deletion_pages.cancelled_retention_sentence(plan, gone, unread)
    page = deletion_pages.cancelled_retention_page(plan, gone, words)
    await leave_retention(flow_run.id, policy, RetentionResult.of_cancelled(plan, gone, words), words, page)
    flow_run_logger(flow_run, flow).warning(words)


def _console_of(given: dict[str, Any]) -> Console:
    try:
        return cast("OtcProject", given["project"]).console()
    except B2iError:  # as the report itself tells
        return Console()


def _why_not(error: B2iError | TimeoutError) -> str:
    return error.message if isinstance(error, B2iError) else f"no answer within {_PATIENCE:.0f} s"
