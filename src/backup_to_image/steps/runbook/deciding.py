"""What somebody decides about a run from outside: with a process at it, which hears of it, or without."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from backup_to_image.errors import StillRunning, UsageError
from backup_to_image.journal import Journal, hold
from backup_to_image.model import Value
from backup_to_image.model.recovery import Answer, GroupState, RunbookRun, Said
from backup_to_image.steps.runbook.asking import How, answer_question
from backup_to_image.steps.runbook.ledger import Ledger, ask_to_stop, find_run, lease_of

__all__ = ["Decided", "decide"]


class Decided(Value):
    """What a decision has led to."""

    run: RunbookRun
    group: str | None
    words: str
    """In a sentence without a full stop."""
    at_work: bool
    """Whether a process is at the run, which goes on by itself."""


async def decide(
    wanted: str, group: str | None, said: Said, journal: Journal, *, by: str, note: str = "", how: How = "command"
) -> Decided:
    """Answer what a run asks; retry or skip a group, or stop the run, also where it asks nothing. Needs the journal alone.

    Kept before anybody acts on it. Raises UsageError where there is no such run, group or question; JournalError.
    """
    run = await find_run(wanted, journal)
    async with _nobody_at(run, journal) as free:
        run = await find_run(run.id, journal)  # whoever was at it may have gone on meanwhile
        asks = any(group in {None, one.group} for one in run.open_questions)
        if asks or said == "go":
            question = await answer_question(run, group, said, journal, by=by, note=note, how=how)
            return Decided(run=run, group=question.group, words=f"{question.group}: {said}, by {by}", at_work=not free)
        if said == "stop":
            return await _stop(run, group, journal, by=by, note=note, at_work=not free)
        if not free:
            raise UsageError(
                f"{run.id} is at work and asks nothing{f' in {group}' if group else ''}.",
                action=f"`b2i runbook status {run.id}` tells how far it is; `b2i runbook stop {run.id}` ends it.",
            )
        return await _change(run, group, said, journal, by=by, note=note)


@asynccontextmanager
async def _nobody_at(run: RunbookRun, journal: Journal) -> AsyncGenerator[bool]:
    """Whether no process is at the run; none begins while this is held."""
    kind, name = lease_of(run.runbook, run.mode)
    held = hold(journal, kind, run.project_id, name, deadline=journal.clock.now())
    try:
        await held.__aenter__()
    except StillRunning:
        yield False
        return
    try:
        yield True
    finally:
        await held.__aexit__(None, None, None)


async def _stop(run: RunbookRun, group: str | None, journal: Journal, *, by: str, note: str, at_work: bool) -> Decided:
    if group:
        raise UsageError(f"{group} asks nothing.", action=f"`b2i runbook stop {run.id}` stops the whole run.")
    if at_work:
        said = Answer(said="stop", by=by, at=journal.clock.now(), note=note, how="command")
        await ask_to_stop(run, said, journal)
        return Decided(run=run, group=None, words="it ends when what is under way has come to its end", at_work=True)
    if run.mode == "drill":
        raise UsageError(
            f"Nobody is at {run.id}, so there is nobody to stop.",
            action=f"`b2i runbook cleanup FILE` takes its servers down, `b2i runbook resume {run.id}` goes on with it.",
        )
    ledger = Ledger(run, journal)
    await ledger.change(state="stopped", stopped=f"stopped by {by}" + (f": {note}" if note else ""))
    return Decided(run=ledger.run, group=None, words="it is stopped", at_work=False)


async def _change(run: RunbookRun, group: str | None, said: Said, journal: Journal, *, by: str, note: str) -> Decided:
    """Of a run that nobody is at: a group that has failed or was skipped is tried again, one that is not up is skipped."""
    if run.mode == "drill" and run.ended_at:
        raise UsageError(
            f"The drill {run.id} is over, and its servers are gone.", action="Begin another: `b2i runbook drill FILE`."
        )
    if run.mode == "drill" and run.stopped:
        raise UsageError(
            f"{run.id} was stopped ({run.stopped}), and ends when it is gone on with.", action=f"`b2i runbook resume {run.id}`."
        )
    chosen = [one for one in run.groups if group in {None, one.name} and one.state in _CHANGED_BY[said]]
    if len(chosen) != 1:
        told = ", ".join(f"{one.name} ({one.state})" for one in run.groups)
        raise UsageError(f"{run.id}: which group is to be {_DONE[said]} is not clear; there are {told}.", action="Name one.")
    name, ledger = chosen[0].name, Ledger(run, journal)
    reason = f"skipped by {by}" + (f": {note}" if note else "") if said == "skip" else ""
    state: GroupState = "skipped" if said == "skip" else "waiting"
    await ledger.change_group(name, state=state, reason=reason, lacking=())
    await ledger.change(state="stopped" if run.mode == "failover" else run.state)
    return Decided(run=ledger.run, group=name, words=f"{name} is to be {_DONE[said]}", at_work=False)


_CHANGED_BY = {"retry": frozenset({"failed", "skipped"}), "skip": frozenset({"waiting", "running", "failed"})}
_DONE = {"retry": "tried again", "skip": "skipped"}
