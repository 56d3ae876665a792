"""What people order: an image from a backup, and servers from an image. Checked by shape here, by rule in `steps`."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from backup_to_image.model.cloud import Value

__all__ = [
    "HIDDEN",
    "DataDiskOrder",
    "Duration",
    "FileValue",
    "FlavorNeed",
    "HttpProbe",
    "ImageOrder",
    "LaunchOrder",
    "Login",
    "NetworkOrder",
    "Probe",
    "PublicIpOrder",
    "SystemDiskOrder",
]

HIDDEN = "hidden"
"""The type of a mistake whose input may be a secret, so that nobody repeats it."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=3660)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")

DiskType = Literal["ESSD", "GPSSD2", "GPSSD", "SSD", "SAS", "SATA", "co-p1", "uh-l1"]


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match:
            raise ValueError(f"{value!r} is no duration; write for example 90s, 2m, 1h or 1d")
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds > _LONGEST.total_seconds():
            raise ValueError(f"{value!r} is longer than {_LONGEST.days} days")
        return timedelta(seconds=seconds)
    if isinstance(value, bool) or not isinstance(value, timedelta):
        raise ValueError("a duration has a unit; write for example 90s, 2m, 1h or 1d")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _as_written(length: timedelta) -> str:
    seconds = length.total_seconds()
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0 or unit == "s")
    return f"{seconds / _UNITS[unit]:g}{unit}" if seconds < 10**6 else f"{round(seconds / _UNITS[unit])}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_as_written, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$", "examples": ["90s", "2m", "1h", "1d"]}),
]
"""A length of time as people write it: 90s, 2m, 1h, 1d. Written into JSON, it is read back."""


class FileValue(Value):
    """A part of a file that people write: unknown keys are mistakes, names keep their spelling."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FlavorNeed(FileValue):
    """A flavor by what it must have at least."""

    vcpus: Annotated[int, Field(ge=1)]
    """Virtual CPUs, at least."""
    ram_gb: Annotated[int, Field(ge=1)]
    """Memory in GB, at least."""


class NetworkOrder(FileValue):
    """Where the server is plugged in; names or ids, names must be unique."""

    vpc: str
    subnet: str
    security_groups: tuple[str, ...] = ()
    """Absent: the project's default group."""
    fixed_ip: IPv4Address | None = None
    beside_source: bool = False
    """Whether a drill may be in a subnet or security group that its source is in."""


class Login(FileValue):
    """How people get in; without it the image's own accounts hold."""

    key_pair: str | None = None


class SystemDiskOrder(FileValue):
    type: DiskType = "SSD"
    size_gb: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Absent: the image's own size. It never shrinks."""


class DataDiskOrder(FileValue):
    """What should differ from the backup for one restored data disk."""

    source: str
    """Device (/dev/vdb), disk id or snapshot id of the source."""
    type: DiskType = "SSD"
    size_gb: Annotated[int, Field(ge=10, le=32768)] | None = None


class PublicIpOrder(FileValue):
    """A new EIP for the server, released with it."""

    type: str = "5_bgp"
    bandwidth_mbit: Annotated[int, Field(ge=1, le=1000)] = 5


class HttpProbe(FileValue):
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    path: Annotated[str, Field(pattern=r"^/")] = "/"
    status: Annotated[int, Field(ge=100, le=599)] = 200


class Probe(FileValue):
    """One question to the running server; exactly one kind."""

    tcp: Annotated[int, Field(ge=1, le=65535)] | None = None
    """A port that accepts connections."""
    http: HttpProbe | None = None
    ssh: Annotated[int, Field(ge=1, le=65535)] | None = None
    """A port that greets with an SSH banner."""
    console: str | None = None
    """A text that the console log must show."""
    timeout: Duration = timedelta(minutes=2)

    @model_validator(mode="after")
    def _one_kind(self) -> Probe:
        kinds = [kind for kind in ("tcp", "http", "ssh", "console") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a probe asks one thing: tcp, http, ssh or console; this one has {', '.join(kinds) or 'none'}")
        return self

    @property
    def name(self) -> str:
        """How reports call it: tcp:2222, http:8080/health, ssh:22, console:login:."""
        if self.http:
            return f"http:{self.http.port}{self.http.path}"
        if self.tcp is not None:
            return f"tcp:{self.tcp}"
        return f"ssh:{self.ssh}" if self.ssh is not None else f"console:{self.console}"


class LaunchOrder(FileValue):
    """A launch order file: one server (or a few alike) from a full-ECS image."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    cloud: str | None = None
    flavor: Literal["same-as-source"] | str | FlavorNeed = "same-as-source"  # noqa: PYI051 - the literal is documentation for editors
    availability_zone: str | None = None
    network: NetworkOrder
    login: Login = Login()
    system_disk: SystemDiskOrder = SystemDiskOrder()
    data_disks: tuple[DataDiskOrder, ...] = ()
    """Only what should differ from the backup: unlisted data disks come back as they were."""
    public_ip: PublicIpOrder | None = None
    tags: dict[str, str] = {}
    probes: tuple[Probe, ...] = ()
    count: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _name_leaves_room(self) -> LaunchOrder:
        if self.count > 1 and len(self.name) > 59:
            raise ValueError("name: with count above 1 the cloud adds a number, so 59 characters at most")
        if self.count > 1 and self.network.fixed_ip is not None:
            raise ValueError("network.fixed_ip: one address cannot serve count above 1")
        return self


class ImageOrder(Value):
    """An image from one backup, and what is to happen with it afterwards."""

    backup_id: str
    name: str | None = None
    """Absent: server name, backup date and the backup id's first eight digits, so that it is unique."""
    description: str = ""
    tags: dict[str, str] = {}
    share_with: tuple[str, ...] = ()
    """Project ids or aliases of b2i.yaml."""
    share_for: Duration | None = None
    """How long they are to have it; absent: without an end. `b2i sweep` ends what is over."""
    launch: LaunchOrder | None = None
    timeout: timedelta = timedelta(hours=2)
    wait_backup: timedelta | None = None
    """How long to wait for a backup that is still being made; absent: it is refused."""
    policy: str | None = None

    @field_validator("backup_id")
    @classmethod
    def _trim(cls, value: str) -> str:
        return value.strip()
