"""The right to make one thing, held by one process at a time.

Two live processes of one order are a normal case: a lost heartbeat or a double click makes them. Who holds the lease may make;
it is renewed while it is held, and checked right before each request that makes or removes. A holder that was held up for longer
than a minute has lost it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from backup_to_image.errors import StillRunning
from backup_to_image.journal.journal import Journal
from backup_to_image.journal.record import record_name
from backup_to_image.journal.store import Holder, StoreError

__all__ = ["LEASE_SECONDS", "Lease", "hold"]

LEASE_SECONDS = 60.0
_RENEWALS = 3
_LOOK_AGAIN = 2.0


class Lease:
    """A held lease. `fence` rises with every holder, so a late one can be told from the present one."""

    def __init__(self, journal: Journal, name: str, holder: Holder, seconds: float) -> None:
        self._journal = journal
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._sure_until = journal.clock.now()
        self.for_good = False
        """To be set where the thing that it was about is gone, so that nobody will want the lease again."""

    @property
    def fence(self) -> int:
        return self._holder.fence

    async def check(self) -> None:
        """Renew and go on, or stop before the request that would make a second thing. Raises StillRunning, JournalError."""
        try:
            mine = await self._renew()
        except StoreError as error:
            raise self._journal.unwritable(error) from None
        if not mine:
            raise _taken_over()

    def still_mine(self) -> None:
        """The last look before a request leaves, at the clock alone: a process may stand still after `check`.

        To be asked after every wait for a turn or a log-in: the lease is renewed beside those. Raises StillRunning.
        """
        if self._journal.clock.now() >= self._sure_until:
            raise _taken_over()

    async def keep(self) -> None:
        """Renew it as long as this runs. The next `check` finds what goes wrong, `still_mine` when its time is over."""
        while True:
            await self._journal.clock.sleep(self._seconds / _RENEWALS)
            with contextlib.suppress(StoreError):
                await self._renew()

    async def _renew(self) -> bool:
        began = self._journal.clock.now()
        mine = await self._journal.store.renew(self._name, self._holder, self._seconds)
        self._sure_until = began + timedelta(seconds=self._seconds) if mine else began
        return mine

    async def release(self) -> None:
        with contextlib.suppress(StoreError):
            await self._journal.store.release(self._name, self._holder, for_good=self.for_good)


@asynccontextmanager
async def hold(
    journal: Journal, kind: str, project_id: str, name: str, *, deadline: datetime, seconds: float = LEASE_SECONDS
) -> AsyncGenerator[Lease]:
    """Hold the only right to make this thing; wait while another live run holds it. Raises StillRunning at the deadline."""
    key = record_name(f"lease-{kind}", project_id, name)
    me = Holder.this_process()
    while (taken := await _take(journal, key, me, seconds)) is None:
        left = (deadline - journal.clock.now()).total_seconds()
        if left <= 0:
            raise StillRunning(f"Another run of the same order ({kind} {name})", last_seen="at work", deadline=deadline)
        await journal.clock.sleep(min(_LOOK_AGAIN, seconds / _RENEWALS, left))
    lease = Lease(journal, key, taken, seconds)
    keeping = asyncio.ensure_future(lease.keep())
    try:
        yield lease
    finally:
        keeping.cancel()
        await lease.release()


async def _take(journal: Journal, key: str, me: Holder, seconds: float) -> Holder | None:
    try:
        return await journal.store.take(key, me, seconds)
    except StoreError as error:
        raise journal.unwritable(error) from None


def _taken_over() -> StillRunning:
    return StillRunning(
        "Another run of the same order",
        last_seen="it has taken over, or may have, while this one was held up",
        deadline=None,
        check="Nothing was made twice. Run the same command again: it adopts what the other one made.",
    )
