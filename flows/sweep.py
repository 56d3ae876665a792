"""What nobody needs any more is told first and removed a day later; shares that are over end.

The same is `b2i sweep`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import length
from backup_to_image.steps.deletion_left import due
from tasks.cancelled import report_cancelled_sweep
from tasks.policy import check_starts
from tasks.sweep import look_for_sweepings, not_swept, sweep_up, swept

__all__ = ["sweep"]


@flow(name="sweep", flow_run_name="sweep", persist_result=False, on_cancellation=[report_cancelled_sweep])
async def sweep(project: OtcProject, apply: bool = False, grace: str = "24h") -> State[Any]:
    """Find dead images, drill servers that stayed and shares that are over; remove what has been known for the grace time.

    Only what carries our mark in this project; no backup, no failover server, no image of a server that is gone. Run it again at
    any time, beside live runs too.

    Args:
        project: The project that is swept; a saved block with its credentials.
        apply: Remove what is due. Off: the cloud is only read, and what is seen for the first time is remembered.
        grace: How long a thing must be known before it may be removed, such as 24h or 3d.
    """
    try:
        check_starts()
        known_for = length(grace, "grace")
        async with project.connect(tell=get_run_logger().info) as ctx:
            found = await look_for_sweepings(ctx, grace=known_for)
            if apply and due(found):
                found = await sweep_up(found, ctx, grace=known_for)
            return await swept(found, applied=apply)
    except B2iError as error:
        return await not_swept(error)
