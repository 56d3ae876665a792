"""Run a runbook, as a drill or for real: begun once, gone on with after any interruption, ended with its evidence.

A run fixes which image each server comes back from when it begins. There is one unfinished run of a runbook in each mode, and
one process at it. What it does for a server, a step or an image is given as an argument (`acts`), so that a flow does the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib.metadata import version

from backup_to_image.errors import B2iError, Refused, UsageError
from backup_to_image.journal import Lease, hold
from backup_to_image.model import Report
from backup_to_image.model.readiness import Readiness
from backup_to_image.model.recovery import RunbookRun, RunMode, RunServer
from backup_to_image.steps.context import Context, minutes
from backup_to_image.steps.launching.drills import surely
from backup_to_image.steps.runbook.acts import Acts
from backup_to_image.steps.runbook.asking import Ask, OnlyPeople
from backup_to_image.steps.runbook.conduct import Conductor
from backup_to_image.steps.runbook.drilling import KEPT_FOR
from backup_to_image.steps.runbook.file import RunbookFile
from backup_to_image.steps.runbook.laid_out import groups_of, servers_of
from backup_to_image.steps.runbook.ledger import Ledger, forget_answers, forget_stop, lease_of, notes_of, runs_of
from backup_to_image.steps.runbook.readiness import check_readiness
from backup_to_image.steps.runbook.returning import Returning

__all__ = ["Keep", "end_run", "run_runbook"]

Keep = Callable[[RunbookRun], Awaitable[tuple[str, str]]]
"""Keeps the evidence of a run, and says where, and the hash of its record."""
_OTHERS = timedelta(seconds=90)
"""A run that was killed on another host holds its lease for a minute."""
_NO_BAR = frozenset({"age"})
"""What a recovery is measured by keeps nobody from it."""


async def run_runbook(
    file: RunbookFile,
    ctx: Context,
    *,
    mode: RunMode,
    keep: Keep,
    acts: Acts | None = None,
    ask: Ask | None = None,
    by: str = "",
    unattended: bool = False,
    leave: bool = False,
    anyway: bool = False,
    again: bool = False,
) -> tuple[RunbookRun, bool]:
    """Bring the servers of a runbook back, group by group; in a drill they are taken down again whatever came of it.

    Returned is the run as it is in the journal, and whether it had ended before and nothing was done.

    The same call goes on with the run that is unfinished, from where it was: what is up stays up, what was answered is not asked
    again, what failed is tried again. A failover that has ended is not done a second time while one of its servers is there,
    unless `again`. With `leave` it comes back as soon as only people are waited for (state open).

    `ask` asks somebody who sits there; without it answers come by the journal. `unattended` says go to every approval and stops
    at a failure that somebody would be asked about. `anyway` begins although readiness refuses some. Stopped by a signal, a drill
    is taken down first. Raises Refused with every reason before anything is made; UsageError; StillRunning where another process
    is at the run; JournalError.
    """
    kind, name = lease_of(file.runbook.name, mode)
    async with hold(ctx.journal, kind, ctx.project_id, name, deadline=ctx.deadline(_OTHERS)) as lease:
        before = await _unfinished(file, mode, ctx, again=again)
        if before and before.state == "over":
            return await _closed(Ledger(before, ctx.journal), ctx, keep), False
        if before and before.state == "done":
            ctx.tell(f"{before.id} has ended, and its servers are there; nothing is launched a second time")
            return before, True
        run = await (_go_on(before, file, ctx) if before else _begin(file, ctx, mode=mode, by=by, anyway=anyway))
        ledger = Ledger(run, ctx.journal)
        await ledger.save()
        run = await _conduct(file, ledger, lease, ctx, acts or Acts(), keep, ask=ask, unattended=unattended, leave=leave)
        return run, False


async def _unfinished(file: RunbookFile, mode: RunMode, ctx: Context, *, again: bool) -> RunbookRun | None:
    """The run to go on with; one that has ended where it must not be done a second time; None where a new one begins."""
    runs = await runs_of(ctx.journal, project_id=ctx.project_id, runbook=file.runbook.name, mode=mode)
    if not runs:
        return None
    last = runs[-1]
    if last.state != "done":
        if again and (ctx.run_id is None or last.flow_run != ctx.run_id):
            raise UsageError(
                f"{last.id} is unfinished ({last.state}), so no other run of {last.runbook} begins.",
                action="Leave out --again to go on with it"
                + (f", or end it: `b2i runbook cleanup {file.path}`." if mode == "drill" else "."),
            )
        return last
    there = mode == "failover" and not again and await _any_server(last, ctx)
    return last if there else None


async def _any_server(run: RunbookRun, ctx: Context) -> bool:
    for _, server in run.servers:
        for server_id in server.server_ids:
            found = await ctx.cloud.servers.find(server_id)
            if found is not None and found.status != "DELETED":
                return True
    return False


# -- beginning ----------------------------------------------------------------------------------------------------------


async def _begin(file: RunbookFile, ctx: Context, *, mode: RunMode, by: str, anyway: bool) -> RunbookRun:
    """A new run, with the images that it is about. Raises Refused with every reason, unless `anyway`."""
    began = ctx.clock.now()
    seen = await _looked_at(file, ctx, mode, anyway=anyway)
    book, text = file.runbook, file.text
    run = RunbookRun(
        id=f"{book.name}-{mode}-{began:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        runbook=book.name,
        mode=mode,
        project_id=ctx.project_id,
        region=ctx.cloud.region or "",
        by=by,
        flow_run=ctx.run_id,
        host=socket.gethostname(),
        version=version("backup-to-image"),
        file=file.path.name,
        text=text,
        sha256=_digest(text),
        began_at=began,
        rto_target_s=_seconds(book.targets.rto),
        rpo_target_s=_seconds(book.targets.rpo),
        groups=groups_of(book, mode, servers_of(seen)),
        findings=tuple(f"{check.rule}: {check}" for check in seen.against),
    )
    what = "drill" if mode == "drill" else "failover"
    ctx.tell(f"{run.id}: {what} of {len(run.servers)} servers in {len(run.groups)} groups begins")
    return run


async def _looked_at(file: RunbookFile, ctx: Context, mode: RunMode, *, anyway: bool) -> Readiness:
    seen = await check_readiness(file, ctx, modes=(mode,))
    checks = list(seen.checks)
    for server in seen.servers:
        checks += [check.model_copy(update={"rule": f"{server.source}: {check.rule}"}) for check in server.checks]
    barred = [check for check in checks if check.verdict == "refused" and check.rule.rpartition(": ")[2] not in _NO_BAR]
    if barred and not anyway:
        subject = f"runbook {file.runbook.name}"
        refused = Refused(Report(subject=subject, checks=tuple(check for check in checks if check in barred)))
        refused.action = f"{refused.action} Or with --anyway: what cannot come back fails its group.".strip()
        raise refused
    return seen


async def _go_on(before: RunbookRun, file: RunbookFile, ctx: Context) -> RunbookRun:
    """The run as it was, by the file as it is now. Raises UsageError where that lacks a server that is there."""
    now = ctx.clock.now()
    ctx.tell(f"{before.id}: going on with the run of {before.began_at:%Y-%m-%d %H:%M} UTC")
    known = {server.source for _, server in before.servers}
    picked: dict[str, RunServer] = {}
    if any(server.source not in known for _, server in file.runbook.servers):
        picked = servers_of(await check_readiness(file, ctx, modes=(before.mode,)))
    groups = before.groups if before.ended_at and before.mode == "drill" else groups_of(file.runbook, before.mode, picked, before)
    changes = {
        "groups": groups,
        "text": file.text,
        "sha256": _digest(file.text),
        "interruptions": before.interruptions if _at_once(before, now) else (*before.interruptions, now),
        "ends": before.ends + (before.state == "stopped"),
        "state": "open",
        "stopped": "" if before.state == "stopped" else before.stopped,
        "evidence": None,
        "evidence_sha256": None,
        "flow_run": ctx.run_id,
    }
    if _digest(file.text) != before.sha256:
        ctx.tell(f"{file.path} has changed since; it is gone on with as it is now")
    if before.mode == "failover":
        changes["ended_at"] = None
    if before.state == "stopped":  # of one that was killed before it had ended, what somebody has said holds
        await forget_stop(before, ctx.journal)
    return before.model_copy(update=changes)


# -- at work, and the end -----------------------------------------------------------------------------------------------


async def _conduct(
    file: RunbookFile,
    ledger: Ledger,
    lease: Lease,
    ctx: Context,
    acts: Acts,
    keep: Keep,
    *,
    ask: Ask | None,
    unattended: bool,
    leave: bool,
) -> RunbookRun:
    returning = Returning(file.runbook, ledger, ctx, acts)
    conductor = Conductor(file.runbook, ledger, lease, ctx, acts, returning, ask=ask, unattended=unattended, leave=leave)
    try:
        await returning.stand_by()
        if ledger.run.ended_at is None:
            await conductor.groups()
            await ledger.change(ended_at=ctx.clock.now())
    except OnlyPeople:
        latest = max(question.until for question in ledger.run.open_questions)
        await returning.keep(latest + KEPT_FOR)
        await returning.let_go()
        ctx.tell(f"{ledger.run.id}: only people are waited for, {minutes(latest - ctx.clock.now())} at most")
        return ledger.run
    except asyncio.CancelledError:
        await surely(_cut_off(ledger, returning, ctx, keep))
        raise
    except B2iError:
        await returning.let_go()
        raise
    await returning.take_down()
    return await _closed(ledger, ctx, keep)


async def end_run(file: RunbookFile, ledger: Ledger, ctx: Context, acts: Acts, keep: Keep, *, why: str) -> RunbookRun:
    """End a drill that nobody goes on with: its servers are taken down, and its evidence is kept. The caller holds its lease."""
    returning, run = Returning(file.runbook, ledger, ctx, acts), ledger.run
    if run.ended_at is None:
        await ledger.change(ended_at=ctx.clock.now(), stopped=run.stopped or why)
    await returning.stand_by()
    await returning.take_down()
    await ledger.change(state="open")
    return await _closed(ledger, ctx, keep)


async def _cut_off(ledger: Ledger, returning: Returning, ctx: Context, keep: Keep) -> None:
    """Stopped by a signal: a drill's servers go first; a failover is left as it is, to be gone on with."""
    if ledger.run.mode == "failover":
        return
    ctx.tell(f"{ledger.run.id}: stopped; the servers of the drill are taken down first")
    run = ledger.run
    if run.ended_at is None:
        await ledger.change(ended_at=ctx.clock.now(), stopped=run.stopped or "stopped by a signal")
    await returning.take_down()
    await _closed(ledger, ctx, keep)


async def _closed(ledger: Ledger, ctx: Context, keep: Keep) -> RunbookRun:
    """The run with its outcome and its evidence. A failover that was stopped stays one that can be gone on with."""
    run = ledger.run
    up = sum(group.state == "up" for group in run.groups)
    whole = up == len(run.groups) and all(server.state == "up" for _, server in run.servers)
    goes_on = run.mode == "failover" and bool(run.stopped)
    notes = await notes_of(run, ctx.journal)
    if run.state != "over":
        await ledger.change(
            outcome="made" if whole else "partly" if up else "failed",
            cleared_at=ctx.clock.now() if run.mode == "drill" and not run.left_behind else None,
            state="stopped" if goes_on else "over",
            notes=notes,
        )
    evidence, sha256 = await keep(ledger.run)
    await ledger.change(evidence=evidence, evidence_sha256=sha256, state="stopped" if goes_on else "done")
    await forget_answers(run, ctx.journal)
    await forget_stop(run, ctx.journal)
    return ledger.run


def _at_once(before: RunbookRun, now: datetime) -> bool:
    """Whether it is gone on with for one thing after another, as a flow run does when it has read an answer."""
    return bool(before.interruptions) and now - before.interruptions[-1] < timedelta(minutes=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seconds(length: timedelta | None) -> int | None:
    return None if length is None else round(length.total_seconds())
