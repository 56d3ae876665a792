"""What automations and other programs are told by events: the names, what each is about, what its payload holds.

`tasks.events` sends them, docs/reference/events.md is made of them, and the tests hold what is really sent against them.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, ConfigDict

from backup_to_image.model.board import TooOld
from backup_to_image.model.cloud import Value
from backup_to_image.model.results import Check

__all__ = [
    "EVENTS",
    "DeletionFinished",
    "Event",
    "ImageMade",
    "ImageMembers",
    "LaunchRemoved",
    "NightFinished",
    "OfferAnswered",
    "OrderRefused",
    "OrderTold",
    "OsChanged",
    "RpoBreached",
    "RunbookAsks",
    "RunbookFinished",
    "ServerLaunched",
    "declared",
]


class Event(Value):
    """The payload of an event. Its class says by which names it is sent, when, and about what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    names: ClassVar[dict[str, str]]
    """Each name with the moment at which it is sent; a part in capitals stands for several words."""
    resource: ClassVar[str]
    """`prefect.resource.id`; a part in capitals is filled in."""
    resource_name: ClassVar[str]
    """`prefect.resource.name`: the event feed shows that and hides the payload."""
    labels: ClassVar[dict[str, str]] = {}
    """More labels of the resource, for automations to match."""

    @classmethod
    def sent_as(cls, name: str) -> bool:
        """Whether it has this name."""
        return any(re.fullmatch(_pattern(one), name) for one in cls.names)

    def payload(self) -> dict[str, Any]:
        """As it travels: plain JSON, every key there, null where there is nothing to say."""
        return self.model_dump(mode="json")


def _pattern(name: str) -> str:
    return re.sub(r"[A-Z]+", "[a-z-]+", re.escape(name))


class ImageMade(Event):
    """An image is there, and active."""

    names = {
        "b2i.image.created": "this run had it made",
        "b2i.image.adopted": "it was there, or under way, before this run",
    }
    resource = "b2i.image.IMAGE_ID"
    resource_name = "NAME from backup BACKUP_ID"

    image_id: str
    backup_id: str
    job_id: str | None
    """The cloud's job that made it, where this run knows it."""
    doubtful: str | None
    """Why it does not count as good; null where nothing speaks against it."""


class ImageMembers(Event):
    """Projects have got an image, or have lost it."""

    names = {
        "b2i.image.shared": "they stand in its list of members",
        "b2i.image.unshared": "they stand there no more",
    }
    resource = "b2i.image.IMAGE_ID"
    resource_name = "NAME with 2 projects, or from 2 projects"

    projects: tuple[str, ...]
    """Ids."""


class OrderRefused(Event):
    """Checks said no before anything was made."""

    names = {
        "b2i.image.refused": "an order for an image was refused",
        "b2i.COMMAND.refused": "any other order was refused; COMMAND is that of `b2i`, such as `launch`, `share` or `hand-over`",
    }
    resource = "b2i.order.SUBJECT"
    resource_name = "the subject, and the names of the rules that refused it"

    reasons: tuple[Check, ...]
    """Every one, as in `report` of the command's JSON."""


class OfferAnswered(Event):
    """A recipient has answered what was offered."""

    names = {
        "b2i.offer.accepted": "the image lies in a vault of the recipient",
        "b2i.offer.rejected": "it was turned down",
    }
    resource = "b2i.image.IMAGE_ID"
    resource_name = "NAME of SENDER"

    image_id: str
    sender: str
    """Project id of the image's owner."""
    vault_id: str | None
    """Where this run has put it."""
    adopted: bool
    """It had been answered so before."""


class ServerLaunched(Event):
    """Servers of a launch order are there."""

    names = {
        "b2i.server.launched": "this run has launched them",
        "b2i.server.adopted": "they were there before this run",
    }
    resource = "b2i.launch.LAUNCH_ID"
    resource_name = "the servers' names, and whether the probes have answered"

    server_ids: tuple[str, ...]
    image_id: str
    addresses: tuple[str, ...]


class LaunchRemoved(Event):
    """A launch was taken down."""

    names = {
        "b2i.launch.gone": "nothing of it is left",
        "b2i.launch.left": "something of it stays, and is billed",
    }
    resource = "b2i.launch.LAUNCH_ID"
    resource_name = "what is left"

    servers: tuple[str, ...]
    """Ids of those that are gone."""
    disks: tuple[str, ...]
    left_behind: tuple[str, ...]
    """What is still there, in words with ids."""


class OsChanged(Event):
    """A server's system disk is an image's now."""

    names = {"b2i.server.changed": "the new system disk is there"}
    resource = "b2i.server.SERVER_ID"
    resource_name = "NAME to IMAGE_ID"

    image_id: str
    system_disk_id: str
    outcome: str
    """made, adopted or partly."""


class NightFinished(Event):
    """A night has ended, or could not be begun."""

    names = {"b2i.night.finished": "once for each night, at its end; a night that several workers share has one"}
    resource = "b2i.policy.POLICY"
    resource_name = "POLICY: the summary"
    labels = {"b2i.outcome": "`made`, `adopted`, `partly`, `still_running`, `failed` (as the policy says) or `refused`"}

    policy: str
    outcome: str
    """As the label."""
    night: str | None
    """Its date in the policy's time zone; null where it could not be begun."""
    summary: str
    """One sentence."""
    counts: dict[str, int]
    """Servers by what became of them."""
    requests: int


class DeletionFinished(Event):
    """A run that removes what nobody needs any more has ended."""

    names = {
        "b2i.sweep.finished": "each sweep, at its end",
        "b2i.retention.finished": "each retention of a policy with `apply`, at its end",
    }
    resource = "b2i.sweep, or b2i.policy.POLICY"
    resource_name = "the summary"
    labels = {"b2i.outcome": "`done`, `partly`, `still_running` or `failed`"}

    policy: str | None
    """null for a sweep."""
    outcome: str
    """As the label."""
    summary: str


class OrderTold(Event):
    """The reconciler has closed an order that somebody had left, or has found that it is late."""

    names = {
        "b2i.order.finished": "it has done what was left",
        "b2i.order.failed": "the order has ended badly",
        "b2i.order.overdue": "it should have ended by now; told once",
    }
    resource = "b2i.order.SUBJECT"
    resource_name = "the command, its subject, and what was found"

    outcome: str
    """finished, failed, running, busy, not_begun or stopped."""
    deadline: AwareDatetime | None
    run_id: str | None
    """The flow run that had the order, where it had one."""
    ids: dict[str, str]
    """What exists of it in the cloud, by kind."""


class RpoBreached(Event):
    """Servers would come back with an older state than a policy or a runbook allows, or not at all."""

    names = {"b2i.rpo.breached": "after a night, of its policy's board; after a look at a runbook with `targets.rpo`"}
    resource = "b2i.policy.POLICY, or b2i.runbook.RUNBOOK"
    resource_name = "the summary"
    labels = {"b2i.outcome": "of the night, whose failure has its own message; `checked` after a look at a runbook"}

    policy: str | None
    runbook: str | None
    allowed_s: int
    """How old a state may be: a policy's `newest_within` and a night more, a runbook's `targets.rpo`. In seconds."""
    servers: tuple[TooOld, ...]
    summary: str


class RunbookAsks(Event):
    """A run of a runbook is suspended until somebody answers."""

    names = {"b2i.runbook.asks": "once for each question"}
    resource = "b2i.runbook.RUNBOOK"
    resource_name = "RUNBOOK, GROUP: the question"

    run: str
    """What `b2i runbook approve` takes, as it takes the runbook's name."""
    mode: str
    """drill or failover."""
    group: str
    about: Literal["approve", "manual", "failed"]
    """A question, something to do by hand, or a group that has failed."""
    until: AwareDatetime
    """What happens then without an answer, the runbook says (`when_silent`)."""


class RunbookFinished(Event):
    """A drill or a failover has ended."""

    names = {"b2i.runbook.finished": "at its end, of a drill after everything was taken down"}
    resource = "b2i.runbook.RUNBOOK"
    resource_name = "the summary"
    labels = {"b2i.outcome": "`made`, `partly` or `failed`"}

    run: str
    mode: str
    outcome: str | None
    """As the label; null where it was stopped before anything could be judged."""
    left_behind: tuple[str, ...]
    """What of a drill is still there, and is billed."""
    evidence: str | None
    """Where its record lies."""
    sha256: str | None
    """Of that record: keep it elsewhere, and later changes show."""
    summary: str


EVENTS: tuple[type[Event], ...] = (
    ImageMade,
    ImageMembers,
    OrderRefused,
    OfferAnswered,
    ServerLaunched,
    LaunchRemoved,
    OsChanged,
    NightFinished,
    DeletionFinished,
    OrderTold,
    RpoBreached,
    RunbookAsks,
    RunbookFinished,
)
"""Every kind of event that this project sends."""


def declared(name: str) -> type[Event] | None:
    """The kind that is sent by this name."""
    return next((kind for kind in EVENTS if kind.sent_as(name)), None)
