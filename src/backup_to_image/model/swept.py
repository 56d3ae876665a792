"""What a sweep found that nobody needs any more, and what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from backup_to_image.model.cloud import Value

__all__ = ["Listed", "NotRemoved", "Removed", "SweepAction", "SweepKind", "Sweeping", "Swept"]

SweepKind = Literal["image", "drill", "share"]
SweepAction = Literal["marked", "waits", "due", "removed", "left", "kept"]


class Sweeping(Value):
    """One thing that nobody needs any more, and what becomes of it."""

    kind: SweepKind
    """image: dead or never finished. drill: the servers of one drill with their disks and addresses. share: one that is over."""
    id: str
    """The image's, the launch's; of a share the image's and the recipient project's, with a slash between."""
    name: str
    why: str
    age_s: int
    """Since it was made; of a share since it was over."""
    gb: int = 0
    """What it keeps billed: the backup behind an image, the disks of servers."""
    first_seen: AwareDatetime
    due: AwareDatetime
    """When it may be removed."""
    action: SweepAction
    """marked: seen for the first time. waits: for its grace time. due: `apply` would remove it. kept: somebody holds it."""


class Removed(Value):
    """What is proven to be gone."""

    kind: SweepKind
    id: str
    name: str
    gb: int = 0


class NotRemoved(Value):
    """What was to go and is there, and why."""

    kind: SweepKind
    id: str
    name: str
    code: str | None
    reason: str


class Listed(Value):
    """What is not the sweep's to remove, and somebody may want to know of."""

    kind: Literal["image"] = "image"
    id: str
    name: str
    why: str
    server_id: str | None = None
    gb: int = 0


class Swept(Value):
    """What was found, and what became of it."""

    found: tuple[Sweeping, ...] = ()
    removed: tuple[Removed, ...] = ()
    left: tuple[NotRemoved, ...] = ()
    listed: tuple[Listed, ...] = ()
    unread: dict[str, str] = {}
    """What could not be looked at, by name, with the cloud's words."""

    @property
    def exit_code(self) -> int:
        """5 if something that was to go is left; 1 if something could not be looked at: what was not seen is not swept."""
        return 5 if self.left else 1 if self.unread else 0

    @property
    def bad(self) -> bool:
        return bool(self.found or self.left or self.unread)
