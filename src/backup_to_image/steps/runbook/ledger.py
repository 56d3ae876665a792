"""What a run of a runbook has done so far, in the journal: written by whoever is at it, read by everybody.

Answers and notes are records of their own, since they come from other processes than the one that is at the run. All that is
needed for them is the journal: an approval can be given while the cloud's log-in is down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.journal import Journal, Record
from backup_to_image.model.recovery import Answer, Note, Question, RunbookRun, RunGroup, RunMode

__all__ = [
    "Ledger",
    "answer_of",
    "ask_to_stop",
    "find_run",
    "forget_answers",
    "forget_stop",
    "keep_answer",
    "keep_note",
    "lease_of",
    "notes_of",
    "runs_of",
    "stop_asked",
]

log = logging.getLogger(__name__)

T = TypeVar("T", bound=BaseModel)

_RUN, _ANSWER, _NOTE, _STOP = "runbook", "runbook-answer", "runbook-note", "runbook-stop"
_TOLD = "told"
_FORGET_AFTER = timedelta(days=90)
"""Of runs whose evidence is kept, the journal keeps no longer than that."""


class Ledger:
    """The only writer of one run; every change is safe when it returns. Raises JournalError."""

    def __init__(self, run: RunbookRun, journal: Journal) -> None:
        self.run = run
        self._journal = journal
        self._writing = asyncio.Lock()
        self._held_back = False

    @asynccontextmanager
    async def at_once(self) -> AsyncGenerator[None]:
        """What is changed in here is written in one piece when it ends, so that no crash parts it. Nothing may be waited for."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False
        await self.save()

    async def change(self, **changes: Any) -> None:
        """Change what concerns the whole run."""
        self.run = self.run.model_copy(update=changes)
        await self.save()

    async def change_group(self, name: str, **changes: Any) -> None:
        """Change what concerns one group."""
        self._put(name, lambda group: group.model_copy(update=changes))
        await self.save()

    async def change_server(self, group: str, source: str, **changes: Any) -> None:
        """Change what concerns one server."""

        def changed(one: RunGroup) -> RunGroup:
            servers = tuple(server.model_copy(update=changes) if server.source == source else server for server in one.servers)
            return one.model_copy(update={"servers": servers})

        self._put(group, changed)
        await self.save()

    async def change_step(self, group: str, number: int, **changes: Any) -> None:
        """Change what concerns one step of a group, by its place among all of them."""

        def changed(one: RunGroup) -> RunGroup:
            steps = tuple(step.model_copy(update=changes) if at == number else step for at, step in enumerate(one.steps))
            return one.model_copy(update={"steps": steps})

        self._put(group, changed)
        await self.save()

    async def save(self) -> None:
        """Write it down as it is now."""
        if self._held_back:
            return
        async with self._writing:
            run = self.run
            record = Record(
                kind=_RUN,
                project_id=run.project_id,
                name=run.id,
                state=run.state,
                written_at=self._journal.clock.now(),
                facts={_TOLD: run.model_dump(mode="json")},
            )
            await self._journal.write(record)

    def _put(self, name: str, change: Callable[[RunGroup], RunGroup]) -> None:
        groups = tuple(change(group) if group.name == name else group for group in self.run.groups)
        self.run = self.run.model_copy(update={"groups": groups})


def lease_of(runbook: str, mode: RunMode) -> tuple[str, str]:
    """Kind and name of the lease that whoever is at a run of this runbook holds."""
    return _RUN, f"{runbook} {mode}"


async def runs_of(
    journal: Journal, *, project_id: str | None = None, runbook: str | None = None, mode: RunMode | None = None
) -> tuple[RunbookRun, ...]:
    """The runs that the journal has, the oldest first; one that cannot be read is told and passed over. Raises JournalError."""
    found: list[RunbookRun] = []
    for record in await journal.records(_RUN):
        try:
            run = RunbookRun.model_validate(record.facts.get(_TOLD))
        except ValidationError:
            log.warning("The journal's run %s cannot be read and is passed over.", record.name)
            continue
        if project_id in {None, run.project_id} and runbook in {None, run.runbook} and mode in {None, run.mode}:
            found.append(run)
            if run.state == "done" and journal.clock.now() - record.written_at > _FORGET_AFTER:
                await journal.forget(record)
    return tuple(sorted(found, key=lambda run: run.began_at))


async def find_run(wanted: str, journal: Journal) -> RunbookRun:
    """The run of that id, or the only unfinished one of that runbook. Raises UsageError that names those there are."""
    runs = await runs_of(journal)
    at_hand = [run for run in runs if run.state != "done"]
    named = [run for run in runs if run.id == wanted] or [run for run in at_hand if run.runbook == wanted]
    if len(named) == 1:
        return named[0]
    there = [f"{run.id} ({run.state})" for run in (named or at_hand)]
    raise UsageError(
        f"{wanted!r} is {'several runs' if named else 'no unfinished run of a runbook'}.",
        action=f"There are {', '.join(there)}." if there else "No run is unfinished; `b2i runbook drill FILE` begins one.",
    )


# -- what other processes have to say -----------------------------------------------------------------------------------


async def keep_answer(run: RunbookRun, question: Question, answer: Answer, journal: Journal) -> None:
    """Keep what somebody has said, before anybody acts on it. Raises JournalError."""
    await _keep(_ANSWER, run, question.id, answer, journal, state=answer.said)


async def answer_of(run: RunbookRun, question: Question, journal: Journal) -> Answer | None:
    """What was said to that question, if anybody has. Raises JournalError."""
    return _told(Answer, await journal.read(_ANSWER, run.project_id, f"{run.id} {question.id}"))


async def forget_answers(run: RunbookRun, journal: Journal) -> None:
    """All that was said is part of the run by now. Raises JournalError."""
    for question in run.questions:
        await _forget(await journal.read(_ANSWER, run.project_id, f"{run.id} {question.id}"), journal)


async def keep_note(run: RunbookRun, note: Note, journal: Journal) -> None:
    """Keep what somebody has to say of a run. Raises JournalError."""
    await _keep(_NOTE, run, f"{note.at.isoformat()} {note.by}", note, journal)


async def notes_of(run: RunbookRun, journal: Journal) -> tuple[Note, ...]:
    """What was said of a run, the oldest first. Raises JournalError."""
    records = [one for one in await journal.records(_NOTE) if one.facts.get(_RUN) == run.id]
    return tuple(sorted((note for note in (_told(Note, one) for one in records) if note), key=lambda note: note.at))


async def ask_to_stop(run: RunbookRun, answer: Answer, journal: Journal) -> None:
    """Have whoever is at the run end it. Raises JournalError."""
    await _keep(_STOP, run, "", answer, journal)


async def stop_asked(run: RunbookRun, journal: Journal) -> Answer | None:
    """Who wants the run to end, if anybody does. Raises JournalError."""
    return _told(Answer, await journal.read(_STOP, run.project_id, f"{run.id} "))


async def forget_stop(run: RunbookRun, journal: Journal) -> None:
    """It has ended; whoever goes on with it is not stopped again. Raises JournalError."""
    await _forget(await journal.read(_STOP, run.project_id, f"{run.id} "), journal)


async def _keep(kind: str, run: RunbookRun, name: str, told: BaseModel, journal: Journal, *, state: str = "done") -> None:
    await journal.write(
        Record(
            kind=kind,
            project_id=run.project_id,
            name=f"{run.id} {name}",
            state=state,
            written_at=journal.clock.now(),
            facts={_TOLD: told.model_dump(mode="json"), _RUN: run.id},
        )
    )


async def _forget(record: Record | None, journal: Journal) -> None:
    if record:
        await journal.forget(record)


def _told(kind: type[T], record: Record | None) -> T | None:
    """What stands in a record; None where there is none, or it cannot be read."""
    try:
        return kind.model_validate(record.facts.get(_TOLD)) if record else None
    except ValidationError:
        return None
