"""The main job: a CBR backup becomes a full-ECS image, shared and launched where the order says so.

The same five steps stand in `flows/image_from_backup.py` as Prefect tasks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from backup_to_image.errors import B2iError, PartlyDone
from backup_to_image.model import Delivery, ImageOrder, LaunchDelivery, StepTime
from backup_to_image.model.results import PhaseName
from backup_to_image.steps.await_image import FinishedImage, await_image
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look
from backup_to_image.steps.launching.launch import launch_server
from backup_to_image.steps.make import start_image
from backup_to_image.steps.names import doubted_by_drill
from backup_to_image.steps.orders import ordered
from backup_to_image.steps.sharing.members import share_image, shared_with
from backup_to_image.steps.validate import Look, ValidOrder, validate

__all__ = ["Log", "deliver", "image_from_backup"]


async def image_from_backup(order: ImageOrder, ctx: Context, *, after_failure: bool = False, look: Look = look) -> Delivery:
    """Make one backup into an image, and do with it what the order says.

    Run it again at any time: each step first looks for its own result and adopts it. Stop it at any time: what it leaves behind
    is found by the next run. Raises Refused before anything is made, StillRunning with the handle to resume, PartlyDone when the
    image is there but sharing or launching failed. `look` is how a fleet finds what is around a backup.
    """
    log = Log(ctx)
    async with log.step("validate"):
        valid = await validate(order, ctx, look=look)
    async with ordered(valid.ordered, ctx, patience=order.timeout) as deadline:
        async with ctx.place(valid.findings.image, deadline):
            async with log.step("create"):
                handle = await start_image(valid, ctx, deadline=deadline, after_failure=after_failure)
            async with log.step("wait"):
                finished = await await_image(handle, ctx, deadline=deadline)
        shared: tuple[str, ...] = ()
        launched: LaunchDelivery | None = None
        try:
            async with log.step("share"):
                shared = await share_image(finished.image, valid.recipients, ctx, share_for=valid.order.share_for)
            async with log.step("launch"):
                launched = await launch_server(finished.image, valid.launch, ctx) if valid.launch else None
        except B2iError as error:
            shared = shared or await shared_with(finished.image, valid.recipients, ctx)
            raise PartlyDone(log.last, deliver(valid, finished, shared, launched, log, outcome_of=error), error) from error
    return deliver(valid, finished, shared, launched, log)


class Log:
    """How long each step took and how many requests it cost."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._begun = ctx.clock.now()
        self._requests = ctx.cloud.requests
        self.last = ""
        self.steps: list[StepTime] = []

    @asynccontextmanager
    async def step(self, name: PhaseName) -> AsyncGenerator[None]:
        """Time one step; it is named in the report even if it fails."""
        self.last = name
        begun, requests = self._ctx.clock.now(), self._ctx.cloud.requests
        try:
            yield
        finally:
            ended = self._ctx.clock.now()
            seconds = (ended - begun).total_seconds()
            if self._ctx.turn:
                self._ctx.turn.note(name, begun, ended)
            self.steps.append(StepTime(step=name, seconds=round(seconds, 1), requests=self._ctx.cloud.requests - requests))

    @property
    def seconds(self) -> float:
        return round((self._ctx.clock.now() - self._begun) / timedelta(seconds=1), 1)

    @property
    def requests(self) -> int:
        return self._ctx.cloud.requests - self._requests


def deliver(
    valid: ValidOrder,
    finished: FinishedImage,
    shared: tuple[str, ...],
    launched: LaunchDelivery | None,
    log: Log,
    *,
    outcome_of: B2iError | None = None,
) -> Delivery:
    """Everything with its id. Partly done, when a later step failed or a probe did not answer."""
    backup = valid.findings.backup
    incomplete = outcome_of is not None or (launched is not None and launched.outcome == "partly")
    cleared = launched is not None and launched.verified and doubted_by_drill(finished.image)
    return Delivery(
        outcome="partly" if incomplete else "adopted" if finished.adopted else "made",
        backup_id=backup.id,
        image_id=finished.image.id,
        image_name=finished.image.name,
        status=finished.image.status,
        adopted=finished.adopted,
        doubtful=None if cleared else finished.doubtful,
        job_id=finished.job_id,
        server_name=backup.resource_name or None,
        backup_created_at=backup.created_at,
        shared_with=shared,
        launch=launched,
        steps=tuple(log.steps),
        requests=log.requests,
        seconds=log.seconds,
        report=valid.report,
    )
