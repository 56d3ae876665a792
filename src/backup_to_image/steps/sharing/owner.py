"""The owner's side of sharing: whom an image is shared with, sharing it with more, taking it back.

An order stands in the journal for each project from before its first request until it has ended, so that a killed one is finished
by `b2i reconcile`; what is ordered later of the same image and project takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from backup_to_image.errors import B2iError, CloudError, NotFound, Refused
from backup_to_image.model import Backup, Check, Image, Report, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.orders import OrderedShare, OrderedUnshare, ordered, withdraw_recipients
from backup_to_image.steps.sharing import expiry, recipients
from backup_to_image.steps.sharing.checks import ImageFacts, ownership_check, share_checks
from backup_to_image.steps.sharing.members import offer_image, take_back, who_has
from backup_to_image.waiting import quiet

__all__ = [
    "CheckedShare",
    "Membership",
    "Shares",
    "check_share",
    "find_image",
    "find_image_to_share",
    "find_image_to_unshare",
    "look_at_shares",
    "look_for_shares",
    "membership",
    "share",
    "unshare",
    "what_it_means",
]

_IMAGE_PAGE = "IMS api-ref/source/ims_apis/image/querying_images.rst"
_LONGEST_NAME = 128


class Membership(Value):
    """One project that has an image, was to get it, or was to lose it."""

    project_id: str
    alias: str | None
    """What b2i.yaml calls it."""
    status: str | None
    """pending (not answered), accepted or rejected, as the cloud has it; None: it does not have the image."""
    ends_at: AwareDatetime | None = None
    """When `b2i sweep` ends the share; None: it has no end, or the journal knows of none."""
    result: Literal["made", "adopted", "failed"] | None = None
    """What this command did: shared or ended it now, found it so, or was refused. None: it was not asked to."""
    code: str | None = None
    reason: str = ""
    action: str = ""
    retryable: bool = False


class Shares(Value):
    """Whom an image is shared with, as the cloud lists it."""

    image: Image
    members: tuple[Membership, ...]
    report: Report | None = None

    @property
    def outcome(self) -> Literal["made", "adopted", "partly", "failed"] | None:
        """None where nothing was ordered."""
        results = {member.result for member in self.members} - {None}
        if "failed" in results:
            return "failed" if results == {"failed"} else "partly"
        return "made" if "made" in results else "adopted" if results else None


async def find_image(reference: str, ctx: Context, *, besides: tuple[Check, ...] = ()) -> Image:
    """The image of that id, or the own one of that name if only one has it.

    Raises Refused where there is none, also with what else speaks against the order (`besides`).
    """
    found = await _find_image(reference, ctx)
    if isinstance(found, Check):
        raise Refused(Report(subject=f"image {reference}", checks=(found, *besides)))
    return found


async def find_image_to_share(reference: str, named: tuple[str, ...], ctx: Context) -> Image:
    """The same for whoever names projects too: all that is wrong with both is told at once."""
    return await find_image(reference, ctx, besides=recipients.resolve(named, ctx.project_id, ctx.settings).checks)


async def find_image_to_unshare(reference: str, named: tuple[str, ...], ctx: Context) -> Image:
    """The same where it is taken back."""
    return await find_image(reference, ctx, besides=recipients.resolve_members(named, ctx.settings).checks)


async def _find_image(reference: str, ctx: Context) -> Image | Check:
    if is_id(reference):
        try:
            return await ctx.cloud.images.get(reference.lower())
        except NotFound as error:
            said = f"{error.cloud_code or error.status}: {error.words}"
            return _missing(f"there is no image {reference!r} in this project ({said})", code=error.cloud_code or "")
    if not 0 < len(reference) <= _LONGEST_NAME:
        return _missing(f"{reference[:40]!r} is no id, and names have 1 to {_LONGEST_NAME} characters")
    named = [image async for image in ctx.cloud.images.list(owner=ctx.project_id, name=reference) if image.name == reference]
    if len(named) > 1:
        ids = ", ".join(image.id for image in named)
        return _missing(f"{len(named)} images are called {reference!r}", action=f"Name the id instead: {ids}.")
    return named[0] if named else _missing(f"no image of this project is called {reference!r}")


def is_id(text: str) -> bool:
    """Whether it is written like the id of an image or of a vault."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(char in "0123456789abcdefABCDEF" for char in "".join(parts))


def _missing(why: str, *, action: str = "`b2i board` lists the images of each server.", code: str = "") -> Check:
    return Check(rule="exists", verdict="refused", why=why, action=action, code=code, page=_IMAGE_PAGE)


async def look_at_shares(image: Image, ctx: Context, results: Mapping[str, Membership] | None = None) -> Shares:
    """Whom the image is shared with, each with its end; and what became of those that were ordered. Raises CloudError."""
    of_order = results or {}
    status = {member.project_id: member.status for member in await ctx.cloud.images.members(image.id)}
    for project in [one for one in of_order if one not in status]:
        late = await quiet(ctx.cloud.images.member(image.id, project))  # a list may be late
        if late:
            status[project] = late.status
    ends = await expiry.ends(image.id, ctx)
    members: list[Membership] = []
    for project in dict.fromkeys([*of_order, *status]):
        known = of_order.get(project) or Membership(project_id=project, alias=ctx.settings.alias_of(project), status=None)
        seen = {"status": status.get(project), "ends_at": ends.get(project) if project in status else None}
        members.append(known.model_copy(update=seen))
    return Shares(image=image, members=tuple(members))


async def share(
    image: Image,
    named: tuple[str, ...],
    ctx: Context,
    *,
    share_for: timedelta | None = None,
    patience: timedelta = timedelta(minutes=10),
) -> Shares:
    """Share an image that is there with these projects, each proven by the member list or told with the cloud's reason.

    Safe to repeat: who has it already is left alone. Raises Refused with every reason before anything is shared; StillRunning
    at the deadline; `b2i reconcile` goes on with what was cut off.
    """
    checked = await check_share(image, named, ctx)
    if not checked.report.ok:
        raise Refused(checked.report)
    projects, before = checked.projects, checked.members
    async with AsyncExitStack() as stack:
        deadline = ctx.deadline(patience)
        for project in projects:
            wanted = OrderedShare(image_id=image.id, image_name=image.name, recipient=project, share_for=share_for)
            deadline = min(deadline, await stack.enter_async_context(ordered(wanted, ctx, patience=patience)))
        refused = await offer_image(image, projects, ctx, deadline=deadline, share_for=share_for, there=before)
    results = {one: membership(one, refused.get(one), ctx, so_before=one in before) for one in projects}
    return (await look_at_shares(image, ctx, results)).model_copy(update={"report": checked.report})


async def unshare(image: Image, named: tuple[str, ...], ctx: Context, *, patience: timedelta = timedelta(minutes=10)) -> Shares:
    """Take an image back from these projects, until the cloud lists none of them any more.

    Safe to repeat: who does not have it is left alone. It is gone for them at once; servers that they have made of it live on,
    and their OS cannot be reinstalled. Raises Refused with every reason before anything is ended; StillRunning at the deadline.
    """
    chosen = recipients.resolve_members(named, ctx.settings)
    checks = (ownership_check(image, ctx.project_id), *chosen.checks)
    report = Report(subject=_subject(image), checks=checks)
    if not report.ok:
        raise Refused(report)
    projects = chosen.projects
    before = await who_has(image, projects, ctx)
    async with AsyncExitStack() as stack:
        deadline = ctx.deadline(patience)
        for project in projects:
            wanted = OrderedUnshare(image_id=image.id, image_name=image.name, recipient=project)
            deadline = min(deadline, await stack.enter_async_context(ordered(wanted, ctx, patience=patience)))
        refused = await end_shares(image, projects, ctx, deadline=deadline)
    results = {one: membership(one, refused.get(one), ctx, so_before=one not in before) for one in projects}
    return (await look_at_shares(image, ctx, results)).model_copy(update={"report": report})


async def end_shares(
    image: Image, projects: tuple[str, ...], ctx: Context, *, deadline: datetime | None = None
) -> dict[str, CloudError]:
    """End these shares and forget their ends, and that an open order of the image names these projects. Returns the refusals."""
    await withdraw_recipients(image, projects, ctx)
    refused = await take_back(image, projects, ctx, deadline=deadline)
    await expiry.forget(image.id, [one for one in projects if one not in refused], ctx)
    return refused


async def look_for_shares(image: Image, ctx: Context) -> Leftovers:
    """Whom the image is shared with at this moment, for whoever has stopped a command. Raises CloudError."""
    members = await ctx.cloud.images.members(image.id)
    shared = [Leftover(kind="member", id=member.project_id, status=member.status) for member in members]
    thing = Leftover(kind="image", id=image.id, name=image.name, status=image.status)
    return Leftovers(things=(thing, *shared), seen_at=ctx.clock.now())


class CheckedShare(Value):
    """Whether an image may be shared with those who were named, before anything is."""

    projects: tuple[str, ...]
    members: tuple[str, ...]
    """Who has the image already."""
    report: Report
    backup: Backup | None = None
    """The backup behind it, as its owner sees it."""


async def check_share(image: Image, named: tuple[str, ...], ctx: Context) -> CheckedShare:
    """Every rule that speaks for or against sharing the image with these projects. Shares nothing. Raises CloudError."""
    own = image.owner == ctx.project_id and image.visibility != "public"
    facts = await _facts(image, ctx) if own else ImageFacts(image=image)
    alone = recipients.resolve(named, ctx.project_id, ctx.settings)
    asked_for = () if any(check.verdict == "refused" for check in alone.checks) else alone.projects
    members = tuple(await who_has(image, asked_for, ctx)) if own else ()
    most = recipients.most_members(image, ctx.cloud.region)
    chosen = recipients.resolve(named, ctx.project_id, ctx.settings, members=members, most=most)
    checks = (*share_checks(facts, ctx.project_id, ctx.cloud.region, ctx.settings), *chosen.checks)
    report = Report(subject=_subject(image), checks=checks)
    return CheckedShare(projects=chosen.projects, members=members, report=report, backup=facts.backup)


def _subject(image: Image) -> str:
    return f"image {image.name} ({image.id})"


async def _facts(image: Image, ctx: Context) -> ImageFacts:
    if image.backup_id is None:
        return ImageFacts(image=image)
    try:
        return ImageFacts(image=image, backup=await ctx.cloud.backups.get(image.backup_id))
    except NotFound:
        return ImageFacts(image=image, backup_unknown=True)
    except CloudError as error:
        return ImageFacts(image=image, unread=error.message)


def membership(project: str, refused: B2iError | None, ctx: Context, *, so_before: bool) -> Membership:
    """What became of one project's share, or of its end, that was ordered."""
    return Membership(
        project_id=project,
        alias=ctx.settings.alias_of(project),
        status=None,
        result="failed" if refused else "adopted" if so_before else "made",
        code=refused.code if refused else None,
        reason=refused.message if refused else "",
        action=refused.action if refused else "",
        retryable=refused.retryable if refused else False,
    )


def what_it_means(ended: Shares) -> tuple[str, ...]:
    """What the end of their share means for those who have lost the image just now; nothing where nobody has."""
    if not any(one.result == "made" and one.status is None for one in ended.members):
        return ()
    return _MEANING if ended.image.backup_id else _MEANING[:-1]


_MEANING = (
    "It is gone at once for those who had it, and the cloud does not tell them.",
    "Servers that they have made of it live on, but their OS cannot be reinstalled with it.",
    "What becomes of the copy in the vault of those who had accepted it, no page says; they see in CBR whether it is billed.",
)
