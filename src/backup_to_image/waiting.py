"""The one place that waits: a table of states, a deadline in time, a pace and a clock.

A state is success, pending or failure; any other is an error that shows itself instead of being waited on. A deadline that passes
means "still running in the cloud" (`StillRunning`, with the handle to resume), never "lost".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from backup_to_image.clock import Clock
from backup_to_image.errors import ApiError, BadAnswer, CloudError, NoAnswer, NotFound, StillRunning, UnknownState

__all__ = [
    "BACKUP",
    "IMAGE",
    "IMAGE_JOB",
    "RESTORE_POINT",
    "SERVER",
    "SERVER_JOB",
    "Pace",
    "States",
    "passes",
    "quiet",
    "shortest_beat",
    "wait",
    "within",
]

T = TypeVar("T")

SHORTEST_BEAT, QUICK_BEAT = 2.0, 1.0
QUICK = 60.0
"""Seconds; an image that usually takes less is looked at every second: of twenty seconds two would be much."""
LONGEST_BEAT = 60.0
WORTH_A_LOOK_HALF_WAY = 240.0
"""Seconds; what fails in the middle of a shorter wait is noticed soon enough at its usual end."""
FIRST_LOOK = 10.0
"""Seconds; the shortest documented image takes six (IMS api-ref, job query)."""
LAST_LOOK = 60.0
"""Seconds beyond the deadline after which a look that is under way is given up: the time in which one request is answered."""


@dataclass(frozen=True)
class States:
    """What each documented state of a thing means for somebody who waits for it."""

    thing: str
    success: frozenset[str]
    pending: frozenset[str]
    failure: frozenset[str]

    def verdict(self, state: str) -> bool | None:
        """True: done; None: wait on; False: it failed. Raises UnknownState for a state that no table knows."""
        if state in self.success:
            return True
        if state in self.pending:
            return None
        if state in self.failure:
            return False
        raise UnknownState(self.thing, state, self.success | self.pending | self.failure)


def _states(thing: str, success: str, pending: str, failure: str) -> States:
    return States(thing, frozenset(success.split()), frozenset(pending.split()), frozenset(failure.split()))


# BEHAVIOUR.md 4.1, 6, 7 and the Server schema, every state of it: an adopted server may be resized or moved while we look.
BACKUP = _states(
    "The backup", "available", "waiting_protect protecting restoring waiting_restore", "error deleting waiting_delete deleted"
)
RESTORE_POINT = _states("The restore point", "available", "waiting_protect protecting", "error deleting deleted error-deleting")
IMAGE_JOB = _states("The image job", "SUCCESS", "INIT RUNNING", "FAIL")
IMAGE = _states("The image", "active", "queued saving", "killed deleted")
SERVER_JOB = _states("The server job", "SUCCESS", "INIT RUNNING", "FAIL")
SERVER = _states(
    "The server",
    "ACTIVE",
    "BUILD REBOOT HARD_REBOOT REBUILD MIGRATING RESIZE VERIFY_RESIZE REVERT_RESIZE UNKNOWN",
    "ERROR DELETED SHUTOFF SHELVED SHELVED_OFFLOADED",
)


class Pace:
    """When to look next: seldom while nothing can have happened, often when it usually does.

    `usual` are the times (seconds) that the same kind of work took before. With them looks are taken after ten seconds (it may
    be quicker this time, or have failed), at half of the usual time where that is minutes away, and then from when the fastest
    fifth was done; without them, from ten seconds on. From there the beat is a twelfth of the time passed, between `shortest`
    and 60 s: news is on average a twentieth of the whole time old and seldom a tenth (benchmarks/main_job.py). Progress that
    the cloud tells replaces the guess. Jittered by 5 %, so that many waits spread.
    """

    def __init__(
        self, usual: Iterable[float] = (), *, shortest: float = SHORTEST_BEAT, jitter: Callable[[], float] = random.random
    ) -> None:
        times = sorted(time for time in usual if time > 0)
        usually = times[len(times) // 5] if times else None
        self._marks = (FIRST_LOOK,) if usually is None else tuple(_marks(usually))
        self._expected_end: float | None = None
        self._shortest = shortest
        self._jitter = jitter

    def learn(self, elapsed: float, progress: float | None) -> None:
        """Take the cloud's own progress (0 to 1) as the better guess; the first twentieth is too rough to extrapolate."""
        if progress is not None and 0.05 <= progress < 1 and elapsed > 0:
            self._expected_end = elapsed / progress

    def next(self, elapsed: float) -> float:
        """Seconds until the next look."""
        beat = min(LONGEST_BEAT, max(self._shortest, elapsed / 12))
        if self._expected_end is not None:
            beat = max(beat, self._expected_end - elapsed)
        else:
            ahead = [mark - elapsed for mark in self._marks if mark - elapsed > self._shortest / 2]
            if ahead:
                beat = ahead[0]
        return beat * (1 + 0.05 * self._jitter())


def shortest_beat(usual: Iterable[float]) -> float:
    """How closely an image may be looked at whose like took so long before."""
    return QUICK_BEAT if min(usual, default=QUICK) < QUICK else SHORTEST_BEAT


def _marks(usually: float) -> Iterator[float]:
    yield min(FIRST_LOOK, usually / 2)
    if usually > WORTH_A_LOOK_HALF_WAY:
        yield usually / 2
    yield usually


async def wait(
    look: Callable[[], Awaitable[T | None]],
    *,
    state: Callable[[T], str],
    states: States,
    what: str,
    deadline: datetime,
    pace: Pace,
    clock: Clock,
    since: datetime | None = None,
    handle: dict[str, str] | None = None,
    tell: Callable[[T, timedelta], None] | None = None,
    progress: Callable[[T], float | None] | None = None,
    look_first: bool = True,
    rest: Callable[[float], Awaitable[None]] | None = None,
) -> tuple[T, bool]:
    """Look until the state is final; return the thing and whether it succeeded.

    `look` may answer None for "not to be seen yet". `tell` is called when the state changes; `rest` may come back early, when
    there is news. Raises StillRunning when the deadline passes (a last look is taken on the deadline itself, and given up where
    it takes longer than a request may), UnknownState for a state that no table knows, and whatever `look` raises.
    """
    begun = since or clock.now()
    last_seen = "not yet seen"
    nap = rest or clock.sleep

    def left() -> float:
        return max(0.0, (deadline - clock.now()).total_seconds())

    if not look_first:
        await nap(min(left(), pace.next((clock.now() - begun).total_seconds())))
    while True:
        seen = await within(clock, left() + LAST_LOOK, look())
        elapsed = clock.now() - begun
        if seen is not None:
            now_in = state(seen)
            if now_in != last_seen:
                last_seen = now_in
                if tell:
                    tell(seen, elapsed)
            verdict = states.verdict(now_in)
            if verdict is not None:
                return seen, verdict
            if progress:
                pace.learn(elapsed.total_seconds(), progress(seen))
        if clock.now() >= deadline:
            raise StillRunning(what, last_seen=last_seen, deadline=deadline, handle=handle)
        await nap(min(left(), pace.next(elapsed.total_seconds())))


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T | None:
    """What comes of it within so many seconds of this clock; after that it is given up, and None."""
    working = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({working, alarm}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        alarm.cancel()


def passes(error: CloudError) -> bool:
    """Whether this trouble may be over at the next look: then the look was no news, not a failure."""
    if isinstance(error, NoAnswer | BadAnswer):
        return True
    return isinstance(error, ApiError) and (error.retryable or error.status >= 500 or error.status == 429)


async def quiet(look: Awaitable[T]) -> T | None:
    """One look whose passing trouble, and whose "not there (yet)", are None; lasting refusals are raised."""
    try:
        return await look
    except NotFound:
        return None
    except CloudError as error:
        if passes(error):
            return None
        raise
