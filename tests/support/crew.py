"""A shared night in one process: each shard is a task with a connection and a journal of its own, as on a host of its own."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from backup_to_image.model.night import NightReport
from backup_to_image.steps.fleet.night import run_night
from backup_to_image.steps.fleet.shards import Fate, Share, Workers
from backup_to_image.steps.fleet.shared_night import run_shared_night
from backup_to_image.steps.pipeline import image_from_backup
from backup_to_image.steps.policy_file import PolicyFile
from tests.support.region import Killed, Region

__all__ = ["Crew"]


class Crew:
    """Does the shards of a night. `idle` are never begun; `instead` is done in place of a shard's night."""

    def __init__(
        self,
        region: Region,
        policy: PolicyFile,
        *,
        idle: Sequence[int] = (),
        instead: Mapping[int, Callable[[Share], Awaitable[object]]] | None = None,
        journals: Mapping[int, str] | None = None,
    ) -> None:
        self.region = region
        self.policy = policy
        self.date = region.clock.now().date()
        self.idle = idle
        self.instead = instead or {}
        self.journals = journals or {}
        self.runs: dict[int, asyncio.Task[object]] = {}
        self.shares: dict[int, Share] = {}
        self.started: list[int] = []
        self.killed = 0
        self.lines: list[str] = []

    async def start(self, share: Share) -> None:
        """Unless it is at work, as a run with the same key would not begin a second time."""
        run, self.shares[share.number] = self.runs.get(share.number), share
        if share.number in self.idle or (run and not run.done()):
            return
        self.started.append(share.number)
        work = self.instead.get(share.number, self.do)
        self.runs[share.number] = asyncio.ensure_future(work(share))

    async def do(self, share: Share) -> NightReport:
        async with self.region.context(self.journals.get(share.number, "journal")) as ctx:
            return await run_night(
                self.policy.policy, ctx, make=image_from_backup, drill=self.policy.drill, night=self.date, share=share
            )

    async def do_again_when_killed(self, share: Share) -> NightReport:
        """As the automation brings it back."""
        try:
            return await self.do(share)
        except (Killed, BaseExceptionGroup) as error:
            if isinstance(error, BaseExceptionGroup) and not error.subgroup(Killed):
                raise
        self.killed += 1
        self.region.clock.advance(90)
        return await self.do(share)

    async def fates(self, shares: Sequence[Share]) -> Mapping[int, Fate]:
        return {share.number: self.fate(share.number) for share in shares}

    def fate(self, number: int) -> Fate:
        run = self.runs.get(number)
        if run is None:
            return Fate(state="waiting", reason="no worker has begun it", action="Start a worker.")
        if not run.done():
            return Fate(state="at_work")
        error = None if run.cancelled() else run.exception()
        return Fate(state="ended", reason=str(error) if error else "it was cancelled" if run.cancelled() else "nobody knows why")

    async def night(self) -> NightReport:
        """The whole night; shards that are at work when it is stopped go on."""
        async with self.region.context(tell=self.lines.append) as ctx:
            workers = Workers(start=self.start, fates=self.fates)
            return await run_shared_night(self.policy.policy, ctx, workers=workers, night=self.date)

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator["Crew"]:
        """Nothing of it outlives the test."""
        try:
            yield self
        finally:
            for run in self.runs.values():
                run.cancel()
            with contextlib.suppress(BaseException):
                await asyncio.gather(*self.runs.values(), return_exceptions=True)
