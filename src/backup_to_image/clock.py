"""Time as an argument: now() and sleep(), real and fake.

Everything that waits or stamps takes a `Clock`, so that tests pass hours in milliseconds and the emulator and its client can live
on one clock. Times are aware datetimes in UTC.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "FakeClock", "SystemClock"]

# A request to an in-process cloud takes a few dozen turns of the event loop; a loop this idle has nothing left to do but wait.
_IDLE_TURNS = 200


class Clock(Protocol):
    """What waits and stamps ask for the time."""

    def now(self) -> datetime:
        """The present moment, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds of this clock."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class FakeClock:
    """Time that stands still while anything runs and jumps to the next sleeper when nothing does."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 3, 10, 2, 0, tzinfo=UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._driver: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass at once, as if the whole process had been asleep."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), woken))
        if self._driver is None or self._driver.done() or self._driver.get_loop() is not loop:
            self._driver = loop.create_task(self._drive())
        await woken

    async def _drive(self) -> None:
        while self._sleepers:
            for _ in range(_IDLE_TURNS):
                await asyncio.sleep(0)
            when, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._now = max(self._now, when)
                woken.set_result(None)
