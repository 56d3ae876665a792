"""What exactly is asked of the cloud when a server is launched: a launch order with every name resolved."""

from __future__ import annotations

from typing import Literal

from backup_to_image.model.cloud import Value
from backup_to_image.model.orders import DiskType, PublicIpOrder
from backup_to_image.model.results import Check

__all__ = ["DataVolume", "LaunchPlan", "LaunchRequest", "PlannedDisk"]


class DataVolume(Value):
    """A data disk of the image that is to differ from the backup, named by its snapshot."""

    snapshot_id: str
    type: DiskType
    size_gb: int


class LaunchRequest(Value):
    """One launch, ids only. Data disks that are not named come back by themselves, as they were (BEHAVIOUR.md 11)."""

    image_id: str
    flavor_id: str
    name: str
    vpc_id: str
    subnet_id: str
    security_group_ids: tuple[str, ...] = ()
    zone: str | None = None
    fixed_ip: str | None = None
    key_name: str | None = None
    system_disk_type: DiskType = "SSD"
    system_disk_size_gb: int | None = None
    """None: the image's own size."""
    data_volumes: tuple[DataVolume, ...] = ()
    public_ip: PublicIpOrder | None = None
    tags: dict[str, str] = {}
    count: int = 1


class PlannedDisk(Value):
    """What happens to one disk of the backup."""

    disk_id: str
    device: str = ""
    system: bool
    size_gb: int
    becomes: str
    """In words: restored as it was; SSD, 200 GB instead of 100 GB."""


class LaunchPlan(Value):
    """The exact request, each disk's fate, and every reason for and against. `request` is None while a name is not resolved."""

    order_name: str
    mode: Literal["drill", "failover"]
    request: LaunchRequest | None
    disks: tuple[PlannedDisk, ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return self.request is not None and not any(check.verdict == "refused" for check in self.checks)
