"""Questions of a run in Prefect: the flow run is suspended, so no process waits for people, and whoever resumes it answers."""

from __future__ import annotations

import hashlib
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment

from backup_to_image.forms import ApprovalAnswer, FailureAnswer
from backup_to_image.model.recovery import Answer, Question, RunbookRun
from backup_to_image.steps.context import Context
from backup_to_image.steps.runbook.asking import command_for
from backup_to_image.steps.runbook.ledger import answer_of, keep_answer, runs_of
from tasks.artifacts import leave, left_by, this_run
from tasks.events import runbook_asks
from tasks.policy import NO_RETRY

__all__ = ["ask_people", "may_suspend", "wake_runs"]

ASKS_KEY = "runbook-asks"
_MEANS = {"go": "go on", "skip": "skip the group and those that need it", "stop": "stop the run", "retry": "try the group again"}
_OF_FAILURES = _MEANS | {"go": "take the group as it is"}


def may_suspend() -> bool:
    """Whether this run can be suspended: only what a deployment has begun is started again."""
    return bool(deployment.id)


async def ask_people(run: RunbookRun, ctx: Context) -> None:
    """Suspend this flow run until somebody has answered the first thing that is asked; returns when the answer is kept.

    The answer is in the journal before anything acts on it: Prefect forgets it when the run crashes. Raises Pause.
    """
    question = run.open_questions[0]
    failed = question.about == "failed"
    form = RunInput.subclass_from_base_model_type(FailureAnswer if failed else ApprovalAnswer)
    key = hashlib.sha256(f"{run.id} {question.id}".encode()).hexdigest()[:16]
    await _tell(run, question)
    said = await asuspend_flow_run(wait_for_input=form.with_initial_data(description=_page(run, question)), key=key)
    if await answer_of(run, question, ctx.journal) is None:
        given = (FailureAnswer if failed else ApprovalAnswer).model_validate(
            said.model_dump(include={"decision", "name", "note"})
        )
        answer = Answer(said=given.decision, by=given.name, at=ctx.clock.now(), note=given.note, how="form")
        await keep_answer(run, question, answer, ctx.journal)


async def _tell(run: RunbookRun, question: Question) -> None:
    """Somebody has to see it: a line in the log, a page, and an event for automations. Nobody is told twice."""
    run_id, page = this_run(), _page(run, question)
    if run_id is None or await left_by(run_id, ASKS_KEY, newest=True) == page:
        return
    how = f"To answer: Resume in this run's menu, or `{command_for(run, question)}`."
    get_run_logger().warning("%s asks: %s %s", question.group, question.words, how)
    await leave(run_id, ("markdown", ASKS_KEY, f"{question.group} asks", page))
    runbook_asks(run, question)


def _page(run: RunbookRun, question: Question) -> str:
    means = _OF_FAILURES if question.about == "failed" else _MEANS
    rows = "\n".join(f"| {choice} | {means[choice]} |" for choice in question.choices)
    up = [f"{server.source} ({', '.join(server.addresses)})" for _, server in run.servers if server.state == "up"]
    return (
        f"**{question.group}**: {question.words}\n\n"
        f"| Decision | It means |\n|---|---|\n{rows}\n\n"
        f"{'Up by now: ' + ', '.join(up) if up else 'No server is up yet'}. "
        f"Without an answer until {question.until:%Y-%m-%d %H:%M} UTC it is `{question.when_silent}`. "
        f"To answer: Resume in this run's menu, or `{command_for(run, question)}`."
    )


@task(name="wake runbooks", task_run_name="wake runbooks", **NO_RETRY)
async def wake_runs(ctx: Context) -> tuple[str, ...]:
    """Resume suspended runs whose question was answered by a command, or whose time to answer is over; returns their names."""
    woken: list[str] = []
    for run in await runs_of(ctx.journal, project_id=ctx.project_id):
        if run.state != "open" or run.flow_run is None:
            continue
        for question in run.open_questions:
            answer = await answer_of(run, question, ctx.journal)
            if answer is None and question.until <= ctx.clock.now():
                answer = Answer(said=question.when_silent, by="nobody", at=ctx.clock.now(), how="nobody")
                await keep_answer(run, question, answer, ctx.journal)
            if answer and await _resume(UUID(run.flow_run), answer):
                get_run_logger().info("%s goes on: %s was answered by %s", run.id, question.group, answer.by)
                woken.append(run.id)
                break
    return tuple(woken)


async def _resume(run_id: UUID, answer: Answer) -> bool:
    """Go on with a suspended flow run; False where it is not suspended. What it reads of the answer is what the journal has."""
    async with get_client() as client:
        try:
            there = await client.read_flow_run(run_id)
        except ObjectNotFound:
            return False
        if there.state is None or not there.state.is_paused():
            return False
        given = {"decision": answer.said, "name": answer.by or "nobody", "note": answer.note}
        return (await client.resume_flow_run(run_id, run_input=given)).status.name == "ACCEPT"
