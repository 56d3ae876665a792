"""Words that every page shares: texts from outside in a line, lengths and moments, a verdict."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Literal, NamedTuple

__all__ = ["Verdict", "exactly", "length", "moment", "offset", "plain", "short"]


class Verdict(NamedTuple):
    """What came of something, in one line. `level` is how it is to be taken."""

    level: Literal["good", "look", "bad"]
    headline: str


def plain(text: str) -> str:
    """A text from outside as one line of characters that show themselves: nothing steers a terminal or turns text around."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def short(text: str, most: int) -> str:
    """At most so many characters; the middle gives way, because names differ at their ends."""
    text = plain(text)
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def length(seconds: float) -> str:
    """A length of time as people say it: 45 s, 2 min 5 s, 41 min, 1 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def exactly(seconds: float) -> str:
    """A length of time to the second, as it is held against a target: 45 s, 41 min 5 s, 1 h 05 min 10 s."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    parts = [f"{minutes // 60} h {minutes % 60:02} min"] if minutes >= 60 else [f"{minutes} min"] if minutes else []
    return " ".join(parts + ([f"{rest} s"] if rest or not parts else []))


def offset(at: datetime, tz: tzinfo) -> str:
    """How far the zone's clock is from UTC at that moment: +01:00."""
    return at.astimezone(tz).isoformat(timespec="minutes")[16:]


def moment(at: datetime, tz: tzinfo) -> str:
    """A moment on the zone's clock, with its offset, since an hour in autumn comes twice."""
    return f"{at.astimezone(tz):%Y-%m-%d %H:%M} {offset(at, tz)}"
