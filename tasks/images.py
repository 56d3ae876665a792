"""Tasks on images. Each looks for its own result first, so each may run again."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from prefect import task

from backup_to_image.model import Image, LaunchOrder
from backup_to_image.model.night import Verified
from backup_to_image.steps.await_image import FinishedImage
from backup_to_image.steps.await_image import await_image as wait_until_normal
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.verify import verify_image as drill_and_tear_down
from backup_to_image.steps.make import ImageHandle
from backup_to_image.steps.make import start_image as find_or_start_image
from backup_to_image.steps.sharing.members import share_image as share_and_prove
from backup_to_image.steps.validate import ValidOrder
from tasks.events import image_ready, image_shared
from tasks.policy import RETRY

__all__ = ["await_image", "share_image", "start_image", "verify_image"]


@task(name="start image", task_run_name="start image {valid.name}", **RETRY)
async def start_image(valid: ValidOrder, ctx: Context, deadline: datetime, *, after_failure: bool = False) -> ImageHandle:
    """Ask for the image, unless this backup has one already: a backup can be used only once."""
    return await find_or_start_image(valid, ctx, deadline=deadline, after_failure=after_failure)


@task(name="await image", task_run_name="await image {handle.name}", **RETRY)
async def await_image(handle: ImageHandle, ctx: Context, deadline: datetime) -> FinishedImage:
    """Poll until the image is Normal. Raises StillRunning at the deadline: the cloud works on and the next run resumes."""
    finished = await wait_until_normal(handle, ctx, deadline=deadline)
    image_ready(handle, finished)
    return finished


@task(name="share image", task_run_name="share image {image.name}", **RETRY)
async def share_image(
    image: Image, projects: tuple[str, ...], ctx: Context, *, share_for: timedelta | None = None
) -> tuple[str, ...]:
    """Share the image and prove it by the member list, until a day where the order says so. Who has it is left alone."""
    shared = await share_and_prove(image, projects, ctx, share_for=share_for)
    image_shared(image, shared)
    return shared


@task(name="verify image", task_run_name="verify image {image.name}", **RETRY)
async def verify_image(image: Image, drill: LaunchOrder, ctx: Context, *, deadline: datetime, night: date) -> Verified:
    """Launch a server from the image, ask its probes, take it down again. What was launched and goes wrong is in the answer."""
    return await drill_and_tear_down(image, drill, ctx, deadline=deadline, night=night)
