"""A launch before it happens: the exact request, each disk's fate, and every reason for and against."""

from __future__ import annotations

from typing import Literal

from backup_to_image.model.cloud import Value
from backup_to_image.model.launch import LaunchRequest
from backup_to_image.model.results import Check

__all__ = ["LaunchPlan", "PlannedDisk"]


class PlannedDisk(Value):
    """What happens to one disk of the backup."""

    disk_id: str
    device: str = ""
    system: bool
    size_gb: int
    becomes: str
    """In words: restored as it was; SSD, 200 GB instead of 100."""


class LaunchPlan(Value):
    """The exact request and what speaks against it. `request` is None while a name is not resolved."""

    order_name: str
    mode: Literal["drill", "failover"]
    request: LaunchRequest | None
    disks: tuple[PlannedDisk, ...]
    checks: tuple[Check, ...]

    @property
    def refusals(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict == "refused")

    @property
    def ok(self) -> bool:
        return self.request is not None and not self.refusals
