"""The end of a night, told to people: its page, the same for programs, the run's state and tag, one event."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal, cast
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run, task_run
from prefect.states import Completed, Failed

from backup_to_image.errors import B2iError
from backup_to_image.form import NIGHT_RESULT_KEY, NightResult
from backup_to_image.model.night import NightPlan, NightReport
from tasks import pages
from tasks.events import night_finished
from tasks.policy import NO_RETRY

__all__ = ["Page", "night_ended", "night_not_begun", "night_planned", "publish_night"]

_OUTCOMES = {"made", "adopted", "partly", "still-running", "failed", "refused", "checked", "cancelled"}
_STATES = {"partly": "PartlyDone", "still_running": "StillRunning", "failed": "Failed", "refused": "Refused"}

Page = tuple[Literal["markdown", "table", "json"], str, str, str]
"""Of an artifact: type, key, description, content."""


async def night_ended(report: NightReport) -> State[NightReport]:
    """The run's end when the night was worked through: what the policy calls a failure, and what is not finished, is no green."""
    words = pages.night_sentence(report)
    result = NightResult.of(report)
    await publish_night(_named(), result, words, pages.night_page(report))
    night_finished(_named(), report, words)
    name = _STATES.get(report.outcome)
    return Failed(name=name, message=words, data=report) if name else Completed(message=words, data=report)


async def night_planned(plan: NightPlan) -> State[NightPlan]:
    """The run's end when it only looked what the night would do."""
    words = pages.plan_sentence(plan)
    await publish_night(_named(), NightResult.of(plan), words, pages.plan_page(plan))
    if plan.refusals:
        return Failed(name="Refused", message=words, data=plan)
    return Completed(name="Checked", message=words, data=plan)


async def night_not_begun(error: B2iError, policy: str) -> State[Any]:
    """The run's end when nothing could be done for any server: every reason, what to do, and the event that calls somebody."""
    result = NightResult.of(error)
    words = pages.paragraph(error)
    logger = get_run_logger()
    for line in pages.log_lines(error):
        logger.warning(line)
    await publish_night(_named(), result, words, f"# The night of {policy} was not begun\n\n{words}")
    night_finished(_named(), None, words, outcome="refused" if result.outcome == "refused" else "failed")
    return Failed(name=_STATES.get(result.outcome or "", "Failed"), message=words, data=error)


@task(name="publish night", task_run_name="publish night of {policy}", **NO_RETRY)
async def publish_night(policy: str, result: NightResult, words: str, page: str) -> None:
    """The night's page, the same as a JSON object, and the outcome as the run's tag; keys have a history of their own."""
    run_id, tags = cast("str | None", flow_run.id), cast("list[str]", flow_run.tags or [])
    if run_id is not None:
        await publish(policy, result, words, page, run_id=UUID(run_id), tags=tags, task_run_id=UUID(str(task_run.id)))


async def publish(
    policy: str, result: NightResult, words: str, page: str, *, run_id: UUID, tags: list[str], task_run_id: UUID | None = None
) -> None:
    """The same from outside of the run, such as from a hook."""
    left: list[Page] = [
        ("markdown", f"night-{_key(policy)}", words, page),
        ("json", NIGHT_RESULT_KEY, "The same for programs", result.model_dump_json(exclude_none=True)),
    ]
    outcome = (result.outcome or "checked").replace("_", "-")
    async with get_client() as client:
        for kind, key, description, data in left:
            artifact = ArtifactCreate(
                type=kind, key=key, description=description, data=data, flow_run_id=run_id, task_run_id=task_run_id
            )
            await client.create_artifact(artifact)
        await client.update_flow_run(run_id, tags=[*(tag for tag in tags if tag not in _OUTCOMES), outcome])


def _named() -> str:
    """The policy as the run names it: by its file, without the suffix, so that a file that is gone has a name, too."""
    return PurePath(str(cast("dict[str, Any]", flow_run.parameters)["policy"])).stem


def _key(policy: str) -> str:
    """As Prefect takes an artifact's key: small letters, digits and dashes."""
    return "".join(char if char.isalnum() and char.isascii() else "-" for char in policy.lower())
