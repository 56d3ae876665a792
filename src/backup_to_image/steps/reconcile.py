"""Finish what was begun and left: waits, shares already ordered, teardowns. Nothing is begun here.

For orders whose run was killed, gave up waiting or lost its journal's last word. An image or a server that was never asked for is
told, not made: the order may be hours old, and its person has to want it still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime

from backup_to_image.errors import B2iError, CloudError, JobFailed, NotFound, StillRunning
from backup_to_image.model import ImageOrder, LaunchOrder, Report, Value
from backup_to_image.steps.await_image import FinishedImage, await_image
from backup_to_image.steps.changing.change_os import resume_change
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import Findings, image_of
from backup_to_image.steps.launching.launch import resume_launch
from backup_to_image.steps.launching.teardown import find_launch, tear_down
from backup_to_image.steps.make import find_made
from backup_to_image.steps.orders import (
    OpenOrder,
    OrderedAnswer,
    OrderedChange,
    OrderedDrill,
    OrderedHandOver,
    OrderedImage,
    OrderedLaunch,
    OrderedShare,
    OrderedTeardown,
    OrderedUnshare,
    close,
    open_orders,
)
from backup_to_image.steps.sharing.members import members_refused, share_image
from backup_to_image.steps.sharing.offers import answer_offer, find_offer, follow_job
from backup_to_image.steps.sharing.owner import end_shares
from backup_to_image.steps.validate import ValidOrder
from backup_to_image.waiting import passes, quiet

__all__ = ["Reconciled", "reconcile"]

_TOLD = "told_overdue"
_AT_ONCE = 8
_LEAVE_ALONE = timedelta(minutes=3)
"""What is done for a shorter time may still be seen by its own run, or by the one that is started again after a crash; but past
the deadline nobody waits for it any more."""
_TEARDOWN = timedelta(minutes=10)
_ANSWER = timedelta(minutes=10)

Outcome = Literal["finished", "failed", "running", "busy", "not_begun", "stopped"]


class Reconciled(Value):
    """One order that had not ended, and what became of it."""

    verb: str
    """create, launch, share and so on, as the command is called that ordered it; or drill."""
    subject: str
    outcome: Outcome
    words: str
    """What was found or done, in a sentence without a full stop."""
    action: str = ""
    overdue: bool = False
    """Whether it should have ended by now."""
    news: bool
    """Whether this look has changed something: closed the order, or found it late for the first time."""
    since: AwareDatetime
    deadline: AwareDatetime | None = None
    run_id: str | None = None
    ids: dict[str, str] = {}
    """What exists of it in the cloud, by kind."""


class _Found(Value):
    outcome: Outcome
    words: str
    action: str = ""
    ids: dict[str, str] = {}


async def reconcile(ctx: Context, *, busy: Collection[str] = ()) -> tuple[Reconciled, ...]:
    """Look at every order that has not ended, finish what was begun, tell the rest; the oldest first.

    Safe to repeat, and beside live runs: `busy` names the flow runs that are at work, whose orders are left to them. An order
    that was finished, has failed, or was never begun and is past its deadline is told once and forgotten. Raises JournalError;
    what goes wrong with one order is told with it.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(order: OpenOrder) -> Reconciled:
        async with gate:
            return await _look_after(order, ctx, busy=order.run_id in busy)

    return tuple(await asyncio.gather(*(one(order) for order in await open_orders(ctx))))


async def _look_after(order: OpenOrder, ctx: Context, *, busy: bool) -> Reconciled:
    overdue = order.deadline is not None and order.deadline <= ctx.clock.now()
    if busy:
        found = _Found(outcome="busy", words="its flow run is at work")
    elif order.state == "stopped":
        found = _Found(outcome="stopped", words="it was stopped by a person or a signal", action=_again(order))
    else:
        found = await _finish(order, ctx, overdue=overdue)
    over = found.outcome in {"finished", "failed"} or (overdue and found.outcome in {"not_begun", "stopped"})
    late = overdue and found.outcome == "running" and order.record.facts.get(_TOLD) is not True
    if over:
        await close(order.record, ctx)
    elif late:
        known = order.record.model_copy(update={"facts": order.record.facts | {_TOLD: True}})
        await close(known, ctx, state="late")
    told = Reconciled(
        verb=order.ordered.verb,
        subject=order.ordered.subject,
        overdue=overdue,
        news=over or late,
        since=order.since,
        deadline=order.deadline,
        run_id=order.run_id,
        **found.model_dump(),
    )
    ctx.tell(f"{told.verb} {told.subject}: {told.words}")
    return told


async def _finish(order: OpenOrder, ctx: Context, *, overdue: bool) -> _Found:
    try:
        return await _go_on(order, ctx, overdue=overdue)
    except StillRunning as late:
        return _Found(outcome="running", words=f"{late.what} is still running in the cloud: {late.last_seen}", ids=late.handle)
    except B2iError as error:
        if isinstance(error, CloudError) and passes(error):
            return _Found(outcome="running", words=f"it could not be looked at: {error.message}", action=error.action)
        return _Found(outcome="failed", words=error.message, action=f"{error.action} {_again(order)}".strip())


async def _go_on(order: OpenOrder, ctx: Context, *, overdue: bool) -> _Found:
    match order.ordered:
        case OrderedImage() as wanted:
            return await _image(wanted, order, ctx, overdue=overdue)
        case OrderedLaunch() as wanted:
            return await _launch(wanted, order, ctx)
        case OrderedShare() | OrderedUnshare() | OrderedHandOver() as wanted:
            return await _member(wanted, order, ctx)
        case OrderedAnswer() as wanted:
            return await _answer(wanted, order, ctx)
        case OrderedChange() as wanted:
            return await _change(wanted, order, ctx)
        case OrderedTeardown() | OrderedDrill() as wanted:
            return await _end(wanted, order, ctx, overdue=overdue)


async def _image(wanted: OrderedImage, order: OpenOrder, ctx: Context, *, overdue: bool) -> _Found:
    try:
        backup = await ctx.cloud.backups.get(wanted.backup_id)
    except NotFound:
        return _Found(outcome="failed", words="its backup is gone", action="`b2i backups` lists those that are there.")
    source = await quiet(ctx.cloud.servers.find(backup.resource_id))
    known = Findings(backup=backup, image=await image_of(backup, ctx), source=source)
    valid = ValidOrder(
        order=ImageOrder(backup_id=backup.id),
        name=wanted.image_name,
        recipients=wanted.recipients,
        launch=wanted.launch,
        findings=known,
        report=Report(subject=f"backup {backup.id}", checks=()),
    )
    handle = await find_made(valid, ctx)
    if handle is None:
        return _Found(outcome="not_begun", words="no image was made and none is being made", action=_again(order))
    finished = await await_image(handle, ctx, deadline=ctx.clock.now())
    ids = {"image": finished.image.id}
    if not overdue and _just_now(finished, ctx):
        return _Found(outcome="running", words=f"image {finished.image.name} is Normal; left to its own run for now", ids=ids)
    shared = await _share(finished, wanted, ctx)
    normal = f"image {finished.image.name} is Normal{shared}"
    if wanted.launch is None:
        return _Found(outcome="finished", words=normal, ids=ids)
    return await _server_of(finished, wanted.launch, order, ctx, normal=normal, ids=ids)


async def _server_of(
    finished: FinishedImage, launch: LaunchOrder, order: OpenOrder, ctx: Context, *, normal: str, ids: dict[str, str]
) -> _Found:
    try:
        launched = await resume_launch(finished.image, launch, ctx, deadline=ctx.clock.now())
    except JobFailed as failure:
        action = f"{failure.action} {_again(order)}".strip()
        return _Found(outcome="failed", words=f"{normal}; {failure.message}", action=action, ids=ids)
    if launched is None:
        return _Found(outcome="not_begun", words=f"{normal}; its server was never asked for", action=_again(order), ids=ids)
    servers = ", ".join(launched.server_names)
    ids |= {"launch": launched.launch_id, "server": ", ".join(launched.server_ids)}
    words = f"{normal}; server {servers} {_probed(launched.outcome, probed=launched.probed)}"
    return _Found(outcome="finished", words=words, ids=ids)


async def _share(finished: FinishedImage, wanted: OrderedImage, ctx: Context) -> str:
    """Share as ordered, with projects that b2i.yaml still names; returns the words for it."""
    allowed = tuple(project for project in wanted.recipients if project in ctx.settings.recipients)
    shared = await share_image(finished.image, allowed, ctx, share_for=wanted.share_for)
    refused = [project for project in wanted.recipients if project not in allowed]
    words = f", shared with {', '.join(shared)}" if shared else ""
    return words + (f", not shared with {', '.join(refused)}, which b2i.yaml does not name any more" if refused else "")


async def _member(wanted: OrderedShare | OrderedUnshare | OrderedHandOver, order: OpenOrder, ctx: Context) -> _Found:
    """A share, or the end of one: it is asked for again where that has not come about, as the order says."""
    gives = not isinstance(wanted, OrderedUnshare)
    ids = {"image": wanted.image_id, "member": wanted.recipient}
    try:
        image = await ctx.cloud.images.get(wanted.image_id)
    except NotFound:
        if not gives:
            return _Found(outcome="finished", words="the share ended with its image")
        return _Found(outcome="failed", words="its image is gone")
    if not gives:
        members_refused(await end_shares(image, (wanted.recipient,), ctx))
        return _Found(outcome="finished", words=f"{wanted.recipient} has it no more", ids=ids)
    if wanted.recipient not in ctx.settings.recipients:
        return _Found(outcome="failed", words="b2i.yaml does not name the recipient any more", ids=ids)
    await share_image(image, (wanted.recipient,), ctx, share_for=wanted.share_for)
    if isinstance(wanted, OrderedHandOver):
        return (await _handed_over(wanted, order, ctx)).model_copy(update={"ids": ids})
    return _Found(outcome="finished", words=f"{wanted.recipient} has it", ids=ids)


async def _handed_over(wanted: OrderedHandOver, order: OpenOrder, ctx: Context) -> _Found:
    """That it is accepted there takes the recipient's log-in, which nobody has here."""
    member = await quiet(ctx.cloud.images.member(wanted.image_id, wanted.recipient))
    if member and member.status == "accepted":
        return _Found(outcome="finished", words=f"{wanted.recipient} has it and has accepted it")
    said = "has rejected it" if member and member.status == "rejected" else "has not answered"
    action = f"With the recipient's log-in: `b2i accept {wanted.image_id}`. {_again(order)}"
    return _Found(outcome="not_begun", words=f"{wanted.recipient} has it and {said}", action=action)


async def _answer(wanted: OrderedAnswer, order: OpenOrder, ctx: Context) -> _Found:
    """What this project has said to an offer: said again, into the same vault, where the cloud has not heard it."""
    deadline = ctx.deadline(_ANSWER)
    offer = await follow_job(await find_offer(wanted.image_id, ctx), order, ctx, deadline=deadline)
    done = await answer_offer(offer, wanted.answer, wanted.vault_id, ctx, deadline=deadline)
    against = [check.why for check in done.proof if check.verdict == "refused"]
    words = f"it is {done.state}" + (f", and {'; '.join(against)}" if against else "")
    return _Found(outcome="failed" if against else "finished", words=words, ids={"image": wanted.image_id})


async def _launch(wanted: OrderedLaunch, order: OpenOrder, ctx: Context) -> _Found:
    try:
        image = await ctx.cloud.images.get(wanted.image_id)
    except NotFound:
        return _Found(outcome="failed", words="its image is gone")
    launched = await resume_launch(image, wanted.order, ctx, mode=wanted.mode, deadline=ctx.clock.now())
    if launched is None:
        return _Found(outcome="not_begun", words="no server was launched and none is being launched", action=_again(order))
    return _Found(
        outcome="finished",
        words=f"server {', '.join(launched.server_names)} {_probed(launched.outcome, probed=launched.probed)}",
        ids={"launch": launched.launch_id, "server": ", ".join(launched.server_ids)},
    )


async def _change(wanted: OrderedChange, order: OpenOrder, ctx: Context) -> _Found:
    """A change of OS that was asked for is waited for and looked at; one that was not is told, with the state of its server."""
    server = await ctx.cloud.servers.find(wanted.server_id)
    if server is None:
        return _Found(outcome="failed", words="its server is gone")
    ids = {"server": server.id, "image": wanted.image_id}
    changed = await resume_change(server, wanted.image_id, ctx, probes=wanted.probes, deadline=ctx.clock.now())
    if changed is None:
        words = f"its OS was not asked to be changed, and {server.name} is {server.status}"
        return _Found(outcome="not_begun", words=words, action=_again(order), ids=ids)
    words = f"{server.name} has its new system disk and {_probed(changed.outcome, probed=changed.probed)}"
    if not_as_it_should_be := (*changed.left_behind, *changed.missing_disks):
        words = f"{server.name} has its new system disk; left behind or missing: {', '.join(not_as_it_should_be)}"
    return _Found(outcome="finished", words=words, ids=ids)


async def _teardown(wanted: OrderedTeardown, ctx: Context) -> _Found:
    """Disks and addresses of servers that are gone, and drills. A server that people use goes only when its name is said."""
    found = await find_launch(wanted.launch_id, ctx)
    if found.servers and not found.drill:
        return _Found(
            outcome="not_begun",
            words=f"{', '.join(server.name for server in found.servers)} is still there",
            action=f"If it is to go: `b2i teardown {wanted.launch_id} --yes-i-mean {found.name}`.",
            ids={"launch": wanted.launch_id, "server": ", ".join(server.id for server in found.servers)},
        )
    done = await tear_down(found, ctx, patience=_TEARDOWN)
    if done.left_behind:
        return _Found(outcome="running", words=f"left behind: {', '.join(done.left_behind)}", ids={"launch": wanted.launch_id})
    return _Found(outcome="finished", words="nothing is left of it", ids={"launch": wanted.launch_id})


async def _end(wanted: OrderedTeardown | OrderedDrill, order: OpenOrder, ctx: Context, *, overdue: bool) -> _Found:
    """A teardown, and the server of a drill whose run has gone; one that may be at work is left to it until its deadline."""
    if isinstance(wanted, OrderedTeardown):
        return await _teardown(wanted, ctx)
    ids = {"launch": wanted.launch_id, "image": wanted.image_id}
    if order.state == "open" and not overdue:
        return _Found(outcome="running", words="its run may be at work; after the deadline its server goes", ids=ids)
    found = await _teardown(OrderedTeardown(launch_id=wanted.launch_id), ctx)
    return found.model_copy(update={"ids": ids})


def _just_now(finished: FinishedImage, ctx: Context) -> bool:
    done = finished.image.active_at
    return done is not None and timedelta(0) <= ctx.clock.now() - done < _LEAVE_ALONE


def _probed(outcome: str, *, probed: bool) -> str:
    return (
        "is not all as ordered (disks, probes)"
        if outcome == "partly"
        else "answers its probes"
        if probed
        else "is ACTIVE, not probed"
    )


def _again(order: OpenOrder) -> str:
    """What to do where a person has to want it once more."""
    match order.ordered:
        case OrderedImage() as wanted:
            command = f"b2i create {wanted.subject}"
        case OrderedLaunch() as wanted:
            command = f"b2i launch {wanted.image_id} --spec FILE"
        case OrderedShare() | OrderedUnshare() as wanted:
            command = f"b2i {wanted.verb} {wanted.image_id} {wanted.recipient}"
        case OrderedHandOver() as wanted:
            command = f"b2i hand-over {wanted.image_id} --to {wanted.to or 'CLOUD'}"
        case OrderedAnswer() as wanted:
            command = f"b2i {wanted.verb} {wanted.image_id}"
        case OrderedChange() as wanted:
            command = f"b2i change-os {wanted.server_id} {wanted.image_id} --accept-data-disks-unchanged"
        case OrderedTeardown() | OrderedDrill() as wanted:
            command = f"b2i teardown {wanted.launch_id}"
    return f"If it is still wanted, order it again: `{command}`."
