"""How many images a fleet has made at a time, and whose turn it is.

The cloud works on some forty image tasks at a time, other people's among them, and refuses one more with IMG.0060 (BEHAVIOUR.md
13). So a server waits for a free place before its image is asked for, and lets the next one in as soon as its own is Normal:
sharing, launching and verifying take no place. Where the cloud refuses all the same, somebody else has tasks at work: the window
shrinks to what it took, and grows again by one with each image that ends once nothing has been refused for a while.

Only a few servers are looked at ahead of a free place, so that what was found is fresh when the image is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from backup_to_image.clock import Clock
from backup_to_image.errors import B2iError
from backup_to_image.model.results import Phase, PhaseName
from backup_to_image.waiting import within

__all__ = ["NoPlace", "Turn", "Window"]

_AHEAD = 8
"""Servers that may be looked at before there is a place for them; and so many beside them whose images are there."""
_CALM = timedelta(seconds=60)
"""So long after a refusal the window begins to grow again."""

_WORTH_SEEING = timedelta(milliseconds=20)


class NoPlace(B2iError):
    """The night ended before the cloud had room; nothing was asked for."""

    code = "b2i.no-place"

    def __init__(self, deadline: datetime) -> None:
        super().__init__(
            f"Until {deadline:%H:%M:%S} UTC it was not its turn: too much was to be made for the time. Nothing was made.",
            action="The same command makes it. Give the night more time (`limits.deadline`), or see who else has images made.",
            retryable=True,
        )


class Window:
    """The places of one fleet: `size` of them just now, `at_work` of them taken.

    `beside`: where the quota is tight, how many servers may have a new image beside their old ones; each leaves that room when
    its old image is gone, or nothing came of its new one.
    """

    def __init__(
        self, most: int, clock: Clock, *, beside: int | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.most = self.size = most
        self.at_work = 0
        self.clock = clock
        self.beside = asyncio.Semaphore(beside) if beside is not None else None
        self._tell = tell
        self._ahead, self._aside = asyncio.Semaphore(_AHEAD), asyncio.Semaphore(_AHEAD)
        self._waiting: deque[asyncio.Event] = deque()
        self._refused: deque[asyncio.Event] = deque()
        self._refused_at: datetime | None = None

    @asynccontextmanager
    async def turn(self, *, at_once: bool = False, adopts: bool = False, under_way: bool = False) -> AsyncGenerator[Turn]:
        """One server's part of the night, from when it may be looked at; turns begin in the order in which they are asked for.

        `at_once`: without waiting, for what has to wait long for other reasons. `adopts`: its image is there, and needs no place;
        those have a queue of their own. `under_way`: its image is being made.
        """
        if at_once:
            yield Turn(self, under_way=under_way)
            return
        queue = self._aside if adopts else self._ahead
        await queue.acquire()
        turn = Turn(self, under_way=under_way, done_looking=queue.release)
        try:
            yield turn
        finally:
            turn.is_looked_at()

    @asynccontextmanager
    async def place(self, *, waits: bool, deadline: datetime) -> AsyncGenerator[None]:
        """Hold a place. Raises NoPlace where none gets free by the deadline."""
        if not waits:
            self.at_work += 1  # the cloud works on it already
        else:
            await self._take(deadline)
        try:
            yield
        finally:
            self._give_back()

    async def await_room(self, words: str, pause: float, deadline: datetime) -> None:
        """The cloud has no room for one more: come back when an image of ours has ended, or after so many seconds.

        Whoever is refused keeps its place, and only the first of several asks again without news.
        """
        me = asyncio.Event()
        self._refused.append(me)
        self._refused_at = self.clock.now()
        taken = max(1, self.at_work - len(self._refused))
        if taken < self.size:
            self.size = taken
            self._tell(f"{words}: {self.size} of our images at a time for now, more when there is room")
        try:
            while not me.is_set() and (left := (deadline - self.clock.now()).total_seconds()) > 0:
                await within(self.clock, min(pause, left), me.wait())
                if self._refused[0] is me:
                    return
        finally:
            self._refused.remove(me)

    async def _take(self, deadline: datetime) -> None:
        if self.at_work < self.size and not self._waiting:
            self.at_work += 1
            return
        mine = asyncio.Event()
        self._waiting.append(mine)
        try:
            await within(self.clock, max(0.0, (deadline - self.clock.now()).total_seconds()), mine.wait())
        except BaseException:
            if mine.is_set():
                self._give_back()  # it was handed over while we were called away
            raise
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        if not mine.is_set():
            raise NoPlace(deadline)

    def _give_back(self) -> None:
        self.at_work -= 1
        if self._refused:
            self._refused[0].set()
        elif self.size < self.most and self._refused_at and self.clock.now() >= self._refused_at + _CALM:
            self.size += 1
        while self._waiting and self.at_work < self.size:
            self.at_work += 1
            self._waiting.popleft().set()


class Turn:
    """One server's part of the night: its place in the window, and what it did when."""

    def __init__(self, window: Window, *, under_way: bool, done_looking: Callable[[], None] | None = None) -> None:
        self.window = window
        self.under_way = under_way
        self.phases: list[Phase] = []
        self._in_room = False
        self._done_looking = done_looking

    def is_looked_at(self) -> None:
        """Let the next server be looked at; a second time it does nothing."""
        release, self._done_looking = self._done_looking, None
        if release:
            release()

    def note(self, name: PhaseName, began_at: datetime, ended_at: datetime) -> None:
        """A stretch of this server's night, for the report's picture; a step that had nothing to do is none."""
        if name != "place" and ended_at - began_at < _WORTH_SEEING:
            return
        self.phases.append(Phase(name=name, began_at=began_at, ended_at=ended_at))

    @asynccontextmanager
    async def place(self, *, waits: bool, deadline: datetime) -> AsyncGenerator[None]:
        """Hold a place while the image is made. Raises NoPlace."""
        clock = self.window.clock
        began = clock.now()
        if waits:
            await self._enter(deadline)
        async with self.window.place(waits=waits, deadline=deadline):
            self.note("place", began, clock.now())
            self.is_looked_at()
            yield

    def leave(self) -> None:
        """Its server has one image more than before no longer: the quota has room for another's."""
        if self._in_room and self.window.beside:
            self.window.beside.release()
        self._in_room = False

    async def _enter(self, deadline: datetime) -> None:
        room, clock = self.window.beside, self.window.clock
        if room is None or self._in_room:
            return
        left = max(0.0, (deadline - clock.now()).total_seconds())
        self._in_room = bool(await within(clock, left, room.acquire()))
        if not self._in_room:
            raise NoPlace(deadline)
