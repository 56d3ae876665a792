"""Reading what the cloud sends: unknown fields are passed over, and absent, null and "" mean the same.

Values that look like numbers or booleans are often text (BEHAVIOUR.md 7), so every reader takes either. Only what a client cannot
work without is demanded, with `need`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from backup_to_image.errors import BadAnswer

__all__ = [
    "Body",
    "flag",
    "maybe",
    "moment",
    "need",
    "need_part",
    "need_parts",
    "number",
    "part",
    "parts",
    "stamp",
    "tags",
    "text",
    "whole",
]

Body = Mapping[str, Any]

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?", re.IGNORECASE)
_BIGGEST = 2**63


def text(body: Body, *names: str) -> str:
    """The first of these fields that says something, as text; "" if none does."""
    for name in names:
        value = body.get(name)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            said = str(value).strip()
            if said:
                return said
    return ""


def maybe(body: Body, *names: str) -> str | None:
    return text(body, *names) or None


def number(body: Body, name: str) -> float | None:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if abs(read) < _BIGGEST else None  # also turns away NaN and the infinities


def whole(body: Body, name: str) -> int | None:
    read = number(body, name)
    return None if read is None else int(read)


def flag(body: Body, name: str) -> bool | None:
    """true, "true", "True", 1 and "1" alike; None where nothing readable stands."""
    match text(body, name).lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no":
            return False
        case _:
            return None


def moment(body: Body, *names: str) -> datetime | None:
    """A time in any of the spellings that occur; without a zone it is UTC. Unreadable: None."""
    match = _MOMENT.fullmatch(text(body, *names))
    if not match:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone is None or zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(when: datetime) -> str:
    """A time as filters take it: whole seconds, UTC, Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def part(body: Body, name: str) -> Body:
    """An object inside; empty where there is none."""
    value = body.get(name)
    return cast("Body", value) if isinstance(value, dict) else {}


def parts(body: Body, name: str) -> list[Body]:
    """The objects of a list inside; anything else in it is passed over."""
    value = body.get(name)
    if not isinstance(value, list):
        return []
    return [cast("Body", entry) for entry in cast("list[Any]", value) if isinstance(entry, dict)]


def need(body: Body, name: str, operation: str) -> str:
    """A field without which nothing can be decided."""
    said = text(body, name)
    if not said:
        raise BadAnswer(operation, f"no {name}")
    return said


def need_part(body: Body, name: str, operation: str) -> Body:
    value = body.get(name)
    if isinstance(value, dict):
        return cast("Body", value)
    raise BadAnswer(operation, f"no object {name}")


def need_parts(body: Body, name: str, operation: str) -> list[Body]:
    """A list that must be there, though it may be empty: a missing list is not an empty one."""
    if isinstance(body.get(name), list):
        return parts(body, name)
    raise BadAnswer(operation, f"no list {name}")


def tags(body: Body, name: str = "tags") -> dict[str, str]:
    """Tags in every form that occurs: "key=value", "key.value", a bare "key", and {"key", "value"}."""
    found: dict[str, str] = {}
    value = body.get(name)
    for entry in cast("list[Any]", value) if isinstance(value, list) else []:
        if isinstance(entry, dict):
            pair = cast("Body", entry)
            key, said = text(pair, "key"), text(pair, "value")
        else:
            written = str(entry).strip()
            key, _, said = written.partition("=" if "=" in written else ".")
        if key:
            found[key] = said
    return found
