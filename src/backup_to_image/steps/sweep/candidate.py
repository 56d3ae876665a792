"""What may have to go, and what speaks against it: somebody is at it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from pydantic import AwareDatetime

from backup_to_image.errors import ApiError, B2iError, StillRunning
from backup_to_image.journal import Lease, hold
from backup_to_image.model import Value
from backup_to_image.model.swept import NotRemoved, Removed, SweepKind
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.launched import launch_marks
from backup_to_image.steps.orders import OpenOrder, OrderedDrill, OrderedImage, OrderedLaunch, OrderedTeardown, open_orders
from backup_to_image.steps.sharing.expiry import Expiry

__all__ = ["PATIENCE", "Candidate", "InUse", "Kept", "alone", "in_use"]

PATIENCE = timedelta(minutes=10)
"""For one removal, until it is proven."""


class Candidate(Value):
    """One thing that may have to go."""

    kind: SweepKind
    id: str
    name: str
    why: str
    since: AwareDatetime
    gb: int = 0
    kept: str = ""
    """Why it stays although it fits."""
    mark: str
    """Under which it is remembered: another thing never gets its grace time."""
    seen: AwareDatetime | None = None
    """When it was known first, where the journal knew of it before."""
    share: Expiry | None = None

    def as_removed(self) -> Removed:
        return Removed(kind=self.kind, id=self.id, name=self.name, gb=self.gb)

    def as_left(self, error: B2iError) -> NotRemoved:
        words = error.words if isinstance(error, ApiError) and error.words else error.message
        return NotRemoved(kind=self.kind, id=self.id, name=self.name, code=error.code, reason=words)


class Kept(Exception):
    """Something speaks against the removal at the last moment; the message is the reason."""


async def in_use(ctx: Context, grace: timedelta) -> InUse:
    """What somebody is at now. Raises JournalError."""
    return InUse([order for order in await open_orders(ctx) if _lives(order, ctx, grace)], ctx)


def _lives(order: OpenOrder, ctx: Context, grace: timedelta) -> bool:
    """Whether somebody may be at it still: an order that is over its time by more than the grace time protects nothing."""
    return order.deadline is None or ctx.clock.now() < order.deadline + grace


class InUse:
    """What the open orders are at."""

    def __init__(self, orders: Sequence[OpenOrder], ctx: Context) -> None:
        self.backups: set[str] = set()
        self.launches: set[str] = set()
        for order in orders:
            wanted = order.ordered
            if isinstance(wanted, OrderedImage):
                self.backups.add(wanted.backup_id)
            elif isinstance(wanted, OrderedTeardown | OrderedDrill):
                self.launches.add(wanted.launch_id)
            elif isinstance(wanted, OrderedLaunch):
                self.launches.update(launch_marks(wanted.image_id, wanted.order.name, ctx, mode=wanted.mode))


@asynccontextmanager
async def alone(kind: str, name: str, ctx: Context) -> AsyncGenerator[Lease]:
    """The lease under which it is made, unless a live run has it."""
    async with AsyncExitStack() as stack:
        try:
            lease = await stack.enter_async_context(hold(ctx.journal, kind, ctx.project_id, name, deadline=ctx.clock.now()))
        except StillRunning:
            raise Kept("a live run is at it") from None
        yield lease
