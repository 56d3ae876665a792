"""The end of a run that one command's form ordered: one page, the same for programs, the state's own words, a tag, an event."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run, task_run
from prefect.states import Completed, Failed

from backup_to_image.console import Console
from backup_to_image.errors import B2iError, Refused, UsageError
from backup_to_image.forms import ActionForm
from backup_to_image.run_results import ORDER_RESULT_KEY
from backup_to_image.told.told import Fields, Told
from tasks import history, pages, told_pages
from tasks.artifacts import Left, console_of_this_run, leave, left_by, this_run
from tasks.events import order_refused
from tasks.policy import NO_RETRY, check_starts

__all__ = ["begin", "ended", "ended_badly", "leave_told", "publish_told"]

_OUTCOMES = {"made", "adopted", "refused", "still-running", "failed", "partly", "checked", "cancelled"}
_NAMES = {3: "Refused", 4: "StillRunning", 5: "PartlyDone"}


async def begin(order: ActionForm) -> State[Any] | None:
    """Look at the form before anything is asked of the cloud. Raises B2iError for mistakes in it, and for too many starts.

    Where this run has ended well before, that end once more: whoever retries a completed run has nothing done again, neither a
    share that was ended since nor a server that was taken down.
    """
    check_starts()
    order.check()
    run = this_run()
    before = await left_by(run, ORDER_RESULT_KEY, newest=True) if run else None
    told = Told.model_validate_json(before) if before else None
    if told is None or told.exit_code != 0 or told.outcome is None:
        return None
    words = f"{told.title}. This run had ended before, so nothing was done again: Copy to new run orders it anew."
    get_run_logger().info(words)
    return Completed(message=words, data=told)


async def ended(told: Told, order: ActionForm) -> State[Any]:
    """The run's end, with what came of the order; only what was ordered and proven is green."""
    on = told_pages.go_on(told, order)
    await publish_told(told, order, on)
    words = told_pages.paragraph(told, on)
    if told.exit_code == 0:
        return Completed(name="Completed" if told.outcome else "Checked", message=words, data=told)
    for line in told_pages.lines(told, on):
        get_run_logger().warning(line)
    return Failed(name=_NAMES.get(told.exit_code, "Failed"), message=words, data=told)


async def ended_badly(error: B2iError, order: ActionForm, known: Fields | None = None) -> State[Any]:
    """The run's end where the order was refused, went wrong or is not finished. `known`: what of it is told all the same."""
    told = Told.of_error(error, known)
    on = told_pages.go_on(told, order)
    for line in pages.log_lines(error, on):
        get_run_logger().warning(line)
    await publish_told(told, order, on)
    if isinstance(error, Refused):
        order_refused(order.verb, error)
    name = "Failed" if isinstance(error, UsageError) else _NAMES.get(error.exit_code, "Failed")
    return Failed(name=name, message=pages.paragraph(error, on), data=error)


@task(name="publish report", task_run_name="publish report", **NO_RETRY)
async def publish_told(told: Told, order: ActionForm, on: str) -> None:
    """The run's page, the same as a JSON object, and the outcome as the run's tag."""
    run_id, tags = cast("str | None", flow_run.id), cast("list[str]", flow_run.tags or [])
    if run_id is not None:
        console = console_of_this_run()
        await leave_told(told, order, on, UUID(run_id), tags, console, task_run_id=UUID(str(task_run.id)))


async def leave_told(
    told: Told, order: ActionForm, on: str, run_id: UUID, tags: list[str], console: Console, *, task_run_id: UUID | None = None
) -> None:
    """The same from outside of the run, such as from a hook. The page's key is the command's name, so that it has a history."""
    page: Left = ("markdown", order.verb, told.title, told_pages.page(told, on, console))
    result: Left = ("json", ORDER_RESULT_KEY, "The same for programs", told.model_dump_json())
    await leave(run_id, page, result, *history.of_order(told, console), task_run_id=task_run_id)
    cancelled = told.error is not None and told.error.code == "b2i.cancelled"
    outcome = "cancelled" if cancelled else (told.outcome or "checked").replace("_", "-")
    async with get_client() as client:
        await client.update_flow_run(run_id, tags=[*(tag for tag in tags if tag not in _OUTCOMES), outcome])
