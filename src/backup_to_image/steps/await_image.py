"""Wait until the image is Normal: the job says SUCCESS, the image says active, and the source server stayed as it was."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Any, Literal

from backup_to_image.doctor import diagnose
from backup_to_image.errors import ApiError, CloudError, JobFailed, NotFound
from backup_to_image.journal import JournalError
from backup_to_image.model import Image, Job, Value
from backup_to_image.steps.context import Context, minutes, until
from backup_to_image.steps.findings import image_of
from backup_to_image.steps.make import ALREADY_USED, ANOTHER_ATTEMPT, DOUBTFUL_FACT, ImageHandle, failed_job
from backup_to_image.steps.names import DOUBTFUL_TAG, SOURCE_TAG, why_doubtful
from backup_to_image.steps.watcher import Place
from backup_to_image.waiting import IMAGE, IMAGE_JOB, Pace, States, passes, shortest_beat, wait

__all__ = ["FinishedImage", "await_image"]

# Job and image are two witnesses of one event; the words of both in one table (BEHAVIOUR.md 6 and 7).
_MAKING = States(
    "The image",
    success=frozenset({"active"}),
    pending=frozenset({"INIT", "RUNNING", "queued", "saving", "SUCCESS"}),
    failure=frozenset({"FAIL", "killed", "deleted"}),
)
_ASK_THE_IMAGE_TOO = 3
"""Every third look asks the image beside its job, so that a job that stands still hides nothing for long."""
_LOOK_AT_THE_SOURCE_AGAIN = timedelta(seconds=30)
"""Where a list brings news more often than this wait itself would look."""
_ASK_THE_JOB_TOO = timedelta(minutes=5)
"""A job may fail and leave its image as it was: where lists tell only that it is being made, the job is asked this seldom (and in
a long wait whenever a quarter of it has passed)."""


class FinishedImage(Value):
    """An image that is active, and what happened to its source meanwhile."""

    image: Image
    adopted: bool | Literal["foreign"] = False
    """As in the handle; an image that turned out to be another attempt's is adopted too."""
    job_id: str | None = None
    doubtful: str | None = None


class _Seen(Value):
    job: Job | None
    image: Image | None

    @property
    def state(self) -> str:
        if self.image and self.image.status in _MAKING.failure:
            return self.image.status
        if self.job and self.job.status != "SUCCESS":
            return self.job.status
        return self.image.status if self.image else "SUCCESS"


class _Making:
    """One image being made, seen through the list of all, its job and itself."""

    def __init__(self, handle: ImageHandle, ctx: Context, place: Place) -> None:
        self.handle = handle
        self.ctx = ctx
        self.place = place
        self.job_id = handle.job_id
        self.made_by = handle.job_id
        """The job that made the image, as far as one is known: not that of another attempt."""
        self.image_id = handle.image_id
        self.doubtful = handle.doubtful
        self.refused: Job | None = None
        """Our job, if it ended in "already used": the image is another attempt's."""
        self._refused_at = handle.since
        self._looks = 0
        self._source_looked_at = handle.since
        self._asked_at = ctx.clock.now()

    async def look(self) -> _Seen | None:
        """One look; trouble that passes by itself is no news, so it answers None."""
        try:
            listed = await self.place.look()
            now, under_way = self.ctx.clock.now(), listed is not None and listed.status in IMAGE.pending
            if not under_way or now >= self._source_looked_at + _LOOK_AT_THE_SOURCE_AGAIN:
                await self._look_at_the_source()
            if under_way and now < self._asked_at + max(_ASK_THE_JOB_TOO, (now - self.handle.since) / 4):
                return _Seen(job=None, image=listed)
            seen = await self._ask(listed)
            at_work = seen and seen.job and seen.job.status in IMAGE_JOB.pending
            return _Seen(job=None, image=listed) if under_way and at_work else seen
        except CloudError as error:
            if passes(error):
                return None
            raise

    async def _ask(self, listed: Image | None) -> _Seen | None:
        """What no list tells: whether the job agrees that the image is active, why it failed, and where an unlisted one is."""
        self._looks += 1
        self._asked_at = self.ctx.clock.now()
        job = await self._job()
        image: Image | None = None
        if listed is not None and self.image_id in {None, listed.id}:
            image = listed
        elif job is None or job.status not in IMAGE_JOB.pending:
            image = await self._image()
        elif self._looks % _ASK_THE_IMAGE_TOO == 0:
            with contextlib.suppress(CloudError):  # its job is at work: that it is not to be seen just now ends nothing
                image = await self._image()
        if self.refused and image is None and self.ctx.clock.now() >= self._refused_at + self.ctx.settings.settle.image:
            # Used, and still no image to be seen: it is not in this project, and waiting shows nothing.
            job = self.refused
        return _Seen(job=job, image=image) if job or image else None

    async def _job(self) -> Job | None:
        if self.job_id is None or self.handle.seen_done:
            return None
        try:
            job = await self.ctx.cloud.images.job(self.job_id)
        except ApiError as error:
            # An id that IMS does not know (any more) is no verdict on the image (BEHAVIOUR.md 6): go by the image alone.
            if error.status < 500 and not error.retryable:
                self.job_id = None
                return None
            raise
        if job.status == "FAIL" and self._is_of_another_image(job):
            self.job_id = self.made_by = None
            return None
        self.image_id = self.image_id or job.image_id
        if job.status == "FAIL" and job.error_code in ALREADY_USED:
            # The refusal "already used" may come in the job: the image is another attempt's. Look for that one.
            self.job_id = self.made_by = None
            self.refused, self._refused_at = job, self.ctx.clock.now()
            return None
        return job

    def _is_of_another_image(self, job: Job) -> bool:
        """Whether the job is that of an earlier attempt, which says nothing of the image that was adopted instead."""
        adopted = self.handle.image_id
        if adopted is None or job.image_id == adopted:
            return False
        return self.handle.adopted == "foreign" or job.image_id is not None

    async def _image(self) -> Image | None:
        if self.image_id:
            try:
                return await self.ctx.cloud.images.get(self.image_id)
            except NotFound:
                return None
        image = await image_of(self.handle.backup, self.ctx, ignore=self.handle.dead)
        self.image_id = image.id if image else None
        return image

    async def _look_at_the_source(self) -> None:
        handle = self.handle
        self._source_looked_at = self.ctx.clock.now()
        if not (handle.source_stopped and handle.source_id) or self.doubtful:
            return
        server = await self.ctx.cloud.servers.find(handle.source_id)
        if server and (server.status != "SHUTOFF" or (server.task_state or "").startswith("powering-on")):
            self.doubtful = (
                f"source server {server.name} was started ({server.task_state or server.status}) while the image was made; "
                "the cloud says not to (IMS umn/source/creating_a_private_image/creating_a_full-ecs_image_from_a_cbr_backup.rst)"
            )
            self.ctx.tell(f"warning: {self.doubtful}")


async def await_image(handle: ImageHandle, ctx: Context, *, deadline: datetime | None = None) -> FinishedImage:
    """The image, once it is Normal. Both witnesses are asked: the job must say SUCCESS and the image active.

    Safe to repeat: a restart just looks again. Raises JobFailed with the cloud's own reason, StillRunning (with the ids to
    resume) when the deadline passes, UnknownState for a state that no table knows.
    """
    deadline = deadline or ctx.deadline(timedelta(hours=2))
    if handle.image_id is None or handle.adopted is False:
        ctx.tell(f"waiting for image {handle.name!r} {until(deadline)}")
    with ctx.watch.image(handle.backup.id, image_id=handle.image_id, ignore=handle.dead, usual=handle.usual_seconds) as place:
        making = _Making(handle, ctx, place)
        seen, good = await wait(
            making.look,
            rest=place.rest,
            state=lambda seen: seen.state,
            states=_MAKING,
            what=f"The image {handle.name!r}",
            deadline=deadline,
            pace=Pace(handle.usual_seconds, shortest=shortest_beat(handle.usual_seconds)),
            clock=ctx.clock,
            since=handle.since,
            handle=_ids(handle),
            tell=lambda seen, elapsed: ctx.tell(_line(handle, seen, elapsed)),
            progress=lambda seen: seen.job.progress if seen.job else None,
            look_first=handle.image_id is not None or handle.adopted is not False,
        )
    image = seen.image
    if not good or image is None:
        failure = _failure(handle, seen)
        await _note(ctx, handle, state="failed", code=failure.cloud_code, reason=failure.reason)
        raise failure
    if making.doubtful:
        await _mark_doubtful(image, making.doubtful, handle, ctx)
    await _note(ctx, handle, state="done", image_id=image.id, job_id=making.job_id)
    ours = SOURCE_TAG in image.tags
    return FinishedImage(
        image=image,
        adopted=handle.adopted if not making.refused else True if ours else "foreign",
        job_id=making.made_by,
        doubtful=making.doubtful or why_doubtful(image),
    )


async def _mark_doubtful(image: Image, why: str, handle: ImageHandle, ctx: Context) -> None:
    """Tag the image, and note it first: what cannot be tagged now is told, and tagged by the next run."""
    await _note(ctx, handle, facts={DOUBTFUL_FACT: why})
    if SOURCE_TAG not in image.tags or DOUBTFUL_TAG in image.tags:
        return
    try:
        await ctx.cloud.images.set_tag(image.id, DOUBTFUL_TAG, f"{ctx.clock.now():%Y%m%d}")
    except CloudError as error:
        ctx.tell(f"warning: {image.name} could not be tagged {DOUBTFUL_TAG} ({error.message}); the same command tries again")


def _failure(handle: ImageHandle, seen: _Seen) -> JobFailed:
    if seen.job and seen.job.status == "FAIL":
        return failed_job(seen.job, handle.name)
    job = seen.job
    diagnosis = diagnose(job.error_code if job else None)
    return JobFailed(
        f"Image {handle.name!r} ({seen.image.id if seen.image else 'no id'})",
        code=job.error_code if job else None,
        reason=(job.fail_reason if job else "") or f"the image is {seen.state}",
        error_class=diagnosis.error_class,
        action=f"Look at the backup; `{ANOTHER_ATTEMPT}` orders another attempt.",
        option=ANOTHER_ATTEMPT,
        job_id=handle.job_id,
    )


def _ids(handle: ImageHandle) -> dict[str, str]:
    ids = {"backup": handle.backup.id}
    if handle.job_id:
        ids["job"] = handle.job_id
    if handle.image_id:
        ids["image"] = handle.image_id
    return ids


def _line(handle: ImageHandle, seen: _Seen, elapsed: timedelta) -> str:
    if seen.state == "active" and seen.image:
        took = "" if handle.adopted else f" after {minutes(elapsed)}"  # how long ago it was adopted tells nothing of its making
        return f"image {seen.image.name} ({seen.image.id}) is Normal{took}"
    done = f", {seen.job.progress:.0%}" if seen.job and seen.job.progress is not None else ""
    return f"image {handle.name!r}: {seen.state}{done} after {minutes(elapsed)}"


async def _note(ctx: Context, handle: ImageHandle, **changes: Any) -> None:
    """Keep what became of it. The cloud knows it too, so a journal that fails now costs nothing but a look."""
    try:
        noted = await ctx.journal.read("image", ctx.project_id, handle.backup.id)
        if noted is not None:
            changed = {key: value for key, value in changes.items() if value is not None}
            changed["facts"] = noted.facts | changed.get("facts", {})
            await ctx.journal.write(noted.model_copy(update=changed))
    except JournalError as error:
        ctx.tell(error.message)
