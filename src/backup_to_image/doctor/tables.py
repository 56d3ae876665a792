"""The tables of codes, as text files that people read and correct, parsed once.

`= name: action` gives an action that a group of codes shares. Any other entry is `CODE CLASS cause` with `-> action` or
`-> @name` on the line below. A range such as Ecs.1000-1300 covers every number in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from backup_to_image.errors import ErrorClass

__all__ = ["Row", "table"]

_ENTRY = re.compile(
    r"(?P<family>[A-Za-z]+)\.(?P<first>\d+)(?:-(?P<last>\d+))? (?P<kind>[WPCX]) (?P<cause>\S.*)\n  -> (?P<action>\S.*)"
)
_SHARED = re.compile(r"= (?P<name>[a-z-]+): (?P<action>\S.*)")


class Row(NamedTuple):
    """What one code means; `group` names the codes that share the action on purpose."""

    code: str
    error_class: ErrorClass
    cause: str
    action: str
    group: str | None


@cache
def table() -> dict[str, Row]:
    """Every code by its name in lower case. Raises ValueError for a line that is no entry, and for a code that stands twice."""
    found: dict[str, Row] = {}
    for source in sorted(files("backup_to_image.doctor").joinpath("codes").iterdir(), key=lambda one: one.name):
        if source.name.endswith(".txt"):
            for row in _rows(source.name, source.read_text(encoding="utf-8")):
                if row.code.lower() in found:
                    raise ValueError(f"{source.name}: {row.code} stands twice")
                found[row.code.lower()] = row
    return found


def _rows(name: str, content: str) -> Iterator[Row]:
    shared: dict[str, str] = {}
    lines = [line for line in content.splitlines() if line.strip() and not line.startswith("#")]
    number = 0
    while number < len(lines):
        group = _SHARED.fullmatch(lines[number])
        if group:
            shared[group["name"]] = group["action"]
            number += 1
            continue
        entry = _ENTRY.fullmatch("\n".join(lines[number : number + 2]))
        if not entry:
            raise ValueError(f"{name}: no entry: {lines[number]!r}")
        number += 2
        said = entry["action"]
        in_group = said.removeprefix("@") if said.startswith("@") else None
        action = shared[in_group] if in_group else said
        for one in range(int(entry["first"]), int(entry["last"] or entry["first"]) + 1):
            code = f"{entry['family']}.{one:04d}"
            yield Row(code, ErrorClass(entry["kind"]), entry["cause"], action, in_group)
