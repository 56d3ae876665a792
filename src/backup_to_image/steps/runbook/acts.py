"""What is done for one server of a run: given as an argument, so that a flow can do the same as tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backup_to_image.model import Delivery, Image, ImageOrder, LaunchDelivery, LaunchOrder
from backup_to_image.model.recovery import RunbookRun, RunMode
from backup_to_image.model.runbook import RunbookStep
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.drills import take_down
from backup_to_image.steps.launching.launch import launch_server, launch_within
from backup_to_image.steps.launching.verified import with_proof
from backup_to_image.steps.pipeline import image_from_backup
from backup_to_image.steps.runbook.hooks import do_step

__all__ = ["Acts", "launch_one"]


class MakeFirst(Protocol):
    """Makes the image that a server comes back from, of its backup."""

    async def __call__(self, order: ImageOrder, ctx: Context) -> Delivery: ...


class LaunchOne(Protocol):
    """Launches one server, or adopts it, and asks its probes."""

    async def __call__(
        self, image: Image, order: LaunchOrder, ctx: Context, *, mode: RunMode, deadline: datetime
    ) -> LaunchDelivery: ...


class TakeDown(Protocol):
    """Takes a drill's server down until nothing is left; says what stays behind."""

    async def __call__(self, mark: str, ctx: Context) -> tuple[str, ...]: ...


class DoStep(Protocol):
    """Does a step of a machine; says what came of it."""

    async def __call__(self, step: RunbookStep, run: RunbookRun, group: str, ctx: Context) -> str: ...


async def launch_one(image: Image, order: LaunchOrder, ctx: Context, *, mode: RunMode, deadline: datetime) -> LaunchDelivery:
    """One server of a run, ACTIVE and probed: for real as `launch_server` does it; in a drill, to be taken down by its run.

    Safe to repeat. An image of ours whose every probe answered is marked as verified. One that stays silent is not doubted: what
    a server answers in a recovery hangs on the others too.
    """
    if mode == "failover":
        return await launch_server(image, order, ctx, mode=mode, patience=deadline - ctx.clock.now())
    return await with_proof(await launch_within(image, order, ctx, mode=mode, deadline=deadline), image, ctx)


@dataclass(frozen=True)
class Acts:
    """All that a run does; each can be given as a Prefect task instead."""

    make: MakeFirst = image_from_backup
    launch: LaunchOne = launch_one
    take_down: TakeDown = take_down
    step: DoStep = do_step
