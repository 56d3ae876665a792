"""The evidence of a run as one HTML file that needs nothing else: what came of it, how long it took and why, who decided what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from xml.etree.ElementTree import Element

from backup_to_image.evidence.record import Record
from backup_to_image.evidence.timeline import timeline
from backup_to_image.model.recovery import Answer, Measured, Question, RunbookRun, RunGroup, RunServer, RunStep
from backup_to_image.pages.elements import add, as_file, banner, listed, new_page, say, table, tile, verbatim
from backup_to_image.pages.words import exactly, plain
from backup_to_image.steps.runbook.measure import critical_path
from backup_to_image.told.evidence import run_title, run_verdict

__all__ = ["evidence_html"]

_STYLE = files("backup_to_image.evidence").joinpath("page.css").read_text(encoding="utf-8")
_STATES = {"up": "answers", "failed": "FAILED", "launching": "launching", "making": "image is made", "waiting": "not begun"}
_GROUPS = {"up": "done", "failed": "FAILED", "skipped": "SKIPPED", "running": "at work", "waiting": "not begun"}
_STEPS = {
    "open": "not begun",
    "running": "at work",
    "asked": "asked",
    "done": "done",
    "skipped": "SKIPPED",
    "stopped": "STOPPED",
    "failed": "FAILED",
}
_ABOUT = {"approve": "to approve", "manual": "to do by hand", "failed": "after a failure"}
_HOW = {
    "terminal": "at the terminal of the run",
    "command": "by a command",
    "form": "in the form of its flow run",
    "option": "by an option of the command",
    "nobody": "nobody answered in time: what the runbook says of that holds",
}


def evidence_html(record: Record) -> str:
    """A record as a file: no script, nothing from elsewhere, and whatever the cloud or people have named is only ever text."""
    run, measured = record.run, record.measured
    root, body = new_page(run_title(run), style=_STYLE + _on_each_sheet(record))
    _top(body, run, measured)
    add(body, "h2", "What was at work when")
    add(body, "figure").append(timeline(run))
    _path(body, run, measured)
    _servers(body, run, measured)
    _people(body, run)
    listed(body, "Notes", [f"{_moment(note.at)}, {plain(note.by)}: {plain(note.text)}" for note in run.notes])
    _groups(body, run)
    listed(body, "What its readiness had to say against it", [*run.findings, *_findings(run)])
    listed(body, "Gone on with after a crash or a pause", [_moment(at) for at in run.interruptions])
    _taken_down(body, run)
    _runbook(body, run)
    _foot(body, record)
    return as_file(root)


# -- what came of it ----------------------------------------------------------------------------------------------------


def _top(body: Element, run: RunbookRun, measured: Measured) -> None:
    told = run_verdict(run, measured)
    add(body, "h1", run_title(run))
    ended = f" to {_clock(run.ended_at, run)}" if run.ended_at else ""
    by = f", by {plain(run.by)}" if run.by else ""
    add(body, "p", f"{_moment(run.began_at)}{ended} UTC{by}, project {plain(run.project_id)} {plain(run.region)}", class_="soft")
    words = banner(body, told)
    if run.stopped:
        say(add(words, "p"), plain(run.stopped))
    tiles = add(body, "ul", class_="tiles")
    for name, took, target, met in (
        ("RTO", measured.rto_s, run.rto_target_s, measured.rto_met),
        ("RPO", measured.rpo_s, run.rpo_target_s, measured.rpo_met),
    ):
        wanted = f", target {exactly(target)}: {'met' if met else 'MISSED'}" if target is not None else ", no target"
        tone = "" if met is None else "good" if met else "bad"
        tile(tiles, exactly(took) if took is not None else "not known", name + wanted, tone)
    up = sum(server.state == "up" for _, server in run.servers)
    tile(tiles, f"{up} of {len(run.servers)}", "servers answered", "good" if up == len(run.servers) else "bad")
    share = f", of {exactly(sum(leg.seconds for leg in measured.critical))}" if measured.critical else ""
    tile(tiles, exactly(measured.people_s), f"waiting for people{share}")


def _path(body: Element, run: RunbookRun, measured: Measured) -> None:
    """The critical path: what would have to be shorter."""
    if not measured.critical:
        return
    people = {(one.group, one.began_at) for one in critical_path(run) if one.kind == "people"}
    add(body, "h2", "What everything waited for (the critical path)")
    rows = table(body, ("From", "For", "Group", "What", ""), numbers={1}, class_="narrow")
    for leg in measured.critical:
        row = add(rows, "tr")
        add(row, "td", _clock(leg.began_at, run), class_="when")
        add(row, "td", exactly(leg.seconds), class_="n")
        add(row, "td", leg.group)
        say(add(row, "td"), leg.what)
        add(row, "td", "people" if (leg.group, leg.began_at) in people else "")


# -- servers ------------------------------------------------------------------------------------------------------------


def _servers(body: Element, run: RunbookRun, measured: Measured) -> None:
    if not run.servers:
        return
    add(body, "h2", "Every server")
    rows = table(body, ("Server", "After", "From", "As", "What was seen"))
    for group, server in run.servers:
        row = add(rows, "tr")
        _named(add(row, "td"), group, server)
        _after(add(row, "td", class_="when"), server, measured)
        _from(add(row, "td"), server, run)
        _as(add(row, "td"), server)
        _seen(add(row, "td"), server)


def _named(cell: Element, group: RunGroup, server: RunServer) -> None:
    add(cell, "b", server.source)
    called = f"as {server.name}, " if server.name and server.name != server.source else ""
    add(cell, "small", f"{called}group {group.name}")
    _coded(cell, "source", [server.server_id])


def _after(cell: Element, server: RunServer, measured: Measured) -> None:
    took = measured.servers.get(server.source)
    if took is None:
        add(cell, "b", _STATES[server.state], class_="no")
    else:
        add(cell, "b", exactly(took))


def _from(cell: Element, server: RunServer, run: RunbookRun) -> None:
    if server.image_name:
        add(cell, "p", server.image_name)
    _coded(cell, "image", [server.image_id])
    if server.taken_at:
        age = exactly((run.began_at - server.taken_at).total_seconds())
        add(cell, "p", f"state of {_moment(server.taken_at)} UTC, {age} old")
    else:
        add(cell, "p", "age of its state not known", class_="no")
    _coded(cell, "backup", [server.backup_id])
    if server.make_first:
        add(cell, "p", "its image was made first")


def _as(cell: Element, server: RunServer) -> None:
    _coded(cell, "launch", [server.launch_id])
    _coded(cell, "server", server.server_ids)
    if server.addresses:
        add(cell, "p", ", ".join(server.addresses))


def _seen(cell: Element, server: RunServer) -> None:
    for probe in server.probes:
        line = add(cell, "p", f"{'✓' if probe.ok else '✗'} {probe.probe}: {probe.answer}", class_="" if probe.ok else "no")
        line.set("title", exactly(probe.seconds))
    if server.state == "up" and not server.probed:
        add(cell, "p", "not probed: that it is ACTIVE is the proof")
    if server.verified:
        add(cell, "p", "its image is marked as verified")
    if server.reason or server.code:
        line = add(cell, "p")
        add(line, "b", plain(server.code), class_="no")
        say(line, f" {server.reason}")
    if server.action:
        say(add(cell, "p"), f"What to do: {server.action}")
    for one in server.drift:
        add(cell, "small", f"other than at its source: {one}")


def _coded(cell: Element, what: str, ids: Iterable[str | None]) -> None:
    for ident in ids:
        if ident:
            line = add(cell, "small")
            say(line, f"{what} ")
            add(line, "code", ident)


# -- people and steps ---------------------------------------------------------------------------------------------------


def _people(body: Element, run: RunbookRun) -> None:
    if not run.questions:
        return
    add(body, "h2", "Who decided what")
    rows = table(body, ("Asked", "Group", "What", "Answer", "By", "Waited for"), numbers={5})
    for question in run.questions:
        row = add(rows, "tr")
        add(row, "td", _clock(question.asked_at, run), class_="when")
        add(row, "td", question.group)
        what = add(row, "td")
        say(what, question.words)
        add(what, "small", _ABOUT[question.about])
        _answer(row, question, question.answer, run)


def _answer(row: Element, question: Question, answer: Answer | None, run: RunbookRun) -> None:
    said, by = add(row, "td"), add(row, "td")
    if answer is None:
        add(said, "span", "no answer", class_="no")
        add(row, "td")
        return
    add(said, "b", answer.said)
    if answer.note:
        add(said, "p", answer.note)
    add(by, "b", answer.by if answer.how != "nobody" else "")
    add(by, "small", f"{_clock(answer.at, run)}, {_HOW[answer.how]}")
    add(row, "td", exactly((answer.at - question.asked_at).total_seconds()), class_="n")


def _groups(body: Element, run: RunbookRun) -> None:
    """Groups with their steps: in which order it went, and what came of each."""
    add(body, "h2", "Groups and steps")
    rows = table(body, ("Group", "Step", "", "For", "What came of it"), numbers={3})
    for group in run.groups:
        row = add(rows, "tr")
        name = add(row, "td")
        add(name, "b", group.name)
        if group.needs:
            add(name, "small", f"after {', '.join(group.needs)}")
        count = len(group.servers)
        add(row, "td", f"{count} server{'s' * (count != 1)}" if count else "")
        _state(row, _GROUPS[group.state])
        _took(row, group.began_at, group.ended_at)
        came = add(row, "td")
        if group.attempts > 1:
            add(came, "p", f"tried {group.attempts} times")
        say(came, group.reason)
        for step in group.steps:
            _step(rows, step)


def _step(rows: Element, step: RunStep) -> None:
    row = add(rows, "tr")
    add(row, "td")
    what = add(row, "td")
    say(what, step.words)
    add(what, "small", f"{step.kind}, {'before its servers' if step.when == 'before' else 'once they answered'}")
    _state(row, _STEPS[step.state])
    _took(row, step.began_at, step.ended_at)
    came = add(row, "td")
    if step.told:
        verbatim(came, step.told)


def _state(row: Element, words: str) -> None:
    add(add(row, "td"), "span", words, class_="no" if words.isupper() else "")


def _took(row: Element, began_at: datetime | None, ended_at: datetime | None) -> None:
    add(row, "td", exactly((ended_at - began_at).total_seconds()) if began_at and ended_at else "", class_="n")


# -- what is left of it -------------------------------------------------------------------------------------------------


def _findings(run: RunbookRun) -> Iterable[str]:
    return [f"{plain(server.source)}: {finding}" for _, server in run.servers for finding in server.findings]


def _taken_down(body: Element, run: RunbookRun) -> None:
    if run.mode != "drill":
        return
    gone = [(server, server.gone_at) for _, server in run.servers if server.gone_at]
    lines = [f"{plain(server.source)}: nothing of it is left, {_clock(at, run)}" for server, at in gone]
    lines += [f"LEFT BEHIND, and billed: {left}" for left in run.left_behind]
    if run.cleared_at:
        lines.append(f"all that this drill had launched was gone at {_clock(run.cleared_at, run)}")
    listed(body, "Taken down again", lines)


def _runbook(body: Element, run: RunbookRun) -> None:
    add(body, "h2", "The runbook as it was run")
    facts = add(body, "dl")
    for name, value in (
        ("file", run.file),
        ("its sha256", run.sha256),
        ("run", run.id),
        ("on", run.host),
        ("with", f"backup-to-image {run.version}" if run.version else ""),
    ):
        if value:
            add(facts, "dt", name)
            add(add(facts, "dd"), "code", value)
    verbatim(body, run.text)


def _foot(body: Element, record: Record) -> None:
    foot = add(body, "footer")
    facts = add(foot, "dl")
    before = (
        f"{record.previous.name}, sha256 {record.previous.sha256}" if record.previous else "none: it is the first of its folder"
    )
    for name, value in (("record", record.name), ("its sha256", record.sha256), ("the one before", before)):
        add(facts, "dt", name)
        add(add(facts, "dd"), "code", value)
    say(
        add(foot, "p"),
        "Times are UTC. When this page was written, that record was the head of its chain. Whether it and all others are as they "
        f"were written: `b2i runbook report {record.name} --verify --head {record.sha256}`",
    )


def _on_each_sheet(record: Record) -> str:
    """The record and its hash on each sheet of paper; only where they are written as ours are, for this is style, not text."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.json", record.name) or not re.fullmatch(r"[0-9a-f]{64}", record.sha256):
        return ""
    words = f"{record.name}  sha256 {record.sha256}"
    return f'@page {{ @bottom-left {{ content: "{words}"; font: 9px "DejaVu Sans Mono", monospace; color: #444; }} }}\n'


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _clock(at: datetime, run: RunbookRun) -> str:
    """The time, with the date where it is another day than that on which the run began."""
    same = at.astimezone(UTC).date() == run.began_at.astimezone(UTC).date()
    return f"{at.astimezone(UTC):%H:%M:%S}" if same else _moment(at)
