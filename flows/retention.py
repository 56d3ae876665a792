"""Which images of a policy stay and which go, each by a rule; with `apply` those go.

The same is `b2i retention`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import policy_named
from backup_to_image.steps.retention.retire import Retirement
from backup_to_image.steps.survey import Survey
from tasks.cancelled import report_cancelled_retention
from tasks.policy import check_starts
from tasks.retention import not_retired, plan_of_this_run, plan_retirement, retire, retired, retirement_planned

__all__ = ["retention"]


@flow(
    name="retention",
    flow_run_name="retention of {policy}",
    persist_result=False,
    on_cancellation=[report_cancelled_retention],
)
async def retention(policy: str, project: OtcProject, apply: bool = False) -> State[Any]:
    """Decide about each image of a policy's servers, and delete those that no rule keeps where that is ordered.

    For policies whose nights do not do it themselves. Run it again at any time: what one run has planned it finishes and deletes
    no more than that, however often it is started.

    Args:
        policy: File name of a policy in the worker's directory (directories.policies of b2i.yaml), such as nightly-shop.yaml.
        project: The project whose images these are; a saved block with its credentials.
        apply: Delete what the plan says. Off: every decision is told with its rule, and nothing is deleted.
    """
    try:
        check_starts()
        async with project.connect(tell=get_run_logger().info) as ctx:
            wanted = policy_named(policy, ctx.settings).policy
            retirement = Retirement(wanted, ctx, Survey(ctx))
            plan = await plan_retirement(wanted.name, retirement)
            if not apply:
                return await retirement_planned(plan)
            plan = await plan_of_this_run(plan)
            return await retired(plan, await retire(plan, retirement))
    except B2iError as error:
        return await not_retired(error, policy)
