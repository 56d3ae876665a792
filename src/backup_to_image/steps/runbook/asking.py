"""Questions to people: asked once, answered from anywhere, kept in the journal before anybody acts on the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Literal

from backup_to_image.errors import UsageError
from backup_to_image.journal import Journal
from backup_to_image.model.recovery import Answer, Question, RunbookRun, Said
from backup_to_image.steps.context import Context
from backup_to_image.steps.runbook.ledger import answer_of, keep_answer, stop_asked

__all__ = ["Ask", "OnlyPeople", "StopAsked", "answer_question", "await_answer", "command_for", "question_id"]

Ask = Callable[[Question], Awaitable[Answer]]
"""Asks somebody who sits there."""
How = Literal["command", "form"]
_LOOK_EVERY = 3.0


class OnlyPeople(Exception):
    """Nothing is at work: only people are waited for, and whoever called wants to hear of that."""


class StopAsked(Exception):
    """Somebody wants the run to end."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.said)
        self.answer = answer


def question_id(group: str, about: str, words: str, number: str) -> str:
    """The same for the same question, also after a crash and in a file whose other steps have changed."""
    return f"{group} {about} {hashlib.sha256(words.encode()).hexdigest()[:8]} {number}"


def command_for(run: RunbookRun, question: Question) -> str:
    """The command that says go, or retry where something has failed."""
    return f"b2i runbook {'retry' if question.about == 'failed' else 'approve'} {run.id} {question.group}"


async def await_answer(question: Question, run: RunbookRun, ctx: Context, *, ask: Ask | None, look: Callable[[], None]) -> Answer:
    """What is said to a question: here, by a command or a form anywhere, or by the runbook when its time is up.

    `look` is called while nobody has answered, and may raise. Raises StopAsked, JournalError.
    """
    asking = asyncio.ensure_future(ask(question)) if ask else None
    try:
        while True:
            if answer := await answer_of(run, question, ctx.journal):
                return answer
            if stop := await stop_asked(run, ctx.journal):
                raise StopAsked(stop)
            if asking and asking.done():
                answer = asking.result()
                await keep_answer(run, question, answer, ctx.journal)
                return answer
            left = (question.until - ctx.clock.now()).total_seconds()
            if left <= 0:
                answer = Answer(said=question.when_silent, by="nobody", at=ctx.clock.now(), how="nobody")
                await keep_answer(run, question, answer, ctx.journal)
                return answer
            look()
            await _pause(min(_LOOK_EVERY, left), asking, ctx)
    finally:
        if asking:
            asking.cancel()


async def _pause(seconds: float, asking: asyncio.Future[Answer] | None, ctx: Context) -> None:
    """A little while, or until somebody who sits there has answered."""
    sleeping = asyncio.ensure_future(ctx.clock.sleep(seconds))
    try:
        await asyncio.wait({sleeping, *([asking] if asking else [])}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()


async def answer_question(
    run: RunbookRun, group: str | None, said: Said, journal: Journal, *, by: str, note: str = "", how: How = "command"
) -> Question:
    """Keep an answer to what a run asks; returns the question. Raises UsageError where it asks no such thing; JournalError."""
    asked = [one for one in run.open_questions if group in {None, one.group}]
    if group and group not in [one.name for one in run.groups]:
        raise UsageError(f"{run.id} has no group {group!r}; there are {', '.join(one.name for one in run.groups)}.")
    if not asked:
        where = f"in {group}" if group else "anywhere"
        raise UsageError(
            f"{run.id} asks nothing {where}.", action=f"It is {run.state}; `b2i runbook status {run.id}` tells more."
        )
    if len(asked) > 1:
        told = "; ".join(f"{one.group}: {one.words}" for one in asked)
        raise UsageError(f"{run.id} asks {len(asked)} things: {told}.", action="Name the group that is meant.")
    question = asked[0]
    if said not in question.choices:
        raise UsageError(
            f"{question.group} asks {question.words!r}; {said!r} is no answer to that.",
            action=f"Answers are {', '.join(question.choices)}.",
        )
    if before := await answer_of(run, question, journal):
        raise UsageError(f"{question.group} was answered already: {before.said}, by {before.by}, at {before.at:%H:%M} UTC.")
    await keep_answer(run, question, Answer(said=said, by=by, at=journal.clock.now(), note=note, how=how), journal)
    return question
