"""The picture of a run: each group with its servers and steps along time, and what everything waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, timedelta
from importlib.resources import files
from itertools import groupby
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from backup_to_image.model.recovery import RunbookRun, RunGroup
from backup_to_image.pages.drawing import Scale, px, ticks
from backup_to_image.pages.elements import add
from backup_to_image.pages.words import exactly, short
from backup_to_image.steps.runbook.measure import Stretch, critical_path, stretches
from backup_to_image.told.evidence import run_title

__all__ = ["timeline", "timeline_svg"]

_STYLE = files("backup_to_image.evidence").joinpath("timeline.css").read_text(encoding="utf-8")
_WIDTH, _LEFT, _RIGHT = 1100.0, 250.0, 70.0
_HIGHEST = 1300.0
"""All rows together: what fits a sheet of paper."""
_ROW = 19.0
_READABLE = 8.0
"""Rows that are lower than this carry no words; their groups do."""
_KINDS = {
    "image": "image made first",
    "launch": "launched and probed",
    "step": "step of a machine",
    "people": "people were waited for",
}
_THICK = {"image": 0.6, "launch": 0.6, "step": 0.22, "people": 0.5}
_MARKS = {"bad": "m-4-4 8 8m0-8-8 8", "good": "m-4 0 3 3.5 6-8"}


class _Row(NamedTuple):
    """A server, a step, or the answers after a failure."""

    group: str
    name: str
    parts: Sequence[Stretch]
    mark: Literal["bad", "good", ""] = ""


def timeline_svg(run: RunbookRun) -> str:
    """The picture as a file of its own."""
    root = timeline(run)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return tostring(root, encoding="unicode") + "\n"


def timeline(run: RunbookRun) -> Element:
    """The picture as an element; it brings its own style, for light, dark and paper. Shapes tell it, never colours alone."""
    critical, parts = critical_path(run), stretches(run)
    rows = [row for group in run.groups for row in _rows_of(group, parts[group.name])]
    scale = _scale(run, rows)
    root = Element("svg", {"class": "run", "role": "img", "aria-label": f"What was at work when: {run_title(run)}"})
    SubElement(root, "style").text = _STYLE
    paper = add(root, "rect", class_="paper", width=px(_WIDTH))
    below = add(root, "g")
    top = _legend(root, run, rows) + 30
    high = min(_ROW, _HIGHEST / max(1, len(rows) + len(run.groups)))
    y = top
    for name, own in groupby(rows, key=lambda row: row.group):
        y = _group(root, below, name, list(own), critical, scale, y, high)
    add(below, "path", class_="grid", d="".join(f"M{x} {px(top - 4)}V{px(y)}" for x in _axis(root, scale, y)))
    _lines(root, run, scale, top - 4, y)
    paper.set("height", px(y + 32))
    root.set("viewBox", f"0 0 {px(_WIDTH)} {px(y + 32)}")
    return root


def _rows_of(group: RunGroup, parts: Sequence[Stretch]) -> Iterator[_Row]:
    """As it goes: its steps before, its servers, its steps after, and what was decided once it had failed."""
    steps = [
        (step.when, _Row(group.name, step.words, own, "bad" if step.state in {"failed", "stopped"} else ""))
        for number, step in enumerate(group.steps)
        if (own := [part for part in parts if part.step == number])
    ]
    yield from (row for when, row in steps if when == "before")
    for server in group.servers:
        own = [part for part in parts if part.server == server.source]
        yield _Row(group.name, server.source, own, "good" if server.state == "up" else "bad" if server.state == "failed" else "")
    yield from (row for when, row in steps if when == "then")
    if decided := [part for part in parts if part.step is None and not part.server]:
        yield _Row(group.name, decided[0].what, decided)


def _scale(run: RunbookRun, rows: Iterable[_Row]) -> Scale:
    ends = [part.ended_at for row in rows for part in row.parts]
    ended = max([*ends, run.ended_at or run.began_at, run.began_at + timedelta(minutes=1)])
    return Scale(run.began_at, ended, _LEFT, _WIDTH - _RIGHT)


def _legend(root: Element, run: RunbookRun, rows: Sequence[_Row]) -> float:
    """What the shapes mean, as far as they occur; returns where it ends."""
    kinds = {part.kind for row in rows for part in row.parts}
    x, y = 10.0, 14.0
    for kind, words in _KINDS.items():
        if kind in kinds:
            _bar(root, kind, x, x + 22, y - 4, 16.0)
            add(root, "text", words, x=px(x + 29), y=px(y))
            x += 60 + 5.6 * len(words)
    _underline(root, x, x + 22, y - 1)
    add(root, "text", "what everything waited for", x=px(x + 29), y=px(y))
    if run.interruptions:
        x += 205
        add(root, "path", class_="again", d=f"M{px(x)} {px(y - 9)}v11")
        add(root, "text", "gone on with", x=px(x + 8), y=px(y))
    return y


def _group(
    root: Element,
    below: Element,
    name: str,
    rows: Sequence[_Row],
    critical: Sequence[Stretch],
    scale: Scale,
    top: float,
    high: float,
) -> float:
    """A group's name and its rows; returns where they end."""
    size = px(max(6.0, min(11.0, high - 2)))
    add(below, "rect", class_="band", x="0", y=px(top), width=px(_WIDTH), height=px(max(high, 9.0)))
    add(root, "text", short(name, 40), class_="strong", x="6", y=px(top + max(high, 9.0) / 2 + 3.6), font_size=size)
    y = top + max(high, 9.0)
    for row in rows:
        _row(root, row, [one for one in critical if one.group == name], scale, y + high / 2, high)
        y += high
    return y + 3


def _row(root: Element, row: _Row, critical: Sequence[Stretch], scale: Scale, y: float, high: float) -> None:
    line = add(root, "g")
    lengths = "\n".join(f"{_KINDS[part.kind]}: {exactly(part.seconds)}" for part in row.parts)
    SubElement(line, "title").text = "\n".join(filter(None, [short(row.name, 128), lengths]))
    for part in row.parts:
        _bar(line, part.kind, scale.x(part.began_at), scale.x(part.ended_at), y, high)
        for one in critical:
            began_at, ended_at = max(one.began_at, part.began_at), min(one.ended_at, part.ended_at)
            if (one.server, one.step) == (part.server, part.step) and began_at < ended_at:
                _underline(line, scale.x(began_at), scale.x(ended_at), y + high * 0.42)
    if high < _READABLE:
        return
    size = px(min(11.0, high - 2))
    add(line, "text", short(row.name, 38), x="16", y=px(y + 3.6), font_size=size)
    end = scale.x(max((part.ended_at for part in row.parts), default=scale.began))
    if row.mark:
        add(line, "path", class_=f"mark {row.mark}", d=f"M{px(end + 9)} {px(y)}{_MARKS[row.mark]}")
        end += 13
    if row.parts:
        words = exactly(sum(part.seconds for part in row.parts))
        add(line, "text", words, class_="soft", x=px(end + 6), y=px(y + 3.6), font_size=size)


def _bar(parent: Element, kind: str, x: float, end: float, y: float, high: float) -> None:
    """Its shape tells its kind: full, striped, thin, or hollow where people were waited for."""
    thick, wide = high * _THICK[kind], max(end - x, 1.5)
    if kind == "people":
        add(parent, "rect", class_=kind, x=px(x), y=px(y - thick / 2), width=px(wide), height=px(thick))
    else:
        add(parent, "path", class_=kind, stroke_width=px(thick), d=f"M{px(x)} {px(y)}h{px(wide)}")


def _underline(parent: Element, x: float, end: float, y: float) -> None:
    add(parent, "path", class_="critical", d=f"M{px(x)} {px(y)}h{px(max(end - x, 1.5))}")


def _axis(root: Element, scale: Scale, bottom: float) -> Iterator[str]:
    """The clock below the rows, in UTC, the date where it changes; where its lines stand."""
    shown = ""
    for at in ticks(scale, UTC):
        x, day = px(scale.x(at)), f"{at.astimezone(UTC):%d %b, UTC}"
        add(root, "text", f"{at.astimezone(UTC):%H:%M}", class_="mid", x=x, y=px(bottom + 13))
        if day != shown:
            add(root, "text", day, class_="mid soft", x=x, y=px(bottom + 25))
        shown = day
        yield x


def _lines(root: Element, run: RunbookRun, scale: Scale, top: float, bottom: float) -> None:
    """When it was to be over, and when it was gone on with."""
    for at in run.interruptions:
        if scale.began <= at <= scale.ended:
            add(root, "path", class_="again", d=f"M{px(scale.x(at))} {px(top)}V{px(bottom)}")
    target = run.began_at + timedelta(seconds=run.rto_target_s) if run.rto_target_s else None
    if target and target <= scale.ended:
        x = px(scale.x(target))
        add(root, "path", class_="target", d=f"M{x} {px(top)}V{px(bottom)}")
        add(root, "text", "RTO target", class_="bad mid", x=x, y=px(top - 4))
