"""Words for the end of an order of one command: a page in Markdown, one paragraph for the state, lines for the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from backup_to_image.console import Console, Kind
from backup_to_image.forms import ActionForm
from backup_to_image.model import Report
from backup_to_image.told.told import Grid, Told
from tasks import pages

__all__ = ["go_on", "lines", "page", "paragraph", "things"]

_MOST_ROWS = 200
_MOST_LINKS = 40
_SHOWN: tuple[Kind, ...] = ("image", "backup", "vault", "server")
_USAGE = 2
_COMMAND = re.compile(r"`b2i [^`]*`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


def go_on(told: Told, order: ActionForm) -> str:
    """How to go on after such an end: in the run's menu, and from a terminal; nothing where all is well, or the form is wrong."""
    if told.error is None or told.exit_code == _USAGE:
        return ""
    command = " ".join(filter(None, (order.command, told.option)))
    now = told.error.retryable or told.exit_code in {4, 5}
    if told.exit_code == 3:
        on = f"When that is mended: Retry in this run's menu, Copy to new run for another form, or `{command}`."
    else:
        on = f"{'Go on with' if now else 'When that is mended:'} Retry in this run's menu, or `{command}`."
    return " ".join(filter(None, (_in_the_form(told, order), on)))


def _in_the_form(told: Told, order: ActionForm) -> str:
    """Which fields are meant where the words name options of the command, as for a terminal."""
    words = [told.error.message, told.error.action] if told.error else []
    words += [check.action for check in told.report.checks] if told.report else []
    named = dict.fromkeys(_OPTION.findall(_COMMAND.sub("", " ".join(words))))
    meant = [f'{option} is "{title}"' for option, title in order.options().items() if option in named]
    return f"In the form {', '.join(meant)}." if meant else ""


def paragraph(told: Told, on: str) -> str:
    """One paragraph: the UI shows a state's message without line breaks."""
    parts = [f"{told.title}."]
    if told.exit_code == 3 and told.report:
        parts += [f"{check.rule}: {check}" for check in told.report.refusals]
    if told.error:
        parts += [told.error.message, told.error.action]
    return " ".join(" ".join([*parts, on]).split())


def lines(told: Told, on: str) -> list[str]:
    """The same for the log, a line each."""
    found = [f"{told.title}.", *told.notes]
    if told.error:
        found += [told.error.message, f"What to do: {told.error.action}" if told.error.action else ""]
    if told.exit_code == 3 and told.report:
        found += [f"refused, {check.rule}: {check}" for check in told.report.refusals]
    return [line for line in [*found, on] if line]


def page(told: Told, on: str, console: Console = pages.NO_CONSOLE) -> str:
    """What came of the order, on a page. `console`: where links to the things in the cloud lead."""
    parts = pages.heading(told.title, told.error, on)
    if told.handle and told.exit_code != 0:
        at_work = (f"* {kind} {pages.thing(kind, ident, console)}" for kind, ident in told.handle.items())
        parts.append("In the cloud:\n\n" + "\n".join(at_work))
    parts += [_grid(grid, under=told.title) for grid in told.grids if grid.rows]
    if told.code:
        parts.append(f"```\n{told.code}\n```")
    parts += told.notes
    parts += _in_the_console(told, console)
    parts += [_checks(report) for report in (told.proof, told.report) if report]
    return "\n\n".join(parts)


def _grid(grid: Grid, *, under: str) -> str:
    width = len(grid.columns or grid.rows[0])
    head = f"| {' | '.join(grid.columns or ('',) * width)} |"
    rows = [f"| {' | '.join(pages.cell(cell) for cell in row)} |" for row in grid.rows[:_MOST_ROWS]]
    table = "\n".join([head, "|" + "---|" * width, *rows])
    said = under.startswith(grid.title)  # by the page's own title
    title = f"## {pages.cell(grid.title)}\n\n" if grid.title and not said else ""
    more = f"\n\nAnd {len(grid.rows) - _MOST_ROWS} more." if len(grid.rows) > _MOST_ROWS else ""
    return f"{title}{table}{more}"


def things(content: Any) -> dict[tuple[Kind, str], str]:
    """Images, backups, vaults and servers that a command's JSON object names by id, with their names as far as it has them.

    A drill's servers are gone by the time somebody reads of them.
    """
    found: dict[tuple[Kind, str], str] = {}
    for kind, ident, name in _named(content, drill=False):
        found[kind, ident] = found.get((kind, ident)) or name
    return found


def _named(content: Any, *, drill: bool) -> Iterator[tuple[Kind, str, str]]:
    if isinstance(content, list):
        for one in cast("list[Any]", content):
            yield from _named(one, drill=drill)
    if not isinstance(content, dict):
        return
    keys = cast("dict[str, Any]", content)
    drill = drill or keys.get("mode") == "drill" or keys.get("drill") is True
    for kind in _SHOWN:
        idents = (keys.get(f"{kind}_id"), *(keys.get(f"{kind}_ids") or ()))
        if not (drill and kind == "server"):
            for ident in idents:
                if isinstance(ident, str):
                    yield kind, ident, str(keys.get(f"{kind}_name") or "")
    for value in keys.values():
        yield from _named(value, drill=drill)


def _in_the_console(told: Told, console: Console) -> list[str]:
    found = things(told.content) if console.lists else {}
    if not found:
        return []
    rows = [f"| {kind} | {console.link(kind, ident, name)} |" for (kind, ident), name in found.items()][:_MOST_LINKS]
    return ["## In the console", "\n".join(["| | |", "|---|---|", *rows])]


def _checks(report: Report) -> str:
    return "#" + pages.checks_page(report)
