"""Tasks of the sweep, and its end told to people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from backup_to_image.errors import B2iError
from backup_to_image.run_results import SWEEP_RESULT_KEY, SweepResult
from backup_to_image.steps.context import Context
from backup_to_image.steps.deletion_left import as_first_seen
from backup_to_image.steps.sweep import Swept
from backup_to_image.steps.sweep import sweep as look_and_remove
from tasks import deletion_pages as words_of
from tasks import pages
from tasks.artifacts import console_of_this_run, leave, left_by, this_run
from tasks.events import deletion_finished
from tasks.policy import NO_RETRY, RETRY

__all__ = ["leave_sweep", "look_for_sweepings", "not_swept", "publish_sweep", "sweep_up", "sweepings_of", "swept"]

SWEEP_KEY = "sweep"
SWEEPINGS_KEY = "sweep-due"
"""What a run is about to remove, written down before it begins."""
_OUTCOMES = {0: "done", 1: "failed", 5: "partly"}


@task(name="look for what to sweep", task_run_name="look for what to sweep", **RETRY)
async def look_for_sweepings(ctx: Context, *, grace: timedelta) -> Swept:
    """Find what nobody needs any more, and remember since when. The cloud is only read."""
    return await look_and_remove(ctx, grace=grace)


@task(name="sweep up", task_run_name="sweep up", **NO_RETRY)
async def sweep_up(looked: Swept, ctx: Context, *, grace: timedelta) -> Swept:
    """Remove what is due, each looked at once more right before and proven to be gone."""
    run = this_run()
    if run is not None:
        await leave(run, ("json", SWEEPINGS_KEY, "What is to go, for programs", looked.model_dump_json()))
    return as_first_seen(await look_and_remove(ctx, grace=grace, apply=True), looked)


async def swept(found: Swept, *, applied: bool) -> State[Swept]:
    """The run's end, with what was found and removed in one sentence; what is left or could not be seen is no green."""
    result, words = SweepResult.of(found), words_of.sweep_sentence(found, applied=applied)
    await publish_sweep(result, words, words_of.sweep_page(found, words, seen_at=datetime.now(UTC)))
    deletion_finished("sweep", "", _OUTCOMES[result.exit_code], words)
    if result.exit_code:
        return Failed(name="PartlyDone" if found.left else "Failed", message=words, data=found)
    return Completed(name="Completed" if applied else "Checked", message=words, data=found)


async def not_swept(error: B2iError) -> State[Any]:
    """The run's end when nothing could even be looked at."""
    words = pages.paragraph(error)
    for line in pages.log_lines(error):
        get_run_logger().warning(line)
    await publish_sweep(SweepResult.of(error), words, f"# Not swept\n\n{words}")
    deletion_finished("sweep", "", "failed", words)
    return Failed(message=words, data=error)


@task(name="publish sweep", task_run_name="publish sweep", **NO_RETRY)
async def publish_sweep(result: SweepResult, words: str, page: str) -> None:
    """The run's page and the same as a JSON object."""
    run = this_run()
    if run is not None:
        await leave_sweep(run, result, words, pages.with_lists(page, console_of_this_run()))


async def leave_sweep(run: UUID, result: SweepResult, words: str, page: str) -> None:
    """The same from outside of the run, such as from a hook."""
    told = result.model_dump_json()
    await leave(run, ("markdown", SWEEP_KEY, words, page), ("json", SWEEP_RESULT_KEY, "The same for programs", told))


async def sweepings_of(run: UUID) -> Swept | None:
    """What a run was about to remove; None where it had not come so far."""
    found = await left_by(run, SWEEPINGS_KEY)
    return Swept.model_validate_json(found) if found else None
