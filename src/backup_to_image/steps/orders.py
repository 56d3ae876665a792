"""What was ordered and is not finished: written down before anything is made, forgotten when it has ended.

A restart of the same order waits no longer than the first run would have. What a crash leaves behind is found here by whoever
reconciles, and finished or told. An order holds no secret.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from backup_to_image.errors import B2iError, PartlyDone, StillRunning
from backup_to_image.journal import JournalError, Record
from backup_to_image.model import Duration, Image, LaunchOrder, Probe, Value
from backup_to_image.steps.context import Context, until

__all__ = [
    "OpenOrder",
    "OrderedAnswer",
    "OrderedChange",
    "OrderedDrill",
    "OrderedHandOver",
    "OrderedImage",
    "OrderedLaunch",
    "OrderedShare",
    "OrderedTeardown",
    "OrderedUnshare",
    "close",
    "cut_off_order",
    "keep_open",
    "note_job",
    "open_orders",
    "ordered",
    "stop_orders_of",
    "withdraw_recipients",
]

ORDER = "order"
_ORDERED, _SECONDS, _RUN = "ordered", "patience_seconds", "run"


class _Order(Value, ABC):
    """What somebody wants of the cloud, as the journal keeps it until it has ended."""

    verb: ClassVar[str]
    """The command that orders it."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What it is about, for people."""

    @property
    def name(self) -> str:
        """Where the journal keeps it: the same for the same order, another for one that wants something else of the same."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
        return f"{self.verb} {self.subject} {digest}"


class OrderedImage(_Order):
    """An image of a backup, its recipients and its server."""

    what: Literal["image"] = "image"
    backup_id: str
    image_name: str
    recipients: tuple[str, ...] = ()
    share_for: Duration | None = None
    launch: LaunchOrder | None = None

    verb: ClassVar[str] = "create"

    @property
    def subject(self) -> str:
        return self.backup_id


class OrderedLaunch(_Order):
    """A server of an image."""

    what: Literal["launch"] = "launch"
    image_id: str
    order: LaunchOrder
    mode: Literal["drill", "failover"] = "failover"
    another: bool = False

    verb: ClassVar[str] = "launch"

    @property
    def subject(self) -> str:
        return f"{self.order.name} of image {self.image_id}"


class OrderedTeardown(_Order):
    """A launch's end. Whoever ordered it has confirmed what it removes."""

    what: Literal["teardown"] = "teardown"
    launch_id: str

    verb: ClassVar[str] = "teardown"

    @property
    def subject(self) -> str:
        return self.launch_id


class OrderedDrill(_Order):
    """A server that is launched to be probed and taken down again, whatever comes."""

    what: Literal["drill"] = "drill"
    launch_id: str
    image_id: str

    verb: ClassVar[str] = "drill"

    @property
    def subject(self) -> str:
        return f"{self.launch_id} of image {self.image_id}"


class OrderedChange(_Order):
    """A server's system disk, replaced by an image's. Whoever ordered it has confirmed that the old one goes."""

    what: Literal["change-os"] = "change-os"
    server_id: str
    server_name: str
    image_id: str
    key_pair: str | None = None
    again: bool = False
    probes: tuple[Probe, ...] = ()

    verb: ClassVar[str] = "change-os"

    @property
    def subject(self) -> str:
        return f"{self.server_name} ({self.server_id}) to image {self.image_id}"


class _MemberOrder(_Order):
    """Of one image and one project. What is ordered later of the two takes this order's place."""

    image_id: str
    image_name: str
    recipient: str

    @property
    def subject(self) -> str:
        return f"{self.image_name} ({self.image_id}) with {self.recipient}"

    @property
    def name(self) -> str:
        return f"member {self.image_id} {self.recipient}"


class OrderedShare(_MemberOrder):
    """An image for one project."""

    what: Literal["share"] = "share"
    share_for: Duration | None = None

    verb: ClassVar[str] = "share"


class OrderedUnshare(_MemberOrder):
    """The end of one project's share of an image."""

    what: Literal["unshare"] = "unshare"

    verb: ClassVar[str] = "unshare"


class OrderedHandOver(_MemberOrder):
    """An image for one project, shared, and accepted there by whoever has that log-in too."""

    what: Literal["hand-over"] = "hand-over"
    share_for: Duration | None = None
    to: str = ""
    """How the recipient's log-in is called where it was ordered."""

    verb: ClassVar[str] = "hand-over"


class OrderedAnswer(Value):
    """What this project says to an image that it was offered; the later word counts."""

    what: Literal["answer"] = "answer"
    image_id: str
    image_name: str
    answer: Literal["accepted", "rejected"]
    vault_id: str | None = None

    @property
    def verb(self) -> str:
        return "accept" if self.answer == "accepted" else "reject"

    @property
    def subject(self) -> str:
        return f"{self.image_name} ({self.image_id})"

    @property
    def name(self) -> str:
        return self.name_of(self.image_id)

    @staticmethod
    def name_of(image_id: str) -> str:
        """Where the journal keeps the answer to this image."""
        return f"answer {image_id}"


Ordered = (
    OrderedImage
    | OrderedLaunch
    | OrderedTeardown
    | OrderedDrill
    | OrderedChange
    | OrderedShare
    | OrderedUnshare
    | OrderedHandOver
    | OrderedAnswer
)
_DEFERRED = ConfigDict(defer_build=True)  # few commands read orders
_ANY: TypeAdapter[Ordered] = TypeAdapter(Annotated[Ordered, Field(discriminator="what")], config=_DEFERRED)


class OpenOrder(Value):
    """An order that has not ended, as the journal has it."""

    ordered: Ordered
    state: str
    """open: somebody is at it, or has crashed. late: its deadline has passed, the cloud works on. stopped: by a person or a
    signal, nobody goes on with it unasked."""
    since: AwareDatetime
    deadline: AwareDatetime | None
    run_id: str | None
    record: Record

    @classmethod
    def of(cls, record: Record) -> Self | None:
        """The order behind a record; None where it cannot be read."""
        try:
            return cls(
                ordered=_ANY.validate_python(record.facts.get(_ORDERED)),
                state=record.state,
                since=record.first_intent_at or record.written_at,
                deadline=record.deadline,
                run_id=record.facts.get(_RUN),
                record=record,
            )
        except ValidationError:
            return None


@asynccontextmanager
async def ordered(wanted: Ordered, ctx: Context, *, patience: timedelta) -> AsyncGenerator[datetime]:
    """Keep the order in the journal while it is worked on; yields the moment until which it may wait.

    The same order with the same time limit, killed and started again, keeps the moment that it had; one that has ended, however
    it did, begins anew. Raises JournalError before anything was made.
    """
    now = ctx.clock.now()
    record = _opened(wanted, ctx, now=now, until=now + patience)
    before = await ctx.journal.read(ORDER, ctx.project_id, record.name)
    if before and _cut_off(before, record):
        record = record.model_copy(update=before.model_dump(include={"deadline", "first_intent_at", "job_id"}))
    deadline = record.deadline or now + patience
    if deadline < now + patience:
        ctx.tell(f"{wanted.verb} {wanted.subject} was interrupted; going on {until(deadline)}")
    await ctx.journal.write(record)
    try:
        yield deadline
    except B2iError as error:
        late = isinstance(error.cause if isinstance(error, PartlyDone) else error, StillRunning)
        await close(record, ctx, state="late" if late else None)
        raise
    except asyncio.CancelledError:
        # Who stops a drill wants its server gone all the more.
        await close(record, ctx, state="late" if isinstance(wanted, OrderedDrill) else "stopped")
        raise
    else:
        await close(record, ctx)


async def keep_open(wanted: Ordered, ctx: Context, *, until: datetime) -> Record:
    """Write the order down as open until then, or for longer; returns its record, for `close`. Raises JournalError."""
    now = ctx.clock.now()
    before = await ctx.journal.read(ORDER, ctx.project_id, wanted.name)
    since = before.first_intent_at if before and before.state == "open" else None
    return await ctx.journal.write(_opened(wanted, ctx, now=now, until=until, since=since))


async def cut_off_order(name: str, ctx: Context) -> OpenOrder | None:
    """The order of that name, if it has not ended. Raises JournalError."""
    record = await ctx.journal.read(ORDER, ctx.project_id, name)
    return OpenOrder.of(record) if record else None


async def note_job(name: str, job_id: str, ctx: Context) -> None:
    """Keep the job that an open order was given, for its restart. What cannot be noted now costs that a look."""
    try:
        record = await ctx.journal.read(ORDER, ctx.project_id, name)
        if record:
            await ctx.journal.write(record.model_copy(update={"job_id": job_id}))
    except JournalError as error:
        ctx.tell(f"job {job_id} could not be noted ({error.message}); going on without the note")


async def close(record: Record, ctx: Context, *, state: Literal["late", "stopped"] | None = None) -> None:
    """Forget an order that has ended; keep one that somebody has to look at. What cannot be noted now is found again later."""
    try:
        now = await ctx.journal.read(record.kind, record.project_id, record.name)
        if now and now.facts.get(_ORDERED) != record.facts.get(_ORDERED):
            return  # what was ordered later has taken its place
        if state is None:
            await ctx.journal.forget(record)
        else:
            await ctx.journal.write(record.model_copy(update={"state": state, "job_id": now.job_id if now else record.job_id}))
    except JournalError as error:
        ctx.tell(error.message)


async def open_orders(ctx: Context) -> list[OpenOrder]:
    """The orders of this project that have not ended, the oldest first; one that cannot be read is told. Raises JournalError."""
    found: list[OpenOrder] = []
    for record in await ctx.journal.records(ORDER):
        if record.project_id != ctx.project_id:
            continue
        order = OpenOrder.of(record)
        if order is None:
            ctx.tell(f"warning: the journal's order {record.name!r} cannot be read and is passed over; look what became of it")
        else:
            found.append(order)
    return sorted(found, key=lambda order: order.since)


async def stop_orders_of(run_id: str, ctx: Context) -> None:
    """Mark the orders of a cancelled run: whoever cancelled it wants nobody to go on with them unasked. Raises JournalError."""
    for order in await open_orders(ctx):
        if order.run_id == run_id and not isinstance(order.ordered, OrderedDrill):
            await close(order.record, ctx, state="stopped")


async def withdraw_recipients(image: Image, projects: Collection[str], ctx: Context) -> None:
    """Have open orders of this image share it with these projects no more: the later word counts. Raises JournalError."""
    for order in await open_orders(ctx):
        wanted = order.ordered
        if isinstance(wanted, OrderedImage) and wanted.backup_id == image.backup_id and set(projects) & set(wanted.recipients):
            left = tuple(one for one in wanted.recipients if one not in projects)
            told = wanted.model_copy(update={"recipients": left}).model_dump(mode="json")
            await ctx.journal.write(order.record.model_copy(update={"facts": order.record.facts | {_ORDERED: told}}))


def _opened(wanted: Ordered, ctx: Context, *, now: datetime, until: datetime, since: datetime | None = None) -> Record:
    return Record(
        kind=ORDER,
        project_id=ctx.project_id,
        name=wanted.name,
        state="open",
        written_at=now,
        first_intent_at=since or now,
        deadline=until,
        facts={_ORDERED: wanted.model_dump(mode="json"), _SECONDS: (until - now).total_seconds(), _RUN: ctx.run_id},
    )


def _cut_off(before: Record, record: Record) -> bool:
    """Whether the order before was cut off while its time ran, and this is its restart."""
    same = all(before.facts.get(fact) == record.facts[fact] for fact in (_SECONDS, _ORDERED))
    return before.state == "open" and same and before.deadline is not None and before.deadline > record.written_at
