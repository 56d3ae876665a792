"""A CBR backup becomes a full-ECS image: validate, create, wait until it is Normal, share, launch.

The same five steps stand in `backup_to_image.steps.pipeline`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError, PartlyDone
from backup_to_image.forms import OrderForm
from backup_to_image.model import Delivery, ImageOrder, LaunchDelivery
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look
from backup_to_image.steps.orders import ordered
from backup_to_image.steps.pipeline import Log, deliver
from backup_to_image.steps.sharing.members import shared_with
from backup_to_image.steps.validate import Look
from tasks.backups import check_backup, validate_backup
from tasks.cancelled import report_cancelled
from tasks.images import await_image, share_image, start_image
from tasks.policy import check_starts
from tasks.report import checked, delivered, failed
from tasks.servers import launch_server

__all__ = ["image_from_backup", "make_image"]


@flow(
    name="image-from-backup",
    flow_run_name="image of {order.backup_id}",
    persist_result=False,
    on_cancellation=[report_cancelled],
)
async def image_from_backup(order: OrderForm, project: OtcProject) -> State[Any]:
    """Turn one server backup into a full-ECS image, share it and launch a server from it where the order says so.

    Run it again at any time, a completed run too: each step first looks for its own result and adopts it. Stop it at any
    time: what the cloud was asked for is found by the next run. Everything that speaks against the order is told at once,
    before anything is made.

    Args:
        order: What to make. The same order twice is one image and one server.
        project: The project whose backups and images these are; a saved block with its credentials.
    """
    try:
        check_starts()
        async with project.connect(tell=get_run_logger().info) as ctx:
            wanted = order.order(ctx.settings)
            if order.dry_run:
                return await checked(await check_backup(wanted, ctx))
            return await delivered(await make_image(wanted, ctx, after_failure=order.after_failure))
    except B2iError as error:
        return await failed(error, order.subject)


async def make_image(order: ImageOrder, ctx: Context, *, after_failure: bool = False, look: Look = look) -> Delivery:
    """The five steps, each a task of its own; a night does them for each of its servers."""
    log = Log(ctx)
    async with log.step("validate"):
        valid = await validate_backup(order, ctx, look)
    async with ordered(valid.ordered, ctx, patience=order.timeout) as deadline:
        async with ctx.place(valid.findings.image, deadline):
            async with log.step("create"):
                handle = await start_image(valid, ctx, deadline, after_failure=after_failure)
            async with log.step("wait"):
                finished = await await_image(handle, ctx, deadline)
        shared: tuple[str, ...] = ()
        launched: LaunchDelivery | None = None
        try:
            async with log.step("share"):
                if valid.recipients:
                    shared = await share_image(finished.image, valid.recipients, ctx, share_for=valid.order.share_for)
            async with log.step("launch"):
                launched = await launch_server(finished.image, valid.launch, ctx) if valid.launch else None
        except B2iError as error:
            shared = shared or await shared_with(finished.image, valid.recipients, ctx)
            raise PartlyDone(log.last, deliver(valid, finished, shared, launched, log, outcome_of=error), error) from error
    return deliver(valid, finished, shared, launched, log)
