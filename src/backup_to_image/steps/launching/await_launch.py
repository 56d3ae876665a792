"""Wait until the servers of a launch are there and answer: job, ACTIVE, disks, probes; of a failed one, what it left behind."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from backup_to_image.errors import ApiError, CloudError, JobFailed, StillRunning
from backup_to_image.model import Image, Job, LaunchDelivery, LaunchOrder, Server
from backup_to_image.steps.context import Context, minutes
from backup_to_image.steps.launching.compare import compare, what_is_known
from backup_to_image.steps.launching.launched import servers_of
from backup_to_image.steps.launching.probes import probe_server
from backup_to_image.steps.leftovers import left_by_launch
from backup_to_image.steps.once import await_server_job, job_failed
from backup_to_image.waiting import SERVER, Pace, quiet, wait

__all__ = ["await_launch", "told_left"]


async def await_launch(
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
    """Wait for the job and for ACTIVE, then look at the disks and ask the probes.

    Fewer servers than were ordered, or disks that are missing, smaller or in another order, are partly what was ordered.
    """
    server_ids = tuple(server.id for server in servers)
    if job_id and len(server_ids) < order.count:
        server_ids = await _made_by_job(job_id, order, ctx, mark, deadline) or server_ids
    if len(server_ids) < order.count:
        server_ids = tuple(server.id for server in await servers_of(mark, order.name, ctx)) or server_ids
    running = tuple(await asyncio.gather(*(_await_active(server_id, order, ctx, deadline, job_id) for server_id in server_ids)))
    if not running:
        raise StillRunning(
            f"The launch of {order.name}", last_seen="accepted, no server to be seen", deadline=deadline, handle={"launch": mark}
        )
    known = await what_is_known(image, ctx)
    answers, compared = await asyncio.gather(
        asyncio.gather(*(probe_server(server, order.probes, ctx) for server in running)),
        asyncio.gather(*(compare(server, order, known, ctx) for server in running)),
    )
    probes = tuple(answer for answered in answers for answer in answered)
    disks = tuple(one.disks for one in compared)
    green = all(probe.ok for probe in probes)
    for server, one in zip(running, disks, strict=True):
        if one.ok is False:
            green = False
            ctx.tell(f"server {server.name}: its disks are not as they should be: {one.answer}")
    if len(running) < order.count:
        green = False
        ctx.tell(f"launch {mark}: {len(running)} of {order.count} servers are there; `b2i teardown {mark}` makes room for all")
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
        disks=disks,
        drift=tuple(drift for one in compared for drift in one.drift),
        drift_unknown="" if known.facts else "nothing was recorded of the source, or it is not to be seen from here",
    )


async def _made_by_job(job_id: str, order: LaunchOrder, ctx: Context, mark: str, deadline: datetime) -> tuple[str, ...]:
    """The servers of the job, once it is over; of a failed one, or of one that ECS has forgotten, those that are there."""
    try:
        return (await _await_job(job_id, order, ctx, deadline)).server_ids
    except (ApiError, JobFailed) as failure:
        there = await servers_of(mark, order.name, ctx)
        if not there:
            raise
        if isinstance(failure, JobFailed):
            names = ", ".join(f"{server.name} ({server.id}, {server.status})" for server in there)
            failure.action = f"{failure.action} Left there: {names}; `b2i teardown {mark}` removes it.".strip()
            raise
        return ()


async def _await_job(job_id: str, order: LaunchOrder, ctx: Context, deadline: datetime) -> Job:
    what, called = f"The launch of {order.name}", f"launch job of {order.name}"
    job, good = await await_server_job(job_id, what, ctx, called=called, handle={"job": job_id}, deadline=deadline)
    if good:
        return job
    raise job_failed(what, job, hint=await told_left(job, order, ctx))


async def told_left(job: Job, order: LaunchOrder, ctx: Context) -> str:
    """What a failed launch left behind, in a sentence; "" where nothing is to be seen."""
    try:
        left = await left_by_launch(job, order, ctx)
    except CloudError as error:
        return f"What it may have left behind could not be read ({error.message}): look for disks called {order.name}."
    return f"Left behind by it, as it seems: {', '.join(one.words for one in left)}." if left else ""


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
