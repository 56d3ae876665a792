"""The servers of a run: from their images to their answers, and, in a drill, until nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from backup_to_image.errors import B2iError, NotFound, Refused
from backup_to_image.journal import JournalError
from backup_to_image.model import Image, ImageOrder, LaunchDelivery, Report
from backup_to_image.model.recovery import RunMode, RunServer
from backup_to_image.model.runbook import Runbook, RunbookServer
from backup_to_image.steps.context import Context
from backup_to_image.steps.runbook.acts import Acts
from backup_to_image.steps.runbook.drilling import KEPT_FOR, DrillServer
from backup_to_image.steps.runbook.file import launch_order
from backup_to_image.steps.runbook.ledger import Ledger
from backup_to_image.steps.runbook.pick import pick_images
from backup_to_image.steps.runbook.stock import read_stock

__all__ = ["Returning", "all_or_first"]

_IMAGE = timedelta(hours=2)
_SERVER = timedelta(hours=1)
_RENEW = timedelta(minutes=10)


class Returning:
    """The servers of one run, each brought back once, and in a drill taken down again."""

    def __init__(self, book: Runbook, ledger: Ledger, ctx: Context, acts: Acts) -> None:
        self._book = book
        self._ledger = ledger
        self._ctx = ctx
        self._acts = acts
        self._mode: RunMode = ledger.run.mode
        self._drills: dict[str, DrillServer] = {}
        self._making: dict[str, asyncio.Task[None]] = {}

    async def stand_by(self) -> None:
        """Hold the servers that this drill has launched before; what is not there any more is launched again."""
        if self._mode != "drill":
            return
        until = self._ctx.deadline(KEPT_FOR)
        for group, server in self._ledger.run.servers:
            if server.image_id is None or server.launch_id is None or server.gone_at:
                continue
            one = DrillServer(server.image_id, server.name, self._ctx, mark=server.launch_id)
            self._drills[server.source] = one
            await one.hold(until)
            if server.state == "up" and self._ledger.run.ended_at is None and not await one.is_there():
                self._ctx.tell(f"{server.source}: its server is not there any more; launching it again")
                await self._ledger.change_server(group.name, server.source, state="waiting", ended_at=None)
                if self._ledger.run.group(group.name).state == "up":
                    await self._ledger.change_group(group.name, state="waiting", ended_at=None)

    def begin_making(self) -> None:
        """Begin with every image that is made first, those of later groups too: that is what takes longest."""
        for group, server in self._ledger.run.servers:
            if server.make_first and server.image_id is None and group.state in {"waiting", "running", "failed"}:
                self._making[server.source] = asyncio.create_task(self._make(group.name, server))

    @property
    def making(self) -> bool:
        """Whether an image is being made."""
        return any(not task.done() for task in self._making.values())

    async def stop_making(self) -> None:
        """Wait for no image any more. The cloud goes on making what it was asked for, and the next run adopts it."""
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        self._making.clear()

    async def keep_on(self) -> None:
        """Tell the journal, again and again, that this drill's servers are wanted still."""
        while True:
            await self._ctx.clock.sleep(_RENEW.total_seconds())
            with suppress(JournalError):
                await self.keep(self._ctx.deadline(KEPT_FOR))

    async def keep(self, until: datetime) -> None:
        """Keep the reconciler away from this drill's servers until then. Raises JournalError."""
        for one in self._drills.values():
            await one.keep(until)

    async def bring_back(self, group: str, server: RunbookServer) -> None:
        """One server, from its image to its answers; what goes wrong is written down with it."""
        source, now = server.source, self._ctx.clock.now()
        there = self._there(group, source)
        await self._ledger.change_server(
            group, source, state="launching", began_at=there.began_at or now, ended_at=None, reason="", code="", action=""
        )
        try:
            image = await self._image(group, server)
            delivery = await self._launch(group, server, image)
        except JournalError:
            raise
        except B2iError as error:
            reason = _reasons(error)
            self._ctx.tell(f"{source}: {reason}")
            ids = {"launch_id": error.handle["launch"]} if "launch" in error.handle else {}
            await self._ledger.change_server(
                group,
                source,
                state="failed",
                ended_at=self._ctx.clock.now(),
                code=error.code,
                reason=reason,
                action=error.action,
                **ids,
            )
            return
        silent = [f"{probe.probe}: {probe.answer}" for probe in delivery.probes if not probe.ok]
        silent += [one.answer for one in delivery.disks if one.ok is False]
        up = delivery.outcome != "partly"
        await self._ledger.change_server(
            group,
            source,
            state="up" if up else "failed",
            ended_at=self._ctx.clock.now(),
            launch_id=delivery.launch_id,
            server_ids=delivery.server_ids,
            addresses=delivery.addresses,
            probes=delivery.probes,
            probed=delivery.probed,
            verified=delivery.verified,
            drift=tuple(str(one) for one in delivery.drift),
            reason="" if up else f"it does not answer as it should ({'; '.join(silent) or 'not all of it is there'})",
            code="" if up else "b2i.silent",
            action="" if up else "Look at its console, then retry the group.",
        )

    async def _image(self, group: str, server: RunbookServer, *, again: bool = False) -> Image:
        """The image that it comes back from, made first where the runbook says so. Raises Refused where there is none.

        One that somebody has deleted since the run began is replaced by what the runbook's rule takes now.
        """
        there = self._there(group, server.source)
        if there.image_id is None and not there.make_first:
            there = await self._pick_again(group, server)
        if there.image_id is None and there.backup_id is not None:
            await self._ledger.change_server(group, server.source, state="making")
            await (self._making.pop(server.source, None) or self._make(group, there))
            await self._ledger.change_server(group, server.source, state="launching")
            there = self._there(group, server.source)
        try:
            image = await self._ctx.cloud.images.get(there.image_id or "")
        except NotFound:
            if again:
                raise
            self._ctx.tell(f"{server.source}: image {there.image_name or there.image_id} is gone; looking for another")
            await self._pick_again(group, server)
            return await self._image(group, server, again=True)
        if there.backup_id is None and image.backup_id:
            await self._ledger.change_server(group, server.source, backup_id=image.backup_id)
        return image

    async def _make(self, group: str, server: RunServer) -> None:
        self._ctx.tell(f"{server.source}: making its image of backup {server.backup_id} first")
        made = await self._acts.make(ImageOrder(backup_id=server.backup_id or "", timeout=_IMAGE), self._ctx)
        ids = {"image_id": made.image_id, "image_name": made.image_name}
        await self._ledger.change_server(group, server.source, image_at=self._ctx.clock.now(), **ids)

    async def _pick_again(self, group: str, server: RunbookServer) -> RunServer:
        """By the runbook's rule, as things are now: somebody may have made, accepted or deleted images. Raises Refused."""
        picks, _ = pick_images(self._book, await read_stock(self._ctx), now=self._ctx.clock.now())
        pick = next(one for one in picks if one.source == server.source)
        if pick.image is None and pick.backup is None:
            raise Refused(Report(subject=f"server {server.source}", checks=pick.checks))
        await self._ledger.change_server(
            group,
            server.source,
            image_id=pick.image.id if pick.image else None,
            image_name=pick.image.name if pick.image else None,
            backup_id=pick.backup.id if pick.backup else None,
            taken_at=pick.taken_at,
            make_first=pick.image is None,
        )
        return self._there(group, server.source)

    async def _launch(self, group: str, server: RunbookServer, image: Image) -> LaunchDelivery:
        there = self._there(group, server.source)
        order = launch_order(self._book, server, self._mode, name=there.name)
        if self._mode == "drill":
            one = self._drills.get(server.source)
            if one and one.image_id != image.id:
                await one.take_down(self._acts.take_down)
                one = None
            one = one or DrillServer(image.id, order.name, self._ctx)
            self._drills[server.source] = one
            mark = await one.ready(image, order, self._ctx.deadline(KEPT_FOR))
            await self._ledger.change_server(group, server.source, launch_id=mark, name=order.name)
        return await self._acts.launch(image, order, self._ctx, mode=self._mode, deadline=self._ctx.deadline(_SERVER))

    def _there(self, group: str, source: str) -> RunServer:
        return next(server for server in self._ledger.run.group(group).servers if server.source == source)

    # -- a drill's end --------------------------------------------------------------------------------------------------

    async def take_down(self) -> None:
        """Take every server of this drill down, all at once; what stays behind is written down."""
        if self._drills:
            self._ctx.tell(f"taking down the servers of the drill ({len(self._drills)})")
        await all_or_first([self._take_down(source, one) for source, one in self._drills.items()])

    async def _take_down(self, source: str, one: DrillServer) -> None:
        group = next(group.name for group, server in self._ledger.run.servers if server.source == source)
        left = await one.take_down(self._acts.take_down)
        if left:
            self._ctx.tell(f"{source}: left behind: {', '.join(left)}; `b2i teardown {one.mark}` removes it")
        await self._ledger.change_server(group, source, gone_at=None if left else self._ctx.clock.now(), left_behind=left)

    async def let_go(self) -> None:
        """Leave the drill's servers as they are, to whoever goes on with the run."""
        for one in self._drills.values():
            await one.let_go()


async def all_or_first(work: list[Coroutine[Any, Any, None]]) -> None:
    """Do all of it side by side; the first trouble calls the rest off, and is raised when they have ended."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reasons(error: B2iError) -> str:
    """What went wrong, in a line; of a refusal every reason."""
    if isinstance(error, Refused):
        return "; ".join(f"{check.rule.removeprefix('launch: ')}: {check.why}" for check in error.report.refusals)
    return error.message.rstrip(".")
