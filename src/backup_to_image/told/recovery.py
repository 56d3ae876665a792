"""How a run of a runbook is told: each group and server with what came of it, what was measured, what is asked."""

from __future__ import annotations

from datetime import datetime, timedelta

from backup_to_image.model.recovery import Measured, RunbookRun, RunGroup, RunServer, RunStep
from backup_to_image.model.results import Outcome
from backup_to_image.steps.context import minutes
from backup_to_image.steps.runbook.asking import command_for
from backup_to_image.steps.runbook.cleaning import Cleaned
from backup_to_image.steps.runbook.deciding import Decided
from backup_to_image.told.evidence import run_title, run_verdict, target_words
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["run_fields", "told_cleaned", "told_decided", "told_noted", "told_run", "told_runs"]

_GROUPS = {"waiting": "not begun", "running": "at work", "up": "up", "failed": "FAILED", "skipped": "skipped"}
_SERVERS = {"waiting": "not begun", "making": "making its image", "launching": "launching", "up": "up", "failed": "FAILED"}


def told_run(run: RunbookRun, measured: Measured, *, adopted: bool = False) -> Told:
    """A run that has ended, or that waits for people alone.

    0 every group is up and no target is missed; 4 people are waited for; 5 a group is not up, a target is missed, or something of
    a drill is left behind.
    """
    waits = run.state == "open"
    verdict = run_verdict(run, measured)
    missed = False in {measured.rto_met, measured.rpo_met}
    good = not waits and run.outcome == "made" and not missed and not run.left_behind and not run.stopped
    outcome: Outcome = "still_running" if waits else "adopted" if adopted and good else "made" if good else _outcome(run)
    unfinished = "People are waited for" if run.open_questions else "Not finished: it is at work, or was cut off"
    headline = unfinished if waits else verdict.headline
    notes = [f"{run_title(run)} ({run.id}). {headline}."]
    notes += [f"Stopped: {run.stopped}."] if run.stopped else []
    notes += [f"RTO {target_words('rto', run, measured)}, RPO {target_words('rpo', run, measured)}."] if not waits else []
    notes += _path(measured)
    if waits and not run.open_questions:
        notes.append(f"If nothing is at it any more, `b2i runbook resume {run.id}` goes on.")
    if adopted:
        notes.append("It had ended before, and its servers are there: nothing was launched. --again begins another.")
    if run.left_behind:
        notes.append(f"Left behind, and billed: {', '.join(run.left_behind)}.")
    elif run.mode == "drill" and run.cleared_at:
        notes.append("Nothing is left of the drill.")
    if run.state == "stopped":
        notes.append(f"`b2i runbook resume {run.id}` goes on: what is up stays up, what failed is tried again.")
    if run.evidence:
        notes.append(f"Evidence: {run.evidence}, sha256 {run.evidence_sha256}. `b2i runbook report` shows and verifies it.")
    return Told(
        exit_code=4 if waits else 0 if good else 5,
        outcome=outcome,
        title=f"{run.runbook}: {headline[0].lower()}{headline[1:]}",
        content=run_fields(run, measured),
        grids=_grids(run, measured),
        notes=tuple(notes),
    )


def run_fields(run: RunbookRun, measured: Measured) -> Fields:
    """`runbook drill --json` and `failover --json`."""
    return {
        "run": run.id,
        "runbook": run.runbook,
        "mode": run.mode,
        "state": run.state,
        "began_at": run.began_at.isoformat(),
        "ended_at": _time(run.ended_at),
        "rto_s": measured.rto_s,
        "rpo_s": measured.rpo_s,
        "rto_target_s": run.rto_target_s,
        "rpo_target_s": run.rpo_target_s,
        "rto_met": measured.rto_met,
        "rpo_met": measured.rpo_met,
        "groups": [_group(group, measured) for group in run.groups],
        "critical_path": [
            {"group": leg.group, "what": leg.what, "began_at": leg.began_at.isoformat(), "seconds": round(leg.seconds, 1)}
            for leg in measured.critical
        ],
        "people_s": measured.people_s,
        "questions": [
            {
                "group": one.group,
                "about": one.about,
                "words": one.words,
                "until": one.until.isoformat(),
                "choices": list(one.choices),
                "answer_with": command_for(run, one),
            }
            for one in run.open_questions
        ],
        "stopped": run.stopped or None,
        "left_behind": list(run.left_behind),
        "evidence": run.evidence,
        "evidence_sha256": run.evidence_sha256,
    }


def told_runs(runs: tuple[RunbookRun, ...]) -> Told:
    """What the journal knows of runs, the latest first."""
    rows = tuple(
        (run.id, run.mode, run.state, f"{run.began_at:%Y-%m-%d %H:%M}", run.outcome or "", _asks(run)) for run in runs[::-1]
    )
    columns = ("run", "as", "state", "began (UTC)", "outcome", "asks")
    listed = [{"run": run.id, "mode": run.mode, "state": run.state, "outcome": run.outcome, "asks": _asks(run)} for run in runs]
    return Told(
        exit_code=0,
        title=f"{len(runs)} runs of runbooks",
        content={"runs": listed},
        grids=(Grid(title="Runs of runbooks", columns=columns, rows=rows),) if rows else (),
        notes=() if rows else ("The journal knows of no run.",),
    )


def told_decided(decided: Decided) -> Told:
    """What was decided, and who acts on it."""
    run = decided.run
    goes_on = (
        "Whoever is at it goes on with that." if decided.at_work else f"Nobody is at it: `b2i runbook resume {run.id}` goes on."
    )
    return Told(
        exit_code=0,
        title=f"{run.id}: {decided.words}",
        content={"run": run.id, "group": decided.group, "words": decided.words, "at_work": decided.at_work},
        notes=(f"{run.id}: {decided.words}. {goes_on}",),
    )


def told_noted(run: RunbookRun) -> Told:
    """A note that will stand in a run's evidence."""
    words = "the note is kept, and will stand in the evidence"
    return Told(
        exit_code=0,
        title=f"{run.id}: {words}",
        content={"run": run.id, "group": None, "words": words, "at_work": None},
        notes=(f"{run.id}: {words}.",),
    )


def told_cleaned(done: Cleaned) -> Told:
    """What was left of drills, and is gone."""
    ended = [run.id for run in done.runs]
    nothing = not ended and not done.servers
    notes = ["No drill of it has left anything." if nothing else ""]
    notes += [f"Ended: {', '.join(ended)}." if ended else "", f"Removed: {', '.join(done.servers)}." if done.servers else ""]
    notes += [f"Left behind, and billed: {', '.join(done.left_behind)}." if done.left_behind else ""]
    return Told(
        exit_code=5 if done.left_behind else 0,
        outcome="partly" if done.left_behind else "made",
        title="Cleaned up",
        content={"runs": ended, "servers": list(done.servers), "left_behind": list(done.left_behind)},
        notes=tuple(note for note in notes if note),
    )


def _outcome(run: RunbookRun) -> Outcome:
    return "failed" if run.outcome == "failed" else "partly"


def _path(measured: Measured) -> list[str]:
    """What everything waited for."""
    if not measured.critical:
        return []
    path = " > ".join(f"{leg.what} {minutes(leg.ended_at - leg.began_at)}" for leg in measured.critical)
    people = f"; {minutes(timedelta(seconds=measured.people_s))} of it people" if measured.people_s else ""
    return [f"Critical path: {path}{people}."]


def _grids(run: RunbookRun, measured: Measured) -> tuple[Grid, ...]:
    servers = tuple(
        (
            group.name,
            server.source,
            server.image_name or ("to be made" if server.make_first else "none"),
            ", ".join(server.addresses),
            _length(measured.servers.get(server.source)) or "",
            f"{sum(probe.ok for probe in server.probes)} of {len(server.probes)}" if server.probes else "",
            _SERVERS[server.state] + (f": {server.reason}" if server.reason else ""),
        )
        for group, server in run.servers
    )
    groups = tuple(
        (group.name, ", ".join(group.needs), _length(measured.groups.get(group.name)) or "", _state(group))
        for group in run.groups
    )
    steps = tuple((group.name, step.words, _step(step)) for group in run.groups for step in group.steps)
    asked = tuple((one.group, one.words, f"until {one.until:%H:%M} UTC", command_for(run, one)) for one in run.open_questions)
    grids = [
        Grid(title="Groups", columns=("group", "needs", "RTO", ""), rows=groups),
        Grid(title="Servers", columns=("group", "server", "image", "address", "RTO", "probes", ""), rows=servers),
    ]
    grids += [Grid(title="Steps", columns=("group", "step", ""), rows=steps)] if steps else []
    grids += [Grid(title="Asked, and not answered", columns=("group", "what", "", "answer with"), rows=asked)] if asked else []
    return tuple(grids)


def _group(group: RunGroup, measured: Measured) -> Fields:
    return {
        "name": group.name,
        "needs": list(group.needs),
        "state": group.state,
        "reason": group.reason or None,
        "attempts": group.attempts,
        "rto_s": measured.groups.get(group.name),
        "began_at": _time(group.began_at),
        "ended_at": _time(group.ended_at),
        "servers": [_server(server, measured) for server in group.servers],
        "steps": [
            step.model_dump(mode="json", include={"when", "kind", "words", "state", "told"}) | _who(step) for step in group.steps
        ],
    }


def _server(server: RunServer, measured: Measured) -> Fields:
    return {
        "source": server.source,
        "name": server.name,
        "state": server.state,
        "image_id": server.image_id,
        "image_name": server.image_name,
        "backup_id": server.backup_id,
        "taken_at": _time(server.taken_at),
        "launch_id": server.launch_id,
        "server_id": server.server_ids[0] if server.server_ids else None,
        "addresses": list(server.addresses),
        "rto_s": measured.servers.get(server.source),
        "probes": [probe.model_dump(mode="json") for probe in server.probes],
        "verified": server.verified,
        "code": server.code or None,
        "reason": server.reason or None,
        "action": server.action or None,
        "left_behind": list(server.left_behind),
    }


def _who(step: RunStep) -> Fields:
    answer = step.question.answer if step.question else None
    return {
        "answer": answer.said if answer else None,
        "by": answer.by if answer else None,
        "at": _time(answer.at) if answer else None,
        "note": (answer.note or None) if answer else None,
    }


def _state(group: RunGroup) -> str:
    return _GROUPS[group.state] + (f": {group.reason}" if group.reason else "")


def _step(step: RunStep) -> str:
    answer = step.question.answer if step.question else None
    if answer:
        return f"{step.told}, at {answer.at:%H:%M} UTC"
    state = {"open": "not begun", "running": "at work"}.get(step.state, step.state)
    return state + (f": {step.told}" if step.told else "")


def _asks(run: RunbookRun) -> str:
    return "; ".join(f"{one.group}: {one.words}" for one in run.open_questions)


def _length(seconds: int | None) -> str:
    return "" if seconds is None else minutes(timedelta(seconds=seconds))


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
