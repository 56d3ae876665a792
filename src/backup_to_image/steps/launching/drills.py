"""A drill's servers: what of them an earlier run has left, and how they are taken down whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from backup_to_image.errors import B2iError, CloudError, StillRunning
from backup_to_image.model import Image, LaunchOrder
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.launched import Standing, find_launched
from backup_to_image.steps.launching.teardown import find_launch, tear_down
from backup_to_image.steps.orders import OrderedDrill, ordered
from backup_to_image.waiting import passes

__all__ = ["TEARDOWN", "LeftBehind", "drill_standing", "surely", "take_down"]

T = TypeVar("T")

TEARDOWN = timedelta(minutes=20)
_TRY_AGAIN = 30.0


class LeftBehind(StillRunning):
    """Keeps the order of a drill in the journal, for the reconciler to take down what is left."""

    def __init__(self, mark: str) -> None:
        super().__init__("The teardown of a drill", last_seen="something is left", deadline=None, handle={"launch": mark})


async def drill_standing(image: Image, drill: LaunchOrder, ctx: Context) -> Standing:
    """Where the drill stands. A server that an earlier run was taking down goes first: it answers nothing any more."""
    standing = await find_launched(image, drill, ctx, mode="drill")
    going = await ctx.journal.read("teardown", ctx.project_id, standing.mark)
    if going is None or going.state != "intent":
        return standing
    ctx.tell(f"drill {standing.mark}: an earlier run was taking its server down; doing that first")
    with suppress(LeftBehind):
        async with ordered(OrderedDrill(launch_id=standing.mark, image_id=image.id), ctx, patience=TEARDOWN):
            if await take_down(standing.mark, ctx):
                raise LeftBehind(standing.mark)
    return await find_launched(image, drill, ctx, mode="drill")


async def surely(work: Coroutine[None, None, T]) -> T:
    """Carry it through although somebody stops it meanwhile; who stops it twice has his way."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def take_down(mark: str, ctx: Context) -> tuple[str, ...]:
    """Take the drill's server down until nothing is left, however unclear its launch was; returns what stays behind."""
    limit = ctx.deadline(ctx.settings.settle.server + TEARDOWN)
    while True:
        try:
            return (await tear_down(await find_launch(mark, ctx), ctx, patience=TEARDOWN)).left_behind
        except B2iError as error:
            waits = isinstance(error, StillRunning) or (isinstance(error, CloudError) and passes(error))
            if not waits or ctx.clock.now() >= limit:
                return (error.message.rstrip("."),)
        await ctx.clock.sleep(_TRY_AGAIN)
