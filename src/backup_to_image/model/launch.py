"""A launch as the cloud takes it: every name resolved to an id, every default decided (BEHAVIOUR.md 11)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from backup_to_image.model.cloud import Value

__all__ = ["LaunchDisk", "LaunchPublicIp", "LaunchRequest"]


class LaunchDisk(Value):
    """What differs from the backup for one restored data disk. Without `snapshot_id` it would be a new, empty disk."""

    snapshot_id: str | None
    type: str
    size_gb: Annotated[int, Field(ge=10, le=32768)]


class LaunchPublicIp(Value):
    """A new EIP for the server, released with it."""

    type: str = "5_bgp"
    bandwidth_mbit: int = 5


class LaunchRequest(Value):
    """One request for servers from an image."""

    name: str
    image_id: str
    flavor_id: str
    vpc_id: str
    subnet_ids: Annotated[tuple[str, ...], Field(min_length=1, max_length=12)]
    """One per NIC, the first is the primary one."""
    fixed_ip: str | None = None
    """Address of the primary NIC."""
    security_group_ids: tuple[str, ...] = ()
    """Empty: the project's default group."""
    zone: str | None = None
    """None: the cloud chooses."""
    system_disk_type: str = "SSD"
    system_disk_gb: int | None = None
    """None: the image's own size."""
    data_disks: tuple[LaunchDisk, ...] = ()
    """Only those that differ from the backup."""
    public_ip: LaunchPublicIp | None = None
    key_name: str | None = None
    tags: dict[str, str] = {}
    description: str = ""
    count: Annotated[int, Field(ge=1, le=100)] = 1
