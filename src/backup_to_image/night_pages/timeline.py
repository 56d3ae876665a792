"""The picture of a night: who waited for what, server by server, and how many image tasks were at work at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.night_pages.words import OUTCOMES, title
from backup_to_image.pages.drawing import Scale, px, ticks
from backup_to_image.pages.elements import add
from backup_to_image.pages.words import length, offset, plain, short

__all__ = ["PHASES", "Stretch", "drawn", "stretches", "timeline", "timeline_svg"]

TURN = "turn"
PHASES = {
    TURN: "waited for its turn",
    "backup": "backed up first",
    "validate": "checked",
    "place": "waited for a free place",
    "create": "image asked for",
    "wait": "cloud made the image",
    "share": "shared",
    "launch": "drill launched",
    "verify": "drill probed",
    "retire": "old image deleted",
}
IMAGE_TASK = frozenset({"create", "wait"})
"""While these last, the cloud has an image task of the server."""
_AT_ONCE = timedelta(seconds=1)
"""A stretch that begins so soon after another one goes on from it."""

_WIDTH = 1100.0
_RIGHT = 26.0
_CHART = 76.0
_AXIS = 30.0
_NAMED_ROWS = 120
"""Up to so many rows carry their names; of more only those that need somebody, and names are shown under the pointer."""
_HEIGHT = 1300.0
"""All rows together, at most: what fits a sheet of paper."""
_THINNEST = 0.8

_STYLE = files("backup_to_image.night_pages").joinpath("timeline.css").read_text(encoding="utf-8")
_MARKS = {"failed": "m-4-4 8 8m0-8-8 8", "late": "m-4-4 7 4-7 4z", "partly": "m0-4 4 4-4 4-4-4z"}


class Stretch(NamedTuple):
    """What a server did or waited for, from when to when; its turn is waited for from the night's beginning."""

    name: str
    began_at: datetime
    ended_at: datetime

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.began_at).total_seconds()


class _Row(NamedTuple):
    server: ServerNight
    stretches: Sequence[Stretch]

    @property
    def image_tasks(self) -> list[Stretch]:
        """While the cloud had an image task of it: an image that was there already took none."""
        took_place = self.server.outcome != "adopted" or any(one.name == "place" for one in self.stretches)
        return [one for one in self.stretches if one.name in IMAGE_TASK and took_place]


def drawn(report: NightReport) -> tuple[ServerNight, ...]:
    """The servers that have something to draw: who was skipped, or refused at once, has no row."""
    return tuple(one for one in report.servers if one.phases)


def stretches(server: ServerNight, report: NightReport) -> list[Stretch]:
    """A server's night in order, the wait for its turn included."""
    found = sorted((Stretch(one.name, one.began_at, one.ended_at) for one in server.phases), key=lambda one: one.began_at)
    if found and found[0].began_at > report.began_at + _AT_ONCE:
        found.insert(0, Stretch(TURN, report.began_at, found[0].began_at))
    return found


def timeline_svg(report: NightReport, tz: tzinfo = UTC) -> str:
    """The picture as a file of its own."""
    root = timeline(report, tz)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return tostring(root, encoding="unicode") + "\n"


def timeline(report: NightReport, tz: tzinfo = UTC) -> Element:
    """The picture as an element; it brings its own style, for light, dark and paper."""
    rows = sorted((_Row(one, stretches(one, report)) for one in drawn(report)), key=_place_in_line)
    named = len(rows) <= _NAMED_ROWS
    scale = _scale(report, rows, left=196.0 if named else 156.0)
    root = Element("svg", {"class": "night", "role": "img", "aria-label": f"Who waited for what: {title(report)}"})
    SubElement(root, "style").text = _STYLE
    paper = add(root, "rect", class_="paper", width=px(_WIDTH))
    grid = add(root, "path", class_="grid")  # behind everything
    top = _legend(root, rows) + 22
    _chart(root, report, rows, scale, top)
    first = top + _CHART + _AXIS + 6
    high = _rows(root, rows, scale, first, named=named)
    grid.set("d", _axis(root, report, scale, tz, top, first + high))
    whole = px(first + high + (_AXIS if rows else 8))
    paper.set("height", whole)
    root.set("viewBox", f"0 0 {px(_WIDTH)} {whole}")
    return root


def _scale(report: NightReport, rows: Sequence[_Row], left: float) -> Scale:
    began = min([report.began_at, *(row.stretches[0].began_at for row in rows)])
    ended = max([report.ended_at, *(one.ended_at for row in rows for one in row.stretches)])
    return Scale(began, max(ended, began + timedelta(minutes=1)), left, _WIDTH - _RIGHT)


def _legend(root: Element, rows: Sequence[_Row]) -> float:
    """What the colours and marks mean, as far as they occur; returns where it ends."""
    names = {one.name for row in rows for one in row.stretches}
    outcomes = {row.server.outcome for row in rows}
    entries = [(name, words, False) for name, words in PHASES.items() if name in names]
    entries += [(name, OUTCOMES[name], True) for name in _MARKS if name in outcomes]
    x, y = 10.0, 16.0
    for name, words, mark in entries:
        wide = 26 + 6.1 * len(words) + 12
        if x + wide > _WIDTH:
            x, y = 10.0, y + 18
        if mark:
            add(root, "path", class_=f"mark {name}", d=f"M{px(x + 8)} {px(y - 4)}{_MARKS[name]}")
        else:
            add(root, "path", class_=name, stroke_width="9", d=f"M{px(x)} {px(y - 4)}h18")
        add(root, "text", words, x=px(x + 24), y=px(y))
        x += wide
    return y + 8 if entries else 0.0


def _chart(root: Element, report: NightReport, rows: Sequence[_Row], scale: Scale, top: float) -> None:
    """How many image tasks were at work at once, against how many may be."""
    steps = list(_at_once(rows))
    peak = max((count for _, count in steps), default=0)
    cap = report.images_at_once
    full, low = max(peak, cap, 1), top + _CHART

    def y(count: int) -> float:
        return low - count / full * (_CHART - 4)

    words = f"Image tasks at work: {peak} at most" + (f", {cap} allowed" if cap else "")
    add(root, "text", words, class_="strong", x=px(scale.left), y=px(top - 6))
    add(root, "text", str(cap or peak), class_="soft end", x=px(scale.left - 6), y=px(y(cap or peak) + 4))
    if steps:
        path = [f"M{px(scale.x(steps[0][0]))} {px(low)}"]
        for at, count in steps:
            path.append(f"H{px(scale.x(at))}V{px(y(count))}")
        add(root, "path", class_="area", d="".join(path) + "z")
    if cap:
        add(root, "path", class_="cap", d=f"M{px(scale.left)} {px(y(cap))}H{px(_WIDTH - _RIGHT)}")


def _at_once(rows: Iterable[_Row]) -> Iterator[tuple[datetime, int]]:
    """How many servers had an image task, from each moment at which that changed."""
    changes: list[tuple[datetime, int]] = []
    for row in rows:
        until: datetime | None = None
        for one in row.image_tasks:
            if until is None or one.began_at > until + _AT_ONCE:
                changes.append((one.began_at, 1))
            else:
                changes.pop()  # one task goes on from the stretch before
            changes.append((one.ended_at, -1))
            until = one.ended_at
    count = 0
    for at, those in groupby(sorted(changes), key=lambda change: change[0]):
        count += sum(change for _, change in those)
        yield at, count


def _rows(root: Element, rows: Sequence[_Row], scale: Scale, top: float, *, named: bool) -> float:
    """A row for each server, in the order in which they came to their image; returns how high they are."""
    if not rows:
        return 0.0
    high = min(18.0, _HEIGHT / len(rows))
    part = 0.62 if named else 0.8 if high > 3 else 1.05  # gaps between hair-thin rows would only flicker
    group = add(root, "g", stroke_width=f"{high * part:.2f}")
    marks = add(root, "g")  # on top, or the rows below would cover them
    labelled = -100.0
    for number, (server, parts) in enumerate(rows):
        y = top + (number + 0.5) * high
        row = add(group, "g")
        SubElement(row, "title").text = _hover(server, parts)
        for one in parts:
            x, end = scale.x(one.began_at), scale.x(one.ended_at)
            if one.seconds == 0:
                continue
            add(row, "path", class_=one.name, d=f"M{px(x)} {px(y)}h{px(max(end - x, _THINNEST))}")
        if server.bad:
            x = scale.x(parts[-1].ended_at) + 10
            add(marks, "path", class_=f"mark {server.outcome}", d=f"M{px(x)} {px(y)}{_MARKS[server.outcome]}")
        if named or (server.bad and y - labelled >= 11):
            labelled = y
            label = short(server.server_name or server.server_id, 27 if named else 21)
            kind = f"end {server.outcome}" if server.bad else "end"
            size = {"font_size": px(min(11.0, high - 1))} if named else {}
            add(marks, "text", label, class_=kind, x=px(scale.left - 6), y=px(y + 3.6), **size)
    return high * len(rows)


def _axis(root: Element, report: NightReport, scale: Scale, tz: tzinfo, top: float, bottom: float) -> str:
    """The zone's clock under the chart and under the rows, date and offset where they change; returns the grid."""
    chart = top + _CHART
    grid: list[str] = []
    shown = ""
    for at in ticks(scale, tz):
        x, local = px(scale.x(at)), at.astimezone(tz)
        day = f"{local:%d %b}, {offset(at, tz)}"
        grid.append(f"M{x} {px(top)}V{px(bottom)}")
        for y in (chart, bottom) if bottom - chart > 100 else (chart,):
            add(root, "text", f"{local:%H:%M}", class_="mid", x=x, y=px(y + 14))
            if day != shown:
                add(root, "text", day, class_="mid soft", x=x, y=px(y + 26))
        shown = day
    if scale.began < report.deadline < scale.ended:
        x = px(scale.x(report.deadline))
        add(root, "path", class_="deadline", d=f"M{x} {px(top)}V{px(bottom)}")
        add(root, "text", "deadline", class_="late end", x=x, y=px(top - 6))
    return "".join(grid)


def _hover(server: ServerNight, parts: Iterable[Stretch]) -> str:
    """A row in words."""
    came = " ".join(filter(None, (OUTCOMES[server.outcome], plain(server.code))))
    lines = [f"{PHASES[one.name]}: {length(one.seconds)}" for one in parts if one.seconds]
    return "\n".join([f"{short(server.server_name or server.server_id, 128)}: {came}", *lines])


def _place_in_line(row: _Row) -> tuple[datetime, datetime, str]:
    """Servers as they came to their image: this draws the night as a staircase."""
    came = next((one.began_at for one in row.stretches if one.name in IMAGE_TASK), row.stretches[-1].ended_at)
    return came, row.stretches[-1].ended_at, row.server.server_name
