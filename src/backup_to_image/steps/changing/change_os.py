"""Change a server's OS: its system disk becomes the image's, once, whatever happens; data disks stay as they are.

Before the request goes out the present disks are written down. The system disk that comes is a new one with a new id: that is the
proof. So after a kill or a lost answer the server is looked at, and asked for again only where its old disk has stayed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

from backup_to_image.doctor import diagnose
from backup_to_image.errors import ApiError, B2iError, CloudError, ErrorClass, JobFailed, Refused, StillRunning
from backup_to_image.journal import JournalError, Lease, Record, hold
from backup_to_image.model import ChangeDelivery, ChangePlan, ChangeRequest, Check, Job, Probe, Report, Server
from backup_to_image.steps.changing.plan import power_check
from backup_to_image.steps.changing.standing import (
    DATA,
    KIND,
    NEW,
    OLD,
    OLD_IMAGE,
    RUNS,
    WAS,
    Standing,
    data_disks,
    find_change,
    had_by,
    runs_with,
    system_disk,
    took_effect,
)
from backup_to_image.steps.context import Context, minutes, until
from backup_to_image.steps.launching.probes import probe_server
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.once import await_server_job, job_failed, note_sent, send, server_job, settle
from backup_to_image.steps.orders import OrderedChange, ordered
from backup_to_image.waiting import SERVER, Pace, States, passes, quiet, wait

__all__ = ["change_os", "look_at_server", "resume_change"]

_LOOK_EVERY = 10.0
_STOP_LOOK, _STOP_AGAIN = 3.0, 27.0
_STOP_PATIENCE = timedelta(minutes=10)
"""For a system to shut down by itself; one that takes longer hardly ever will."""
_PARAMETER = "Ecs.0005"
_OLD_DISK_GOES = timedelta(minutes=3)
_ALIVE = {"ACTIVE", "SHUTOFF"}
"""Of a server that was changed before: whoever has stopped it since knows why."""
_CHANGED = "changed"
_STATES = States(
    "The server",
    success=frozenset({_CHANGED}),
    pending=SERVER.pending | {"ACTIVE", "SHUTOFF"},
    failure=frozenset({"ERROR", "DELETED"}),
)
"""Of a server whose OS is being changed: ACTIVE and SHUTOFF with its old disk, or just before it starts by itself."""


async def change_os(
    plan: ChangePlan,
    ctx: Context,
    *,
    stop: bool = False,
    again: bool = False,
    probes: tuple[Probe, ...] = (),
    patience: timedelta = timedelta(hours=1),
    told: Callable[[ChangeDelivery], None] | None = None,
) -> ChangeDelivery:
    """The server with its new system disk, ACTIVE and probed; asked for if no run has done so yet.

    Safe to repeat at any time, and by two processes at once: what was planned, and confirmed, is that the system disk of the plan
    goes. Where it has gone meanwhile by the same order, that is adopted; by anything else, refused. Raises Refused before
    anything is changed; JobFailed with the cloud's reason; StillRunning where the deadline passes. Probes that do not answer, an
    old disk that stayed and data disks that are missing are told in the delivery (`outcome` partly), not raised. `told` passes it
    on before the change is noted as over: one `again` that is killed before anybody has heard of it is not followed by the next.
    """
    server, image, request = plan.server, plan.image, plan.request
    if not plan.ok or server is None or image is None or request is None:
        raise Refused(Report(subject="change of OS", checks=plan.checks))
    wanted = OrderedChange(
        server_id=server.id, server_name=server.name, image_id=image.id, key_pair=request.key_name, again=again, probes=probes
    )
    async with ordered(wanted, ctx, patience=patience) as deadline:
        standing, adopted = await _standing(plan, server, request, ctx, stop=stop, again=again, deadline=deadline)
        with _under_way(standing.noted):
            delivery = await _await_change(standing, ctx, probes=probes, adopted=adopted, deadline=deadline)
        if told:
            told(delivery)
        await _note(standing.noted, ctx, "partly" if delivery.outcome == "partly" else "done", delivery.system_disk_id)
    return delivery


async def resume_change(
    server: Server, image_id: str, ctx: Context, *, probes: tuple[Probe, ...], deadline: datetime
) -> ChangeDelivery | None:
    """The end of a change that an earlier run has asked for; None where none was asked for. Asks for nothing itself.

    Raises as `change_os` does, and JobFailed where it has ended badly since.
    """
    standing = await find_change(server, image_id, ctx)
    if standing.state == "new":
        job = await _failed_job(standing.noted, image_id, ctx)
        if job is None:
            return None
        await _note(standing.noted, ctx, "failed")
        raise _failed(server, job)
    with _under_way(standing.noted):
        delivery = await _await_change(standing, ctx, probes=probes, adopted=True, deadline=deadline)
    await _note(standing.noted, ctx, "partly" if delivery.outcome == "partly" else "done", delivery.system_disk_id)
    return delivery


async def look_at_server(server: Server, ctx: Context) -> Leftovers:
    """What a run that is stopped leaves: the server, in its state of this moment. Raises where the cloud does not tell."""
    seen = await ctx.cloud.servers.get(server.id)
    things = (Leftover(kind="server", id=seen.id, name=seen.name, status=seen.status),)
    return Leftovers(things=things, seen_at=ctx.clock.now())


async def _standing(
    plan: ChangePlan, server: Server, request: ChangeRequest, ctx: Context, *, stop: bool, again: bool, deadline: datetime
) -> tuple[Standing, bool]:
    """Where the change stands once it has been asked for, and whether that was done before."""
    if plan.standing != "new":
        found = await find_change(server, request.image_id, ctx, again=again)
        if found.state != "new":
            return found, True
    async with hold(ctx.journal, KIND, ctx.project_id, server.id, deadline=deadline) as lease:
        await _await_settled(server, ctx, lease, deadline)
        found = await find_change(await ctx.cloud.servers.get(server.id), request.image_id, ctx, again=again)
        if found.state != "new":
            return found, True
        if system_disk(found.server) != plan.old_system_disk:
            if found.noted.image_id == request.image_id and system_disk(found.server) == found.noted.facts.get(NEW):
                return found.model_copy(update={"state": "done"}), True
            raise _refused(_other_disk(found.server, plan.old_system_disk))
        if had_by(ctx.run_id, found.noted) and found.noted.state in {"done", "partly"}:
            raise _refused(_changed_since(found.server))
        if failed := await _failed_job(found.noted, request.image_id, ctx):
            ctx.tell(f"the last change of {server.name}'s OS failed ({failed.error_code}: {failed.fail_reason}); asking anew")
        noted = await _ask_for_it(found, request, ctx, lease, stop=stop, deadline=deadline)
    return found.model_copy(update={"noted": noted, "state": "under_way"}), False


async def _await_settled(server: Server, ctx: Context, lease: Lease, deadline: datetime) -> None:
    """A request of an earlier run, to whatever image, may be on its way as long as its settle time has not passed."""
    noted = await ctx.journal.read(KIND, ctx.project_id, server.id)
    if noted and noted.state == "intent":
        await _settle(noted, server, ctx, lease, since=noted.written_at, deadline=deadline)


async def _settle(
    noted: Record, server: Server, ctx: Context, lease: Lease, *, since: datetime, deadline: datetime
) -> Server | None:
    """Look whether the request that is noted has taken effect; None once it is clear that it has not."""

    async def look() -> Server | None:
        seen = await ctx.cloud.servers.get(server.id)
        return seen if took_effect(seen, noted) else None

    def late(seen: str) -> StillRunning:
        check = "Look at the server in the console; the same command looks at its system disk first."
        return StillRunning(
            f"The change of {server.name}'s OS", last_seen=seen, deadline=deadline, handle={"server": server.id}, check=check
        )

    within = ctx.settings.settle.server
    return await settle(look, ctx, lease, since=since, within=within, every=_LOOK_EVERY, deadline=deadline, late=late)


async def _ask_for_it(
    found: Standing, wanted: ChangeRequest, ctx: Context, lease: Lease, *, stop: bool, deadline: datetime
) -> Record:
    """Stop the server if it runs, then send the request, once. The note of what was asked for."""
    server = found.server
    stopped = server.status == "ACTIVE" and stop
    if stopped:
        await _stop(server, ctx, lease, min(deadline, ctx.clock.now() + _STOP_PATIENCE))
    first_intent = ctx.clock.now()
    in_error = 0

    async def intent() -> Record:
        nonlocal in_error
        seen = await ctx.cloud.servers.get(server.id)
        check = power_check(seen, stop=False)
        in_error += seen.status == "ERROR"
        if check.verdict == "refused" or in_error > 1:
            raise _refused(check.model_copy(update={"verdict": "refused"}))
        if system_disk(seen) != system_disk(server):
            raise _refused(_other_disk(seen, system_disk(server)))
        new: dict[str, Any] = {"state": "intent", "image_id": wanted.image_id, "job_id": None, "first_intent_at": first_intent}
        facts = {OLD: system_disk(seen), DATA: list(data_disks(seen)), WAS: seen.status, OLD_IMAGE: seen.image_id, NEW: None}
        facts |= {RUNS: runs_with(ctx.run_id, found.noted)}
        return found.noted.model_copy(update=new | {"written_at": ctx.clock.now(), "facts": facts})

    async def request() -> str:
        return await ctx.cloud.servers.change_os(
            wanted.server_id, wanted.image_id, key_name=wanted.key_name, guard=lease.still_mine
        )

    with _told_refusal(server, wanted, stopped=stopped):
        while True:
            record, job_id = await send(request, intent, ctx, lease, deadline=deadline)
            if job_id is not None:
                await note_sent(record, ctx, job_id=job_id)
                ctx.tell(f"change of {server.name}'s OS: job {job_id} accepted, waiting {until(deadline)}")
                return record.model_copy(update={"state": "sent", "job_id": job_id})
            ctx.tell(f"change of {server.name}'s OS: no clear answer; looking at its system disk before anything is sent again")
            if await _settle(record, server, ctx, lease, since=ctx.clock.now(), deadline=deadline):
                return record


async def _stop(server: Server, ctx: Context, lease: Lease, limit: datetime) -> None:
    """Have the system shut itself down, and see that it has. Never by force: whoever wants that does it himself."""
    ctx.tell(f"stopping {server.name}, {until(limit)}")
    by_hand = "Nothing was changed. It is never stopped by force: do that in the console if need be, then run the same command."
    job_id: str | None = None
    while True:
        seen = await quiet(ctx.cloud.servers.get(server.id))
        if seen and seen.status == "SHUTOFF" and not seen.task_state:
            return
        if seen and seen.status not in {"ACTIVE", "SHUTOFF"}:
            raise _refused(power_check(seen, stop=True))
        job = await quiet(ctx.cloud.servers.job(job_id)) if job_id else None
        if job and job.status == "FAIL":
            if diagnose(job.error_code).error_class is not ErrorClass.WAIT:
                raise job_failed(f"Stopping {server.name}", job, hint=by_hand)
            ctx.tell(f"{job.error_code}: {job.fail_reason}; asking again, {until(limit)}")
            await ctx.clock.sleep(_STOP_AGAIN)
        if seen and not seen.task_state and (job is None or job.status in {"SUCCESS", "FAIL"}):
            await lease.check()
            job_id = await _ask_to_stop(server, ctx)
        if ctx.clock.now() >= limit:
            last_seen = f"it is {seen.status} still" if seen else "it cannot be looked at"
            raise StillRunning(
                f"Stopping {server.name}", last_seen=last_seen, deadline=limit, handle={"server": server.id}, check=by_hand
            )
        await ctx.clock.sleep(_STOP_LOOK)


async def _ask_to_stop(server: Server, ctx: Context) -> str | None:
    try:
        return await ctx.cloud.servers.stop([server.id], how="SOFT")
    except CloudError as error:
        if not passes(error):
            raise
        ctx.tell(f"{server.name}: {error.message} Looking again.")
        return None


async def _await_change(
    standing: Standing, ctx: Context, *, probes: tuple[Probe, ...], adopted: bool, deadline: datetime
) -> ChangeDelivery:
    """Wait for the job, for the new system disk and for ACTIVE; look what became of the other disks; ask the probes."""
    noted, server = standing.noted, standing.server
    if standing.state == "done":
        ctx.tell(f"{server.name} has its new system disk {system_disk(server)} already; adopting")
    else:
        await _await_job(noted, server, ctx, deadline)
        server = await _await_new_disk(noted, server, ctx, deadline)
    old = noted.facts.get(OLD)
    left = await _await_old_disk_gone(old, ctx, deadline) if old else ()
    before, now = noted.ids(DATA), set(data_disks(server))
    missing = tuple(disk for disk in before if disk not in now)
    answers = await probe_server(server, probes, ctx)
    green = not left and not missing and server.status in _ALIVE and all(answer.ok for answer in answers)
    outcome: Literal["made", "adopted", "partly"] = "partly" if not green else "adopted" if adopted else "made"
    return ChangeDelivery(
        outcome=outcome,
        server_id=server.id,
        server_name=server.name,
        image_id=noted.image_id or "",
        status=server.status,
        system_disk_id=system_disk(server) or "",
        old_system_disk_id=old,
        data_disks=tuple(disk for disk in before if disk in now),
        missing_disks=missing,
        left_behind=left,
        adopted=adopted,
        job_id=noted.job_id,
        addresses=tuple(address.ip for address in server.addresses),
        probes=answers,
        probed=bool(probes),
    )


async def _await_job(noted: Record, server: Server, ctx: Context, deadline: datetime) -> None:
    """Until the job is over; one that ECS has forgotten, or that nobody knows, is not waited for: the disk tells."""
    if noted.job_id is None or await server_job(noted, ctx) is None:
        return
    what, called = f"The change of {server.name}'s OS", f"job of {server.name}'s change of OS"
    handle = {"server": server.id, "job": noted.job_id}
    job, good = await await_server_job(noted.job_id, what, ctx, called=called, handle=handle, deadline=deadline)
    if not good:
        await _note(noted, ctx, "failed")
        raise _failed(server, job)


async def _await_new_disk(noted: Record, server: Server, ctx: Context, deadline: datetime) -> Server:
    """Until it is ACTIVE on a new system disk of this image: a job's SUCCESS alone is not believed."""

    async def look() -> Server | None:
        try:
            seen = await ctx.cloud.servers.find(server.id)
        except CloudError as error:
            if passes(error):
                return None
            raise
        if seen is None:
            raise JobFailed(f"Changing {server.name}'s OS", code=None, reason="the server is gone", action="Look who removed it.")
        return seen

    def state(seen: Server) -> str:
        if seen.status != "ACTIVE" or system_disk(seen) in {None, noted.facts.get(OLD)}:
            return seen.status
        waits = seen.image_id != noted.image_id and seen.image_id == noted.facts.get(OLD_IMAGE)
        return "ACTIVE" if waits else _CHANGED

    handle = {"server": server.id} | ({"job": noted.job_id} if noted.job_id else {})
    seen, good = await wait(
        look,
        state=state,
        states=_STATES,
        what=f"The change of {server.name}'s OS",
        deadline=deadline,
        pace=Pace((5.0,)),
        clock=ctx.clock,
        handle=handle,
        tell=lambda one, elapsed: ctx.tell(f"server {one.name} ({one.id}): {one.status} after {minutes(elapsed)}"),
    )
    if not good:
        await _note(noted, ctx, "failed")
        action = "Look at its console; the same command tries again, as the cloud allows after a change that failed."
        raise JobFailed(
            f"Changing {seen.name}'s OS",
            code=None,
            reason=seen.fault or f"it is {seen.status}",
            action=action,
            job_id=noted.job_id,
        )
    if seen.image_id != noted.image_id:
        await _note(noted, ctx, "failed")
        other = seen.image_id or "that is not told"
        raise JobFailed(
            f"Changing {seen.name}'s OS",
            code=None,
            reason=f"its system disk {system_disk(seen)} is of image {other}, not of {noted.image_id}",
            action="Somebody else has changed it meanwhile: ask him before you order it again.",
            job_id=noted.job_id,
        )
    return seen


async def _await_old_disk_gone(old: str, ctx: Context, deadline: datetime) -> tuple[str, ...]:
    """The cloud deletes it; what is still there after some minutes is named, since it is billed. Deleted by us it never is."""
    limit = min(deadline, ctx.clock.now() + _OLD_DISK_GOES)
    while True:
        try:
            there = [disk async for disk in ctx.cloud.disks.list(ids=[old]) if disk.id == old]
        except CloudError as error:
            if not passes(error):
                return (f"disk {old}, which could not be looked for ({error.message})",)
            there = None
        if there == []:
            return ()
        if ctx.clock.now() >= limit:
            return (f"disk {old} ({there[0].status})",) if there else (f"disk {old}, which could not be looked for",)
        await ctx.clock.sleep(_LOOK_EVERY)


async def _failed_job(noted: Record, image_id: str, ctx: Context) -> Job | None:
    """The job of the change that an earlier run has asked for, if it has ended badly."""
    job = await server_job(noted, ctx) if noted.state == "sent" and noted.image_id == image_id else None
    return job if job and job.status == "FAIL" else None


def _failed(server: Server, job: Job) -> JobFailed:
    hint = f"{server.name} may be in ERROR now; the same command tries again, as the cloud allows after a change that failed."
    return job_failed(f"The change of {server.name}'s OS", job, hint=hint)


def _other_disk(server: Server, planned: str | None) -> Check:
    now = system_disk(server) or "no disk"
    why = f"{server.name} boots from {now}, and {planned} was to be replaced: somebody has changed it meanwhile"
    action = "Look at the server, then order it anew if it is still wanted."
    return Check(rule="change-os: system disk", verdict="refused", why=why, action=action)


def _changed_since(server: Server) -> Check:
    why = f"this run has changed the OS of {server.name} before, and somebody has changed it again since"
    action = "If it is still wanted, order it with a new run: Copy to new run, or `b2i change-os`."
    told = {"why": why, "action": action, "code": "b2i.changed-since", "page": "docs/how-to-change-os.md"}
    return Check.model_validate({"rule": "change-os: once", "verdict": "refused"} | told)


def _refused(check: Check) -> Refused:
    return Refused(Report(subject="change of OS", checks=(check,)))


@contextmanager
def _told_refusal(server: Server, wanted: ChangeRequest, *, stopped: bool) -> Generator[None]:
    """A server that was stopped for a change that is not made stays stopped: somebody has to know."""
    try:
        yield
    except (Refused, ApiError) as error:
        if isinstance(error, ApiError) and error.cloud_code == _PARAMETER and wanted.key_name is None:
            error.action = "Name a key pair with --key-pair: the cloud's pages disagree whether it demands one."
        if stopped:
            error.action = f"{error.action} {server.name} was stopped for it and is stopped still.".strip()
            error.handle = {"server": server.id} | error.handle
        raise


@contextmanager
def _under_way(noted: Record) -> Generator[None]:
    """Whatever goes wrong from here on, the change has been asked for: the error names where."""
    try:
        yield
    except B2iError as error:
        error.handle = {"server": noted.name} | ({"job": noted.job_id} if noted.job_id else {}) | error.handle
        raise


async def _note(noted: Record, ctx: Context, state: str, new_disk: str | None = None) -> None:
    """Keep how it ended. A note that fails costs a look later, no second change: the disk tells."""
    facts = noted.facts | ({NEW: new_disk} if new_disk else {})
    try:
        await ctx.journal.write(noted.model_copy(update={"state": state, "facts": facts}))
    except JournalError as error:
        ctx.tell(error.message)
