"""Whether a runbook could be run now: which image each server would come back from, and what speaks against it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backup_to_image.model.board import TooOld
from backup_to_image.model.cloud import Backup, Image, Value
from backup_to_image.model.results import Check

__all__ = ["RPO_MISSED", "Pick", "Readiness", "ServerReadiness"]

RPO_MISSED = "b2i.rpo-missed"


class Pick(Value):
    """What one server of a runbook comes back from."""

    group: str
    source: str
    """As the runbook names it."""
    server_id: str | None = None
    """The source's id, where anything tells it."""
    server_name: str = ""
    image: Image | None = None
    backup: Backup | None = None
    """The backup behind the image; without an image, the one that it would be made of first. None where it is not to be seen."""
    taken_at: datetime | None = None
    """When the backup was made: the state that the server comes back with."""
    checks: tuple[Check, ...] = ()


class ServerReadiness(Value):
    """One server: what it would come back from, and every rule that was looked at."""

    group: str
    source: str
    server_id: str | None
    server_name: str
    state: Literal["ready", "unsure", "not_ready"]
    """unsure: nothing speaks against it, and something that does could not be looked at."""
    image_id: str | None = None
    image_name: str | None = None
    make_from: str | None = None
    """The backup that its image would be made of first, which takes time of the recovery."""
    taken_at: datetime | None = None
    age_s: int | None = None
    verified_on: str | None = None
    checks: tuple[Check, ...] = ()

    @property
    def against(self) -> tuple[Check, ...]:
        """What keeps it from being ready."""
        return tuple(check for check in self.checks if speaks_against(check))


class Readiness(Value):
    """The whole set."""

    runbook: str
    modes: tuple[str, ...]
    at: datetime
    servers: tuple[ServerReadiness, ...]
    checks: tuple[Check, ...] = ()
    """What concerns the set: quotas and addresses for all of it, commands, people."""

    @property
    def against(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if speaks_against(check))

    @property
    def too_old(self) -> tuple[TooOld, ...]:
        """Servers whose state is older than the runbook's target."""
        return tuple(
            TooOld(server_id=one.server_id, server_name=one.server_name or one.source, age_s=one.age_s)
            for one in self.servers
            if any(check.code == RPO_MISSED for check in one.checks)
        )

    @property
    def ready(self) -> bool:
        return not self.against and all(server.state == "ready" for server in self.servers)

    @property
    def score(self) -> int:
        """How many per cent of the servers would come back, as far as can be known; 0 where something speaks against all."""
        good = 0 if self.against else sum(server.state == "ready" for server in self.servers)
        return 100 * good // len(self.servers) if self.servers else 0


def speaks_against(check: Check) -> bool:
    """Refused, or a rule that could not be looked at: what cannot be seen never counts as good."""
    return check.verdict == "refused" or (check.verdict == "unknowable" and bool(check.code))
