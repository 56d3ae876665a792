"""A server becomes a full-ECS image: from its newest backup, or from one that is made now. Then the five steps of any order.

The same is `b2i create --server S --newest` and `--backup-now`, without Prefect.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import ServerForm
from backup_to_image.steps.backup_now import image_from_new_backup
from flows.image_from_backup import make_image
from tasks.backups import back_up_now, check_backup_now, check_newest_backup, find_newest_backup
from tasks.cancelled import report_cancelled
from tasks.policy import check_starts
from tasks.report import checked, delivered, failed

__all__ = ["image_of_server"]


@flow(
    name="image-of-server",
    flow_run_name="image of server {order.server}",
    persist_result=False,
    on_cancellation=[report_cancelled],
)
async def image_of_server(order: ServerForm, project: OtcProject) -> State[Any]:
    """Turn a server into a full-ECS image, share it and launch a server from it where the order says so.

    Retry it at any time: a run keeps to the backup that it has begun with, a completed run too. Stop it at any time: what the
    cloud was asked for is found by the next start. Everything that speaks against the order is told at once, before anything is
    made, the backup included.

    Args:
        order: What to make, and from which backup of the server.
        project: The project whose servers, backups and images these are; a saved block with its credentials.
    """
    server, subject = order.server.strip(), order.subject
    try:
        check_starts()
        async with project.connect(tell=get_run_logger().info) as ctx:
            wanted, make = order.order(ctx.settings), make_image
            if order.dry_run:
                check = check_newest_backup if order.backup == "newest" else check_backup_now
                return await checked(await check(server, wanted, ctx))
            if order.backup == "newest":
                subject = await find_newest_backup(server, ctx)
            else:
                backup = await back_up_now(server, wanted, ctx)
                subject, make = backup.id, partial(image_from_new_backup, backup, make=make_image)
            wanted = wanted.model_copy(update={"backup_id": subject})
            return await delivered(await make(wanted, ctx, after_failure=order.after_failure))
    except B2iError as error:
        return await failed(error, subject)
