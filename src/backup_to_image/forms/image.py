"""Orders of an image, from a backup or of a server, and what is to happen with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from backup_to_image.errors import UsageError
from backup_to_image.forms.fields import LENGTH, Tag, as_text, field, length
from backup_to_image.forms.files import launch_order
from backup_to_image.model import ImageOrder
from backup_to_image.settings import Settings
from backup_to_image.steps.of_server import WhichBackup

__all__ = ["ImageForm", "OrderForm", "ServerForm"]


class ImageForm(BaseModel, ABC):
    """What may be said of an image, and of what is to happen with it; from which backup, each form of an order says itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_name: str = field(
        2,
        "Image name",
        "At most 128 characters. Empty: server, date and the backup's first eight digits, so that it is unique.",
        "",
        max_length=200,
    )
    description: str = field(3, "Image description", "At most 1024 characters, no < or >.", "", max_length=1024)
    tags: list[Tag] = field(4, "Image tags", "Each as key=value, five at most. Example: team=shop.", [], max_length=5)
    share_with: list[str] = field(
        5, "Share with", "Aliases of projects from b2i.yaml on the worker, ten at most. Empty: the image is not shared.", []
    )
    share_for: str = field(
        6,
        "Share for",
        "How long those projects are to have it, such as 30d or 12h; the sweep ends it afterwards. Empty: without an end.",
        "",
        pattern=LENGTH,
    )
    launch: str = field(
        7,
        "Launch order",
        "File name of a launch order in the worker's directory (directories.launch of b2i.yaml), such as shop-db-01.yaml. "
        "Empty: no server is launched.",
        "",
    )
    timeout_minutes: int = field(
        8, "Wait for the image (minutes)", "5 to 1440. Past that the cloud goes on; the same order resumes.", 120, ge=5, le=1440
    )
    wait_backup_minutes: int = field(
        9,
        "Wait for the backup (minutes)",
        "0 to 1440. How long to wait for a backup that is still being made; 0 refuses it (one that is made now: waits an hour).",
        0,
        ge=0,
        le=1440,
    )
    after_failure: bool = field(10, "Next attempt", "Make the next image although the last attempt ended badly.", False)
    dry_run: bool = field(11, "Only check", "Look at every rule and report; nothing is made.", False)

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the order is about, as `b2i create` takes it."""

    @abstractmethod
    def order(self, settings: Settings) -> ImageOrder:
        """The order that the steps take. Raises UsageError with everything in the form that cannot be read."""

    def _order(self, backup_id: str, settings: Settings) -> ImageOrder:
        problems: list[str] = []
        tags: dict[str, str] = {}
        for tag in self.tags:
            key, _, value = tag.partition("=")
            if key in tags:
                problems.append(f"Image tags: {key} is given twice.")
            tags[key] = value
        recipients = tuple(name.strip() for name in self.share_with if name.strip())
        share_for, launch = None, None
        try:
            share_for = length(self.share_for, "Share for") if self.share_for.strip() else None
        except UsageError as error:
            problems += error.problems
        if self.share_for.strip() and not recipients:
            problems.append("Share for says how long; Share with says with whom, and is empty.")
        if share_for == timedelta(0):
            problems.append("Share for: a share that ends at once is none; leave Share with empty.")
        try:
            launch = launch_order(self.launch, settings) if self.launch.strip() else None
        except UsageError as error:
            problems += [f"{problem} {error.action}".strip() for problem in error.problems]
        if problems:
            raise UsageError(problems, action="Nothing was made. Correct the form: Copy to new run keeps what was filled in.")
        return ImageOrder(
            backup_id=backup_id,
            name=self.image_name.strip() or None,
            description=self.description,
            tags=tags,
            share_with=recipients,
            share_for=share_for,
            launch=launch,
            timeout=timedelta(minutes=self.timeout_minutes),
            wait_backup=timedelta(minutes=self.wait_backup_minutes) if self.wait_backup_minutes else None,
        )


class OrderForm(ImageForm):
    """An image from one CBR backup, and what is to happen with it. The same order again adopts what is there."""

    backup_id: str = field(
        0,
        "Backup",
        "Id of the CBR backup of a server (or its name, if only one backup has it). The command b2i backups --usable lists them.",
        min_length=1,
    )

    @classmethod
    def of(cls, order: ImageOrder, *, launch: str = "", after_failure: bool = False, dry_run: bool = False) -> Self:
        """The form that stands for an order; `launch` is the file name under which the worker knows the launch order."""
        said = _said(order, launch=launch, after_failure=after_failure, dry_run=dry_run)
        return cls(backup_id=order.backup_id, **said)

    @property
    def subject(self) -> str:
        return self.backup_id

    def order(self, settings: Settings) -> ImageOrder:
        return self._order(self.backup_id, settings)


class ServerForm(ImageForm):
    """An image of one server, from its newest backup or from one that is made now, and what is to happen with it."""

    server: str = field(0, "Server", "Id of the server (or its name, if only one server has it).", min_length=1)
    backup: WhichBackup = field(
        1,
        "Backup",
        "newest: its newest backup that can become an image. now: it is backed up first, in the vault that protects it. A run "
        "keeps to its backup however often it starts; a new run of now is a new backup.",
        "newest",
    )

    @classmethod
    def of(
        cls,
        order: ImageOrder,
        *,
        server: str,
        backup: WhichBackup,
        launch: str = "",
        after_failure: bool = False,
        dry_run: bool = False,
    ) -> Self:
        """The form that stands for an order whose backup is the server's newest, or made now."""
        return cls(server=server, backup=backup, **_said(order, launch=launch, after_failure=after_failure, dry_run=dry_run))

    @property
    def subject(self) -> str:
        return f"--server {self.server.strip()} --{'newest' if self.backup == 'newest' else 'backup-now'}"

    def order(self, settings: Settings) -> ImageOrder:
        """Still without its backup, which the cloud has to be asked for."""
        return self._order("", settings)


def _said(order: ImageOrder, *, launch: str, after_failure: bool, dry_run: bool) -> dict[str, Any]:
    """What every form says of an order."""
    return {
        "image_name": order.name or "",
        "description": order.description,
        "tags": [f"{key}={value}" for key, value in order.tags.items()],
        "share_with": list(order.share_with),
        "share_for": as_text(order.share_for) if order.share_for else "",
        "launch": launch,
        "timeout_minutes": max(5, _minutes(order.timeout)),
        "wait_backup_minutes": _minutes(order.wait_backup) if order.wait_backup else 0,
        "after_failure": after_failure,
        "dry_run": dry_run,
    }


def _minutes(length: timedelta) -> int:
    return -(-round(length.total_seconds()) // 60)
