"""Tasks of a policy's retention by itself, and its end told to people. What a night retires is the night's own."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from backup_to_image.errors import B2iError
from backup_to_image.run_results import RETENTION_RESULT_KEY, RetentionResult
from backup_to_image.steps.retention.retire import Retired, Retirement, RetirementPlan
from tasks import deletion_pages as words_of
from tasks import pages
from tasks.artifacts import artifact_key, console_of_this_run, leave, left_by, this_run
from tasks.events import deletion_finished
from tasks.policy import NO_RETRY, RETRY

__all__ = [
    "leave_retention",
    "not_retired",
    "plan_of",
    "plan_of_this_run",
    "plan_retirement",
    "retire",
    "retired",
    "retirement_planned",
]

PLAN_KEY = "retired-plan"
"""What a run may delete, written down before it begins."""
_STATES = {4: "StillRunning", 5: "PartlyDone"}


@task(name="plan retention", task_run_name="plan retention of {policy}", **RETRY)
async def plan_retirement(policy: str, retirement: Retirement) -> RetirementPlan:  # noqa: ARG001 - names the task's run
    """Every image of the policy with its decision. Deletes nothing."""
    return await retirement.plan()


async def plan_of_this_run(plan: RetirementPlan) -> RetirementPlan:
    """The plan for a run that is about to delete: however often the run is started, nothing goes that its first plan left.

    So a run that crashes again and again deletes no more than one may, and a retry after a good end deletes nothing more.
    """
    run = this_run()
    if run is None:
        return plan
    before = await plan_of(run)
    if before is not None:
        return plan.only({one.decision.image_id for one in before.delete})
    going = plan.model_copy(update={"keep": (), "waiting": ()})
    await leave(run, ("json", PLAN_KEY, "What is to go, for programs", going.model_dump_json()))
    return plan


async def plan_of(run: UUID) -> RetirementPlan | None:
    """What a run was about to delete; None where it had not come so far."""
    found = await left_by(run, PLAN_KEY)
    return RetirementPlan.model_validate_json(found) if found else None


@task(name="retire images", task_run_name="retire images of {plan.policy}", **NO_RETRY)
async def retire(plan: RetirementPlan, retirement: Retirement) -> Retired:
    """Delete what the plan says, the oldest first, each looked at once more right before and proven to be gone."""
    return await retirement.apply(plan)


async def retirement_planned(plan: RetirementPlan) -> State[RetirementPlan]:
    """The run's end when it only planned."""
    words = words_of.plan_sentence(plan)
    await publish_retention(_named(), RetentionResult.of(plan), words, words_of.retention_page(plan, words))
    return Completed(name="Checked", message=words, data=plan)


async def retired(plan: RetirementPlan, done: Retired) -> State[Retired]:
    """The run's end when the plan was carried out; what was to go and is left, or is not over, is no green."""
    result, words = RetentionResult.of(plan, done), words_of.retired_sentence(plan, done)
    await publish_retention(_named(), result, words, words_of.retention_page(plan, words, done))
    outcome = {0: "done", 4: "still_running"}.get(result.exit_code, "partly")
    deletion_finished("retention", _named(), outcome, words)
    name = _STATES.get(result.exit_code)
    return Failed(name=name, message=words, data=done) if name else Completed(message=words, data=done)


async def not_retired(error: B2iError, policy: str) -> State[Any]:
    """The run's end when nothing was decided."""
    words = pages.paragraph(error)
    for line in pages.log_lines(error):
        get_run_logger().warning(line)
    page = f"# Nothing was decided about the images of {policy}\n\n{words}"
    await publish_retention(_named(), RetentionResult.of(error), words, page)
    deletion_finished("retention", _named(), "failed", words)
    return Failed(message=words, data=error)


@task(name="publish retention", task_run_name="publish retention of {policy}", **NO_RETRY)
async def publish_retention(policy: str, result: RetentionResult, words: str, page: str) -> None:
    """The run's page, whose key has a history, and the same as a JSON object."""
    run = this_run()
    if run is not None:
        await leave_retention(run, policy, result, words, pages.with_lists(page, console_of_this_run()))


async def leave_retention(run: UUID, policy: str, result: RetentionResult, words: str, page: str) -> None:
    """The same from outside of the run, such as from a hook."""
    told = result.model_dump_json()
    name = artifact_key(PurePath(policy).stem)
    await leave(
        run, ("markdown", f"retention-{name}", words, page), ("json", RETENTION_RESULT_KEY, "The same for programs", told)
    )


def _named() -> str:
    """The policy as the run names it: by its file, without the suffix."""
    return PurePath(str(cast("dict[str, Any]", flow_run.parameters)["policy"])).stem
