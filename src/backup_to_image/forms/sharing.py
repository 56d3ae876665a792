"""Orders of both sides of sharing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

from backup_to_image.errors import UsageError
from backup_to_image.forms.action import ActionForm, patience
from backup_to_image.forms.fields import LENGTH, field, length

__all__ = ["AcceptForm", "RejectForm", "ShareForm", "UnshareForm"]

_GOES_ON = "Past that the cloud goes on; the same order resumes."


def _image(position: int = 0) -> str:
    found: str = field(position, "Image", "Id of the image (or its name, if only one image has it).")
    return found


class ShareForm(ActionForm):
    """An image for other projects."""

    verb: ClassVar[str] = "share"
    deployment: ClassVar[str] = "share/an-image"

    image: str = _image()
    projects: list[str] = field(
        1,
        "Projects",
        "Aliases or ids that b2i.yaml on the worker names, ten at most. Empty: only tell whom it is shared with.",
        [],
    )
    share_for: str = field(
        2, "Share for", "How long they are to have it, such as 30d; the sweep ends it. Empty: without an end.", "", pattern=LENGTH
    )
    timeout: str = patience(3, "10m", f"How long to wait for the list of members. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.image, *self.projects, *(("--share-for", self.share_for) if self.share_for else ()))

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), self.ends_after)

    def ends_after(self) -> timedelta | None:
        """How long they are to have it; None without an end. Raises UsageError."""
        if not self.share_for:
            return None
        if not self.projects:
            raise UsageError("Share for says how long; Projects says with whom, and is empty.")
        share_for = length(self.share_for, "Share for")
        if share_for == timedelta(0):
            raise UsageError("Share for: a share that ends at once is none.")
        return share_for


class UnshareForm(ActionForm):
    """The end of other projects' shares of an image."""

    verb: ClassVar[str] = "unshare"
    deployment: ClassVar[str] = "unshare/an-image"

    image: str = _image()
    projects: list[str] = field(
        1, "Projects", "Aliases of b2i.yaml or ids of those that are to lose it. It is gone for them at once."
    )
    timeout: str = patience(2, "10m", f"How long to wait for the list of members. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.image, *self.projects)

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), self._somebody)

    def _somebody(self) -> None:
        if not self.projects:
            raise UsageError("Projects: from whom it is to be taken back is missing.")


class AcceptForm(ActionForm):
    """An image that another project has shared with this one, taken."""

    verb: ClassVar[str] = "accept"
    deployment: ClassVar[str] = "accept/an-image"

    image: str = field(0, "Image", "Id or name of an image that is offered. Empty: only tell what is offered.", "")
    vault: str = field(
        1, "Vault", "Id or name of the server vault of this project that takes it. Empty: the emptiest that fits.", ""
    )
    despite_size: bool = field(
        2, "Despite its size", "Also where the disks are larger than what is free in the vault; the cloud decides.", False
    )
    timeout: str = patience(3, "1h", f"How long to wait until it is in the vault. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        vault = ("--vault", self.vault) if self.vault else ()
        return (*filter(None, (self.image,)), *vault, *(("--despite-size",) if self.despite_size else ()))


class RejectForm(ActionForm):
    """An image that another project has shared with this one, turned down."""

    verb: ClassVar[str] = "reject"
    deployment: ClassVar[str] = "reject/an-image"

    image: str = field(0, "Image", "Id or name of an image that is offered, an accepted one too.")
    timeout: str = patience(1, "10m", f"How long to wait until it is off the list. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.image,)
