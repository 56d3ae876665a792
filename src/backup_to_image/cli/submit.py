"""`b2i --prefect`: the same order, done by a deployment at PREFECT_API_URL and followed from here.

It prints the same JSON and gives the same exit code as the local door. Nothing is decided here: the worker's files say whom an
image may be shared with and what a launch order's name means.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup_to_image.clock import Clock
from backup_to_image.errors import UsageError
from backup_to_image.forms import ActionForm, ImageForm, OrderForm, ServerForm
from backup_to_image.run_results import NightResult, RetentionResult, RunError, RunResult, SweepResult

if TYPE_CHECKING:
    from backup_to_image.cli.options import Options
    from backup_to_image.cli.output import Output
    from backup_to_image.model import ImageOrder
    from backup_to_image.told.told import Told

__all__ = [
    "own_block",
    "policy_name",
    "show_error",
    "submit",
    "submit_create",
    "submit_night",
    "submit_order",
    "submit_retention",
    "submit_sweep",
]


async def submit(form: ImageForm, *, block: str, tell: Callable[[str], None], clock: Clock | None = None) -> RunResult:
    """Order a run, follow it, return what came of it. Each call orders a run of its own; all of them adopt what is there.

    Raises UsageError where PREFECT_API_URL is not set, the server is not reached, or setup has not been run. When it is
    cancelled, the run goes on and `tell` is told where.
    """
    _need_prefect()
    from backup_to_image.cli import prefect_door as door

    async with door.prefect_server() as client:
        run = await door.order_run(form, block, client)
        ended = await door.follow(run, client, tell, clock)
        return await door.read_result(run.id, client) or RunResult.of(door.ended_without_a_word(ended))


async def submit_order(form: ActionForm, options: Options, output: Output, **blocks: str | None) -> int:
    """What a command does with --prefect: order it, follow it, tell what came of it; returns the exit code.

    `blocks` are those of other parameters than `project`.
    """
    projects = {"project": own_block(options, output), **blocks}
    return output.told(await (options.order or _through_deployment)(form, projects, output.say))


async def _through_deployment(form: ActionForm, blocks: dict[str, str | None], tell: Callable[[str], None]) -> Told:
    _need_prefect()
    from backup_to_image.cli import prefect_door as door
    from backup_to_image.told.told import Told

    async with door.prefect_server() as client:
        run = await door.order_action(form, blocks, client)
        ended = await door.follow(run, client, tell)
        return await door.read_told(run.id, client) or Told.of_error(door.ended_without_a_word(ended))


async def submit_night(policy: str, *, block: str | None, dry_run: bool, tell: Callable[[str], None]) -> NightResult:
    """Order a night of the policy's deployment, follow it, return what came of it. Raises as `submit` does."""
    _need_prefect()
    from backup_to_image.cli import prefect_door as door

    async with door.prefect_server() as client:
        run = await door.order_night(policy, block, client, dry_run=dry_run)
        ended = await door.follow(run, client, tell)
        return await door.read_night(run.id, client) or NightResult.of(door.ended_without_a_word(ended))


async def submit_sweep(*, block: str | None, apply: bool, grace: timedelta, tell: Callable[[str], None]) -> SweepResult:
    """Order a sweep, follow it, return what came of it. Raises as `submit` does."""
    _need_prefect()
    from backup_to_image.cli import prefect_door as door

    async with door.prefect_server() as client:
        run = await door.order_sweep(block, client, apply=apply, grace=grace)
        ended = await door.follow(run, client, tell)
        return await door.read_sweep(run.id, client) or SweepResult.of(door.ended_without_a_word(ended))


async def submit_retention(policy: str, *, block: str | None, apply: bool, tell: Callable[[str], None]) -> RetentionResult:
    """Order a run of the policy's retention, follow it, return what came of it. Raises as `submit` does."""
    _need_prefect()
    from backup_to_image.cli import prefect_door as door

    async with door.prefect_server() as client:
        run = await door.order_retention(policy, block, client, apply=apply)
        ended = await door.follow(run, client, tell)
        return await door.read_retention(run.id, client) or RetentionResult.of(door.ended_without_a_word(ended))


def policy_name(policy: Path) -> str:
    """The policy's name: as the file says it, or the argument itself where the file lies on the worker alone."""
    from backup_to_image.steps.policy_file import read_policy

    return read_policy(policy).policy.name if policy.is_file() else policy.stem


def own_block(options: Options, output: Output) -> str | None:
    """The block that was named on the command line; without one, the deployment's own. What does not count here is told."""
    _note_what_does_not_count(options, output)
    return options.block if options.block != type(options).block else None


def _note_what_does_not_count(options: Options, output: Output) -> None:
    if options.cloud or options.region or options.config:
        output.note("--cloud, --region and --config do not count with --prefect: the block and the worker's files do")


def _need_prefect() -> None:
    if find_spec("prefect") is None:
        raise UsageError(
            "Prefect is not installed, so --prefect cannot be used here.",
            action="Install backup-to-image[prefect]; or leave out --prefect: b2i does the work itself.",
        )


async def submit_create(
    order: ImageOrder,
    *,
    server: str | None,
    backup_now: bool = False,
    options: Options,
    output: Output,
    dry_run: bool,
    after_failure: bool = False,
    launch_file: str | None = None,
) -> int:
    """What `create` does with --prefect; returns the exit code. `launch_file`: the launch order's file name on the worker."""
    _note_what_does_not_count(options, output)
    named = launch_file or (order.launch.name if order.launch else "")
    if server:
        which = "now" if backup_now else "newest"
        form = ServerForm.of(order, server=server, backup=which, launch=named, after_failure=after_failure, dry_run=dry_run)
    else:
        form = OrderForm.of(order, launch=named, after_failure=after_failure, dry_run=dry_run)
    result = await submit(form, block=options.block, tell=output.say)
    if result.error and result.exit_code != UsageError.exit_code:
        go_on = output.go_on(at_once=result.error.retryable or result.exit_code in {4, 5})
        told = result.error.model_copy(update={"action": f"{result.error.action} {go_on}".strip()})
        result = result.model_copy(update={"error": told})
    output.result(_as_json(result, output.blank))
    _show(result, output)
    return result.exit_code


def _as_json(result: RunResult, keys: dict[str, Any]) -> dict[str, Any]:
    from backup_to_image.cli.output import delivery_json

    content: dict[str, Any] = delivery_json(result.delivery) if result.delivery else {}
    content |= {f"{kind}_id": ident for kind, ident in result.handle.items() if f"{kind}_id" in keys}
    if result.report:
        content["report"] = result.report.model_dump(mode="json")
    return content | {"outcome": result.outcome, "error": result.error.model_dump() if result.error else None}


def _show(result: RunResult, output: Output) -> None:
    from backup_to_image.cli.output import delivery_lines

    if result.report and not result.delivery:
        output.report(result.report)
    if result.delivery:
        output.show(*delivery_lines(result.delivery))
    elif result.outcome is None:
        output.show("Nothing speaks against it. Nothing was made.")
    show_error(result.error, output)


def show_error(error: RunError | None, output: Output) -> None:
    """An error of a run in Prefect, for people."""
    from rich.markup import escape

    if error and not output.as_json:
        for line in error.message.splitlines():
            output.err.print(f"[red]{escape(line)}[/]")
        if error.action:
            output.err.print(f"[bold]What to do:[/] {escape(error.action)}")
