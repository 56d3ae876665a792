"""`b2i sweep`: what nobody needs any more, told first and removed later."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.steps.sweep import Swept

__all__ = ["BLANK", "command"]

BLANK: dict[str, Any] = {"found": [], "removed": [], "left": [], "listed": [], "unread": {}, "error": None}

_EPILOG = """\b
Examples:
  b2i sweep                        what there is; the cloud is only read
  b2i sweep --apply                remove what has been known for a day
  b2i sweep --apply --grace 3d
  b2i --prefect sweep --apply      by the deployment, on its worker
"""

_COLOURS = {"removed": "green", "left": "bold red", "due": "yellow", "marked": "dim", "waits": "dim", "kept": "dim"}


@click.command("sweep", epilog=_EPILOG)
@click.option("--apply", "apply_it", is_flag=True, help="Remove what has been known for the grace time.")
@click.option("--grace", type=LENGTH, metavar="24h", default="24h", show_default=True, help="How long a thing must be known.")
@click.option("--fail-on-findings", is_flag=True, help="End with 5 if there is anything to sweep.")
@common_options
@click.pass_obj
def command(options: Options, apply_it: bool, grace: timedelta, fail_on_findings: bool) -> int:
    """Find dead images, drill servers that stayed and shares that are over; with --apply remove what is known for a day.

    Only what carries our mark in this project; no backup, no failover server, no image of a server that is gone: those are
    told. Exit codes: 0, also with findings; 1 if something could not be looked at; 5 if something that was to go is left, or
    with --fail-on-findings.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        if options.prefect:
            return await _in_prefect(options, output, apply_it=apply_it, grace=grace, fail_on_findings=fail_on_findings)
        from backup_to_image.steps.sweep import sweep

        async with connected(options, output) as ctx:
            swept = await sweep(ctx, grace=grace, apply=apply_it)
        output.result(swept.model_dump(mode="json"))
        _show(output, swept)
        return swept.exit_code or (5 if fail_on_findings and swept.bad else 0)

    return perform(options, work, blank=BLANK)


async def _in_prefect(options: Options, output: Output, *, apply_it: bool, grace: timedelta, fail_on_findings: bool) -> int:
    """The same, done by the deployment; its worker's journal knows since when."""
    from backup_to_image.cli.submit import own_block, show_error, submit_sweep

    result = await submit_sweep(block=own_block(options, output), apply=apply_it, grace=grace, tell=output.say)
    told = result.swept.model_dump(mode="json") if result.swept else {}
    output.result(told | {"error": result.error.model_dump() if result.error else None})
    if result.swept:
        _show(output, result.swept)
    show_error(result.error, output)
    return 5 if result.exit_code == 0 and fail_on_findings and result.swept and result.swept.bad else result.exit_code


def _show(output: Output, swept: Swept) -> None:
    from rich.markup import escape
    from rich.table import Table

    from backup_to_image.steps.board import age

    for what, why in swept.unread.items():
        output.show(f"[red]![/] {escape(what)} could not be read: {escape(why)}")
    gb = sum(one.gb for one in swept.found)
    output.show(f"[bold]{len(swept.found)} to sweep, {gb} GB[/]" if swept.found else "Nothing to sweep.")
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "age", "GB", "becomes", "why"):
        table.add_column(column, overflow="fold", justify="right" if column in {"age", "GB"} else "left")
    for one in swept.found:
        when = f", {one.due:%Y-%m-%d %H:%M} UTC at the earliest" if one.action in {"marked", "waits"} else ""
        table.add_row(
            f"{one.kind} {escape(one.name)}\n[dim]{escape(one.id)}[/]",
            age(timedelta(seconds=one.age_s)),
            str(one.gb),
            f"[{_COLOURS[one.action]}]{one.action}[/]{when}",
            escape(one.why),
        )
    if swept.found:
        output.show(table)
    for one in swept.left:
        output.show(f"[red]left:[/] {one.kind} {escape(one.name)} ({escape(one.id)}): {escape(one.reason)}")
    if any(one.action == "due" for one in swept.found):
        output.show("Nothing was removed. --apply removes what is due.")
    if swept.listed:
        output.show(f"Not the sweep's, {len(swept.listed)} images, {sum(one.gb for one in swept.listed)} GB of backups:")
    for one in swept.listed:
        output.show(f"  {escape(one.name)} ({one.id}), {one.gb} GB: {escape(one.why)}")
