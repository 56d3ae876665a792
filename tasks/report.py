"""The end of a run, told to people: log lines, one Markdown page per run, the state's own words, a tag, an event.

A refusal is an answer and no accident, so it ends in a state with a message and without a traceback.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run, task_run
from prefect.states import Completed, Failed

from backup_to_image.console import Console
from backup_to_image.errors import B2iError, Refused, StillRunning
from backup_to_image.model import Delivery, Report
from backup_to_image.run_results import RESULT_KEY, RunResult
from tasks import history, pages
from tasks.artifacts import Left, console_of_this_run, leave
from tasks.events import image_refused
from tasks.policy import NO_RETRY

__all__ = ["checked", "delivered", "failed", "publish", "publish_report"]

REPORT_KEY = "image-from-backup"
CHECKS_KEY = "image-from-backup-checks"
_OUTCOMES = {"made", "adopted", "refused", "still-running", "failed", "partly", "checked", "cancelled"}


@task(name="publish report", task_run_name="publish report", **NO_RETRY)
async def publish_report(result: RunResult, on: str = "") -> None:
    """The run's pages (what came of it, how to go on, every check), the same as a JSON object, and the outcome as the run's tag.

    Keys are the same in each run, so that the UI shows their history.
    """
    run_id, tags = cast("str | None", flow_run.id), cast("list[str]", flow_run.tags or [])
    if run_id is not None:
        console = console_of_this_run()
        await publish(result, UUID(run_id), tags, console, on=on, task_run_id=UUID(str(task_run.id)))


async def publish(
    result: RunResult, run_id: UUID, tags: list[str], console: Console, *, on: str = "", task_run_id: UUID | None = None
) -> None:
    """The same from outside of the run, such as from a hook."""
    left: list[Left] = [("markdown", REPORT_KEY, pages.title(result), pages.result_page(result, on, console))]
    if result.report:
        left.append(("markdown", CHECKS_KEY, pages.verdict(result.report), pages.checks_page(result.report)))
    left.append(("json", RESULT_KEY, "The same for programs", result.model_dump_json(exclude_none=True)))
    left += history.of_delivery(result, console)
    outcome = "cancelled" if result.leftovers else (result.outcome or "checked").replace("_", "-")
    await leave(run_id, *left, task_run_id=task_run_id)
    async with get_client() as client:
        await client.update_flow_run(run_id, tags=[*(tag for tag in tags if tag not in _OUTCOMES), outcome])


async def delivered(delivery: Delivery) -> State[Delivery]:
    """The run's end when the image is there; what was ordered and did not answer makes it partly done, which is no green."""
    result = RunResult.of(delivery)
    for line in pages.console_lines(delivery, console_of_this_run()):
        get_run_logger().info(line)
    await publish_report(result)
    if result.exit_code:
        return Failed(name="PartlyDone", message=pages.sentence(delivery), data=delivery)
    return Completed(message=pages.sentence(delivery), data=delivery)


async def checked(report: Report) -> State[Report]:
    """The run's end when it only checked and nothing speaks against the order."""
    await publish_report(RunResult.of(report))
    return Completed(name="Checked", message=f"Nothing speaks against {report.subject}. Nothing was made.", data=report)


async def failed(error: B2iError, backup: str) -> State[Any]:
    """The run's end when the order of this backup was refused, went wrong or is not finished.

    Every reason, what to do, what exists, whether waiting helps, how to go on.
    """
    on = pages.go_on(error, backup)
    logger = get_run_logger()
    for line in pages.log_lines(error, on):
        logger.warning(line)
    await publish_report(RunResult.of(error), on)
    if isinstance(error, Refused):
        image_refused(error)
    return Failed(name=_state_name(error), message=pages.paragraph(error, on), data=error)


def _state_name(error: B2iError) -> str:
    """Names that alerts and the reconciler can tell apart; a deadline that passed is no failure."""
    if isinstance(error, StillRunning):
        return "StillRunning"
    return {3: "Refused", 5: "PartlyDone"}.get(error.exit_code, "Failed")
