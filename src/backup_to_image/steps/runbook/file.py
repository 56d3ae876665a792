"""A runbook as its file says it: every mistake at once, and the launch order of each server in drill and failover."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model import LaunchOrder, Value
from backup_to_image.model.runbook import LaunchPart, Runbook, RunbookServer
from backup_to_image.steps.launching.plan import Mode
from backup_to_image.yamlfile import Placed, load_placed, mistakes, read_text

__all__ = ["MODES", "RunbookFile", "launch_order", "read_runbook"]

MODES: tuple[Mode, ...] = ("failover", "drill")

_WHOLE = frozenset({"flavor"})
"""Keys whose block is replaced, not completed: a flavor by its name has no vCPUs beside it."""


class RunbookFile(Value):
    """A runbook and where it was read."""

    path: Path
    text: str
    """Word by word."""
    runbook: Runbook
    modes: tuple[Mode, ...]
    """What it can be run as: every server has a whole launch order for it."""


def read_runbook(path: Path, *, text: str | None = None) -> RunbookFile:
    """Read a runbook, or what was kept of it. Raises UsageError with every mistake as file:line: field."""
    text = read_text(path, "runbook") if text is None else text
    placed = load_placed(path, Runbook, "runbook", text=text)
    book = placed.value
    problems = [*_named_twice(placed), *_needs(placed)]
    wanting = {mode: _wanting(placed, mode) for mode in MODES}
    modes: tuple[Mode, ...] = tuple(mode for mode in MODES if not wanting[mode])
    meant = [mode for mode in MODES if _speaks_of(book, mode)] or list(modes) or ["failover"]
    problems += [problem for mode in meant for problem in wanting[mode]]
    if not book.servers:
        problems.append(f"{placed.at('groups')}: no group has a server")
    if problems:
        raise UsageError(list(dict.fromkeys(problems)))
    return RunbookFile(path=path, text=text, runbook=book, modes=modes)


def launch_order(book: Runbook, server: RunbookServer, mode: Mode, *, name: str | None = None) -> LaunchOrder:
    """What the server is launched with: what stands nearest to it holds, and what is said of drills holds in every drill.

    From the weakest to the strongest: `defaults`, the server's `launch` and `probes`, the runbook's `drill` or `failover`, the
    server's own. `name`: how its source is called, where the file does not say. Raises ValidationError where some is missing.
    """
    merged: dict[str, Any] = {}
    for part in (book.defaults, _own(server), _part(book, mode), _part(server, mode)):
        if part is not None:
            merged = _over(merged, part.model_dump(exclude_unset=True))
    return LaunchOrder.model_validate({"name": server.name or name or server.source} | _told(merged))


def _own(server: RunbookServer) -> LaunchPart:
    own = server.launch or LaunchPart()
    return (
        own
        if server.probes is None
        else LaunchPart.model_validate(own.model_dump(exclude_unset=True) | {"probes": server.probes})
    )


def _part(of: Runbook | RunbookServer, mode: Mode) -> LaunchPart | None:
    return of.drill if mode == "drill" else of.failover


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, block by block; lists are replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = key not in _WHOLE and isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _over(cast("dict[str, Any]", under), cast("dict[str, Any]", value)) if both else value
    return merged


def _told(merged: dict[str, Any]) -> dict[str, Any]:
    """Without what was taken back by a null, so that it is as usual."""
    return {
        key: _told(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for key, value in merged.items()
        if value is not None
    }


# -- mistakes -----------------------------------------------------------------------------------------------------------


def _speaks_of(book: Runbook, mode: Mode) -> bool:
    return _part(book, mode) is not None or any(_part(server, mode) is not None for _, server in book.servers)


def _named_twice(placed: Placed[Runbook]) -> list[str]:
    problems: list[str] = []
    groups, sources, names = set[str](), dict[str, str](), dict[str, str]()
    for at, group in enumerate(placed.value.groups):
        if group.name in groups:
            problems.append(f"{placed.at('groups', at, 'name')}: {group.name!r} is the name of another group")
        groups.add(group.name)
        for number, server in enumerate(group.servers):
            here = placed.at("groups", at, "servers", number)
            name = server.name or server.source
            if server.source in sources:
                problems.append(f"{here}.source: {server.source!r} comes back in group {sources[server.source]} already")
            elif name in names:
                problems.append(f"{here}.name: {name!r} is the name of another server, in group {names[name]}")
            sources.setdefault(server.source, group.name)
            names.setdefault(name, group.name)
    return problems


def _needs(placed: Placed[Runbook]) -> list[str]:
    known = {group.name for group in placed.value.groups}
    problems = [
        f"{placed.at('groups', at, 'needs')}: there is no group {name!r}; there are {', '.join(sorted(known))}"
        for at, group in enumerate(placed.value.groups)
        for name in group.needs
        if name not in known
    ]
    order: TopologicalSorter[str] = TopologicalSorter()
    for group in placed.value.groups:
        order.add(group.name, *group.needs)
    try:
        order.prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        problems.append(f"{placed.at('groups')}: these groups wait for each other: {' needs '.join(reversed(circle))}")
    return problems


def _wanting(placed: Placed[Runbook], mode: Mode) -> list[str]:
    """What the launch orders of this mode are still wanting, at each server."""
    problems: list[str] = []
    for at, group in enumerate(placed.value.groups):
        for number, server in enumerate(group.servers):
            here = placed.at("groups", at, "servers", number)
            try:
                launch_order(placed.value, server, mode)
            except ValidationError as error:
                problems += [f"{here}: {mode}: {words}" for words in mistakes(error)]
    return problems
