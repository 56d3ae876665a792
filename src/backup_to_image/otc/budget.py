"""One request budget for everything that one client does: it halves when the cloud throttles and recovers slowly.

The cloud publishes no rates (BEHAVIOUR.md 13), so the only honest way to find them is to listen. Nobody waits when little is
asked: a burst is free, a steady stream is paced. People are told when requests wait for more than a few seconds: why, until when,
and how fast it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from backup_to_image.clock import Clock

__all__ = ["Budget"]

_LONG_PAUSE, _LONG_QUEUE = timedelta(seconds=5), timedelta(seconds=30)
"""What is worth telling: the cloud wants nothing just now; so much is asked that the last request goes out later than this."""
_GATHER = timedelta(seconds=1)
"""Whoever waits for the same is counted before anything is told."""
_SAME_NEWS = timedelta(minutes=1)
"""An end that moves by less is told already, as long as nothing goes well (and the longer that lasts, the seldomer it is told);
that waiting is over is told only where it took longer."""


class Budget:
    """Who may send when. `waiting_for` and `until` say what it waits for just now, for people who watch.

    `tell` takes one line when requests begin to wait and one when they no longer do, if that took more than a minute.
    """

    def __init__(self, clock: Clock, *, most: float = 30.0, least: float = 0.2, burst: int = 60) -> None:
        self._clock = clock
        self._most, self._least, self._burst = most, least, burst
        self._rate = most
        long_ago = clock.now() - timedelta(days=1)
        self._next = self._closed_until = self._slowed_at = long_ago
        self._reason = ""
        self._waiting = 0
        self.tell: Callable[[str], None] | None = None
        self._told_until: datetime | None = None
        self._waiting_since = long_ago

    def share(self, of: int) -> None:
        """Send only as much as one of so many who share the project's limits."""
        self._most /= of
        self._rate = min(self._rate, self._most)
        self._burst = max(1, self._burst // of)

    @property
    def rate(self) -> float:
        """Requests per second, at present."""
        return self._rate

    @property
    def until(self) -> datetime | None:
        """When the last of the requests that wait now goes out; None while nothing waits."""
        return max(self._next, self._closed_until) if self._waiting else None

    @property
    def waiting_for(self) -> str | None:
        """Why requests wait; None while nothing does."""
        if not self._waiting:
            return None
        if self._closed_until > self._clock.now():
            return self._reason
        return f"its turn, at {self._rate:.1f} requests a second"

    async def take(self) -> None:
        """Come back when one request may go out."""
        while True:
            now = self._clock.now()
            if self._closed_until > now:
                await self._wait(self._closed_until - now, _LONG_PAUSE)
                continue
            spacing = timedelta(seconds=1 / self._rate)
            # Unused turns are saved up to the size of a burst, and no further.
            turn = max(self._next, now - spacing * self._burst)
            self._next = turn + spacing
            if turn > now:
                await self._wait(turn - now, _LONG_QUEUE)
            if self._closed_until <= self._clock.now():
                return
            # Another request was throttled meanwhile: queue again, or all that waited would go out at once.

    async def _wait(self, pause: timedelta, worth_telling: timedelta) -> None:
        self._waiting += 1
        try:
            if pause > worth_telling:
                await self._clock.sleep(_GATHER.total_seconds())
                self._tell_what_is_waited_for()
                pause -= _GATHER
            await self._clock.sleep(pause.total_seconds())
        finally:
            self._waiting -= 1

    def throttled(self, seconds: float, reason: str) -> None:
        """The cloud said too much: nobody sends for so long, and then at half the rate."""
        now = self._clock.now()
        if now - self._slowed_at >= timedelta(seconds=1):  # many requests hear of one and the same overload
            self._rate = max(self._least, self._rate / 2)
            self._slowed_at = now
        if now + timedelta(seconds=seconds) > self._closed_until:
            self._closed_until = now + timedelta(seconds=seconds)
            self._reason = reason
        self._next = self._closed_until  # nothing is left of the burst

    def went_well(self) -> None:
        """An answer came without a complaint: a little faster, up to the most."""
        self._rate = min(self._most, self._rate + self._most / 200)
        if self._told_until is not None and not self._waiting and self._clock.now() >= self._closed_until:
            self._tell_that_it_is_over()

    def _tell_what_is_waited_for(self) -> None:
        until, now = self.until, self._clock.now()
        if until is None:
            return
        if self._told_until is None:
            self._waiting_since = now
        elif until < self._told_until + max(_SAME_NEWS, (now - self._waiting_since) / 4):
            return
        self._told_until = until
        many = f"{self._waiting} requests wait" if self._waiting > 1 else "a request waits"
        then = f", then at most {self._rate:.1f} requests a second" if self._closed_until > now else ""
        self._say(f"{many} until {until.astimezone(UTC):%H:%M:%S} UTC for {self.waiting_for}{then}")

    def _tell_that_it_is_over(self) -> None:
        self._told_until = None
        took = self._clock.now() - self._waiting_since
        if took > _SAME_NEWS:
            self._say(
                f"requests no longer wait, after {took / timedelta(minutes=1):.0f} min; at most {self._rate:.1f} a second now"
            )

    def _say(self, line: str) -> None:
        if self.tell:
            self.tell(line)
