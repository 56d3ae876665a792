"""A run of a runbook at work: groups in their order, servers side by side, people asked once, and a drill's servers taken down.

Whatever is done is in the journal when the next thing begins, so that a run can be killed anywhere and gone on with.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Literal

from backup_to_image.errors import B2iError, StillRunning
from backup_to_image.journal import Lease
from backup_to_image.model.recovery import Answer, GroupState, Question, RunGroup, RunMode, RunStep
from backup_to_image.model.runbook import PATIENCE_OF_PEOPLE, Runbook, RunbookGroup, RunbookStep
from backup_to_image.steps.context import Context, minutes
from backup_to_image.steps.runbook.acts import Acts
from backup_to_image.steps.runbook.asking import Ask, OnlyPeople, StopAsked, await_answer, command_for, question_id
from backup_to_image.steps.runbook.laid_out import steps_of
from backup_to_image.steps.runbook.ledger import Ledger, answer_of, stop_asked
from backup_to_image.steps.runbook.returning import Returning, all_or_first

__all__ = ["Conductor"]

_About = Literal["approve", "manual", "failed"]
_WhenSilent = Literal["go", "stop", "skip"]


class _GroupFailed(Exception):
    """A server or a step of the group did not come out as it should; the words say which."""


class _TakenOver(Exception):
    """Another process is at the run."""

    def __init__(self, error: StillRunning) -> None:
        super().__init__(error.message)
        self.error = error


class _GroupOver(Exception):
    """Somebody has said so, and it is written down."""


class Conductor:
    """Whoever is at a run. One process is, by the run's lease."""

    def __init__(
        self,
        book: Runbook,
        ledger: Ledger,
        lease: Lease,
        ctx: Context,
        acts: Acts,
        returning: Returning,
        *,
        ask: Ask | None,
        unattended: bool,
        leave: bool,
    ) -> None:
        self._book = book
        self._ledger = ledger
        self._lease = lease
        self._ctx = ctx
        self._acts = acts
        self._returning = returning
        self._ask = ask
        self._unattended = unattended
        self._leave = leave
        self._mode: RunMode = ledger.run.mode
        self._ended: dict[str, asyncio.Event] = {group.name: asyncio.Event() for group in book.groups}
        self._asking: set[str] = set()
        """Groups that only wait for somebody's answer."""
        self._waiting: set[str] = set()
        """Groups that wait for those that they need."""
        self._stopped = ledger.run.stopped
        self._prompt = asyncio.Lock()

    async def groups(self) -> None:
        """Every group, each as soon as those that it needs are up. Raises OnlyPeople where those alone are waited for.

        A group's failure is its own, and what the runbook or somebody says becomes of it. Raises JournalError, and StillRunning
        where another process has taken the run over.
        """
        keeping = asyncio.ensure_future(self._returning.keep_on())
        self._returning.begin_making()
        try:
            await all_or_first([self._group(group) for group in self._book.groups])
        except _TakenOver as lost:
            raise lost.error from None
        finally:
            keeping.cancel()
            await self._returning.stop_making()
            with suppress(asyncio.CancelledError):
                await keeping

    # -- groups ---------------------------------------------------------------------------------------------------------

    async def _group(self, group: RunbookGroup) -> None:
        name = group.name
        try:
            await self._to_its_end(group)
        except StopAsked as stop:
            async with self._ledger.at_once():
                await self._stop(_said("stopped", stop.answer))
                await self._cut_short(name)
        self._ended[name].set()  # whatever else is raised ends the run, and no group is over by that

    async def _to_its_end(self, group: RunbookGroup) -> None:
        if await self._its_turn(group):
            while not await self._attempt(group):
                if not await self._goes_on(group):
                    return

    async def _its_turn(self, group: RunbookGroup) -> bool:
        """Wait for the groups that it needs; False where it is over, or never comes to its turn."""
        self._waiting.add(group.name)
        for need in group.needs:
            await self._ended[need].wait()
        self._waiting.discard(group.name)
        there = self._state(group.name)
        if there.state in {"up", "skipped"} and not there.lacking:
            return False
        lacking = tuple(need for need in group.needs if self._state(need).state != "up")
        if self._stopped:
            await self._cut_short(group.name)
            return False
        if lacking:
            why = f"it needs {', '.join(lacking)}, which did not come up"
            await self._end(group.name, "skipped", why, lacking=lacking)
            return False
        question = self._open_failure(group.name)
        return question is None or await self._goes_on(group)

    async def _attempt(self, group: RunbookGroup) -> bool:
        """Its steps, its servers, its steps: False where something failed, and it is written down what."""
        there = self._state(group.name)
        await self._ledger.change_group(
            group.name,
            state="running",
            began_at=there.began_at or self._ctx.clock.now(),
            ended_at=None,
            attempts=there.attempts + (there.state != "running"),  # gone on with in the middle it is the same try
            reason="",
            lacking=(),
        )
        steps = steps_of(group, self._mode)
        first = sum(step.when == "before" for step in there.steps)
        try:
            for number, step in enumerate(steps[:first]):
                await self._step(group, number, step)
            await self._servers(group)
            for number, step in enumerate(steps[first:], start=first):
                await self._step(group, number, step)
        except _GroupOver:
            return True
        except _GroupFailed as failed:
            await self._end(group.name, "failed", str(failed))
            return False
        else:
            await self._end(group.name, "up", "")
        return True

    async def _goes_on(self, group: RunbookGroup) -> bool:
        """What becomes of a group that has failed: True where it is tried again."""
        name, rule = group.name, group.on_failure or self._book.on_failure
        there, question = self._state(name), self._open_failure(name)
        if question is None or await answer_of(self._ledger.run, question, self._ctx.journal) is None:  # what somebody said holds
            if rule == "skip":
                return False
            if rule == "stop" or self._unattended:
                await self._stop(f"{name} failed: {there.reason}")
                return False
        if question is None:
            words = f"{name} has failed: {there.reason}"
            number = f"{len(there.questions)}"
            question = self._question(name, "failed", words, number, patience=PATIENCE_OF_PEOPLE, when_silent="stop")
            await self._ledger.change_group(name, questions=(*there.questions, question))
        answer = await self._answer(question)
        questions = self._state(name).questions
        kept = tuple(one.model_copy(update={"answer": answer}) if one.id == question.id else one for one in questions)
        async with self._ledger.at_once():
            await self._ledger.change_group(name, questions=kept)
            match answer.said:
                case "retry":
                    return True
                case "go":
                    await self._end(name, "up", _said("taken as it is", answer))
                case "skip":
                    await self._end(name, "skipped", _said("skipped", answer))
                case "stop":
                    await self._stop(_said("stopped", answer))
        return False

    def _open_failure(self, name: str) -> Question | None:
        """What was asked of its failure, and nobody has answered."""
        return next((one for one in self._state(name).questions if one.answer is None), None)

    async def _end(self, name: str, state: GroupState, reason: str, *, lacking: tuple[str, ...] = ()) -> None:
        now = self._ctx.clock.now()
        await self._ledger.change_group(name, state=state, reason=reason, ended_at=now, lacking=lacking)
        self._ctx.tell(f"group {name}: {state}" + (f": {reason}" if reason else ""))

    def _state(self, name: str) -> RunGroup:
        return self._ledger.run.group(name)

    async def _stop(self, why: str) -> None:
        """Nothing new begins; what is under way is waited for."""
        if not self._stopped:
            self._stopped = why
            await self._ledger.change(stopped=why)

    async def _cut_short(self, name: str) -> None:
        if self._state(name).state == "running":
            await self._end(name, "failed", "the run was stopped before it was finished")

    async def _check_going_on(self) -> None:
        """Before anything begins: the run is still ours, and wanted. Raises StillRunning, StopAsked, JournalError."""
        try:
            await self._lease.check()
        except StillRunning as lost:
            raise _TakenOver(lost) from None
        if stop := await stop_asked(self._ledger.run, self._ctx.journal):
            raise StopAsked(stop)
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopped:
            raise StopAsked(Answer(said="stop", by="", at=self._ctx.clock.now(), how="nobody", note=self._stopped))

    def _look(self) -> None:
        """While somebody is waited for. Raises StopAsked, and OnlyPeople where there is nothing else to do."""
        self._check_stopped()
        if self._idle():
            raise OnlyPeople

    async def _servers(self, group: RunbookGroup) -> None:
        there = {server.source: server for server in self._state(group.name).servers}
        wanted = [server for server in group.servers if there[server.source].state != "up"]
        if not wanted:
            return
        await self._check_going_on()
        await all_or_first([self._returning.bring_back(group.name, server) for server in wanted])
        failed = [server for server in self._state(group.name).servers if server.state != "up"]
        if failed:
            raise _GroupFailed("; ".join(f"{server.source}: {server.reason}" for server in failed))

    # -- steps ----------------------------------------------------------------------------------------------------------

    async def _step(self, group: RunbookGroup, number: int, step: RunbookStep) -> None:
        there = self._state(group.name).steps[number]
        if there.state == "done":
            return
        await self._check_going_on()
        if step.asks:
            await self._ask_people(group.name, number, step, there)
            return
        began = self._ctx.clock.now()
        await self._ledger.change_step(group.name, number, state="running", began_at=began, ended_at=None, told="")
        self._ctx.tell(f"group {group.name}: {step.words}, within {minutes(step.patience)}")
        try:
            told = await self._acts.step(step, self._ledger.run, group.name, self._ctx)
        except B2iError as error:
            await self._end_step(group.name, number, "failed", str(error))
            raise _GroupFailed(str(error)) from None
        await self._end_step(group.name, number, "done", told)

    async def _ask_people(self, group: str, number: int, step: RunbookStep, there: RunStep) -> None:
        question, earlier = there.question, there.earlier
        if question and question.answer and question.answer.said != "go":
            question, earlier = None, (*earlier, question)
        if question is None:
            about: _About = "approve" if step.approve is not None else "manual"
            same = sum((one.when, one.words) == (there.when, there.words) for one in self._state(group).steps[:number])
            again = f"{there.when} {same} {len(earlier)}"
            question = self._question(group, about, step.words, again, patience=step.patience, when_silent=step.when_silent)
            await self._ledger.change_step(
                group, number, state="asked", began_at=question.asked_at, ended_at=None, question=question, earlier=earlier
            )
        answer = question.answer or await self._answer(question)
        ended = self._ctx.clock.now()
        state = {"go": "done", "skip": "skipped"}.get(answer.said, "stopped")
        kept = question.model_copy(update={"answer": answer})
        async with self._ledger.at_once():
            told = _said(answer.said, answer)
            await self._ledger.change_step(group, number, state=state, ended_at=ended, question=kept, told=told)
            if answer.said == "skip":
                await self._end(group, "skipped", _said("skipped", answer))
            elif answer.said == "stop":
                await self._stop(_said("stopped", answer))
                await self._cut_short(group)
        if answer.said != "go":
            raise _GroupOver

    def _question(
        self, group: str, about: _About, words: str, number: str, *, patience: timedelta, when_silent: _WhenSilent
    ) -> Question:
        now = self._ctx.clock.now()
        return Question(
            id=question_id(group, about, words, number),
            group=group,
            about=about,
            words=words,
            asked_at=now,
            until=now + patience,
            when_silent=when_silent,
        )

    async def _answer(self, question: Question) -> Answer:
        """Wait for what is said. Raises StopAsked, OnlyPeople, JournalError."""
        run, now = self._ledger.run, self._ctx.clock.now()
        if answer := await answer_of(run, question, self._ctx.journal):
            return answer
        if self._unattended:
            return Answer(said="go", by="--approve-all", at=now, how="option")
        self._ctx.tell(
            f"group {question.group} asks, until {question.until:%H:%M} UTC: {question.words} "
            f"({'/'.join(question.choices)}; `{command_for(run, question)}`)"
        )
        self._asking.add(question.group)
        try:
            return await await_answer(question, run, self._ctx, ask=self._ask and self._one_at_a_time, look=self._look)
        finally:
            self._asking.discard(question.group)

    async def _one_at_a_time(self, question: Question) -> Answer:
        """Whoever sits there is asked one thing after the other."""
        if self._ask is None:
            raise ValueError("there is nobody to ask")
        async with self._prompt:
            return await self._ask(question)

    def _idle(self) -> bool:
        """Whether only people are waited for, and whoever called wants to hear of that."""
        if not self._leave or self._returning.making:
            return False
        running = {name for name, ended in self._ended.items() if not ended.is_set()} - self._asking
        blocked = {
            group.name
            for group in self._book.groups
            if group.name in self._waiting and any(not self._ended[need].is_set() for need in group.needs)
        }
        return not running - blocked

    async def _end_step(self, group: str, number: int, state: str, told: str) -> None:
        await self._ledger.change_step(group, number, state=state, ended_at=self._ctx.clock.now(), told=told)


def _said(word: str, answer: Answer) -> str:
    """Who has said what, in a line."""
    who = "since nobody has answered in time" if answer.how == "nobody" and answer.by else f"by {answer.by}" if answer.by else ""
    return f"{word} {who}".strip() + (f": {answer.note}" if answer.note else "")
