"""A change of OS: what is asked for, what becomes of each disk, what speaks against it, and what came of it (BEHAVIOUR.md 12)."""

from __future__ import annotations

from typing import Literal

from backup_to_image.model.cloud import Image, Server, Value
from backup_to_image.model.plan import PlannedDisk
from backup_to_image.model.results import Check, Outcome, ProbeResult

__all__ = ["ChangeDelivery", "ChangePlan", "ChangeRequest"]


class ChangeRequest(Value):
    """A server's system disk, replaced by the image's."""

    server_id: str
    image_id: str
    key_name: str | None = None
    """None: the accounts inside the image hold."""


class ChangePlan(Value):
    """The exact request and what speaks against it, by one look at the cloud."""

    standing: Literal["new", "under_way", "done"]
    """under_way: an earlier run has asked for it, and it is gone on with. done: the server has its new system disk already."""
    server: Server | None
    image: Image | None
    request: ChangeRequest | None
    """None while a name is not resolved."""
    old_system_disk: str | None
    """The disk that goes; None where it is not to be seen."""
    disks: tuple[PlannedDisk, ...]
    """The server's."""
    not_restored: tuple[PlannedDisk, ...]
    """The image's data disks."""
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return self.request is not None and not any(check.verdict == "refused" for check in self.checks)


class ChangeDelivery(Value):
    """What came of a change of OS."""

    outcome: Outcome
    server_id: str
    server_name: str
    image_id: str
    status: str
    """The server's."""
    system_disk_id: str
    """The new one."""
    old_system_disk_id: str | None
    data_disks: tuple[str, ...]
    """Those that hang on the server as they did before."""
    missing_disks: tuple[str, ...] = ()
    """Data disks that hung on it before and do not any more."""
    left_behind: tuple[str, ...] = ()
    """The old system disk, where it did not go."""
    adopted: bool
    job_id: str | None
    addresses: tuple[str, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    probed: bool
