"""One request budget for everything that one client does: it halves when the cloud throttles and recovers slowly.

The cloud publishes no rates (BEHAVIOUR.md 13), so the only honest way to find them is to listen. Nobody waits when little is
asked: a burst is free, a steady stream is paced.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from backup_to_image.clock import Clock

__all__ = ["Budget"]


class Budget:
    """Who may send when. `waiting_for` and `until` say what it waits for just now, for people who watch."""

    def __init__(self, clock: Clock, *, most: float = 30.0, least: float = 0.2, burst: int = 60) -> None:
        self._clock = clock
        self._most, self._least, self._burst = most, least, burst
        self._rate = most
        long_ago = clock.now() - timedelta(days=1)
        self._next = self._closed_until = self._slowed_at = long_ago
        self._reason = ""
        self._waiting = 0

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
                await self._wait(self._closed_until - now)
                continue
            spacing = timedelta(seconds=1 / self._rate)
            # Unused turns are saved up to the size of a burst, and no further.
            turn = max(self._next, now - spacing * self._burst)
            self._next = turn + spacing
            if turn > now:
                await self._wait(turn - now)
            if self._closed_until <= self._clock.now():
                return
            # Another request was throttled meanwhile: queue again, or all that waited would go out at once.

    async def _wait(self, pause: timedelta) -> None:
        self._waiting += 1
        try:
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
