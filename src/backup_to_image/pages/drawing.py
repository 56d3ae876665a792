"""What pictures along time share: a scale with round times, and numbers that stay short."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

__all__ = ["Scale", "px", "ticks"]

_STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800]
_MOST_TICKS = 11


class Scale(NamedTuple):
    """Time to the right."""

    began: datetime
    ended: datetime
    left: float
    right: float

    def x(self, at: datetime) -> float:
        return self.left + (at - self.began) / (self.ended - self.began) * (self.right - self.left)


def ticks(scale: Scale, tz: tzinfo) -> Iterator[datetime]:
    """Round times of the zone's clock."""
    seconds = (scale.ended - scale.began).total_seconds()
    step = next((one for one in _STEPS if seconds / one <= _MOST_TICKS), int(seconds / _MOST_TICKS) + 1)
    ahead = scale.began.astimezone(tz).utcoffset() or timedelta()
    local = scale.began.timestamp() + ahead.total_seconds()
    at = scale.began + timedelta(seconds=-local % step)
    while at <= scale.ended:
        yield at
        at += timedelta(seconds=step)


def px(value: float) -> str:
    """At most one digit after the point: a picture of a thousand rows stays small."""
    return f"{value:.1f}".removesuffix(".0")
