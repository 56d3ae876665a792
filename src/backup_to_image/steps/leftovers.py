"""What one order has in the cloud right now: for whoever stopped it, and for whoever has to clear up after it."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Literal, TypeVar

from backup_to_image.errors import ApiError, B2iError, NotFound
from backup_to_image.journal import Record
from backup_to_image.model import Backup, Image, ImageOrder, Job, LaunchOrder, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import find_backup, image_of
from backup_to_image.steps.launching.launched import find_launched
from backup_to_image.steps.launching.plan import Mode
from backup_to_image.steps.once import server_job

__all__ = ["Leftover", "Leftovers", "left_by_launch", "look_for_leftovers", "look_for_servers"]

T = TypeVar("T")


class Leftover(Value):
    """One thing that the cloud has, or was asked for. `status` is the cloud's word of this moment."""

    kind: Literal["backup", "job", "image", "member", "launch", "server", "disk", "address"]
    id: str = ""
    """Empty where it was asked for and cannot be seen yet."""
    name: str = ""
    status: str = ""
    made_at: datetime | None = None
    """When the cloud made it: what is older than the run was there before."""

    @property
    def words(self) -> str:
        """As a sentence names it: disk shop-volume-0000 (3221e65e, 40 GB)."""
        return f"{self.kind} {self.name} ({', '.join(part for part in (self.id, self.status) if part)})"


class Leftovers(Value):
    """All that an order has in the cloud, and what could not be looked at."""

    things: tuple[Leftover, ...] = ()
    seen_at: datetime
    unread: dict[str, str] = {}
    """What was not to be seen, by name, with the reason."""
    backup_made: bool = False
    """Whether the order had its backup made, too; else that was there before."""

    @property
    def made(self) -> tuple[Leftover, ...]:
        """What the order made or asked for."""
        before = {"launch"} if self.backup_made else {"backup", "launch"}
        return tuple(one for one in self.things if one.kind not in before)

    @property
    def handle(self) -> dict[str, str]:
        """An id for each kind, as everything that resumes an order names them."""
        return {one.kind: one.id for one in reversed(self.things) if one.id and one.kind not in {"member", "disk", "address"}}

    @property
    def stray(self) -> tuple[Leftover, ...]:
        """Disks and addresses to which no server leads, so that nothing but their names finds them."""
        return tuple(one for one in self.things if one.kind in {"disk", "address"})


async def look_for_leftovers(order: ImageOrder, ctx: Context) -> Leftovers:
    """Look at what this order has in the cloud: image job, image, members, servers. Makes nothing, takes no lease.

    The journal says what was asked for; what is there, the cloud says. What cannot be read is named in `unread`, not raised.
    """
    unread: dict[str, str] = {}

    async def attempt(what: str, look: Awaitable[T]) -> T | None:
        try:
            return await look
        except B2iError as error:
            unread[what] = error.words if isinstance(error, ApiError) and error.words else error.message
            return None

    backup = await attempt("backup", find_backup(order.backup_id, ctx))
    if not isinstance(backup, Backup):
        if backup is not None:
            unread["backup"] = backup.why
        return Leftovers(things=(Leftover(kind="backup", id=order.backup_id),), seen_at=ctx.clock.now(), unread=unread)
    things = [Leftover(kind="backup", id=backup.id, name=backup.name, status=backup.status)]
    noted = await attempt("journal", _noted(backup, ctx))
    job = await attempt("image job", ctx.cloud.images.job(noted.job_id)) if noted and noted.job_id else None
    image = await attempt("image", _image(backup, job, ctx))
    things += _image_things(noted, job, image)
    if image and order.share_with:
        members = await attempt("members", ctx.cloud.images.members(image.id))
        things += [Leftover(kind="member", id=member.project_id, status=member.status) for member in members or ()]
    if image and order.launch:
        things += await attempt("servers", _servers(image, order.launch, ctx)) or ()
    return Leftovers(things=tuple(things), seen_at=ctx.clock.now(), unread=unread)


async def look_for_servers(image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover") -> Leftovers:
    """Look at what a launch order has in the cloud. Makes nothing, takes no lease. Raises where the cloud does not tell."""
    return Leftovers(things=await _servers(image, order, ctx, mode), seen_at=ctx.clock.now())


async def _noted(backup: Backup, ctx: Context) -> Record | None:
    return await ctx.journal.read("image", ctx.project_id, backup.id)


async def _image(backup: Backup, job: Job | None, ctx: Context) -> Image | None:
    """The backup's image; by its job's word where no list shows it yet."""
    image = await image_of(backup, ctx)
    if image or job is None or job.image_id is None:
        return image
    try:
        return await ctx.cloud.images.get(job.image_id)
    except NotFound:
        return None


def _image_things(noted: Record | None, job: Job | None, image: Image | None) -> list[Leftover]:
    things: list[Leftover] = []
    if job:
        done = f", {job.progress:.0%}" if job.progress is not None and job.status == "RUNNING" else ""
        things.append(Leftover(kind="job", id=job.id, status=job.status + done))
    if image:
        things.append(Leftover(kind="image", id=image.id, name=image.name, status=image.status, made_at=image.created_at))
    elif noted and (noted.state == "intent" or (job and job.status in {"INIT", "RUNNING"})):
        things.append(Leftover(kind="image", status=_asked(noted)))
    return things


async def _servers(image: Image, order: LaunchOrder, ctx: Context, mode: Mode = "failover") -> tuple[Leftover, ...]:
    standing = await find_launched(image, order, ctx, mode=mode)
    servers = [
        Leftover(kind="server", id=one.id, name=one.name, status=one.status, made_at=one.created_at) for one in standing.servers
    ]
    noted = standing.noted
    job = await server_job(noted, ctx) if noted.state == "sent" else None
    stray = await left_by_launch(job, order, ctx) if job and job.status == "FAIL" else ()
    if not servers and not stray and noted.state in {"intent", "sent"}:
        servers = [Leftover(kind="server", name=order.name, status=_asked(noted))]
    return (Leftover(kind="launch", id=standing.mark, name=order.name), *servers, *stray) if servers or stray else ()


async def left_by_launch(job: Job, order: LaunchOrder, ctx: Context) -> tuple[Leftover, ...]:
    """Disks and addresses that a failed launch made and did not take back: they are billed, and no server leads to them.

    Known by name and time alone, so they are told and never removed. Raises CloudError.
    """
    if job.began_at is None:
        return ()
    began = job.began_at.replace(microsecond=0)
    disks = [
        Leftover(kind="disk", id=disk.id, name=disk.name, status=f"{disk.size_gb} GB", made_at=disk.created_at)
        async for disk in ctx.cloud.disks.list(name=order.name)
        if not disk.server_ids and disk.status != "deleting" and disk.created_at and disk.created_at >= began
    ]
    addresses = [
        Leftover(kind="address", id=ip.id, name=ip.address, status=ip.status, made_at=ip.created_at)
        for ip in (await ctx.cloud.public_ips.list() if order.public_ip else [])
        if not ip.port_id and ip.created_at and ip.created_at >= began
    ]
    return (*disks, *addresses)


def _asked(noted: Record) -> str:
    since = noted.first_intent_at or noted.written_at
    return f"asked for at {since.astimezone(UTC):%H:%M:%S} UTC, not to be seen yet"
