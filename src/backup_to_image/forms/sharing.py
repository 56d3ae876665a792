"""Orders of both sides of sharing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

from backup_to_image.errors import UsageError
from backup_to_image.forms.action import PatientForm, patience
from backup_to_image.forms.fields import LENGTH, field, length
from backup_to_image.forms.files import launch_order
from backup_to_image.model import LaunchOrder
from backup_to_image.settings import Settings

__all__ = ["AcceptForm", "AcceptOffersForm", "HandOverForm", "RejectForm", "ShareForm", "UnshareForm", "expected_launch"]

_GOES_ON = "Past that the cloud goes on; the same order resumes."


def _image(position: int = 0) -> str:
    found: str = field(position, "Image", "Id of the image (or its name, if only one image has it).")
    return found


def _share_for(position: int) -> str:
    words = "How long they are to have it, such as 30d; the sweep ends it. Empty: without an end."
    found: str = field(position, "Share for", words, "", pattern=LENGTH)
    return found


def _vault(position: int, whose: str) -> str:
    words = f"Id or name of the server vault {whose} that takes it. Empty: the emptiest that fits."
    found: str = field(position, "Vault", words, "")
    return found


def _despite_size(position: int) -> bool:
    words = "Also where the disks are larger than what is free in the vault; the cloud decides."
    found: bool = field(position, "Despite its size", words, False)
    return found


def _launch(position: int) -> str:
    words = "File name of a launch order in the worker's directory: its plan becomes part of the proof. Nothing is launched."
    found: str = field(position, "Launch order", words, "")
    return found


def _ends_after(said: str) -> timedelta | None:
    share_for = length(said, "Share for") if said else None
    if share_for == timedelta(0):
        raise UsageError("Share for: a share that ends at once is none.")
    return share_for


class _Taking(PatientForm):
    """How an offered image is to be accepted."""

    vault: str
    despite_size: bool

    @property
    def into(self) -> str | None:
        """The vault that is named; None: the emptiest that fits."""
        return self.vault.strip() or None


class ShareForm(PatientForm):
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
    share_for: str = _share_for(2)
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
        return _ends_after(self.share_for)


class UnshareForm(PatientForm):
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


class AcceptForm(_Taking):
    """An image that another project has shared with this one, taken."""

    verb: ClassVar[str] = "accept"
    deployment: ClassVar[str] = "accept/an-image"

    image: str = field(0, "Image", "Id or name of an image that is offered. Empty: only tell what is offered.", "")
    vault: str = _vault(1, "of this project")
    despite_size: bool = _despite_size(2)
    launch: str = _launch(3)
    timeout: str = patience(4, "1h", f"How long to wait until it is in the vault. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (*filter(None, (self.image,)), *_said(self))


class AcceptOffersForm(_Taking):
    """Everything that trusted projects have shared with this one, taken."""

    verb: ClassVar[str] = "accept-offers"
    deployment: ClassVar[str] = "accept-offers/every-quarter-of-an-hour"

    vault: str = _vault(0, "of this project")
    despite_size: bool = _despite_size(1)
    timeout: str = patience(2, "1h", f"How long to wait until all of it is in the vault. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return ("--all", *_said(self))

    @property
    def command(self) -> str:
        return shlex.join(("b2i", "accept", *self.words))


class HandOverForm(_Taking):
    """An image for another project, shared and accepted with the log-ins of both sides."""

    verb: ClassVar[str] = "hand-over"
    deployment: ClassVar[str] = "hand-over/an-image"

    image: str = _image()
    share_for: str = _share_for(1)
    vault: str = _vault(2, "of the recipient")
    despite_size: bool = _despite_size(3)
    launch: str = _launch(4)
    timeout: str = patience(5, "1h", f"How long to wait for all of it. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.image, "--to", "RECIPIENT", *(("--share-for", self.share_for) if self.share_for else ()), *_said(self))

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), self.ends_after)

    def ends_after(self) -> timedelta | None:
        """How long the recipient is to have it; None without an end. Raises UsageError."""
        return _ends_after(self.share_for)


class RejectForm(PatientForm):
    """An image that another project has shared with this one, turned down."""

    verb: ClassVar[str] = "reject"
    deployment: ClassVar[str] = "reject/an-image"

    image: str = field(0, "Image", "Id or name of an image that is offered, an accepted one too.")
    timeout: str = patience(1, "10m", f"How long to wait until it is off the list. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.image,)


def expected_launch(form: AcceptForm | HandOverForm, settings: Settings) -> LaunchOrder | None:
    """The launch order whose plan is to be a part of the proof. Raises UsageError."""
    return launch_order(form.launch, settings) if form.launch.strip() else None


def _said(form: AcceptForm | AcceptOffersForm | HandOverForm) -> tuple[str, ...]:
    """How it is to be accepted, as options."""
    vault = ("--vault", form.vault) if form.vault else ()
    launch = ("--spec", form.launch) if not isinstance(form, AcceptOffersForm) and form.launch else ()
    return (*vault, *(("--despite-size",) if form.despite_size else ()), *launch)
