"""The morning's board: each server, how old the state is that it would come back with, and what is wrong."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from backup_to_image.model.cloud import Value

__all__ = [
    "Board",
    "BoardPolicy",
    "BoardRunbook",
    "BoardServer",
    "Forecast",
    "LastResult",
    "OverdueOrder",
    "ServerState",
    "TooOld",
]

ServerState = Literal["failing", "late", "unknown", "fresh", "single", "gone"]


class LastResult(Value):
    """What the last night of one policy came to for one server."""

    policy: str
    night: str
    outcome: str
    reason: str = ""
    code: str = ""
    action: str = ""
    image_id: str | None = None
    settled: bool = False
    """It went wrong, and a good image that is as new has been made since."""


class BoardServer(Value):
    """One server. Its *newest image* is the newest that is good: active, and nothing happened while it was made."""

    server_id: str
    server_name: str
    state: ServerState
    """failing: no good image, or its last night failed. late: its image is too old or still being made. unknown: it could not be
    looked at. fresh: none of these. single: no policy takes it. gone: the server exists no more, its images do."""
    reasons: tuple[str, ...] = ()
    """What is wrong, worst first, each a sentence without a full stop."""
    policies: tuple[str, ...] = ()
    exists: bool | None = None
    """None where the project's servers could not be read."""
    image_id: str | None = None
    image_name: str | None = None
    ours: bool | None = None
    """False: somebody else made the newest image, and may delete it."""
    taken_at: datetime | None = None
    """When the newest image's backup was made: the state that the server would come back with."""
    age_s: int | None = None
    """How long ago that was: what would be lost now (RPO)."""
    verified_on: date | None = None
    """When an image of this server was last launched and answered its probes."""
    verified_image_id: str | None = None
    results: tuple[LastResult, ...] = ()
    """One of each policy whose last night had this server, the worst first."""
    shared_with: tuple[str, ...] | None = None
    """Projects that have the newest image; None where nobody has looked since it was made."""
    images: int = 0
    """How many images of ours there are of it, whatever their state."""
    gb_pinned: int = 0
    """What their backups take: no CBR policy deletes a backup that has an image."""


class TooOld(Value):
    """A server that would come back with an older state than is allowed."""

    server_id: str | None
    server_name: str
    age_s: int | None
    """How old that state is; None: there is no good image, and it would not come back."""


class BoardPolicy(Value):
    """A policy and its last night. No night is known where `night` is None."""

    name: str
    servers: int | None = None
    """How many servers it means now; None where its file was not given or its servers could not be read."""
    night: str | None = None
    outcome: str | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    counts: dict[str, int] = {}
    """Servers of that night by outcome."""
    mistakes: tuple[str, ...] = ()
    """What the file names and does not exist."""


class BoardRunbook(Value):
    """A runbook and what the last look at it came to: `b2i runbook check`."""

    name: str
    modes: tuple[str, ...]
    """drill, failover, or both."""
    at: datetime
    ready: bool
    score: int
    """Per cent of its servers."""
    servers: int
    reasons: tuple[str, ...] = ()
    """Why not, the first few."""


class OverdueOrder(Value):
    """An order that should have ended by now."""

    verb: str
    subject: str
    deadline: datetime
    server_id: str | None = None
    """The source server, where the order is about one that is known."""


class Forecast(Value):
    """The project's image quota, and how many nights it lasts at the pace of the last ones."""

    used: int | None = None
    limit: int | None = None
    """None where `used` is known: no limit."""
    free: int | None = None
    per_night: float | None = None
    """How many more images each night; None: nobody can tell."""
    nights_left: int | None = None
    """How many more nights fit; None: not growing, no limit, or unknown."""
    words: str = ""


class Board(Value):
    """One project in the morning, the worst first."""

    at: datetime
    project_id: str
    servers: tuple[BoardServer, ...]
    policies: tuple[BoardPolicy, ...]
    quota: Forecast
    overdue: tuple[OverdueOrder, ...] = ()
    runbooks: tuple[BoardRunbook, ...] = ()
    """How ready each was, as it was looked at last."""
    gb_pinned: int = 0
    """What the backups of all our images take."""
    findings: tuple[str, ...] = ()
    """What somebody has to look at, beside the servers that are late or failing."""
    unread: dict[str, str] = {}
    """What could not be read, by name, with the cloud's words."""

    def count(self, *states: ServerState) -> int:
        return sum(one.state in states for one in self.servers)

    @property
    def watched(self) -> int:
        """How many servers a policy takes and that exist."""
        return self.count("failing", "late", "unknown", "fresh")

    @property
    def bad(self) -> bool:
        """Whether somebody has to look."""
        return bool(self.findings or self.overdue) or self.count("failing", "late", "unknown") > 0

    @property
    def summary(self) -> str:
        """The board in a line: 498 of 500 fresh, 1 late, 1 failing."""
        wrong: tuple[ServerState, ...] = ("late", "failing", "unknown")
        parts = [
            f"{self.count('fresh')} of {self.watched} fresh",
            *(f"{self.count(one)} {one}" for one in wrong if self.count(one)),
        ]
        aside: dict[ServerState, str] = {"single": "of no policy", "gone": "gone"}
        beside = [f"{self.count(one)} {words}" for one, words in aside.items() if self.count(one)]
        return ", ".join(parts) + (f"; beside them {' and '.join(beside)}" if beside else "")
