"""A policy: which servers become images every night, from which backup, and what becomes of the images afterwards.

Checked by shape here; what the cloud has to say about it, `steps` find out.
"""

from __future__ import annotations

import re
from datetime import timedelta
from math import floor
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_serializer, model_validator
from pydantic_core import CoreSchema

from backup_to_image.model.orders import Duration, FileValue

__all__ = [
    "Amount",
    "BackupRule",
    "FailedWhen",
    "ImageRule",
    "NightLimits",
    "Policy",
    "RecoverySet",
    "RetentionRules",
    "Vanished",
    "VerifyRule",
    "WhichServers",
]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%")


class Amount(FileValue):
    """A number, or a part of a whole: 3, or 5%."""

    count: int | None = None
    percent: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, dict | Amount):
            return cast("Any", value)  # made by us, not written by anybody
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return {"count": value}
        match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match and float(match[1]) <= 100:
            return {"percent": float(match[1])}
        raise ValueError(f"{value!r} is no amount; write a whole number, or a per cent such as 5%")

    @model_serializer(when_used="json")
    def _write(self) -> int | str:
        return self.count if self.count is not None else str(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "description": "A number, or a part of a whole: 3, or 5%.",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d{1,3}(\.\d+)? ?%$"}],
        }

    def of(self, whole: int) -> int:
        """So many of the whole, rounded down."""
        return self.count if self.count is not None else floor(whole * (self.percent or 0.0) / 100 + 1e-9)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{self.percent:g}%"


class WhichServers(FileValue):
    """Servers by what they are: all keys given must hold, inside a key any entry does; `exclude` has the last word."""

    ids: tuple[str, ...] | None = None
    """Ids of servers."""
    vaults: tuple[str, ...] | None = None
    """Servers that these vaults (names or ids) protect."""
    tags: dict[str, str] | None = None
    """Servers that carry any of these tags; the value "*" means any value."""
    names: tuple[str, ...] | None = None
    """Servers whose name fits one of these patterns (`*` and `?`)."""
    exclude: tuple[str, ...] = ()
    """Ids, or patterns of names, of servers that are left out."""

    @model_validator(mode="after")
    def _says_something(self) -> WhichServers:
        if not any(getattr(self, key) for key in ("ids", "vaults", "tags", "names")):
            raise ValueError('name servers by ids, vaults, tags or names; all of them are names: ["*"]')
        return self


class BackupRule(FileValue):
    """Which backup of a server becomes its image."""

    newest_within: Duration = timedelta(hours=26)
    """The newest backup is taken if it is not older than this."""
    make_one: Literal["never", "if_missing", "always"] = "never"
    """Whether to back a server up now: never, if it has no backup young enough, or always."""
    wait: Duration = timedelta(hours=2)
    """How long to wait for a backup that is being made."""


class RecoverySet(FileValue):
    """Servers that are only of use together: their backups lie close to each other."""

    within: Duration
    """The farthest apart that any two of the backups may be."""


class ImageRule(FileValue):
    """How the images are called and marked."""

    name: str = "{server}-{backup_created:%Y%m%d}-{backup_short}"
    """Placeholders: server, backup_created (takes a date format), backup_short, backup_id, backup_name."""
    description: str = ""
    tags: dict[str, str] = {}
    """At most five; ours come on top."""


class VerifyRule(FileValue):
    """A few of the new images are launched as a drill, probed, and taken down again: each night others."""

    sample: Annotated[int, Field(ge=1)] = 1
    """How many servers' images each night; those go first that were never verified, or longest ago."""
    launch: str
    """Launch order with an isolated network and probes; the path is relative to this file."""
    at_once: Annotated[int, Field(ge=1, le=20)] = 2
    """How many drill servers at a time."""


class Vanished(FileValue):
    """What becomes of images whose source server does not exist any more."""

    keep_for: Duration
    """How long after the newest backup that became an image; the newest image is never deleted."""


class RetentionRules(FileValue):
    """Which images stay: one that any rule keeps, stays. The newest good image of a server always does."""

    apply: bool = False
    """Whether a night deletes what no rule keeps; without it only `b2i retention --apply` does."""
    when: Literal["rolling", "after_night"] = "rolling"
    """Rolling: as soon as a server's new image is good, its oldest expendable one goes. After the night: all at its end."""
    keep_newest: Annotated[int, Field(ge=1)] = 1
    """The newest so many of each server."""
    max_age: Duration | None = None
    """Everything younger than this."""
    daily: Annotated[int, Field(ge=0)] = 0
    """The newest of each of so many days that have one."""
    weekly: Annotated[int, Field(ge=0)] = 0
    """The newest of each of so many ISO weeks."""
    monthly: Annotated[int, Field(ge=0)] = 0
    yearly: Annotated[int, Field(ge=0)] = 0
    delete_backup: Literal["never", "made_by_us", "always"] = "made_by_us"
    """Whether the backup goes with its image: never, if this project had it made, or always. One that stays goes back to its own
    CBR policy."""
    max_deletions: Amount = Amount(percent=5)
    """The most images that one run deletes, at least one: a number, or a per cent of the policy's images."""
    vanished: Vanished | None = None
    """Absent: images of servers that are gone are kept for ever."""


class NightLimits(FileValue):
    """How much of the cloud and of the night may be used."""

    images_at_once: Annotated[int, Field(ge=1, le=40)] = 40
    """Image tasks at a time; the cloud takes 40, other people's among them."""
    shards: Annotated[int, Field(ge=1, le=20)] = 1
    """How many workers share a night in Prefect."""
    deadline: Duration = timedelta(hours=6)
    """How long a night may last; what is late is finished by the reconciler."""


class FailedWhen(FileValue):
    """When a night counts as failed, so that somebody is called."""

    more_than: Amount = Amount(percent=5)
    """More servers than this have failed or are late: a number, or a per cent of the policy's servers."""


class Policy(FileValue):
    """A policy file: a fleet's night."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,42}$")]
    """At most 43 letters, digits, `_` or `-`: images carry it as a tag."""
    cloud: str | None = None
    """Entry of clouds.yaml, and so the project and the region; absent: as for any other command."""
    timezone: str = "UTC"
    """Days, weeks and nights are counted in it, and the schedule's times are meant in it."""
    schedule: str | None = None
    """When nights begin in Prefect, as cron writes it: `30 22 * * *`. Setup makes it switched off."""
    servers: WhichServers
    backup: BackupRule = BackupRule()
    recovery_set: RecoverySet | None = None
    image: ImageRule = ImageRule()
    share_with: tuple[str, ...] = ()
    """Project ids or aliases of b2i.yaml."""
    verify: Literal["none"] | VerifyRule = "none"
    retention: RetentionRules = RetentionRules()
    limits: NightLimits = NightLimits()
    failed_when: FailedWhen = FailedWhen()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write for example Europe/Berlin") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)
