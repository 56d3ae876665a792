"""What the cloud has, as frozen values in our own words. Sizes carry their unit in the name; times are aware, UTC.

States and kinds stay plain text: the cloud may invent new ones, and a value that nobody knows must still be shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Address",
    "Backup",
    "BackupDisk",
    "BackupMember",
    "Disk",
    "Flavor",
    "Image",
    "Job",
    "Limits",
    "Member",
    "MemberResult",
    "Project",
    "PublicIp",
    "Quota",
    "RestorePoint",
    "SecurityGroup",
    "SecurityRule",
    "Server",
    "ServerDisk",
    "SkippedResource",
    "Subnet",
    "Value",
    "Vault",
    "Vpc",
    "Zone",
]


class Value(BaseModel):
    """Frozen, closed: a value between steps."""

    # A command uses few of all the values that there are: each is built when it is used first.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Project(Value):
    """A project (tenant) of one region."""

    id: str
    name: str
    domain_id: str = ""


class BackupDisk(Value):
    """One disk inside a server backup."""

    backup_id: str
    disk_id: str
    name: str = ""
    size_gb: int
    system: bool
    encrypted: bool = False
    snapshot_id: str | None = None


class Backup(Value):
    """A CBR backup. `disks` is empty where a list answered: read it by id to see them."""

    id: str
    name: str
    description: str = ""
    status: str
    kind: Literal["server", "disk", "other"]
    resource_id: str
    resource_name: str = ""
    size_gb: int = 0
    zone: str | None = None
    vault_id: str | None = None
    restore_point_id: str | None = None
    project_id: str
    created_at: datetime | None = None
    protected_at: datetime | None = None
    expires_at: datetime | None = None
    automatic: bool = False
    replica: bool = False
    """A copy that CBR has made of a backup of another region."""
    copied_at: datetime | None = None
    """Of a replica: when its copying began, where the cloud tells."""
    contains_system_disk: bool | None = None
    encrypted: bool = False
    image_ids: tuple[str, ...] = ()
    restore_mode: str = ""
    disks: tuple[BackupDisk, ...] = ()

    @property
    def taken_at(self) -> datetime | None:
        """When the state was taken that it holds; None of a replica that may only tell when it was copied (BEHAVIOUR.md 14)."""
        if not self.replica:
            return self.created_at
        told = [moment for moment in (self.created_at, self.protected_at) if moment]
        if self.copied_at:
            return min((moment for moment in told if moment < self.copied_at), default=None)
        return min(told) if self.protected_at else None

    @property
    def latest_at(self) -> datetime | None:
        """The state that it holds was taken by then: by this the newest is found, also where nobody knows when it was taken."""
        told = [moment for moment in (self.created_at, self.protected_at, self.copied_at) if moment]
        return self.taken_at or min(told, default=None)


class BackupMember(Value):
    """A project that a backup itself is shared with: pending, accepted or rejected."""

    backup_id: str
    project_id: str
    status: str
    vault_id: str | None = None
    image_id: str | None = None


class Vault(Value):
    """A CBR vault. `used_mb` is in MB while `size_gb` is in GB, as the cloud has it."""

    id: str
    name: str
    status: str
    object_type: str
    protect_type: str
    size_gb: int
    used_mb: int = 0
    locked: bool = False
    project_id: str = ""
    server_ids: tuple[str, ...] = ()


class SkippedResource(Value):
    """A resource that a backup run left out, with the cloud's reason."""

    id: str
    name: str = ""
    code: str | None = None
    reason: str = ""


class BackupFailure(Value):
    """Why a backup failed, as the cloud's own record of the task tells."""

    code: str | None = None
    reason: str = ""


class RestorePoint(Value):
    """One backup run of a vault; its backups are listed by its id."""

    id: str
    status: str
    vault_id: str = ""
    created_at: datetime | None = None
    skipped: tuple[SkippedResource, ...] = ()


class Image(Value):
    """An image. `backup_id` is the backup it was made from; its data disks are visible only there."""

    id: str
    name: str
    status: str
    owner: str
    visibility: str
    backup_id: str | None = None
    description: str = ""
    tags: dict[str, str] = {}
    protected: bool = False
    encrypted: bool = False
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    max_ram_mb: int | None = None
    os_type: str = ""
    os_version: str = ""
    os_bit: str = ""
    injection: bool | None = None
    data_origin: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    active_at: datetime | None = None


class MemberResult(Value):
    """What a member job did for one image and one project; `ok` is None where it did not say."""

    image_id: str
    project_id: str
    status: str
    ok: bool | None


class Job(Value):
    """An asynchronous job of one service; the same id means nothing at another service."""

    id: str
    service: Literal["ims", "ecs", "evs"]
    kind: str = ""
    status: str
    error_code: str | None = None
    fail_reason: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None
    image_id: str | None = None
    server_ids: tuple[str, ...] = ()
    disk_id: str | None = None
    progress: float | None = None
    members: tuple[MemberResult, ...] = ()


class Member(Value):
    """A project that an image is shared with: pending, accepted or rejected."""

    image_id: str
    project_id: str
    status: str
    created_at: datetime | None = None
    """When the image was offered."""


class Quota(Value):
    """How much of something may exist; `limit` None means no limit."""

    used: int
    limit: int | None

    @property
    def free(self) -> int | None:
        return None if self.limit is None else self.limit - self.used


class Limits(Value):
    """What the project may still launch; RAM in MB."""

    servers: Quota
    vcpus: Quota
    ram_mb: Quota


class Address(Value):
    """An address of a server."""

    ip: str
    version: int
    floating: bool = False
    port_id: str | None = None
    mac: str | None = None
    vpc_id: str = ""


class ServerDisk(Value):
    """A disk attached to a server; `boot_index` 0 is the system disk."""

    id: str
    device: str = ""
    boot_index: int | None = None
    delete_on_termination: bool | None = None
    size_gb: int | None = None


class Server(Value):
    """An ECS."""

    id: str
    name: str
    status: str
    task_state: str | None = None
    created_at: datetime | None = None
    flavor_id: str = ""
    vcpus: int = 0
    ram_mb: int = 0
    zone: str | None = None
    image_id: str | None = None
    key_name: str | None = None
    host_name: str = ""
    locked: bool = False
    fault: str = ""
    vpc_id: str = ""
    addresses: tuple[Address, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    security_group_names: tuple[str, ...] = ()
    disks: tuple[ServerDisk, ...] = ()
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}


class Flavor(Value):
    """A flavor; `zones` holds the states that are stated per zone, `state` the one for all others."""

    id: str
    name: str
    vcpus: int
    ram_mb: int
    state: str = "normal"
    zones: dict[str, str] = {}
    architecture: str = ""

    def state_in(self, zone: str | None) -> str:
        return self.zones.get(zone, self.state) if zone else self.state


class Disk(Value):
    """An EVS disk."""

    id: str
    name: str = ""
    status: str
    size_gb: int
    type: str = ""
    zone: str = ""
    bootable: bool = False
    shared: bool = False
    encrypted: bool = False
    snapshot_id: str | None = None
    server_ids: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    created_at: datetime | None = None


class PublicIp(Value):
    """An EIP."""

    id: str
    status: str
    address: str = ""
    private_address: str | None = None
    port_id: str | None = None
    created_at: datetime | None = None


class Vpc(Value):
    id: str
    name: str
    cidr: str = ""
    status: str = ""


class Subnet(Value):
    """A VPC subnet; `id` is the one that a launch takes (the network's, not neutron_subnet_id)."""

    id: str
    name: str
    vpc_id: str
    cidr: str = ""
    gateway: str | None = None
    status: str = ""


class SecurityRule(Value):
    """What one rule of a security group lets through; absent parts mean any."""

    direction: str
    ip_version: str = ""
    protocol: str = ""
    first_port: int | None = None
    last_port: int | None = None
    remote_net: str = ""
    """Addresses on the other side, as CIDR."""
    remote_group: str = ""
    """Members of this group, or of a group of addresses."""


class SecurityGroup(Value):
    id: str
    name: str
    vpc_id: str | None = None
    rules: tuple[SecurityRule, ...] = ()
    """Empty where the cloud does not tell them."""


class Zone(Value):
    """An availability zone."""

    name: str
    available: bool
