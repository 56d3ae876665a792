"""`b2i board`: the fleet in the morning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model.board import Board
    from backup_to_image.steps.policy_file import PolicyFile

__all__ = ["BLANK", "command"]

BLANK: dict[str, Any] = {
    "at": None,
    "project_id": None,
    "summary": None,
    "watched": None,
    "fresh": None,
    "late": None,
    "failing": None,
    "unknown": None,
    "servers": [],
    "policies": [],
    "quota": None,
    "overdue": [],
    "runbooks": [],
    "gb_pinned": None,
    "findings": [],
    "unread": {},
    "requests": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i board
  b2i board --policy policies/shop.yaml --policy policies/office.yaml
  b2i board --json --fail-on-findings         for a monitor
"""

_COLOURS = {"failing": "bold red", "late": "yellow", "unknown": "yellow", "fresh": "green", "single": "dim", "gone": "dim"}
_SHORT = 20
"""So many servers without trouble are shown unless all are asked for."""
_NUMBERS = {"age", "images", "GB pinned"}
_TOLD_ABOVE = {"newest image", "why"}
"""Long words break a table in a terminal; the names of images are for those who go on with them, by --json."""


@click.command("board", epilog=_EPILOG)
@click.option(
    "--policy", "files", metavar="FILE", multiple=True, help="A policy: its servers too, its own limit of age; may be repeated."
)
@click.option("--shares", is_flag=True, help="Ask whom each newest image is shared with: a request for each.")
@click.option("--all", "everything", is_flag=True, help=f"Show every server, not only {_SHORT} of those without trouble.")
@click.option("--fail-on-findings", is_flag=True, help="End with 5 if something is late or failing.")
@common_options
@click.pass_obj
def command(options: Options, files: tuple[str, ...], shares: bool, everything: bool, fail_on_findings: bool) -> int:
    """Show each server of the fleet, the worst first: its newest image, how old the state in it is, and what is wrong. Read-only.

    Exit codes: 0, also with findings; with --fail-on-findings 5 if a server is late or failing, or could not be looked at.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.steps.board import read_board

        policies = _read(files)
        async with connected(options, output, cloud_name=next((one.policy.cloud for one in policies), None)) as ctx:
            board = await read_board(ctx, policies, shares=shares)
            requests = ctx.cloud.requests
        told = board.model_dump(mode="json") | {"summary": board.summary, "watched": board.watched, "requests": requests}
        output.result(told | {state: board.count(state) for state in ("fresh", "late", "failing", "unknown")})
        _show(output, board, everything=everything)
        return 5 if fail_on_findings and board.bad else 0

    return perform(options, work, blank=BLANK)


def _read(files: tuple[str, ...]) -> list[PolicyFile]:
    """The policies. Raises UsageError with every mistake of all of them at once."""
    from backup_to_image.errors import UsageError
    from backup_to_image.steps.policy_file import read_policy

    found: list[PolicyFile] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(read_policy(Path(file)))
        except UsageError as error:
            problems += error.problems
    clouds = sorted({one.policy.cloud or "" for one in found})
    if len(clouds) > 1:
        named = ", ".join(repr(cloud) if cloud else "no cloud of their own" for cloud in clouds)
        problems.append(f"The policies name {named}; a board shows one project. Give the command once for each.")
    names = [one.policy.name for one in found]
    problems += [f"{name!r} is the name of {names.count(name)} policies." for name in sorted({*names}) if names.count(name) > 1]
    if problems:
        raise UsageError(problems)
    return found


def _show(output: Output, board: Board, *, everything: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from backup_to_image.steps.board import BOARD_COLUMNS, board_rows

    output.show(f"[bold]{board.summary}[/]" if board.watched else f"No policy takes any server yet. [dim]{board.summary}[/]")
    output.show(f"{board.gb_pinned} GB of backups pinned by our images; quota: {escape(board.quota.words)}")
    for policy in board.policies:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in policy.counts.items())
        night = f"night {policy.night} {policy.outcome}" + (f": {counts}" if counts else "") if policy.night else "no night yet"
        output.show(escape(f"policy {policy.name}: {night}"))
    for book in board.runbooks:
        state = "ready" if book.ready else f"NOT ready, {book.score} of 100"
        output.show(escape(f"runbook {book.name} ({' and '.join(book.modes)}): {state}, seen {book.at:%Y-%m-%d %H:%M} UTC"))
    for finding in board.findings:
        output.show(f"[red]![/] {escape(finding)}")
    for one in board.overdue:
        words = f"`{one.verb} {one.subject}` should have ended by {one.deadline:%Y-%m-%d %H:%M} UTC; `b2i reconcile` says more"
        output.show(f"[yellow]![/] {escape(words)}")
    rows = board_rows(board)
    trouble = board.count("failing", "late", "unknown")
    for row in rows[:trouble]:
        output.show(f"[{_COLOURS[row['state']]}]{row['state']}[/] [bold]{escape(row['server'])}[/]: {escape(row['why'])}")
    shown = rows if everything else rows[: trouble + _SHORT]
    columns = [one for one in BOARD_COLUMNS if one not in _TOLD_ABOVE]
    if all(row["shared with"] == "?" for row in shown):
        columns.remove("shared with")
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    for row in shown:
        cells = {column: escape(row[column]) for column in columns}
        cells["state"] = f"[{_COLOURS[row['state']]}]{row['state']}[/]"
        table.add_row(*cells.values())
    if rows:
        output.show(table)
    if len(rows) > len(shown):
        output.show(f"... and {len(rows) - len(shown)} more without trouble; --all shows them.")
