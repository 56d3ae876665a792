"""What we found and what we did: check reports and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backup_to_image.model.cloud import Value

__all__ = [
    "Check",
    "Delivery",
    "DisksResult",
    "Drift",
    "LaunchDelivery",
    "Outcome",
    "Phase",
    "PhaseName",
    "ProbeResult",
    "Report",
    "StepTime",
    "Teardown",
    "Verdict",
]

Verdict = Literal["passed", "refused", "warned", "unknowable"]
Outcome = Literal["made", "adopted", "refused", "still_running", "failed", "partly"]
PhaseName = Literal["backup", "validate", "place", "create", "wait", "share", "launch", "verify", "retire"]


class Check(Value):
    """One rule, looked at once."""

    rule: str
    """Short name of the rule, the same in every report."""
    verdict: Verdict
    why: str
    """What was seen, in plain words."""
    action: str = ""
    waiting_helps: bool = False
    code: str = ""
    """The cloud's code for this refusal, where it has one."""
    page: str = ""
    """Where the rule is written."""

    def __str__(self) -> str:
        """What was seen and what to do, in a line."""
        return f"{self.why.rstrip('.')}. {self.action}".strip()


class Report(Value):
    """Every rule that was looked at, one line each."""

    subject: str
    checks: tuple[Check, ...]

    @property
    def refusals(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict == "refused")

    @property
    def ok(self) -> bool:
        return not self.refusals

    @property
    def waiting_helps(self) -> bool:
        """Whether waiting alone would turn every refusal into a pass."""
        return bool(self.refusals) and all(check.waiting_helps for check in self.refusals)

    def __add__(self, other: Report) -> Report:
        return Report(subject=self.subject, checks=self.checks + other.checks)


class Phase(Value):
    """One stretch of a server's part in a night: what it was doing, or what it waited for."""

    name: PhaseName
    """place: waiting until there is room for one more image task."""
    began_at: datetime
    ended_at: datetime


class StepTime(Value):
    """How long one step took, and how many requests."""

    step: str
    seconds: float
    requests: int


class ProbeResult(Value):
    """What one probe of one server answered; `ok` None: not asked."""

    server_id: str
    probe: str
    ok: bool
    answer: str
    seconds: float


class DisksResult(Value):
    """Whether a launched server has the disks that it should have."""

    server_id: str
    ok: bool | None
    """None: not known, and `answer` says why."""
    answer: str
    """What was seen, or what is missing, smaller or in another order; in words."""


class Drift(Value):
    """What is other at a launched server than it was at its source, or than its order says now. Information, no failure."""

    server_id: str
    what: str
    source: str
    server: str
    ordered: bool
    """The launch order asks for it."""
    order: str = ""
    """What the order asks for, where the server has something else: as where the order has changed since."""

    def __str__(self) -> str:
        """In a line, as people read it."""
        if self.order:
            return f"{self.what}: {self.server or 'none'}, and the order says {self.order}; `--another` launches one as it says"
        return f"{self.what}: {self.server or 'none'}, at the source {self.source or 'none'}" + (
            " (ordered)" if self.ordered else ""
        )


class LaunchDelivery(Value):
    """The servers of one launch order."""

    outcome: Outcome
    launch_id: str
    image_id: str
    order_name: str
    server_ids: tuple[str, ...]
    server_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    adopted: bool
    job_id: str | None = None
    probes: tuple[ProbeResult, ...] = ()
    probed: bool = True
    disks: tuple[DisksResult, ...] = ()
    """One for each server."""
    drift: tuple[Drift, ...] = ()
    drift_unknown: str = ""
    """Why nothing is known of the source to compare with; empty where something is."""
    verified: bool = False
    """The image is marked as verified by this."""
    verified_why: str = ""
    """Why it is not, in a sentence without a full stop."""
    drill: bool = False
    """Its servers were there to be probed alone, and have been taken down again."""
    left_behind: tuple[str, ...] = ()
    """What of a drill is still there, and is billed."""

    @property
    def server_id(self) -> str | None:
        return self.server_ids[0] if self.server_ids else None


class Delivery(Value):
    """What came out of one order, with every id."""

    outcome: Outcome
    backup_id: str
    image_id: str | None = None
    image_name: str | None = None
    status: str | None = None
    adopted: bool | Literal["foreign"] = False
    doubtful: str | None = None
    """Why the image is kept but not counted as good; None when nothing happened while it was made."""
    job_id: str | None = None
    server_name: str | None = None
    """The source server's."""
    backup_created_at: datetime | None = None
    shared_with: tuple[str, ...] = ()
    launch: LaunchDelivery | None = None
    steps: tuple[StepTime, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    report: Report | None = None


class Teardown(Value):
    """What a teardown removed, and the proof that nothing is left."""

    launch_id: str
    servers: tuple[str, ...]
    disks: tuple[str, ...]
    public_ips: tuple[str, ...]
    left_behind: tuple[str, ...] = ()
