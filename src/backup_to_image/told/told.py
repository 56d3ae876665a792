"""The end of an order, as a terminal prints it, as a run's page shows it, and as programs read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from backup_to_image.errors import B2iError, Refused
from backup_to_image.model import Outcome, Report, Value
from backup_to_image.run_results import RunError
from backup_to_image.steps.leftovers import Leftovers

__all__ = ["Fields", "Grid", "Told"]

Fields = dict[str, Any]
"""A command's JSON object, or a part of it; the door adds the keys that are absent, as null."""

_KINDS = {"job": "image job", "member": "shared with"}


class Grid(Value):
    """A small table. Without columns its rows are names and values."""

    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, title: str, pairs: Iterable[tuple[str, str | None]]) -> Self:
        """Names and values; what has no value is left out."""
        return cls(title=title, rows=tuple((name, value) for name, value in pairs if value))


class Told(Value):
    """How an order ended."""

    exit_code: int
    outcome: Outcome | None = None
    """None: it only looked."""
    title: str
    """In a few words."""
    content: Fields = {}
    grids: tuple[Grid, ...] = ()
    report: Report | None = None
    """Every rule that was looked at before anything was asked for."""
    proof: Report | None = None
    """What was looked at afterwards."""
    code: str = ""
    """Text to be shown as it is, such as the exact request."""
    notes: tuple[str, ...] = ()
    """What it means, and what comes next."""
    error: RunError | None = None
    handle: dict[str, str] = {}
    """What is still at work in the cloud, by kind."""
    option: str = ""
    """What the command that goes on needs besides the words that it had."""

    @classmethod
    def of_error(cls, error: B2iError, known: Fields | None = None) -> Self:
        """An order that was refused, went wrong or is not finished. `known`: what of it the JSON object names all the same."""
        return cls(
            exit_code=error.exit_code,
            outcome=error.outcome,
            title=_TITLES[error.outcome],
            content=known or {},
            report=error.report if isinstance(error, Refused) else None,
            error=RunError.of(error),
            handle=error.handle,
            option=error.option,
        )

    @classmethod
    def of_cancelled(cls, left: Leftovers) -> Self:
        """An order that somebody stopped, and what the cloud has of it: as after a deadline, the same order resumes."""
        at_work = bool(left.things or left.unread)
        rows = tuple((_KINDS.get(one.kind, one.kind), one.name, one.id, one.status) for one in left.things)
        seen = f"As the cloud said at {left.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        return cls(
            exit_code=4 if at_work else 1,
            outcome="still_running" if at_work else "failed",
            title="Cancelled",
            grids=(Grid(title=seen, columns=("", "name", "id", "the cloud says"), rows=rows),) if rows else (),
            notes=tuple(f"Not to be seen: {what}: {why}" for what, why in left.unread.items()),
            error=RunError.of_cancelled("The run was cancelled.", at_work=at_work),
            handle=left.handle,
        )


_TITLES = {
    "refused": "Refused",
    "still_running": "Still running in the cloud",
    "failed": "Failed",
    "partly": "Partly done",
}
