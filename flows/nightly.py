"""A night over a fleet: every server of a policy has its image in the morning, or the report says why not.

The same is `b2i nightly`, without Prefect. What is done for one server are the five tasks of `flows.image_from_backup`.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import policy_named
from backup_to_image.steps.fleet.night import run_night
from backup_to_image.steps.fleet.shared_night import run_shared_night
from flows.image_from_backup import make_image
from tasks.cancelled import report_cancelled_night
from tasks.images import verify_image
from tasks.night_report import mistake, night_ended, night_not_begun, night_planned, night_superseded
from tasks.nights import night_to_do, plan_of_night
from tasks.policy import check_starts
from tasks.shards import workers_of

__all__ = ["nightly"]


@flow(name="nightly", flow_run_name="night of {policy}", persist_result=False, on_cancellation=[report_cancelled_night])
async def nightly(policy: str, project: OtcProject, dry_run: bool = False, night: str = "") -> State[Any]:
    """Give every server that a policy means its full-ECS image of tonight, as many at a time as the cloud takes.

    One server's failure is its own. Run it again at any time: what is there is adopted, and only what is missing is made. Stop
    it at any time: what the cloud was asked for is found by the next run.

    Args:
        policy: File name of a policy in the worker's directory (directories.policies of b2i.yaml), such as nightly-shop.yaml.
        project: The project whose servers, backups and images these are; a saved block with its credentials.
        dry_run: Only say what would happen, server by server, and what it needs; nothing is made.
        night: The night's date, such as 2026-11-25. Empty: the local date on which the run was to start, so that a night which
            begins late or is tried again after midnight is still the same night.
    """
    logger = get_run_logger()
    try:
        check_starts()
        async with project.connect(tell=logger.info) as ctx:
            wanted = policy_named(policy, ctx.settings)
            if dry_run:
                return await night_planned(await plan_of_night(wanted.policy, ctx))
            tonight = await night_to_do(wanted.policy, ctx, given=night)
            if tonight is None:
                return night_superseded()
            if wanted.policy.limits.shards > 1:
                workers = workers_of(policy, wanted.policy, tonight)
                report = await run_shared_night(wanted.policy, ctx, workers=workers, night=tonight, drill=wanted.drill)
            else:
                report = await run_night(
                    wanted.policy,
                    ctx,
                    make=make_image,
                    verify=verify_image,
                    drill=wanted.drill,
                    night=tonight,
                    detail=logger.debug,
                )
            return await night_ended(report, wanted, ctx)
    except B2iError as error:
        return await night_not_begun(error, policy)
    except Exception as error:
        await night_not_begun(mistake(error), policy)  # nobody is awake to see a mistake of our own
        raise
