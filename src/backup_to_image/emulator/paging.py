"""Pages of a list: from a marker, by an index, or by a page number."""

from __future__ import annotations

from .wire import Doc

__all__ = ["after_marker"]


def after_marker(found: list[Doc], marker: str | None, limit: int) -> list[Doc] | None:
    """At most `limit` entries behind the one with that id (without marker: from the first); None where no entry has it."""
    if not marker:
        return found[:limit]
    for position, doc in enumerate(found):
        if doc["id"] == marker:
            return found[position + 1 : position + 1 + limit]
    return None
