"""How to ask for something exactly once: what an answer proves, how long to look before asking again, what to write down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from backup_to_image.doctor import diagnose
from backup_to_image.errors import ApiError, BadAnswer, CloudError, ErrorClass, JobFailed, NoAnswer, NotFound, StillRunning
from backup_to_image.journal import JournalError, Lease, Record
from backup_to_image.model import Job
from backup_to_image.steps.context import Context, minutes, until
from backup_to_image.waiting import SERVER_JOB, Pace, passes, quiet, wait

__all__ = ["await_server_job", "job_failed", "note_sent", "pause_or_raise", "send", "server_job", "settle"]

T = TypeVar("T")

_SEND_AGAIN_AFTER = timedelta(seconds=30)
_NO_ROOM = "IMG.0060"


def _unclear(refusal: ApiError) -> bool:
    """Whether the request may have taken effect in spite of the answer: trouble of the service without a code of its own."""
    return refusal.status >= 500 and (refusal.cloud_code is None or refusal.error_class is ErrorClass.UNCLEAR)


def job_failed(what: str, job: Job, *, hint: str = "", option: str = "") -> JobFailed:
    """A job's end in FAIL: the cloud's own code and reason, what they mean and what to do."""
    diagnosis = diagnose(job.error_code)
    return JobFailed(
        what,
        code=job.error_code,
        reason=job.fail_reason,
        error_class=diagnosis.error_class,
        cause=diagnosis.cause,
        action=f"{diagnosis.action} {hint}".strip(),
        job_id=job.id,
        option=option,
    )


async def _take_back(noted: Record, ctx: Context, *, code: str | None, reason: str) -> None:
    """Write down that this request made nothing, so that nobody has to look for its effect."""
    await ctx.journal.write(noted.model_copy(update={"state": "refused", "code": code, "reason": reason}))


async def pause_or_raise(refusal: ApiError, ctx: Context, deadline: datetime) -> None:
    """A coded "not now" proves that nothing was made: wait and let the same be sent again, within the deadline."""
    pause = timedelta(seconds=refusal.retry_after) if refusal.retry_after else _SEND_AGAIN_AFTER
    if refusal.error_class is not ErrorClass.WAIT or ctx.clock.now() + pause > deadline:
        raise refusal
    if ctx.turn and refusal.cloud_code == _NO_ROOM:
        await ctx.turn.window.await_room(f"{refusal.code}: {refusal.words}", pause.total_seconds(), deadline)
        return
    ctx.tell(f"{refusal.code}: {refusal.words}; asking again in {minutes(pause)}, {until(deadline)}")
    await ctx.clock.sleep(pause.total_seconds())


async def send(
    request: Callable[[], Awaitable[T]],
    intent: Callable[[], Awaitable[Record]],
    ctx: Context,
    lease: Lease,
    *,
    deadline: datetime,
) -> tuple[Record, T | None]:
    """Write down the intent, send a request that makes something, and say what its answer proves.

    Returns the intent and the answer; None where nobody knows whether it took effect, so that the caller looks before anything is
    sent again. A coded "not now" is waited out and sent again. Raises every other refusal, and NoAnswer for a request that never
    left, with the intent taken back: they made nothing.
    """
    while True:
        wanted = await intent()  # may ask the cloud, for longer than a lease lasts unchecked
        await lease.check()
        noted = await ctx.journal.write(wanted)
        try:
            return noted, await request()
        except ApiError as refusal:
            if _unclear(refusal):
                return noted, None
            await _take_back(noted, ctx, code=refusal.cloud_code, reason=refusal.words)
            await pause_or_raise(refusal, ctx, deadline)
        except NoAnswer as silence:
            if silence.sent:
                return noted, None
            await _take_back(noted, ctx, code=None, reason=silence.message)
            raise
        except BadAnswer:
            return noted, None


async def settle(
    look: Callable[[], Awaitable[T]],
    ctx: Context,
    lease: Lease,
    *,
    since: datetime,
    within: timedelta,
    every: float,
    deadline: datetime,
    late: Callable[[str], StillRunning],
) -> T | None:
    """Look for the effect of a request until its settle time has passed; once more even if that is long over.

    None only where the last look was answered and showed nothing: what could not be looked for is not proven absent. Raises
    `late` of what was seen last where the deadline comes first. The lease is renewed on the way, so that nobody else begins the
    same meanwhile.
    """
    settled = since + within
    while True:
        found, unread = None, ""
        try:
            found = await look()
        except NotFound:
            pass
        except CloudError as error:
            if not passes(error):
                raise
            unread = error.message.rstrip(".")
        now = ctx.clock.now()
        if found or (now >= settled and not unread):
            return found or None
        if now >= deadline:
            raise late(f"asked for, and it cannot be looked for ({unread})" if unread else "asked for, but not to be seen")
        next_mark = min(deadline, settled) if now < settled else deadline
        await ctx.clock.sleep(min(every, (next_mark - now).total_seconds()))
        try:
            await lease.check()
        except JournalError as error:
            error.action = "The request may have taken effect. Mend the journal, then run the same command: it looks first."
            raise


async def note_sent(noted: Record, ctx: Context, *, job_id: str | None, server_ids: tuple[str, ...] = ()) -> None:
    """Keep the handle. A note that fails costs a look later; stopping for it would lose the thing that is on its way."""
    try:
        await ctx.journal.write(noted.model_copy(update={"state": "sent", "job_id": job_id, "server_ids": server_ids}))
    except JournalError as error:
        ctx.tell(f"job {job_id} could not be noted ({error.message}); going on without the note")


async def await_server_job(
    job_id: str, what: str, ctx: Context, *, called: str, handle: dict[str, str], deadline: datetime
) -> tuple[Job, bool]:
    """An ECS job once it is over, and whether it has ended well; `called` is its name in the lines that tell its changes.

    Raises StillRunning with `handle` at the deadline.
    """
    return await wait(
        lambda: quiet(ctx.cloud.servers.job(job_id)),
        state=lambda seen: seen.status,
        states=SERVER_JOB,
        what=what,
        deadline=deadline,
        pace=Pace((10.0,), shortest=5.0),
        clock=ctx.clock,
        handle=handle,
        tell=lambda seen, elapsed: ctx.tell(f"{called}: {seen.status} after {minutes(elapsed)}"),
    )


async def server_job(noted: Record, ctx: Context) -> Job | None:
    """The ECS job that the journal notes; None where there is none that ECS knows. Raises trouble that passes."""
    if noted.job_id is None:
        return None
    try:
        return await ctx.cloud.servers.job(noted.job_id)
    except ApiError as error:
        if passes(error):
            raise
        return None
