"""A runbook: which servers come back in a disaster, in which order, and what people do in between.

Checked by shape here; what a file gets wrong as a whole `steps.runbook.file` finds out, what the cloud has to say its readiness.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from backup_to_image.model.orders import (
    HIDDEN,
    DataDiskOrder,
    Duration,
    FileValue,
    FlavorNeed,
    Login,
    Probe,
    PublicIpOrder,
    SystemDiskOrder,
)

__all__ = [
    "PATIENCE_OF_PEOPLE",
    "HttpCall",
    "ImagesRule",
    "LaunchPart",
    "NetworkPart",
    "OnFailure",
    "Runbook",
    "RunbookGroup",
    "RunbookServer",
    "RunbookStep",
    "StepKind",
    "Targets",
]

OnFailure = Literal["stop", "ask", "skip"]
StepKind = Literal["approve", "manual", "http", "command"]

_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")
PATIENCE_OF_PEOPLE = timedelta(hours=4)
"""How long people are waited for where the file does not say."""
_A_MACHINES = timedelta(minutes=5)


class Targets(FileValue):
    """What the recovery is measured against."""

    rto: Duration | None = None
    """How long it may take until the last server answers its probes; people's answers count too."""
    rpo: Duration | None = None
    """How old the state may be that the servers come back with."""


class ImagesRule(FileValue):
    """Which image each server comes back from: an active one that nothing makes doubtful."""

    pick: Literal["newest", "newest_verified"] = "newest"
    """The newest by its backup, or the newest of those whose server has answered its probes before."""
    before: AwareDatetime | None = None
    """Only states from before this moment, such as 2026-11-24T02:00:00Z: of before the damage was done."""
    skew: Duration | None = None
    """The farthest apart that any two of the backups may be; absent: each server has its newest."""
    when_missing: Literal["refuse", "create"] = "refuse"
    """What becomes of a server without such an image: refused, or its image is made of its newest usable backup first."""


class NetworkPart(FileValue):
    """Where servers are plugged in: what is absent here is said elsewhere in the runbook."""

    vpc: str | None = None
    subnet: str | None = None
    security_groups: tuple[str, ...] | None = None
    fixed_ip: IPv4Address | None = None
    beside_source: bool | None = None
    """Whether a drill may be in a subnet or security group that its source is in."""


class LaunchPart(FileValue):
    """What a launch order says of a server, or a part of it: what is absent here is said elsewhere, or is as usual."""

    flavor: Literal["same-as-source"] | str | FlavorNeed | None = None  # noqa: PYI051 - the literal is documentation for editors
    availability_zone: str | None = None
    network: NetworkPart | None = None
    login: Login | None = None
    system_disk: SystemDiskOrder | None = None
    data_disks: tuple[DataDiskOrder, ...] | None = None
    """Only what should differ from the backup."""
    public_ip: PublicIpOrder | None = None
    tags: dict[str, str] | None = None
    probes: tuple[Probe, ...] | None = None


class HttpCall(FileValue):
    """A request to something outside of the cloud, and the answer that is wanted."""

    url: Annotated[str, Field(json_schema_extra={"pattern": f"^{_URL.pattern}$"})]
    """Without a user or a password: secrets have no place in a runbook."""
    method: Literal["GET", "POST", "PUT", "HEAD"] = "GET"
    status: Annotated[int, Field(ge=100, le=599)] = 200

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        if _URL.fullmatch(value) is None:
            words = "must be http:// or https:// with a host, and without a user or a password"
            raise PydanticCustomError(HIDDEN, "{words}", {"words": words})  # what stands there may be one
        return value


class RunbookStep(FileValue):
    """What happens before a group is launched, or after it has answered; exactly one kind."""

    approve: str | None = None
    """A question that somebody answers: go, stop, or skip the group."""
    manual: str | None = None
    """Something that somebody does by hand, and then says so."""
    http: HttpCall | None = None
    command: Annotated[tuple[str, ...], Field(json_schema_extra={"minItems": 1})] | None = None
    """A program and its arguments; only one of the worker's `allowed_commands`, run without a shell and without credentials."""
    only: Literal["drill", "failover"] | None = None
    """Done in drills alone, or for real alone; absent: in both."""
    timeout: Duration | None = None
    """How long to wait for it: 4h for people, 5m for machines."""
    when_silent: Literal["go", "stop", "skip"] = "stop"
    """What becomes of the group when nobody has answered by then."""

    @model_validator(mode="after")
    def _one_kind(self) -> RunbookStep:
        kinds = [kind for kind in ("approve", "manual", "http", "command") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a step is one of approve, manual, http or command; this one is {', '.join(kinds) or 'none'}")
        if self.command is not None and not "".join(self.command[:1]).strip():
            raise ValueError("command: names no program")
        if "when_silent" in self.model_fields_set and not self.asks:
            raise ValueError("when_silent: only steps that people answer have it: approve and manual")
        return self

    @property
    def kind(self) -> StepKind:
        if self.http:
            return "http"
        if self.command:
            return "command"
        return "manual" if self.manual is not None else "approve"

    @property
    def asks(self) -> bool:
        """Whether people are waited for."""
        return self.approve is not None or self.manual is not None

    @property
    def patience(self) -> timedelta:
        return self.timeout or (PATIENCE_OF_PEOPLE if self.asks else _A_MACHINES)

    @property
    def words(self) -> str:
        """How reports call it."""
        if self.http:
            return f"{self.http.method} {self.http.url}"
        return " ".join(self.command) if self.command else self.manual or self.approve or ""


class RunbookServer(FileValue):
    """One server that comes back."""

    source: str
    """The server that was lost, by id or name; a name must be unique."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] | None = None
    """What the new server is called; absent: as its source."""
    image: str | None = None
    """Its images, where neither mark nor backup tells whose they are, as of those of other projects: an id, or a pattern of names
    such as `shop-db-01-*`."""
    probes: tuple[Probe, ...] | None = None
    """What it has to answer, in drills and for real."""
    launch: LaunchPart | None = None
    """What it needs besides `defaults`."""
    drill: LaunchPart | None = None
    failover: LaunchPart | None = None

    @model_validator(mode="after")
    def _probes_once(self) -> RunbookServer:
        if self.probes is not None and self.launch is not None and self.launch.probes is not None:
            raise ValueError("probes: stand here and under launch; write them once")
        return self


class RunbookGroup(FileValue):
    """Servers that come back side by side."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    needs: tuple[str, ...] = ()
    """Groups that have to answer before this one begins; groups that do not need each other run side by side."""
    before: tuple[RunbookStep, ...] = ()
    """One after the other, before its servers are launched."""
    servers: tuple[RunbookServer, ...] = ()
    then: tuple[RunbookStep, ...] = ()
    """One after the other, once its servers answer."""
    on_failure: OnFailure | None = None
    """Absent: as the runbook says."""

    @field_validator("needs")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value


class Runbook(FileValue):
    """A runbook file: a recovery set, in groups."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    cloud: str | None = None
    """Entry of clouds.yaml, and so the project and the region where the servers come back; absent: as for any other command."""
    targets: Targets = Targets()
    images: ImagesRule = ImagesRule()
    defaults: LaunchPart = LaunchPart()
    """What all servers have in common; what stands at a server goes before it."""
    drill: LaunchPart | None = None
    """What drills have in common, above all their network; it goes before what stands in `launch` of a server."""
    failover: LaunchPart | None = None
    """The same for the real thing."""
    on_failure: OnFailure = "ask"
    """When a group fails: stop the run, ask somebody, or skip the group and those that need it."""
    groups: Annotated[tuple[RunbookGroup, ...], Field(json_schema_extra={"minItems": 1})]

    @property
    def servers(self) -> tuple[tuple[RunbookGroup, RunbookServer], ...]:
        """Every server with its group, in the file's order."""
        return tuple((group, server) for group in self.groups for server in group.servers)
