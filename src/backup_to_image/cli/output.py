"""What a command prints: for people on a terminal, or one JSON object; progress and trouble on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import sys
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from backup_to_image.errors import B2iError, PartlyDone, StillRunning, UsageError
from backup_to_image.model import Delivery, Report
from backup_to_image.told.launch import launch_grid
from backup_to_image.told.told import Grid, Told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from backup_to_image.run_results import RunError
    from backup_to_image.steps.leftovers import Leftovers

__all__ = ["Output", "delivery_json", "delivery_lines", "grid_table", "pairs", "report_table"]

_LOOK_BACK = 10.0
"""Seconds for the look at what is left: somebody has pressed Ctrl-C and waits."""
_WIDTH_OF_FILES = 200
"""Columns of a table that goes into a file or another program, so that a row is a line."""
_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}")
_VERDICTS = {
    "passed": "[green]passed[/]",
    "refused": "[bold red]refused[/]",
    "warned": "[yellow]warned[/]",
    "unknowable": "[dim]unknowable[/]",
}


_COLOURS = {"done": "green", "accepted": "green", "not answered": "yellow", "failed": "bold red"}
"""Of words that stand alone in a table."""


class Output:
    """Where a command's words go. `blank` are the keys that its JSON object always has, `words` the command as it was typed.

    Without words there is nothing to go on with after an error.
    """

    def __init__(self, *, json: bool, quiet: bool, blank: dict[str, Any], words: tuple[str, ...] = ()) -> None:
        self.words = words
        self.left: Leftovers | None = None
        """What the cloud has of an order that was stopped."""
        self.undone = ""
        """What a stop has undone, where it leaves nothing to go on with."""
        self.as_json = json
        self.quiet = quiet
        self.blank = blank
        people = sys.stdout.isatty()
        width = None if people or "COLUMNS" in os.environ else _WIDTH_OF_FILES
        self.out = Console(soft_wrap=not people, highlight=False, width=width)
        self.err = Console(stderr=True, soft_wrap=True, highlight=False)

    def say(self, line: str) -> None:
        """A line of progress: what changed, and until when it is waited for."""
        if not self.quiet:
            self.err.print(f"[dim]{datetime.now().astimezone():%H:%M:%S}[/] {escape(line)}")

    def note(self, line: str) -> None:
        """A warning; it is shown in quiet too."""
        self.err.print(f"[yellow]warning:[/] {escape(line)}")

    def result(self, content: dict[str, Any]) -> None:
        """The JSON object, if one was asked for: all of the command's keys, null where absent."""
        if self.as_json:
            sys.stdout.write(json.dumps({**self.blank, **content}, default=str) + "\n")
            sys.stdout.flush()

    def show(self, *lines: object) -> None:
        """The result for people; nothing where JSON was asked for."""
        if not self.as_json:
            for line in lines:
                if isinstance(line, Table):
                    _keep_ids_whole(line)
                self.out.print(line)

    def report(self, report: Report) -> None:
        """A validation report, one line per check."""
        self.show(report_table(report))

    def told(self, told: Told) -> int:
        """How an order ended: its tables, what it means, what went wrong and how to go on; returns the exit code."""
        error, go_on = told.error, ""
        content = told.content | {f"{kind}_id": ident for kind, ident in told.handle.items() if f"{kind}_id" in self.blank}
        content |= {"outcome": told.outcome, "error": None}
        if told.report:
            content["report"] = told.report.model_dump(mode="json")
        if error:
            mended = told.exit_code == UsageError.exit_code or not self.words
            go_on = "" if mended else self.go_on(at_once=error.retryable or told.exit_code in {4, 5}, option=told.option)
            action = " ".join(part for part in (error.action, go_on) if part)
            content["error"] = error.model_dump() | {"action": action}
        keys = {*self.blank, "error", *(["report"] if error else [])}
        self.result({key: value for key, value in content.items() if key in keys})
        if told.report and (told.report.refusals or told.code):
            self.report(told.report)
        for grid in told.grids:
            self.show(grid_table(grid))
        if told.proof:
            self.report(told.proof)
        self.show(*(escape(words) for words in (told.code, *told.notes) if words))
        if error and not self.as_json:
            self._trouble(error, told, go_on)
        return told.exit_code

    def failed(self, error: B2iError) -> None:
        """An error in plain words: what happened, what it means, what to do, whether waiting helps, the command to go on with."""
        told = Told.of_error(error)
        if isinstance(error, PartlyDone):
            launched = {kind: ident for kind, ident in error.cause.handle.items() if kind in {"server", "launch"}}
            told = told.model_copy(update={"content": delivery_json(error.delivery), "handle": launched})
            self.show(*delivery_lines(error.delivery))
        self.told(told)

    def _trouble(self, error: RunError, told: Told, go_on: str) -> None:
        colour = "yellow" if told.exit_code in {4, 5} else "red"
        for line in error.message.splitlines():
            self.err.print(f"[{colour}]{escape(line)}[/]")
        if told.handle and told.exit_code != StillRunning.exit_code:  # whose message names it
            self.err.print(f"Asked for: {', '.join(f'{kind} {ident}' for kind, ident in told.handle.items())}")
        if error.action:
            self.err.print(f"[bold]What to do:[/] {escape(error.action)}")
        if told.exit_code != UsageError.exit_code:
            self.err.print(f"Waiting helps: {'yes' if error.retryable else 'no'}.")
        if go_on:
            self.err.print(escape(go_on))

    def go_on(self, *, at_once: bool, option: str = "") -> str:
        """The command that goes on from here, as it was typed: at once, or when what is in the way is mended."""
        words = self.words if not option or option in self.words else (*self.words, option)
        return f"{'Go on with' if at_once else 'When that is mended'}: `{shlex.join(('b2i', *words))}`."

    @asynccontextmanager
    async def naming_what_is_left(self, look: Callable[[], Awaitable[Leftovers]]) -> AsyncGenerator[None]:
        """Look at what the cloud has of an order when a signal stops it; a second signal stops the look."""
        try:
            yield
        except asyncio.CancelledError:
            self.err.print("[dim]stopping; looking at what the cloud has of it ...[/]")
            with contextlib.suppress(B2iError, TimeoutError):
                async with asyncio.timeout(_LOOK_BACK):
                    self.left = await look()
            raise

    def interrupted(self, signal_name: str) -> None:
        """Say what a stop leaves behind: nothing is undone, the next run adopts it."""
        message = f"Stopped by {signal_name}. {self.undone or 'What the cloud was asked to make, it goes on making.'}"
        if self.left and self.left.stray:
            message += f" Left behind by a launch that failed, as it seems: {', '.join(one.words for one in self.left.stray)}."
        again = f"`{shlex.join(('b2i', *self.words))}`"
        action = (
            f"The same command begins another: {again}." if self.undone else f"The same command finds it and goes on: {again}."
        )
        content: dict[str, Any] = {"error": {"code": "b2i.interrupted", "message": message, "action": action, "retryable": True}}
        if "outcome" in self.blank:
            content["outcome"] = "failed" if self.undone else "still_running"
        if self.left:
            content |= {f"{kind}_id": ident for kind, ident in self.left.handle.items() if f"{kind}_id" in self.blank}
        self.result(content)
        if not self.as_json:
            for one in self.left.things if self.left else ():
                self.err.print(f"  {one.kind} {' '.join(word for word in (one.name, one.id, one.status) if word)}", markup=False)
            self.err.print(f"[yellow]{escape(message)}[/] {escape(action)}")


def _keep_ids_whole(table: Table) -> None:
    """However narrow the terminal is: an id in two parts cannot be copied. Of the first column of ids, what the table is of."""
    for column in table.columns:
        cells = [plain for plain in (Text.from_markup(str(cell)).plain for cell in column.cells) if plain]
        if cells and all(any(map(_ID.fullmatch, cell.splitlines())) for cell in cells):
            column.no_wrap = True
            return


def report_table(report: Report) -> Table:
    """A report as a table: what was looked at, how it came out, why, and what to do."""
    table = Table(title=f"Checks of {escape(report.subject)}", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("check", "verdict", "what was seen, and what to do"):
        table.add_column(column, overflow="fold")
    for check in report.checks:
        words = escape(check.why)
        if check.action:
            words += f"\n→ {escape(check.action)}"
        if check.verdict == "refused":
            words += f"\n  waiting helps: {'yes' if check.waiting_helps else 'no'}" + (
                f"; the cloud would say {check.code}" if check.code and not check.code.startswith("b2i.") else ""
            )
        table.add_row(check.rule, _VERDICTS[check.verdict], words)
    return table


def grid_table(grid: Grid) -> Table:
    """A table of what became of an order."""
    table = Table(
        title=escape(grid.title) or None,
        title_justify="left",
        show_header=bool(grid.columns),
        show_edge=False,
        pad_edge=False,
    )
    for number, column in enumerate(grid.columns or ("", "")):
        table.add_column(column, overflow="fold", style="bold" if not grid.columns and number == 0 else None)
    for row in grid.rows:
        table.add_row(*(f"[{_COLOURS[cell]}]{cell}[/]" if cell in _COLOURS else escape(cell) for cell in row))
    return table


def pairs(title: str, rows: Iterable[tuple[str, str | None]]) -> Table:
    """A small table of names and values; rows without a value are left out."""
    table = Table(title=title, title_justify="left", show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, escape(value))
    return table


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """`create --json`: every id, nothing that has to be looked up again."""
    launch = delivery.launch
    return {
        "outcome": delivery.outcome,
        "backup_id": delivery.backup_id,
        "image_id": delivery.image_id,
        "image_name": delivery.image_name,
        "status": delivery.status,
        "adopted": delivery.adopted,
        "doubtful": delivery.doubtful,
        "job_id": delivery.job_id,
        "shared_with": list(delivery.shared_with),
        "server_id": launch.server_id if launch else None,
        "launch_id": launch.launch_id if launch else None,
        "probes": [probe.model_dump(mode="json") for probe in launch.probes] if launch else [],
        "verified": launch.verified if launch else None,
        "steps": [step.model_dump(mode="json") for step in delivery.steps],
        "requests": delivery.requests,
        "seconds": delivery.seconds,
        "report": delivery.report.model_dump(mode="json") if delivery.report else None,
    }


def delivery_lines(delivery: Delivery) -> list[object]:
    """A delivery for people: ids, times, requests, and the next useful command."""
    words = {"made": "made", "adopted": "was there already, adopted", "partly": "is there, but not all that was ordered"}
    title = f"Image {words.get(delivery.outcome, delivery.outcome)}" + (
        " (made by somebody else)" if delivery.adopted == "foreign" else ""
    )
    rows = [
        ("image", f"{delivery.image_name}  {delivery.image_id}"),
        ("status", f"{delivery.status} (Normal in the console)" if delivery.status == "active" else delivery.status),
        ("doubtful", delivery.doubtful),
        ("backup", f"{delivery.backup_id}, of {delivery.server_name}" if delivery.server_name else delivery.backup_id),
        ("image job", delivery.job_id),
        ("shared with", ", ".join(delivery.shared_with)),
    ]
    lines: list[object] = [pairs(title, rows)]
    if delivery.launch:
        lines.append(grid_table(launch_grid(delivery.launch)))
    if delivery.steps:
        steps = ", ".join(f"{one.step} {one.seconds:.0f} s ({one.requests})" for one in delivery.steps if one.requests)
        lines.append(f"{delivery.seconds:.0f} s and {delivery.requests} requests: {steps}")
    lines.append(
        "It is never exported or copied: to have it in another region, copy the backup, which stays as long as the image."
    )
    return lines
