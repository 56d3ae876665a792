"""Take a launch down again: its servers, their disks and addresses, and the proof that nothing is left."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta

from backup_to_image.doctor import diagnose
from backup_to_image.errors import CloudError, ErrorClass, NotFound, StillRunning, UsageError
from backup_to_image.journal import Lease, Record, hold
from backup_to_image.model import Disk, Server, Teardown, Value
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG
from backup_to_image.steps.once import job_failed, server_job
from backup_to_image.steps.orders import OrderedTeardown, ordered
from backup_to_image.waiting import passes, quiet

__all__ = ["DRILL_FACT", "Found", "confirm", "find_launch", "tear_down"]

DRILL_FACT = "drill"
"""Whether the servers carried the mark of a drill when their disks and addresses were written down."""
_LOOK_EVERY = 3.0


class Found(Value):
    """What a launch id stands for right now."""

    launch_id: str
    servers: tuple[Server, ...]
    drill: bool
    noted: Record | None = None

    @property
    def name(self) -> str:
        """What the operator confirms: the servers' common name, without the number that a count adds."""
        names = [server.name for server in self.servers]
        return names[0].rsplit("-", 1)[0] if len(names) > 1 else names[0] if names else ""


async def find_launch(launch_id: str, ctx: Context) -> Found:
    """The servers that carry this launch's mark and lie in our project. Raises UsageError for what cannot be a launch id."""
    if len(launch_id) != 12 or any(char not in "0123456789abcdef" for char in launch_id):
        raise UsageError(
            f"{launch_id!r} is no launch id (12 hex digits).", action="`b2i launch` prints it, and the server's tag tells."
        )
    noted = next(
        (one for one in await ctx.journal.records("launch") if (one.project_id, one.mark) == (ctx.project_id, launch_id)), None
    )
    seen = [server async for server in ctx.cloud.servers.list()]
    missing = set(noted.server_ids if noted else ()) - {server.id for server in seen}  # lists may be late
    seen += [server for ident in sorted(missing) if (server := await quiet(ctx.cloud.servers.find(ident)))]
    servers = tuple(server for server in seen if launch_id in {server.tags.get(DRILL_TAG), server.tags.get(LAUNCH_TAG)})
    drill = any(server.tags.get(DRILL_TAG) == launch_id for server in servers)
    return Found(launch_id=launch_id, servers=servers, drill=drill, noted=noted)


def confirm(found: Found, said: str | None, *, how: str) -> None:
    """A server that is no drill's goes only if its name was said. Raises UsageError that says how, `how` it is said here."""
    if not found.servers or found.drill or said == found.name:
        return
    wrong = f"{said!r} is not its name" if said else "this is no drill server, so its name is asked for"
    raise UsageError(f"Nothing was deleted: {wrong}.", action=f"Add {how} the server's name ({found.name}).")


async def tear_down(found: Found, ctx: Context, *, patience: timedelta = timedelta(minutes=20)) -> Teardown:
    """Remove the servers of this launch with their disks and addresses, and look that nothing is left.

    Safe to repeat: what is gone counts as done. Only what carries the launch's mark is removed, and the disks and addresses that
    hang on it. Raises StillRunning at the deadline, naming what is left, and where the launch itself is still under way.
    """
    if not found.servers:
        await _check_nothing_comes(found, ctx)
    async with (
        ordered(OrderedTeardown(launch_id=found.launch_id), ctx, patience=patience) as deadline,
        hold(ctx.journal, "teardown", ctx.project_id, found.launch_id, deadline=deadline) as lease,
    ):
        mine = await _belongings(found, ctx)
        if found.servers:
            await _delete_servers(found, ctx, lease, deadline)
        left_disks = await _delete_disks(mine, ctx, lease, deadline)
        left = (*left_disks, *await _release(mine, ctx, lease, deadline))
        if not left:
            await _note_gone(found, ctx)
    ctx.tell(f"launch {found.launch_id}: {'nothing is left' if not left else 'left behind: ' + ', '.join(left)}")
    return Teardown(
        launch_id=found.launch_id,
        servers=tuple(server.id for server in found.servers),
        disks=mine.disks,
        public_ips=mine.addresses,
        left_behind=left,
    )


async def _check_nothing_comes(found: Found, ctx: Context) -> None:
    """A launch that was asked for and is not to be seen yet has not gone: its server would come after the proof that it is gone.

    Raises StillRunning while its job is at work, and without a job until the settle time has passed.
    """
    noted = found.noted
    if noted is None or noted.state not in {"intent", "sent"}:
        return
    job = await server_job(noted, ctx)
    if job and job.status == "FAIL":
        return
    if job and job.status == "SUCCESS" and not any([await quiet(ctx.cloud.servers.find(ident)) for ident in job.server_ids]):
        return  # all it made is gone again
    if job is None and ctx.clock.now() >= (noted.first_intent_at or noted.written_at) + ctx.settings.settle.server:
        return
    raise StillRunning(
        f"The launch {found.launch_id}",
        last_seen="it is on its way and not to be seen yet, so there is nothing to remove",
        deadline=None,
        handle={"launch": found.launch_id},
        check="Give the same command again when its server is there.",
    )


class _Belongings(Value):
    """Ids of the servers and of what hangs on them."""

    servers: tuple[str, ...]
    disks: tuple[str, ...]
    ports: tuple[str, ...]
    addresses: tuple[str, ...]


async def _belongings(found: Found, ctx: Context) -> _Belongings:
    """What belongs to the launch, written down before the servers go: afterwards nothing tells."""
    noted = await ctx.journal.read("teardown", ctx.project_id, found.launch_id)
    noted = noted if noted and noted.state == "intent" else None
    known = {fact: dict.fromkeys(noted.ids(fact) if noted else ()) for fact in _Belongings.model_fields}
    if found.servers:
        known["servers"] |= dict.fromkeys(server.id for server in found.servers)
        known["disks"] |= dict.fromkeys(disk.id for server in found.servers for disk in server.disks)
        addresses = [address for server in found.servers for address in server.addresses]
        known["ports"] |= dict.fromkeys(address.port_id for address in addresses if address.port_id)
        floating = {address.ip for address in addresses if address.floating}
        for ip in await ctx.cloud.public_ips.list():
            if ip.address in floating or (ip.port_id and ip.port_id in known["ports"]):
                known["addresses"][ip.id] = None
        await ctx.journal.write(
            Record(
                kind="teardown",
                project_id=ctx.project_id,
                name=found.launch_id,
                state="intent",
                written_at=ctx.clock.now(),
                facts={fact: list(ids) for fact, ids in known.items()} | {DRILL_FACT: found.drill},
            )
        )
    return _Belongings.model_validate({fact: tuple(ids) for fact, ids in known.items()})


async def _note_gone(found: Found, ctx: Context) -> None:
    """The launch is over: its order is free for the next one, and nobody has to look for leftovers again."""
    for noted in (found.noted, await ctx.journal.read("teardown", ctx.project_id, found.launch_id)):
        if noted:
            await ctx.journal.write(noted.model_copy(update={"state": "gone"}))


async def _delete_servers(found: Found, ctx: Context, lease: Lease, deadline: datetime) -> None:
    names = ", ".join(server.name for server in found.servers)
    ctx.tell(f"deleting {names} with disks and addresses, {until(deadline)}")
    there = [server.id for server in found.servers]
    job_id: str | None = None
    while there:
        await lease.check()
        if job_id is None:
            job_id = await _ask(ctx.cloud.servers.delete(there), ctx, what=names, deadline=deadline)
        await ctx.clock.sleep(_LOOK_EVERY)
        there = [server_id for server_id in there if await _exists(server_id, ctx)]
        if there and job_id and await _refused(job_id, names, ctx):
            job_id = None
        if there and ctx.clock.now() >= deadline:
            raise StillRunning("The teardown", last_seen=f"left: {names}", deadline=deadline, handle={"server": ", ".join(there)})


async def _refused(job_id: str, names: str, ctx: Context) -> bool:
    """Whether the job says that it could not be done now. Raises JobFailed where asking again is no use."""
    job = await quiet(ctx.cloud.servers.job(job_id))
    if job is None or job.status != "FAIL":
        return False
    if diagnose(job.error_code).error_class is ErrorClass.WAIT:
        ctx.tell(f"{job.error_code}: {job.fail_reason}; asking again")
        return True
    raise job_failed(f"Deleting {names}", job)


async def _delete_disks(mine: _Belongings, ctx: Context, lease: Lease, deadline: datetime) -> tuple[str, ...]:
    """Delete the disks that outlived their servers; returns those that are still there at the deadline.

    One that somebody has attached to another server meanwhile is his, and left alone.
    """
    while True:
        there = [disk for disk in await _disks(mine.disks, ctx) if not set(disk.server_ids) - set(mine.servers)]
        if not there:
            return ()
        await lease.check()
        for disk in there:
            if disk.status in {"available", "error", "error_deleting", "error_restoring", "error_extending"}:
                await _ask(ctx.cloud.disks.delete(disk.id), ctx, what=f"disk {disk.id}", deadline=deadline)
        if ctx.clock.now() >= deadline:
            return tuple(f"disk {disk.id} ({disk.status})" for disk in there)
        await ctx.clock.sleep(_LOOK_EVERY)


async def _release(mine: _Belongings, ctx: Context, lease: Lease, deadline: datetime) -> tuple[str, ...]:
    """Release the addresses that outlived their servers; returns those that are still there at the deadline.

    One that is bound to somebody else's port by now is left alone; one that still hangs on a dead server's port is waited for.
    """
    while True:
        listed = await ctx.cloud.public_ips.list()
        there = [ip for ip in listed if ip.id in mine.addresses and (not ip.port_id or ip.port_id in mine.ports)]
        if not there:
            return ()
        await lease.check()
        for ip in there:
            if not ip.port_id:
                await _ask(ctx.cloud.public_ips.delete(ip.id), ctx, what=f"address {ip.address}", deadline=deadline)
        if ctx.clock.now() >= deadline:
            return tuple(f"address {ip.address} ({ip.status})" for ip in there)
        await ctx.clock.sleep(_LOOK_EVERY)


async def _ask(request: Awaitable[str | None], ctx: Context, *, what: str, deadline: datetime) -> str | None:
    """Ask for a deletion: the job, "" where none is needed (any more), None for "not now". Raises lasting refusals."""
    try:
        return await request or ""
    except NotFound:
        return ""
    except CloudError as error:
        if not passes(error) or ctx.clock.now() >= deadline:
            raise
        ctx.tell(f"{what}: {error.message} Asking again, {until(deadline)}")
        return None


async def _disks(ids: tuple[str, ...], ctx: Context) -> list[Disk]:
    """Those of our disks that are still there. A filter that the cloud passes over must never widen what is deleted."""
    return [disk async for disk in ctx.cloud.disks.list(ids=ids) if disk.id in ids]


async def _exists(server_id: str, ctx: Context) -> bool:
    try:
        server = await ctx.cloud.servers.find(server_id)
    except CloudError as error:
        if not passes(error):
            raise
        return True
    return server is not None and server.status != "DELETED"
