"""Make the one image of a backup: look, write down the intent, ask once, keep the job id.

The cloud's call is not idempotent and has no client token (BEHAVIOUR.md 5), so a lost answer is never followed by a blind
second request: the image is looked for until the settle time has passed. A second request is then safe, because the cloud
refuses a second image of one backup.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from backup_to_image.doctor import diagnose
from backup_to_image.errors import AlreadyUsed, ApiError, ErrorClass, JobFailed, StillRunning
from backup_to_image.journal import Lease, Record, hold
from backup_to_image.model import Backup, Image, Job, Value
from backup_to_image.steps import facts
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import DEAD, dead_images, image_of
from backup_to_image.steps.names import FLAVOR_TAG, POLICY_TAG, SOURCE_TAG, encode_tag
from backup_to_image.steps.once import job_failed, note_sent, send, settle
from backup_to_image.steps.validate import ValidOrder

__all__ = [
    "ALREADY_USED",
    "ANOTHER_ATTEMPT",
    "DOUBTFUL_FACT",
    "ImageHandle",
    "check_alive",
    "failed_job",
    "find_made",
    "start_image",
]

ALREADY_USED = frozenset({"IMG.0029", "IMG.0134", "BackupService.6210", "BackupService.6211"})
ANOTHER_ATTEMPT = "--after-failure"
DOUBTFUL_FACT = "doubtful"
_STOPPED_FACT = "source_stopped"
_DEAD_FACT = "dead_images"
_LOOK_EVERY = 5.0


class ImageHandle(Value):
    """What the wait needs: the image's job, or the image itself, and since when."""

    backup: Backup
    name: str
    job_id: str | None = None
    image_id: str | None = None
    adopted: bool | Literal["foreign"] = False
    since: datetime
    source_id: str | None = None
    source_stopped: bool = False
    """Whether the source server was stopped when the image was asked for, by this run or an earlier one."""
    doubtful: str | None = None
    """What an earlier run saw happen meanwhile."""
    dead: tuple[str, ...] = ()
    """Images of earlier attempts, which are not this one."""
    usual_seconds: tuple[float, ...] = ()
    seen_done: bool = False
    """Whether an earlier run saw job and image agree that it is finished: its job need not be asked once more."""


async def start_image(
    valid: ValidOrder, ctx: Context, *, deadline: datetime | None = None, after_failure: bool = False
) -> ImageHandle:
    """Ask for the image, unless this backup has one or one is being made: a backup can be used only once.

    Safe to repeat at any time, by two processes at once too. Raises JobFailed where an earlier attempt ended badly and
    `after_failure` does not order the next one; ApiError where the cloud refuses; StillRunning where the answer stays unclear.
    """
    deadline = deadline or ctx.deadline(valid.order.timeout)
    backup = valid.findings.backup
    # Adopting needs no lease, which a killed run on another host would hold for a minute.
    there = await find_made(valid, ctx, after_failure=after_failure)
    if there is not None:
        return there
    async with hold(ctx.journal, "image", ctx.project_id, backup.id, deadline=deadline) as lease:
        noted = await ctx.journal.read("image", ctx.project_id, backup.id)
        dead = _dead_before(noted)
        handle = await _made_before(noted, valid, ctx, after_failure=after_failure, dead=dead)
        if handle is not None:
            return handle
        await facts.record(valid.findings, ctx)
        if noted is not None and noted.state == "intent":
            # Since the request went out for the last time: it may have been refused for an hour before it was taken.
            found = await _settle(valid, ctx, lease, since=noted.written_at, deadline=deadline, dead=dead)
            if found is not None:
                return _adopt(found, valid, ctx, mine=False, noted=noted)
        if after_failure:
            dead = await dead_images(backup, ctx)
        return await _make(valid, ctx, lease, deadline, dead)


async def find_made(valid: ValidOrder, ctx: Context, *, after_failure: bool = False) -> ImageHandle | None:
    """The image that this backup has, or that is being made of it; None where there is nothing to go on with. Makes nothing.

    Raises JobFailed where the last attempt ended badly and `after_failure` does not order the next one.
    """
    noted = await ctx.journal.read("image", ctx.project_id, valid.findings.backup.id)
    return await _made_before(noted, valid, ctx, after_failure=after_failure, dead=_dead_before(noted))


def _dead_before(noted: Record | None) -> tuple[str, ...]:
    """Images that failed before the attempt that is under way: no news about it."""
    return noted.ids(_DEAD_FACT) if noted and noted.state in {"intent", "sent"} else ()


async def _made_before(
    noted: Record | None, valid: ValidOrder, ctx: Context, *, after_failure: bool, dead: tuple[str, ...]
) -> ImageHandle | None:
    """What the journal and the cloud know of this backup's image, if anything. The journal is a hint: the cloud confirms."""
    image = valid.findings.image
    if noted is not None and (image is None or image.id in dead):
        # Somebody may have made it since the findings: this process while it waited for the lease, or another one.
        image = await image_of(valid.findings.backup, ctx, ignore=dead)
    if image is not None:
        if image.status in DEAD and after_failure:
            return None
        return _adopt(check_alive(image), valid, ctx, mine=False, noted=noted)
    if noted is None or noted.job_id is None:
        return None
    job = await _job(noted.job_id, ctx)
    if job is None or job.status == "SUCCESS":
        return None  # forgotten by the cloud, or its image is deleted: the backup is free again
    if job.status == "FAIL":
        if after_failure or failed_job(job, valid.name).retryable:
            return None
        raise failed_job(job, valid.name, again=True)
    ctx.tell(f"image job {job.id} of an earlier run: {job.status}; going on with it")
    since = noted.first_intent_at or noted.written_at
    return _handle(valid, job_id=job.id, image_id=job.image_id, adopted=True, since=since, noted=noted, dead=dead)


async def _make(valid: ValidOrder, ctx: Context, lease: Lease, deadline: datetime, dead: tuple[str, ...]) -> ImageHandle:
    backup = valid.findings.backup
    description = valid.order.description
    first_intent = ctx.clock.now()

    async def intent() -> Record:
        return Record(
            kind="image",
            project_id=ctx.project_id,
            name=backup.id,
            state="intent",
            written_at=ctx.clock.now(),
            first_intent_at=first_intent,
            facts={_STOPPED_FACT: _stopped(valid), _DEAD_FACT: list(dead)},
        )

    async def request() -> str:
        return await ctx.cloud.images.start_from_backup(
            backup_id=backup.id, name=valid.name, description=description, tags=_tags(valid), guard=lease.still_mine
        )

    while True:
        try:
            noted, job_id = await send(request, intent, ctx, lease, deadline=deadline)
        except AlreadyUsed as refusal:
            ctx.tell(f"backup {backup.id} has its image already ({refusal.cloud_code}); looking for it")
            found = await _settle(valid, ctx, lease, since=ctx.clock.now(), deadline=deadline, dead=dead)
            found = found or await image_of(backup, ctx)
            if found is None:
                raise
            return _adopt(check_alive(found), valid, ctx, mine=False)
        except ApiError as refusal:
            if refusal.cloud_code != "IMG.0054" or " " not in description:
                raise
            description = description.replace(" ", "_")  # whether spaces are allowed is disputed (BEHAVIOUR.md 14)
            continue
        if job_id is not None:
            await note_sent(noted, ctx, job_id=job_id)
            ctx.tell(f"image {valid.name!r}: job {job_id} accepted")
            return _handle(valid, job_id=job_id, since=first_intent, dead=dead)
        ctx.tell("no clear answer to the request for the image; looking for it before anything is sent again")
        found = await _settle(valid, ctx, lease, since=ctx.clock.now(), deadline=deadline, dead=dead)
        if found is not None:
            return _adopt(found, valid, ctx, mine=True, since=first_intent)
        if ctx.clock.now() >= deadline:
            raise _not_seen(valid, deadline, "asked for, but not to be seen")


async def _settle(
    valid: ValidOrder, ctx: Context, lease: Lease, *, since: datetime, deadline: datetime, dead: tuple[str, ...]
) -> Image | None:
    backup = valid.findings.backup
    return await settle(
        lambda: image_of(backup, ctx, ignore=dead),
        ctx,
        lease,
        since=since,
        within=ctx.settings.settle.image,
        every=_LOOK_EVERY,
        deadline=deadline,
        late=lambda seen: _not_seen(valid, deadline, seen),
    )


def _not_seen(valid: ValidOrder, deadline: datetime, seen: str) -> StillRunning:
    handle = {"backup": valid.findings.backup.id}
    return StillRunning(f"The image {valid.name!r}", last_seen=seen, deadline=deadline, handle=handle)


async def _job(job_id: str, ctx: Context) -> Job | None:
    try:
        return await ctx.cloud.images.job(job_id)
    except ApiError as error:
        if error.retryable or error.status >= 500:
            raise
        return None


def check_alive(image: Image) -> Image:
    """The image, unless it is dead: only a person decides to make the next one."""
    if image.status in DEAD:
        raise JobFailed(
            f"The image {image.name!r} ({image.id}) of this backup",
            code=None,
            reason=f"it is {image.status}",
            action=f"Delete the image, or order the next with `{ANOTHER_ATTEMPT}`. Its backup is {image.backup_id}.",
            option=ANOTHER_ATTEMPT,
        )
    return image


def failed_job(job: Job, name: str, *, again: bool = False) -> JobFailed:
    """The cloud's own reason, what it means and what to do."""
    when = "The last attempt at image" if again else "Image"
    waits = diagnose(job.error_code).error_class is ErrorClass.WAIT
    if waits:
        return job_failed(f"{when} {name!r}", job)
    return job_failed(f"{when} {name!r}", job, hint=f"`{ANOTHER_ATTEMPT}` orders another attempt.", option=ANOTHER_ATTEMPT)


def _adopt(
    image: Image, valid: ValidOrder, ctx: Context, *, mine: bool, noted: Record | None = None, since: datetime | None = None
) -> ImageHandle:
    ours = SOURCE_TAG in image.tags
    if not mine:
        whose = "ours" if ours else "made by somebody else"
        ctx.tell(f"the backup has its image already, {whose}; adopting {image.name} ({image.id}, {image.status})")
    return _handle(
        valid,
        image_id=image.id,
        job_id=noted.job_id if noted else None,
        adopted=False if mine else True if ours else "foreign",
        since=since or image.created_at or ctx.clock.now(),
        active=image.status == "active",
        noted=noted,
    )


def _handle(
    valid: ValidOrder,
    *,
    since: datetime,
    job_id: str | None = None,
    image_id: str | None = None,
    adopted: bool | Literal["foreign"] = False,
    active: bool = False,
    noted: Record | None = None,
    dead: tuple[str, ...] = (),
) -> ImageHandle:
    source = valid.findings.source
    # An image that no run of ours saw become active was watched by nobody since it was asked for.
    unwatched = noted is not None and noted.state in {"intent", "sent"} and noted.facts.get(_STOPPED_FACT) is True
    doubt = noted.facts.get(DOUBTFUL_FACT) if noted and noted.image_id in {None, image_id} else None
    return ImageHandle(
        backup=valid.findings.backup,
        name=valid.name,
        job_id=job_id,
        image_id=image_id,
        adopted=adopted,
        since=since,
        source_id=source.id if source else None,
        source_stopped=unwatched or (_stopped(valid) and not active),
        doubtful=str(doubt) if doubt else None,
        dead=dead,
        usual_seconds=valid.findings.usual_seconds,
        seen_done=active and noted is not None and noted.state == "done" and noted.image_id == image_id,
    )


def _stopped(valid: ValidOrder) -> bool:
    source = valid.findings.source
    return bool(source and source.status == "SHUTOFF")


def _tags(valid: ValidOrder) -> dict[str, str]:
    """Marks of origin, set only in the request that makes the image, beside the user's own tags."""
    source = valid.findings.source
    marks = {SOURCE_TAG: valid.findings.backup.resource_id}
    if valid.order.policy:
        marks[POLICY_TAG] = encode_tag(valid.order.policy)
    if source and source.flavor_id:
        marks[FLAVOR_TAG] = encode_tag(source.flavor_id)
    return valid.order.tags | marks
