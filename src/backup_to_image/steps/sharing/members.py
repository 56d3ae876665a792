"""Share an image with projects, or end that, and prove it by the member list."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup_to_image.errors import ApiError, CloudError, ErrorClass, JobFailed, NoAnswer, NotFound, Refused
from backup_to_image.model import Check, Image, Report
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.once import job_failed, pause_or_raise
from backup_to_image.steps.sharing import expiry
from backup_to_image.steps.sharing.recipients import most_members
from backup_to_image.waiting import IMAGE_JOB, Pace, wait

__all__ = ["members_refused", "offer_image", "share_image", "shared_with", "take_back", "unshare_image", "who_has"]

# The native road, one project at a time, where the batch call is in trouble rather than against it.
_TROUBLE = {"IMG.0112", "IMG.0113", "IMG.0061", "IMG.0014", "IMG.0018"}
_PACE = Pace((3.0,))


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
    where there is no room for all of them (nothing is shared then), the cloud's reason against the first project that it refused
    once all others have it, StillRunning at the deadline.
    """
    members_refused(await offer_image(image, projects, ctx, deadline=deadline, share_for=share_for))
    return projects


async def offer_image(
    image: Image,
    projects: tuple[str, ...],
    ctx: Context,
    *,
    deadline: datetime | None = None,
    share_for: timedelta | None = None,
    there: Collection[str] = (),
) -> dict[str, CloudError]:
    """What `share_image` does; returns whom the cloud refused, with its reason for each. All others are members.

    `there` names those that are known to have it, though the list of members may not show them yet.
    """
    if not projects:
        return {}
    deadline = deadline or ctx.deadline(timedelta(minutes=10))
    have = await _members(image, ctx) | set(there)
    missing = tuple(project for project in projects if project not in have)
    if missing and len(have) + len(missing) > most_members(image, ctx.cloud.region):
        raise Refused(_no_room(image, len(have), missing, ctx))
    if share_for is not None:
        await expiry.note(image, await _ending(image, projects, missing, ctx), ctx, share_for=share_for)
    change = _Change(image, ctx, deadline, gives=True)
    if missing:
        ctx.tell(f"sharing {image.name} with {', '.join(missing)} {until(deadline)}")
        await change.ask(missing)
    await change.prove(projects)
    if share_for is None:
        await expiry.forget(image.id, projects, ctx)
    return change.refused


async def unshare_image(image: Image, projects: tuple[str, ...], ctx: Context, *, deadline: datetime | None = None) -> None:
    """End the sharing of the image with these projects, until the cloud lists none of them any more. Others keep it.

    Safe to repeat: projects that do not have it are left alone. Raises the cloud's reason against the first project that it
    refused once it is over for all others, StillRunning at the deadline.
    """
    members_refused(await take_back(image, projects, ctx, deadline=deadline))


async def take_back(
    image: Image, projects: tuple[str, ...], ctx: Context, *, deadline: datetime | None = None
) -> dict[str, CloudError]:
    """What `unshare_image` does; returns the projects for which the cloud refused it, with its reason for each."""
    deadline = deadline or ctx.deadline(timedelta(minutes=10))
    have = await who_has(image, projects, ctx)
    change = _Change(image, ctx, deadline, gives=False)
    still = tuple(project for project in projects if project in have)
    if still:
        ctx.tell(f"ending the share of {image.name} with {', '.join(still)} {until(deadline)}")
        await change.ask(still)
    await change.prove(projects)
    return change.refused


def members_refused(refused: dict[str, CloudError]) -> None:
    """Raise the reason of the first project that was refused; nothing where none was."""
    for reason in refused.values():
        raise reason


async def shared_with(image: Image, projects: tuple[str, ...], ctx: Context) -> tuple[str, ...]:
    """Which of these projects have the image now, as far as the cloud tells: for the report of a sharing that went wrong."""
    try:
        have = await _members(image, ctx) if projects else set[str]()
    except CloudError:
        return ()
    return tuple(project for project in projects if project in have)


async def who_has(image: Image, projects: tuple[str, ...], ctx: Context) -> set[str]:
    """Everybody on the list of members, and those of these projects that it does not show yet. Raises CloudError."""
    have = await _members(image, ctx)
    return have | {project for project in projects if project not in have and await _has(image, project, ctx)}


async def _has(image: Image, project: str, ctx: Context) -> bool:
    """The second witness: a list may be late, and who is asked for twice is refused."""
    try:
        await ctx.cloud.images.member(image.id, project)
    except NotFound:
        return False
    return True


async def _ending(image: Image, projects: tuple[str, ...], missing: tuple[str, ...], ctx: Context) -> tuple[str, ...]:
    """Whose share is to have an end: those who do not have the image yet, and those whose share has one already."""
    known = await expiry.end_known(image, projects, ctx)
    for project in projects:
        if project not in missing and project not in known:
            ctx.tell(f"{project} has {image.name} already, without an end; it stays so")
    return tuple(project for project in projects if project in missing or project in known)


async def _members(image: Image, ctx: Context) -> set[str]:
    return {member.project_id for member in await ctx.cloud.images.members(image.id)}


@dataclass
class _Change:
    """Projects get the image, or lose it: asked for together, and proven by the member list."""

    image: Image
    ctx: Context
    deadline: datetime
    gives: bool
    refused: dict[str, CloudError] = field(default_factory=dict[str, CloudError])
    """Why a project did not get or lose it; it has been asked for alone."""
    alone: set[str] = field(default_factory=set[str])
    """The projects that have been asked for alone."""

    @property
    def what(self) -> str:
        return f"Sharing {self.image.name}" if self.gives else f"Ending the share of {self.image.name}"

    async def ask(self, projects: tuple[str, ...]) -> None:
        """By the batch call. Where that is in trouble or refused, each project is asked for alone later, for its own reason."""
        images, ctx = self.ctx.cloud.images, self.ctx
        while True:
            try:
                job_id = await (images.share if self.gives else images.unshare)([self.image.id], list(projects))
                await self._await_job(job_id)
            except NoAnswer:
                # Whether it took effect shows in the member list, where it is looked for next.
                ctx.tell(f"{self.what}: no answer to the request; looking at the member list")
                return
            except (ApiError, JobFailed) as refusal:
                if refusal.cloud_code in _TROUBLE:
                    ctx.tell(f"{self.what}: {refusal.code}: the batch call is in trouble; one project at a time")
                    return
                if isinstance(refusal, ApiError) and refusal.error_class is ErrorClass.WAIT:
                    await pause_or_raise(refusal, ctx, self.deadline)
                    continue
                if len(projects) > 1:
                    ctx.tell(f"{self.what}: {refusal.code}: refused for all together; one project at a time")
                    return
                self.alone |= set(projects)
                self.refused = dict.fromkeys(projects, refusal)
                return
            else:
                return

    async def ask_one(self, project: str) -> None:
        images = self.ctx.cloud.images
        if self.gives:
            await images.share_one(self.image.id, project)
            return
        with contextlib.suppress(NotFound):
            await images.unshare_one(self.image.id, project)

    async def prove(self, projects: tuple[str, ...]) -> None:
        """Look until every project has the image, or none has: a job's SUCCESS may hide single failures (BEHAVIOUR.md 6).

        Who was refused and does not have it all the same is left in `refused`.
        """

        async def done() -> bool | None:
            try:
                have = await who_has(self.image, projects, self.ctx)
            except CloudError as error:
                if not error.retryable:
                    raise
                return None
            wrong = {project for project in projects if (project in have) is not self.gives}
            self.refused = {project: reason for project, reason in self.refused.items() if project in wrong}
            fresh = sorted(wrong - self.alone)
            for project in fresh:
                await self._ask_alone(project)
            return None if fresh or wrong - set(self.refused) else True

        await wait(
            done,
            state=lambda _: "SUCCESS",
            states=IMAGE_JOB,
            what=f"The member list of {self.image.name}" if self.gives else f"The end of the share of {self.image.name}",
            deadline=self.deadline,
            pace=_PACE,
            clock=self.ctx.clock,
            handle={"image": self.image.id},
        )

    async def _ask_alone(self, project: str) -> None:
        """Not refused, not done: ask for this one alone, once, so that its own reason is heard. The next look decides."""
        self.alone.add(project)
        try:
            await self.ask_one(project)
        except CloudError as reason:
            if isinstance(reason, ApiError) and reason.error_class is ErrorClass.WAIT:
                self.ctx.tell(f"{reason.code}: {reason.words}; asking again, {until(self.deadline)}")
                self.alone.discard(project)
                return
            self.refused[project] = reason

    async def _await_job(self, job_id: str) -> None:
        job, good = await wait(
            lambda: self.ctx.cloud.images.job(job_id),
            state=lambda seen: seen.status,
            states=IMAGE_JOB,
            what=self.what,
            deadline=self.deadline,
            pace=_PACE,
            clock=self.ctx.clock,
            handle={"job": job_id, "image": self.image.id},
        )
        if not good:
            raise job_failed(self.what, job)


def _no_room(image: Image, have: int, missing: tuple[str, ...], ctx: Context) -> Report:
    most = most_members(image, ctx.cloud.region)
    return Report(
        subject=f"image {image.id}",
        checks=(
            Check(
                rule="recipients",
                verdict="refused",
                why=f"{have} projects have the image and {len(missing)} more are named, but {most} are the most",
                action="Name fewer recipients, or take the image back from some with `b2i unshare`.",
                code="IMG.0088",
                page="IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst",
            ),
        ),
    )
