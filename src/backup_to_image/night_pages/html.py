"""A night as one HTML file that needs nothing else: verdict, what to do, the picture, every server; on screen and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from statistics import median
from xml.etree.ElementTree import Element

from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.night_pages.timeline import PHASES, drawn, stretches, timeline
from backup_to_image.night_pages.words import (
    OUTCOMES,
    Group,
    count_words,
    groups,
    night_span,
    quota_words,
    title,
    verdict,
)
from backup_to_image.pages.elements import add, as_file, banner, folded, listed, new_page, say, table, tile
from backup_to_image.pages.words import length, moment, plain

__all__ = ["night_html"]

_OPEN_UP_TO = 60
"""Servers in a table that lies open."""
_TONES = {"failed": "bad", "late": "look", "partly": "look", "made": "good", "adopted": "good"}


def night_html(report: NightReport, tz: tzinfo = UTC) -> str:
    """A night as a file: no script, nothing from elsewhere, and whatever the cloud or people have named is only ever text."""
    root, body = new_page(title(report))
    _top(body, report, tz)
    _groups(body, "Needs somebody", [one for one in report.servers if one.bad])
    listed(body, "Left behind by drills", report.left_behind)
    _doubtful(body, report)
    _picture(body, report, tz)
    _waits(body, report)
    _groups(body, "Skipped", report.with_outcome("skipped"))
    _verified(body, report)
    _retired(body, report)
    if quota := quota_words(report):
        add(body, "h2", "Quota")
        add(body, "p", quota)
    listed(body, "Notes", report.notes)
    _fleet(body, report, tz)
    words = f"Project {report.project_id}. The deadline was {moment(report.deadline, tz)}. Times are those of {tz}."
    add(add(body, "p"), "small", words)
    return as_file(root)


def _top(body: Element, report: NightReport, tz: tzinfo) -> None:
    add(body, "h1", title(report))
    add(body, "p", night_span(report, tz), class_="soft")
    words = banner(body, verdict(report))
    if not report.servers:
        say(add(words, "p"), "Look at `servers` in the policy; `b2i nightly --dry-run` shows whom it means.")
    tiles = add(body, "ul", class_="tiles")
    for name, number in count_words(report):
        outcome = next(key for key, value in OUTCOMES.items() if value == name)
        tile(tiles, f"{number:,}", name, _TONES.get(outcome, ""))
    tile(tiles, length(report.seconds), "in all")
    tile(tiles, f"{report.requests:,}", "requests")


def _groups(body: Element, heading: str, servers: Sequence[ServerNight]) -> None:
    """Servers by cause: what it is, what to do, and whom it struck; nobody is left out."""
    if not servers:
        return
    add(body, "h2", f"{heading}: {len(servers):,}")
    for group in groups(servers):
        _card(body, group)


def _card(body: Element, group: Group) -> None:
    card = add(body, "div", class_=f"card {_TONES.get(group.outcome, '')}".strip())
    head = add(card, "p")
    add(head, "b", f"{len(group.servers):,} {OUTCOMES[group.outcome]}")
    if group.code:
        say(head, ", ")
        add(head, "code", group.code)
    reason = group.common_reason
    if reason:
        say(head, f": {reason}")
    if group.action:
        action = add(card, "p")
        add(action, "b", "What to do:")
        say(action, f" {group.action}")
    names = add(card, "ul", class_="many" if reason is not None and len(group.servers) > 4 else "")
    for one in group.servers:
        item = add(names, "li")
        add(item, "span", one.server_name or one.server_id)
        if reason is None and one.reason:
            say(item, f": {one.reason}")


def _doubtful(body: Element, report: NightReport) -> None:
    doubtful = [one for one in report.servers if one.doubtful is not None]
    if not doubtful:
        return
    add(body, "h2", f"Doubtful images: {len(doubtful):,}")
    add(body, "p", "Kept, but not counted as good: launch one as a drill before you rely on it.")
    rows = table(body, ("Server", "Why"))
    for one in doubtful:
        row = add(rows, "tr")
        add(row, "td", one.server_name or one.server_id)
        add(row, "td", one.doubtful or "")


def _picture(body: Element, report: NightReport, tz: tzinfo) -> None:
    shown = drawn(report)
    if not shown:
        return
    add(body, "h2", "Who waited for what")
    add(body, "figure").append(timeline(report, tz))
    words = "Servers in the order in which they came to their image. Point at a row for its times."
    if missing := len(report.servers) - len(shown):
        words += f" {missing:,} with nothing to draw {'has' if missing == 1 else 'have'} no row."
    add(body, "p", words, class_="soft")


def _waits(body: Element, report: NightReport) -> None:
    """Where the time went: each kind of stretch with its middle and its longest."""
    waits: dict[str, list[tuple[float, ServerNight]]] = {}
    for server in report.servers:
        own: dict[str, float] = {}
        for one in stretches(server, report):
            own[one.name] = own.get(one.name, 0.0) + one.seconds
        for name, seconds in own.items():
            waits.setdefault(name, []).append((seconds, server))
    if not waits:
        return
    rows = table(body, ("What servers did or waited for", "Servers", "Median", "Longest", "Whose"), numbers={1, 2, 3})
    for name, words in PHASES.items():
        those = waits.get(name)
        if those:
            longest, server = max(those, key=lambda pair: pair[0])
            row = add(rows, "tr")
            add(row, "td", words)
            for figure in (f"{len(those):,}", length(median(seconds for seconds, _ in those)), length(longest)):
                add(row, "td", figure, class_="n")
            add(row, "td", server.server_name or server.server_id)


def _verified(body: Element, report: NightReport) -> None:
    drilled = sorted(((one, one.verified) for one in report.servers if one.verified), key=lambda pair: pair[1].ok)
    if not drilled:
        return
    add(body, "h2", f"Verified by a drill: {len(drilled):,}")
    rows = table(body, ("Server", "", "Took", "What was seen", "Launch"), numbers={2})
    for one, drill in drilled:
        probes = [f"{probe.probe}: {'ok' if probe.ok else 'NO, ' + probe.answer}" for probe in drill.probes]
        row = add(rows, "tr")
        add(row, "td", one.server_name or one.server_id)
        add(row, "td", "ok" if drill.ok else "NO", class_="" if drill.ok else "bad")
        add(row, "td", length(drill.seconds), class_="n")
        say(add(row, "td"), "; ".join(filter(None, (*probes, drill.reason))) or "not probed")
        add(add(row, "td"), "code", drill.launch_id)


def _retired(body: Element, report: NightReport) -> None:
    whose = {image: one.server_name or one.server_id for one in report.servers for image in one.retired}
    gone = list(dict.fromkeys((*report.retired, *whose)))
    if not gone:
        return
    add(body, "h2", f"Retention deleted {len(gone):,} image{'s' * (len(gone) != 1)}")
    rows = table(folded(body, f"{len(gone):,} ids", opened=len(gone) <= 10), ("Image", "Of"))
    for image in gone:
        row = add(rows, "tr")
        add(add(row, "td"), "code", image)
        add(row, "td", whose.get(image, ""))


def _fleet(body: Element, report: NightReport, tz: tzinfo) -> None:
    if not report.servers:
        return
    add(body, "h2", "Every server")
    few = len(report.servers) <= _OPEN_UP_TO
    shared = any(one.shared_with for one in report.servers)
    columns = ["Server", "", "Image", "Backup of", *(["Shared with"] if shared else [])]
    rows = table(folded(body, f"{len(report.servers):,} servers", opened=few), columns)
    for one in sorted(report.servers, key=lambda one: (one.server_name, one.server_id)):
        row = add(rows, "tr")
        add(row, "td", one.server_name or one.server_id)
        add(row, "td", OUTCOMES[one.outcome], class_=one.outcome)
        image = add(row, "td")
        if one.image_id:
            if few and one.image_name:
                say(image, f"{plain(one.image_name)} ")
            add(image, "code", one.image_id)
        add(row, "td", moment(one.backup_created_at, tz) if one.backup_created_at else "", class_="when")
        if shared:
            add(row, "td", ", ".join(one.shared_with))
