"""Launch servers from an image: look for those of this order first, then plan, ask the cloud's own dry run, and launch once.

The cloud refuses no second server, so what makes it one is ours: a launch id in the server's tags, an intent in the journal
before the request, and after an unclear answer a look by mark until the settle time has passed.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Literal

from backup_to_image.doctor import diagnose
from backup_to_image.errors import ApiError, BadAnswer, CloudError, JobFailed, NoAnswer, Refused, StillRunning
from backup_to_image.journal import Record
from backup_to_image.lease import Lease, hold
from backup_to_image.model import Image, Job, LaunchDelivery, LaunchOrder, LaunchPlan, LaunchRequest, Report, Server
from backup_to_image.steps.context import Context, minutes, until
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG, launch_id
from backup_to_image.steps.once import note_sent, pause_or_raise, refuse, settle, unclear
from backup_to_image.steps.plan import Mode, plan_launch
from backup_to_image.steps.probes import probe_server
from backup_to_image.waiting import SERVER, SERVER_JOB, Pace, quiet, wait

__all__ = ["check_launch", "launch_server", "marked_servers"]

_LOOK_EVERY = 10.0


async def launch_server(
    image: Image,
    order: LaunchOrder,
    ctx: Context,
    *,
    mode: Mode = "failover",
    another: bool = False,
    deadline: datetime | None = None,
) -> LaunchDelivery:
    """The server of this order, ACTIVE and probed; launched if it is not there yet.

    Safe to repeat at any time, by two processes at once too: the same order, image and project is the same server, until a proven
    teardown or `another` begins the next. Raises Refused with every reason before anything is made; JobFailed with the cloud's
    reason; StillRunning where the deadline passes or the answer to the launch stays unclear. Probes that do not answer are told
    in the delivery (`outcome` partly), not raised.
    """
    deadline = deadline or ctx.deadline(timedelta(hours=1))
    base = launch_id(ctx.project_id, image.id, order.name, mode)
    async with hold(ctx.journal, "launch", ctx.project_id, base, deadline=deadline) as lease:
        noted = ctx.journal.read("launch", ctx.project_id, base) or _blank(base, ctx)
        generation = noted.generation + 1 if another or noted.state == "gone" else noted.generation
        if generation != noted.generation:
            noted = _blank(base, ctx, generation)
        mark = launch_id(ctx.project_id, image.id, order.name, mode, generation)
        servers = await marked_servers(mark, order.name, ctx)
        adopted = bool(servers)
        job_id = noted.job_id
        if adopted:
            ctx.tell(f"launch {mark}: {', '.join(server.name for server in servers)} is there already; adopting")
        elif noted.state == "sent" and job_id and await _job_lives(job_id, ctx):
            ctx.tell(f"launch {mark}: job {job_id} of an earlier run goes on")
            adopted = True
        else:
            if noted.state == "intent":
                servers = await _settle(mark, order, ctx, lease, since=noted.first_intent_at or noted.written_at)
            if servers:
                adopted = True
            else:
                job_id = await _launch(image, order, mode, mark, noted, ctx, lease, deadline)
    return await _finish(image, order, ctx, mark=mark, job_id=job_id, servers=servers, adopted=adopted, deadline=deadline)


async def check_launch(image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover") -> LaunchPlan:
    """The plan of a launch, asked of the cloud's own dry run too where nothing else speaks against it. Launches nothing."""
    plan = await plan_launch(order, image, ctx, mode=mode)
    if plan.ok and plan.request:
        await ctx.cloud.servers.launch(plan.request, dry_run=True)
    return plan


async def marked_servers(mark: str, name: str, ctx: Context) -> tuple[Server, ...]:
    """The project's servers that carry this launch's mark. The name only narrows the list; the mark decides."""
    return tuple(
        [
            server
            async for server in ctx.cloud.servers.list(name=name)
            if mark in (server.tags.get(LAUNCH_TAG), server.tags.get(DRILL_TAG)) and server.status not in {"DELETED", "ERROR"}
        ]
    )


async def _launch(
    image: Image, order: LaunchOrder, mode: Mode, mark: str, noted: Record, ctx: Context, lease: Lease, deadline: datetime
) -> str | None:
    request = await _ready_request(image, order, mode, mark, ctx)
    first_intent: datetime | None = None
    while True:
        lease.check()
        record = ctx.journal.write(
            noted.model_copy(
                update={"state": "intent", "mark": mark, "job_id": None, "first_intent_at": first_intent or ctx.clock.now()}
            )
        )
        first_intent = record.first_intent_at
        try:
            job_id, server_ids = await ctx.cloud.servers.launch(request)
        except ApiError as refusal:
            if not unclear(refusal):
                refuse(record, ctx, code=refusal.cloud_code, reason=refusal.words)
                await pause_or_raise(refusal, ctx, deadline)
                continue
        except NoAnswer as silence:
            if not silence.sent:
                refuse(record, ctx, code=None, reason=silence.message)
                raise
        except BadAnswer:
            pass
        else:
            note_sent(record, ctx, job_id=job_id, server_ids=server_ids)
            ctx.tell(f"launch {mark}: job {job_id} accepted for {order.name}, waiting {until(deadline)}")
            return job_id
        ctx.tell(f"launch {mark}: no clear answer; looking for the server before anything is sent again")
        used_before = await _servers_used(ctx)
        if await _settle(mark, order, ctx, lease, since=ctx.clock.now()):
            return None
        if await _servers_used(ctx) != used_before or ctx.clock.now() >= deadline:
            raise StillRunning(
                f"The launch of {order.name}",
                last_seen="asked for, no server with its mark to be seen, but the count of servers has changed",
                deadline=deadline,
                handle={"launch": mark},
                check=f"Look for {order.name} in the console; the same command adopts it by its tag {LAUNCH_TAG}.{mark}.",
            )


async def _ready_request(image: Image, order: LaunchOrder, mode: Mode, mark: str, ctx: Context) -> LaunchRequest:
    """The request, once our plan and the cloud's own dry run have nothing against it. Raises Refused with every reason."""
    plan = await check_launch(image, order, ctx, mode=mode)
    if not plan.ok or plan.request is None:
        raise Refused(Report(subject=f"launch order {order.name}", checks=plan.checks))
    tag = DRILL_TAG if mode == "drill" else LAUNCH_TAG
    return plan.request.model_copy(update={"tags": plan.request.tags | {tag: mark}})


async def _settle(mark: str, order: LaunchOrder, ctx: Context, lease: Lease, *, since: datetime) -> tuple[Server, ...]:
    within = ctx.settings.settle.server
    return (
        await settle(lambda: marked_servers(mark, order.name, ctx), ctx, lease, since=since, within=within, every=_LOOK_EVERY)
        or ()
    )


async def _servers_used(ctx: Context) -> int | None:
    try:
        return (await ctx.cloud.servers.limits()).servers.used
    except CloudError:
        return None


async def _job_lives(job_id: str, ctx: Context) -> bool:
    try:
        job = await ctx.cloud.servers.job(job_id)
    except ApiError as error:
        if error.retryable or error.status >= 500:
            raise
        return False
    if job.status == "FAIL":
        diagnosis = diagnose(job.error_code)
        ctx.tell(f"the last launch failed ({job.error_code}: {job.fail_reason or diagnosis.cause}); launching anew")
    return job.status in {"INIT", "RUNNING", "SUCCESS"}


async def _finish(
    image: Image,
    order: LaunchOrder,
    ctx: Context,
    *,
    mark: str,
    job_id: str | None,
    servers: tuple[Server, ...],
    adopted: bool,
    deadline: datetime,
) -> LaunchDelivery:
    """Wait for the job and for ACTIVE, then ask the probes."""
    server_ids = tuple(server.id for server in servers)
    if job_id and not server_ids:
        job = await _await_job(job_id, order, ctx, deadline)
        server_ids = job.server_ids or tuple(server.id for server in await marked_servers(mark, order.name, ctx))
    if not server_ids:
        server_ids = tuple(server.id for server in await marked_servers(mark, order.name, ctx))
    running = tuple(await asyncio.gather(*(_await_active(server_id, order, ctx, deadline, job_id) for server_id in server_ids)))
    if not running:
        raise StillRunning(
            f"The launch of {order.name}", last_seen="accepted, no server to be seen", deadline=deadline, handle={"launch": mark}
        )
    answers = await asyncio.gather(*(probe_server(server, order.probes, ctx) for server in running))
    probes = tuple(answer for answered in answers for answer in answered)
    green = all(probe.ok for probe in probes)
    outcome: Literal["made", "adopted", "partly"] = "partly" if not green else "adopted" if adopted else "made"
    return LaunchDelivery(
        outcome=outcome,
        launch_id=mark,
        image_id=image.id,
        order_name=order.name,
        server_ids=tuple(server.id for server in running),
        server_names=tuple(server.name for server in running),
        addresses=tuple(address.ip for server in running for address in server.addresses),
        adopted=adopted,
        job_id=job_id,
        probes=probes,
        probed=bool(order.probes),
    )


async def _await_job(job_id: str, order: LaunchOrder, ctx: Context, deadline: datetime) -> Job:
    job, good = await wait(
        lambda: quiet(ctx.cloud.servers.job(job_id)),
        state=lambda seen: seen.status,
        states=SERVER_JOB,
        what=f"The launch of {order.name}",
        deadline=deadline,
        pace=Pace(shortest=5.0),
        clock=ctx.clock,
        handle={"job": job_id},
        tell=lambda seen, elapsed: ctx.tell(f"launch job of {order.name}: {seen.status} after {minutes(elapsed)}"),
    )
    if good:
        return job
    diagnosis = diagnose(job.error_code)
    raise JobFailed(
        f"The launch of {order.name}",
        code=job.error_code,
        reason=job.fail_reason,
        error_class=diagnosis.error_class,
        cause=diagnosis.cause,
        action=diagnosis.action,
        job_id=job_id,
    )


async def _await_active(server_id: str, order: LaunchOrder, ctx: Context, deadline: datetime, job_id: str | None) -> Server:
    server, good = await wait(
        lambda: quiet(ctx.cloud.servers.find(server_id)),
        state=lambda seen: seen.status,
        states=SERVER,
        what=f"The server {order.name}",
        deadline=deadline,
        pace=Pace((5.0,)),
        clock=ctx.clock,
        handle={"server": server_id},
        tell=lambda seen, elapsed: ctx.tell(f"server {seen.name} ({seen.id}): {seen.status} after {minutes(elapsed)}"),
    )
    if good:
        return server
    raise JobFailed(
        f"Server {server.name} ({server.id})",
        code=None,
        reason=server.fault or f"it is {server.status}",
        action="Look at its console, then remove it with `b2i teardown`.",
        job_id=job_id,
    )


def _blank(base: str, ctx: Context, generation: int = 0) -> Record:
    return Record(
        kind="launch", project_id=ctx.project_id, name=base, state="none", written_at=ctx.clock.now(), generation=generation
    )
