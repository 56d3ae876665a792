"""How the evidence of a runbook's run is told: its title and verdict, in short for a terminal, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Literal, NamedTuple

from backup_to_image.model import Report
from backup_to_image.model.recovery import Measured, RunbookRun
from backup_to_image.pages.words import Verdict, exactly, plain
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["Seen", "run_title", "run_verdict", "target_words", "told_evidence"]

Which = Literal["rto", "rpo"]
_WHICH: tuple[Which, ...] = ("rto", "rpo")
_MODES = {"drill": "drill", "failover": "failover"}
_STATES = {"up": "answers", "failed": "FAILED", "launching": "launching", "making": "its image is made", "waiting": "not begun"}


class Seen(NamedTuple):
    """A record that was read. `whole`: its own hash is that of what it holds."""

    content: Fields
    run: RunbookRun
    measured: Measured
    whole: bool


def run_title(run: RunbookRun) -> str:
    """Which run it is."""
    return f"{plain(run.runbook)}: {_MODES[run.mode]} of {run.began_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def run_verdict(run: RunbookRun, measured: Measured) -> Verdict:
    """What somebody has to know who reads one line only. It is never better than the worst group and the worst server."""
    up, all_of_it = sum(server.state == "up" for _, server in run.servers), len(run.servers)
    back = f"{up} of {all_of_it} servers came back"
    if run.stopped:
        return Verdict("look" if up == all_of_it else "bad", f"Stopped: {back}")
    if run.outcome is None:
        return Verdict("look", f"Not finished: {back} so far")
    wrong = [plain(group.name) for group in run.groups if group.state != "up"]
    if run.outcome != "made" or up < all_of_it or wrong:
        if up == all_of_it and up:
            return Verdict("bad", f"Failed in part: {back}, but not everything was done: {', '.join(wrong) or 'see below'}")
        return Verdict("bad", f"Failed in part: {back}" if up else f"Failed: none of {all_of_it} servers came back")
    missed = [words for name in _WHICH if (words := _missed(name, run, measured))]
    if missed:
        return Verdict("look", f"Target missed: {back}, {' and '.join(missed)}")
    return _passed(run, measured, back)


def _passed(run: RunbookRun, measured: Measured, back: str) -> Verdict:
    within = "within its targets" if measured.rto_met or measured.rpo_met else "no target was set"
    told = f"{'Drill passed' if run.mode == 'drill' else 'Recovered'}: {back}, {within}"
    unprobed = sum(not server.probed for _, server in run.servers)
    if unprobed:
        told += f"; {unprobed} of them {'was' if unprobed == 1 else 'were'} not probed"
    if run.left_behind:
        told += "; something is left behind that is billed"
    return Verdict("look" if unprobed or run.left_behind else "good", told)


def _missed(name: Which, run: RunbookRun, measured: Measured) -> str:
    target, took, met = _of(name, run, measured)
    if met is not False or target is None:
        return ""
    return f"{name.upper()} {f'{exactly(took)} instead of' if took is not None else 'not known, wanted'} {exactly(target)}"


def target_words(name: Which, run: RunbookRun, measured: Measured) -> str:
    """What was measured, against what was wanted."""
    target, took, met = _of(name, run, measured)
    wanted = f"target {exactly(target)}: {'met' if met else 'MISSED'}" if target is not None else "no target"
    return f"{exactly(took) if took is not None else 'not known'} ({wanted})"


def _of(name: Which, run: RunbookRun, measured: Measured) -> tuple[int | None, int | None, bool | None]:
    if name == "rto":
        return run.rto_target_s, measured.rto_s, measured.rto_met
    return run.rpo_target_s, measured.rpo_s, measured.rpo_met


def told_evidence(record: Path, seen: Seen | None, *, page: Path | None, verified: Report | None) -> Told:
    """A record in short, where it is one, and where it was looked at whether it and its chain are whole: 3 if they are not."""
    whole = None if verified is None else verified.ok
    kept = {name: seen.content.get(name) for name in ("run", "measured", "previous", "sha256")} if seen else {}
    checks = [check.model_dump(mode="json") for check in verified.checks] if verified else []
    notes = [f"LEFT BEHIND, and billed: {plain(left)}" for left in (seen.run.left_behind if seen else ())]
    notes += [f"The whole of it, to read and to print: {page}"] if page else []
    if seen and verified is None:
        notes.append(f"{'Not looked at' if seen.whole else 'CHANGED since it was written'}: --verify looks at it and its chain.")
    return Told(
        exit_code=3 if whole is False else 0,
        outcome="refused" if whole is False else None,
        title=run_title(seen.run) if seen else record.name,
        content={"record": str(record), "page": str(page) if page else None, "verified": whole, "checks": checks} | kept,
        grids=tuple(_grids(seen)) if seen else (),
        proof=verified,
        notes=tuple(notes),
    )


def _grids(seen: Seen) -> Iterable[Grid]:
    run, measured = seen.run, seen.measured
    answered = [question for question in run.questions if question.answer]
    yield Grid.of(
        run_title(run),
        (
            ("verdict", run_verdict(run, measured).headline),
            ("RTO", target_words("rto", run, measured)),
            ("RPO", target_words("rpo", run, measured)),
            ("people", f"{exactly(measured.people_s)} of the critical path, {len(answered)} answers" if answered else None),
            ("begun by", f"{plain(run.by)} on {plain(run.host)}" if run.by or run.host else None),
            ("stopped", plain(run.stopped)),
            ("sha256", plain(str(seen.content.get("sha256")))),
        ),
    )
    rows = tuple(
        (
            plain(group.name),
            plain(server.source),
            _STATES[server.state],
            _length(measured.servers.get(server.source)),
            plain(server.reason or server.image_name or server.image_id or ""),
        )
        for group, server in run.servers
    )
    if rows:
        yield Grid(title="Servers", columns=("group", "server", "", "after", "image, or why not"), rows=rows)
    path = tuple((plain(leg.group), plain(leg.what), exactly(leg.seconds)) for leg in measured.critical)
    if path:
        yield Grid(title="What everything waited for", columns=("group", "what", "for"), rows=path)


def _length(seconds: int | None) -> str:
    return "" if seconds is None else exactly(seconds)
