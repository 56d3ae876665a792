"""The end of a night, told to people: its pages, the board, the run's state and tag, one event; the same for programs."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run, task_run
from prefect.states import Cancelled, Completed, Failed

from backup_to_image.console import Console
from backup_to_image.errors import B2iError
from backup_to_image.forms import policies_of
from backup_to_image.model.night import NightPlan, NightReport
from backup_to_image.night_pages import keep_night, night_markdown, plan_markdown, plan_sentence, summary
from backup_to_image.run_results import NIGHT_RESULT_KEY, NightResult
from backup_to_image.steps.board import allowed_age, board_rows, past_their_rpo, read_board
from backup_to_image.steps.context import Context
from backup_to_image.steps.policy_file import PolicyFile
from tasks import history, pages
from tasks.artifacts import Left, artifact_key, console_of_this_run, leave
from tasks.events import night_finished, rpo_breached
from tasks.policy import NO_RETRY

__all__ = [
    "mistake",
    "night_ended",
    "night_not_begun",
    "night_planned",
    "night_superseded",
    "publish_cancelled_night",
]

_OUTCOMES = {"made", "adopted", "partly", "still-running", "failed", "refused", "checked", "cancelled"}
_STATES = {"partly": "PartlyDone", "still_running": "StillRunning", "failed": "Failed", "refused": "Refused"}


async def night_ended(report: NightReport, policy: PolicyFile, ctx: Context) -> State[NightReport]:
    """The run's end when the night was worked through: what the policy calls a failure, and what is not finished, is no green."""
    words, zone = summary(report), policy.policy.zone
    console = console_of_this_run()
    page = night_markdown(report, zone, console)
    file = keep_night(report, ctx, zone)
    await publish_night(
        _named(), NightResult.of(report), words, f"{page}\n\nThe whole night: `{file}` on the worker." if file else page
    )
    await show_servers(report, console)
    await show_board(_named(), policy, ctx, outcome=report.outcome)
    night_finished(_named(), report, words)
    name = _STATES.get(report.outcome)
    return Failed(name=name, message=words, data=report) if name else Completed(message=words, data=report)


def night_superseded() -> State[Any]:
    """The end of a run whose night was missed, after a later night was worked through: its images serve for this one, too."""
    return Cancelled(name="Superseded", message="A later night was worked through already; its images serve for this one, too.")


async def night_planned(plan: NightPlan) -> State[NightPlan]:
    """The run's end when it only looked what the night would do."""
    words = plan_sentence(plan)
    await publish_night(_named(), NightResult.of(plan), words, plan_markdown(plan))
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


def mistake(error: Exception) -> B2iError:
    """An error that nobody thought of, for people."""
    return B2iError(
        f"b2i itself made a mistake ({type(error).__name__}: {error}).",
        action="Retry in this run's menu adopts what was made; report it with the run's log.",
        code="b2i.unexpected",
    )


@task(name="publish night", task_run_name="publish night of {policy}", **NO_RETRY)
async def publish_night(policy: str, result: NightResult, words: str, page: str) -> None:
    """The night's page, the same as a JSON object, and the outcome as the run's tag; each key has a history."""
    run_id, tags = cast("str | None", flow_run.id), cast("list[str]", flow_run.tags or [])
    if run_id is not None:
        await _publish(policy, result, words, page, run_id=UUID(run_id), tags=tags, task_run_id=UUID(str(task_run.id)))


async def publish_cancelled_night(name: str, result: NightResult, words: str, page: str, run_id: UUID, tags: list[str]) -> None:
    """The same for a night that was cancelled, from outside of its run."""
    await _publish(PurePath(name).stem, result, words, page, run_id=run_id, tags=tags, outcome="cancelled")


async def _publish(
    policy: str,
    result: NightResult,
    words: str,
    page: str,
    *,
    run_id: UUID,
    tags: list[str],
    task_run_id: UUID | None = None,
    outcome: str = "",
) -> None:
    left: list[Left] = [
        ("markdown", f"night-{artifact_key(policy)}", words, page),
        ("json", NIGHT_RESULT_KEY, "The same for programs", result.model_dump_json(exclude_none=True)),
    ]
    outcome = outcome or (result.outcome or "checked").replace("_", "-")
    await leave(run_id, *left, task_run_id=task_run_id)
    async with get_client() as client:
        await client.update_flow_run(run_id, tags=[*(tag for tag in tags if tag not in _OUTCOMES), outcome])


@task(name="show servers", task_run_name="show servers of {report.policy}", **NO_RETRY)
async def show_servers(report: NightReport, console: Console) -> None:
    """An entry in each server's history; that some cannot be written makes no night a bad one.

    They are on this task's page. A run's page shows any 200 of its artifacts: those of many servers would hide the night's own.
    """
    try:
        await leave(None, *history.of_night(report, console), task_run_id=UUID(str(task_run.id)))
    except (PrefectException, httpx.HTTPError) as error:
        get_run_logger().warning("warning: not every server has an entry of this night in its history: %s", error)


@task(name="show board", task_run_name="show board of {named}", **NO_RETRY)
async def show_board(named: str, policy: PolicyFile, ctx: Context, *, outcome: str) -> None:
    """The morning's board of the project as a table; that it cannot be read makes no night a bad one."""
    try:
        beside = [one for one in policies_of(ctx.settings, tell=ctx.tell) if one.policy.cloud == policy.policy.cloud]
        board = await read_board(ctx, beside or [policy])
    except B2iError as error:
        ctx.tell(f"warning: there is no board this time: {error.message}")
        return
    await acreate_table_artifact(board_rows(board), key=f"board-{artifact_key(named)}", description=board.summary)
    old = past_their_rpo(board, policy.policy)
    rpo_breached("policy", policy.policy.name, allowed_age(policy.policy), old, outcome=outcome)


def _named() -> str:
    """The policy as the run names it: by its file, without the suffix, so that a file that is gone has a name, too."""
    return PurePath(str(cast("dict[str, Any]", flow_run.parameters)["policy"])).stem
