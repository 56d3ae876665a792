"""Share an image with projects, or end that, and prove it by the member list."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from backup_to_image.errors import ApiError, CloudError, JobFailed, NoAnswer, NotFound, Refused
from backup_to_image.model import Check, Image, Report
from backup_to_image.steps import expiry
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.once import job_failed, pause_or_raise
from backup_to_image.steps.recipients import MOST_MEMBERS
from backup_to_image.waiting import IMAGE_JOB, Pace, wait

__all__ = ["share_image", "shared_with", "unshare_image"]

# The native road, one project at a time, where the batch call is in trouble rather than against it.
_TROUBLE = {"IMG.0112", "IMG.0113", "IMG.0061", "IMG.0014", "IMG.0018"}


async def share_image(
    image: Image,
    projects: tuple[str, ...],
    ctx: Context,
    *,
    deadline: datetime | None = None,
    share_for: timedelta | None = None,
) -> tuple[str, ...]:
    """Share the image with these projects; return those that are members afterwards, as the cloud lists them.

    Safe to repeat: projects that have it already are left alone. `share_for` is how long from now they are to have it; without it
    there is no end, also where there was one. A share that was there before and has no end keeps having none. Raises Refused
    where there is no room for all of them (nothing is shared then), JobFailed with the cloud's reason, StillRunning at the
    deadline.
    """
    if not projects:
        return ()
    deadline = deadline or ctx.deadline(timedelta(minutes=10))
    have = {member.project_id for member in await ctx.cloud.images.members(image.id)}
    missing = tuple(project for project in projects if project not in have)
    if len(have) + len(missing) > MOST_MEMBERS:
        raise Refused(_no_room(image, len(have), missing))
    if share_for is not None:
        await expiry.note(image, await _ending(image, projects, missing, ctx), ctx, share_for=share_for)
    if missing:
        ctx.tell(f"sharing {image.name} with {', '.join(missing)} {until(deadline)}")
        await _add(image, missing, ctx, deadline)
    shared = await _prove(image, projects, ctx, deadline)
    if share_for is None:
        await expiry.forget(image.id, projects, ctx)
    return shared


async def unshare_image(image: Image, projects: tuple[str, ...], ctx: Context, *, deadline: datetime | None = None) -> None:
    """End the sharing of the image with these projects, until the cloud lists none of them any more. Others keep it.

    Safe to repeat: projects that do not have it are left alone. Raises JobFailed with the cloud's reason, StillRunning at the
    deadline.
    """
    deadline = deadline or ctx.deadline(timedelta(minutes=10))
    have = await _member_projects(image, ctx)
    still = tuple(project for project in projects if project in have)
    if still:
        ctx.tell(f"ending the share of {image.name} with {', '.join(still)} {until(deadline)}")
        await _remove(image, still, ctx, deadline)
    await _prove_gone(image, projects, ctx, deadline)


async def shared_with(image: Image, projects: tuple[str, ...], ctx: Context) -> tuple[str, ...]:
    """Which of these projects have the image now, as far as the cloud tells: for the report of a sharing that went wrong."""
    try:
        have = {member.project_id for member in await ctx.cloud.images.members(image.id)} if projects else set[str]()
    except CloudError:
        return ()
    return tuple(project for project in projects if project in have)


async def _ending(image: Image, projects: tuple[str, ...], missing: tuple[str, ...], ctx: Context) -> tuple[str, ...]:
    """Whose share is to have an end: those who do not have the image yet, and those whose share has one already."""
    known = await expiry.end_known(image, projects, ctx)
    for project in projects:
        if project not in missing and project not in known:
            ctx.tell(f"{project} has {image.name} already, without an end; it stays so")
    return tuple(project for project in projects if project in missing or project in known)


async def _member_projects(image: Image, ctx: Context) -> set[str]:
    return {member.project_id for member in await ctx.cloud.images.members(image.id)}


async def _remove(image: Image, projects: tuple[str, ...], ctx: Context, deadline: datetime) -> None:
    while True:
        try:
            job_id = await ctx.cloud.images.unshare([image.id], list(projects))
            await _await_job(job_id, image, ctx, deadline, what="Ending the share of")
        except NoAnswer:
            ctx.tell("no answer to the request to end the share; looking at the member list")
            return
        except (ApiError, JobFailed) as refusal:
            if refusal.cloud_code in _TROUBLE:
                ctx.tell(f"{refusal.code}: the batch call is in trouble; ending one share at a time")
                for project in projects:
                    await _remove_one(image, project, ctx)
                return
            if isinstance(refusal, JobFailed):
                raise
            await pause_or_raise(refusal, ctx, deadline)
        else:
            return


async def _remove_one(image: Image, project: str, ctx: Context) -> None:
    with contextlib.suppress(NotFound):
        await ctx.cloud.images.unshare_one(image.id, project)


async def _prove_gone(image: Image, projects: tuple[str, ...], ctx: Context, deadline: datetime) -> None:
    """No project is a member any more: a job's SUCCESS may hide single failures (BEHAVIOUR.md 6)."""
    asked_again: set[str] = set()

    async def gone() -> bool | None:
        try:
            have = await _member_projects(image, ctx)
            still = {project for project in projects if project in have or await _is_member(project, image, ctx)}
        except CloudError as error:
            if not error.retryable:
                raise
            return None
        for project in sorted(still - asked_again):
            asked_again.add(project)
            await _remove_one(image, project, ctx)
        return None if still else True

    await wait(
        gone,
        state=lambda _: "SUCCESS",
        states=IMAGE_JOB,
        what=f"The end of the share of {image.name}",
        deadline=deadline,
        pace=Pace((3.0,)),
        clock=ctx.clock,
        handle={"image": image.id},
    )


async def _add(image: Image, projects: tuple[str, ...], ctx: Context, deadline: datetime) -> None:
    while True:
        try:
            job_id = await ctx.cloud.images.share([image.id], list(projects))
            await _await_job(job_id, image, ctx, deadline)
        except NoAnswer:
            # Whether it took effect shows in the member list, where it is looked for next.
            ctx.tell("no answer to the request to share; looking at the member list")
            return
        except (ApiError, JobFailed) as refusal:
            if refusal.cloud_code in _TROUBLE:
                ctx.tell(f"{refusal.code}: the batch call is in trouble; sharing one project at a time")
                for project in projects:
                    await ctx.cloud.images.share_one(image.id, project)
                return
            if isinstance(refusal, JobFailed):
                raise
            await pause_or_raise(refusal, ctx, deadline)
        else:
            return


async def _await_job(job_id: str, image: Image, ctx: Context, deadline: datetime, *, what: str = "Sharing") -> None:
    job, good = await wait(
        lambda: ctx.cloud.images.job(job_id),
        state=lambda seen: seen.status,
        states=IMAGE_JOB,
        what=f"{what} {image.name}",
        deadline=deadline,
        pace=Pace((3.0,)),
        clock=ctx.clock,
        handle={"job": job_id, "image": image.id},
    )
    if not good:
        raise job_failed(f"{what} {image.name}", job)


async def _prove(image: Image, projects: tuple[str, ...], ctx: Context, deadline: datetime) -> tuple[str, ...]:
    """Every project is a member: a job's SUCCESS may hide single failures (BEHAVIOUR.md 6)."""
    asked_again: set[str] = set()

    async def members() -> set[str] | None:
        try:
            have = {member.project_id for member in await ctx.cloud.images.members(image.id)}
            have |= {project for project in projects if project not in have and await _is_member(project, image, ctx)}
        except CloudError as error:
            if not error.retryable:
                raise
            return None
        missing = set(projects) - have
        for project in sorted(missing - asked_again):
            # Not refused, not there: ask for this one alone, once, so that its own reason is heard.
            asked_again.add(project)
            await ctx.cloud.images.share_one(image.id, project)
        return None if missing else have

    have, _ = await wait(
        members,
        state=lambda _: "SUCCESS",
        states=IMAGE_JOB,
        what=f"The member list of {image.name}",
        deadline=deadline,
        pace=Pace((3.0,)),
        clock=ctx.clock,
        handle={"image": image.id},
    )
    return tuple(project for project in projects if project in have)


async def _is_member(project: str, image: Image, ctx: Context) -> bool:
    """The second witness: a list may be late, and who is asked for twice is refused."""
    try:
        await ctx.cloud.images.member(image.id, project)
    except NotFound:
        return False
    return True


def _no_room(image: Image, have: int, missing: tuple[str, ...]) -> Report:
    return Report(
        subject=f"image {image.id}",
        checks=(
            Check(
                rule="recipients",
                verdict="refused",
                why=f"{have} projects have the image and {len(missing)} more are named, but {MOST_MEMBERS} are the most",
                action="Name fewer recipients, or take the image back from some.",
                code="IMG.0088",
                page="IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst",
            ),
        ),
    )
