"""A night over a fleet: what it is going to do with each server, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backup_to_image.model.cloud import Backup, Quota, Server, Value
from backup_to_image.model.results import Check, Phase, ProbeResult

__all__ = ["FleetMember", "NightOutcome", "NightPlan", "NightReport", "Phase", "ServerNight", "Verified"]

NightOutcome = Literal["made", "adopted", "partly", "still_running", "failed"]


class FleetMember(Value):
    """One server of a policy, the backup that was chosen for it, and what the night is going to do."""

    server_id: str
    server_name: str
    action: Literal["make", "adopt", "back_up", "skip", "refuse"]
    """Make an image of `backup`, adopt the one it has, back the server up first; skip it (no failure) or refuse it (one)."""
    reason: str
    """Why, in a sentence without a full stop."""
    code: str = ""
    advice: str = ""
    """What to do where it is skipped or refused."""
    server: Server | None = None
    """None where it has vanished and only its backups are there."""
    vault_id: str | None = None
    """The vault that protects the server, where a backup would be made."""
    backup: Backup | None = None
    image_id: str | None = None
    """The image that would be adopted."""


class NightPlan(Value):
    """What a night would do, server by server, and what it takes of the quota. Nothing was made."""

    policy: str
    members: tuple[FleetMember, ...]
    quota: Quota | None = None
    """Images that may exist; None where it could not be read."""
    needed: int = 0
    """Images that have to fit beside those that exist, at the night's fullest moment."""
    going: int = 0
    """Older images that would go as soon as their servers' new ones are good, before the cap."""
    refusals: tuple[Check, ...] = ()
    """What speaks against the whole night."""
    notes: tuple[str, ...] = ()
    """What somebody should know although it stops nothing."""

    def with_action(self, *actions: str) -> tuple[FleetMember, ...]:
        return tuple(member for member in self.members if member.action in actions)


class Verified(Value):
    """What a drill of one image showed."""

    ok: bool
    launch_id: str
    seconds: float
    probes: tuple[ProbeResult, ...] = ()
    reason: str = ""
    """Why not, and what is left behind if something is."""
    left_behind: str = ""
    """What of its server is still there and billed, and the command that removes it."""


class ServerNight(Value):
    """What came of one server in one night."""

    server_id: str
    server_name: str
    outcome: Literal["made", "adopted", "skipped", "failed", "late", "partly"]
    """partly: the image is there, sharing or verifying it failed. late: the cloud works on, the reconciler finishes it."""
    reason: str = ""
    code: str = ""
    action: str = ""
    """What to do about it."""
    backup_id: str | None = None
    backup_created_at: datetime | None = None
    image_id: str | None = None
    image_name: str | None = None
    doubtful: str | None = None
    shared_with: tuple[str, ...] = ()
    verified: Verified | None = None
    retired: tuple[str, ...] = ()
    """Older images of the server that went."""
    phases: tuple[Phase, ...] = ()

    @property
    def bad(self) -> bool:
        return self.outcome in {"failed", "late", "partly"}


class NightReport(Value):
    """A night from its beginning to its end or its deadline."""

    policy: str
    night: str
    """The local date on which it began: 2026-11-25."""
    project_id: str
    outcome: NightOutcome
    """failed: more went wrong than the policy allows, and somebody is to be called. adopted: nothing was left to be made."""
    began_at: datetime
    ended_at: datetime
    deadline: datetime
    servers: tuple[ServerNight, ...] = ()
    requests: int = 0
    images_at_once: int = 0
    quota: Quota | None = None
    retired: tuple[str, ...] = ()
    """Images that retention deleted in this night."""
    left_behind: tuple[str, ...] = ()
    """What drills have left in the cloud, where it is billed; each with the command that removes it."""
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.began_at).total_seconds()

    @property
    def exit_code(self) -> int:
        """5 for any failure, and for what drills have left behind; 4 where what is missing is still running."""
        if self.outcome == "failed" or self.with_outcome("failed", "partly") or self.left_behind:
            return 5
        return 4 if self.with_outcome("late") else 0

    def with_outcome(self, *outcomes: str) -> tuple[ServerNight, ...]:
        return tuple(one for one in self.servers if one.outcome in outcomes)
