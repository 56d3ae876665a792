"""Orders of servers: launched, taken down, given another system disk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from backup_to_image.errors import UsageError
from backup_to_image.forms.action import PatientForm, patience
from backup_to_image.forms.fields import field
from backup_to_image.forms.files import launch_order
from backup_to_image.forms.probe_words import read_probes
from backup_to_image.model import LaunchOrder, Probe
from backup_to_image.settings import Settings
from backup_to_image.steps.launching.plan import Mode

__all__ = ["ChangeForm", "LaunchForm", "LaunchingForm", "TeardownForm"]

_GOES_ON = "Past that the cloud goes on; the same order resumes."


class LaunchingForm(PatientForm):
    """A server from an image; what it is to be, each form of an order says itself."""

    image: str = field(0, "Image", "Id of a full-ECS image of this project, or of one that it has accepted.")
    another: bool = field(50, "One more", "Launch one more although this order's server is there.", False)
    drill: bool = field(
        51, "Drill", "Launch it where its source is not, ask its probes, mark the image, and take it down again.", False
    )
    timeout: str = patience(52, "1h", f"How long to wait for the server. {_GOES_ON}")
    dry_run: bool = field(53, "Only plan", "The exact request and every reason against it; nothing is launched.", False)

    @property
    def words(self) -> tuple[str, ...]:
        flags = {"--another": self.another, "--drill": self.drill}
        return (self.image, "--spec", self.spec, *(flag for flag, given in flags.items() if given))

    @property
    @abstractmethod
    def spec(self) -> str:
        """The file of the launch order, as the command takes it."""

    @abstractmethod
    def order(self, settings: Settings) -> LaunchOrder:
        """What the server is to be. Raises UsageError with every mistake."""

    @property
    def mode(self) -> Mode:
        """As what it is launched."""
        return "drill" if self.drill else "failover"

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), self._one_of_two)

    def _one_of_two(self) -> None:
        if self.another and self.drill:
            raise UsageError("One more and Drill exclude each other: a drill leaves no server.")


class LaunchForm(LaunchingForm):
    """A server from an image, as a launch order in the worker's directory says."""

    verb: ClassVar[str] = "launch"
    deployment: ClassVar[str] = "launch/a-server"

    launch: str = field(
        1,
        "Launch order",
        "File name of a launch order in the worker's directory (directories.launch of b2i.yaml), such as shop-db-01.yaml.",
    )

    @property
    def spec(self) -> str:
        return self.launch

    def order(self, settings: Settings) -> LaunchOrder:
        """The launch order of that name. Raises UsageError."""
        return launch_order(self.launch, settings)


class TeardownForm(PatientForm):
    """The end of a launch."""

    verb: ClassVar[str] = "teardown"
    deployment: ClassVar[str] = "teardown/a-launch"

    launch_id: str = field(0, "Launch id", "Twelve digits, as the launch's report and the server's tag b2i-launch have them.")
    name: str = field(1, "Server's name", "Of the server that goes, with its disks. Needed for all but drill servers.", "")
    timeout: str = patience(2, "20m", f"How long to wait until nothing is left. {_GOES_ON}")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.launch_id, *(("--yes-i-mean", self.name) if self.name else ()))


class ChangeForm(PatientForm):
    """A server's system disk, replaced by an image's."""

    verb: ClassVar[str] = "change-os"
    deployment: ClassVar[str] = "change-os/of-a-server"

    server: str = field(0, "Server", "Id of the server (or its name, if only one server has it).")
    image: str = field(1, "Image", "Id of the full-ECS image (or its name, if only one image has it).")
    accept_data_disks_unchanged: bool = field(
        2,
        "Data disks stay as they are",
        "Only the system disk is replaced. The image's data disks are not restored: to have them, launch a new server instead. "
        "Nothing is changed unless this is on.",
        False,
    )
    name: str = field(
        3, "Server's name", "Once more, since its system disk is deleted for good. Needed unless it is only planned.", ""
    )
    stop: bool = field(4, "Stop it first", "Shut the server down, as its own system does it; never by force.", False)
    key_pair: str = field(5, "Key pair", "To log in with afterwards. Empty: the accounts inside the image hold.", "")
    probes: list[str] = field(
        6, "Probes", "Asked afterwards, each as in a launch order. Example: tcp: 22, or http: {port: 8080, path: /health}.", []
    )
    again: bool = field(7, "Once more", "Replace the system disk although it is the image's already.", False)
    timeout: str = patience(8, "1h", f"How long to wait for the server. {_GOES_ON}")
    dry_run: bool = field(9, "Only plan", "The exact request and every reason against it; nothing is changed.", False)

    @property
    def words(self) -> tuple[str, ...]:
        flags = {"--accept-data-disks-unchanged": self.accept_data_disks_unchanged, "--stop": self.stop, "--again": self.again}
        said = [flag for flag, given in flags.items() if given]
        said += ["--key-pair", self.key_pair] if self.key_pair else []
        said += [word for probe in self.probes for word in ("--probe", probe)]
        return (self.server, self.image, *said, *(("--yes-i-mean", self.name) if self.name else ()))

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), self.asked)

    def asked(self) -> tuple[Probe, ...]:
        """The probes. Raises UsageError with every mistake."""
        return read_probes(tuple(self.probes), "Probes")
