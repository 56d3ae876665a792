"""One shard of a night that several workers share; the run of `flows.nightly` starts it and reads its report in the journal."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import policy_named
from backup_to_image.steps.fleet.night import run_night
from backup_to_image.steps.fleet.shards import Share
from flows.image_from_backup import make_image
from tasks.images import verify_image
from tasks.policy import check_starts
from tasks.runs import night_is_cancelled
from tasks.shards import part_cancelled, part_ended, part_failed

__all__ = ["nightly_shard"]


@flow(name="nightly-shard", flow_run_name="night of {policy}, shard {number} of {of}", persist_result=False)
async def nightly_shard(
    policy: str, project: OtcProject, night: date, number: int, of: int, attempt: str, deadline: datetime
) -> State[Any]:
    """Give this shard's servers of a policy their images. Nobody orders it by hand: a night with `limits.shards` does.

    Args:
        policy: File name of a policy in the worker's directory.
        project: The project whose servers, backups and images these are.
        night: The night's date.
        number: Which shard this is, from 1.
        of: How many shards the night has.
        attempt: Which attempt at the night this belongs to.
        deadline: When the whole night ends.
    """
    logger = get_run_logger()
    try:
        check_starts()
        if await night_is_cancelled():
            return part_cancelled()
        async with project.connect(tell=logger.info) as ctx:
            share = Share(number=number, of=of, attempt=attempt, deadline=deadline)
            ctx.cloud.budget.share(of)
            wanted = policy_named(policy, ctx.settings)
            report = await run_night(
                wanted.policy,
                ctx,
                make=make_image,
                verify=verify_image,
                drill=wanted.drill,
                night=night,
                detail=logger.debug,
                share=share,
            )
            return part_ended(report)
    except B2iError as error:
        return part_failed(error)
