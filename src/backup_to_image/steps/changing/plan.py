"""Plan a change of OS: the exact request, what becomes of every disk, and every reason against it. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from backup_to_image.errors import ApiError, CloudError, NotFound, UsageError
from backup_to_image.model import Backup, ChangePlan, ChangeRequest, Check, Disk, Image, PlannedDisk, Server, Verdict
from backup_to_image.steps.changing.standing import being_changed, find_change, system_disk
from backup_to_image.steps.context import Context
from backup_to_image.steps.facts import SourceFacts, recall
from backup_to_image.steps.findings import is_id

__all__ = ["confirm", "find_server", "plan_change", "power_check"]

T = TypeVar("T")

_API = "ECS api-ref/source/apis_recommended/status_management/changing_an_ecs_os_using_an_image_with_cloud-init_installed.rst"
_GUIDE = "IMS umn/source/creating_a_private_image/creating_a_full-ecs_image_from_a_cbr_backup.rst"
_SHARING = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"
_CODES = "ECS api-ref/source/appendix/error_codes.rst"
_FLAVORS = "ECS api-ref/source/apis_recommended/lifecycle_management/creating_an_ecs.rst"
_OURS = "docs/how-to-change-os.md"
_FEEDS = {"available", "protecting", "waiting_protect"}
_BITS_32_MB = 4096
_STANDS = {"under_way": "an earlier run has asked for it; it is gone on with", "done": "it has its new system disk already"}
_LAUNCH = "To have the data disks too, launch a new server: `b2i launch {image} --spec SPEC.yaml`."


async def plan_change(
    server: str,
    image: str,
    ctx: Context,
    *,
    accepted: bool,
    stop: bool = False,
    again: bool = False,
    key_pair: str | None = None,
) -> ChangePlan:
    """What would be asked for, and every reason against it. Server and image by id, or by a name that only one has.

    `accepted`: whoever orders it knows that data disks stay as they are. Reads only; safe to repeat. A change that an earlier run
    has asked for, or has finished, is told as that. Raises trouble of the cloud that nothing can be planned with.
    """
    planner = _Planner()
    there, meant = await asyncio.gather(_server(server, ctx, planner), _image(image, ctx, planner))
    standing = await find_change(there, meant.id, ctx, again=again) if there and meant else None
    disks, (backup, facts), keys = await asyncio.gather(
        _disks_of(there, ctx) if there else _nothing(),
        _behind(meant, ctx, planner),
        planner.attempt("login", ctx.cloud.servers.key_pairs()) if key_pair else _nothing(),
    )
    mine = _server_disks(there, disks)
    theirs = _image_disks(backup, facts)
    if there:
        planner.checks += _server_checks(there, disks, stop=stop)
    if meant:
        planner.checks += _image_checks(meant, backup, await _access(meant, ctx, planner))
    if there and meant:
        planner.checks += _fit(there, meant, disks, again=again)
    _login(planner, key_pair, keys)
    planner.note(
        "disk quota", "unknowable", "no page of the cloud tells it; one more disk is needed, or the cloud refuses: Ecs.0021"
    )
    if standing and standing.state != "new":
        # Asked for already, so nothing speaks against going on.
        planner.checks = [_check("server", "passed", f"{standing.server.name} ({standing.server.id}): {_STANDS[standing.state]}")]
    planner.checks.append(_data_disks(mine, theirs, meant, accepted=accepted))
    return ChangePlan(
        standing=standing.state if standing else "new",
        server=there,
        image=meant,
        request=ChangeRequest(server_id=there.id, image_id=meant.id, key_name=key_pair) if there and meant else None,
        old_system_disk=system_disk(there) if there else None,
        disks=mine,
        not_restored=theirs,
        checks=tuple(planner.checks),
    )


class _Planner:
    """Every reason for and against, in the order in which it was found."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def note(self, rule: str, verdict: Verdict, why: str, action: str = "", **more: object) -> None:
        self.checks.append(_check(rule, verdict, why, action, **more))

    def refuse(self, rule: str, why: str, action: str, **more: object) -> None:
        self.note(rule, "refused", why, action, **more)

    async def attempt(self, rule: str, request: Awaitable[T]) -> T | None:
        """What is asked; what may not be read is noted, not fatal."""
        try:
            return await request
        except CloudError as error:
            words = error.words if isinstance(error, ApiError) and error.words else error.message
            self.note(rule, "unknowable", f"could not be read: {words}", error.action, code=error.code)
            return None


def _check(rule: str, verdict: Verdict, why: str, action: str = "", **more: object) -> Check:
    told = {"rule": f"change-os: {rule}", "verdict": verdict, "why": why, "action": action, "page": _API}
    return Check.model_validate(told | more)


async def find_server(reference: str, ctx: Context) -> Server | None:
    """The server of that id, or of a name that only one has; None where there is none. Raises CloudError."""
    return await _server(reference, ctx, _Planner())


async def _server(reference: str, ctx: Context, planner: _Planner) -> Server | None:
    if is_id(reference):
        found = await ctx.cloud.servers.find(reference.lower())
        if found is None:
            planner.refuse(
                "server",
                f"there is no server {reference} in this project",
                "Check id, project and region.",
                code="Ecs.0114",
                page=_CODES,
            )
        return found
    named = [one async for one in ctx.cloud.servers.list(name=reference) if one.name == reference] if reference else []
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(one.id for one in named)
        planner.refuse("server", f"{len(named)} servers are called {reference!r}", f"Write the id instead: {ids}.")
    else:
        planner.refuse(
            "server",
            f"no server is called {reference!r} in this project",
            "Check name, project and region.",
            code="Ecs.0114",
            page=_CODES,
        )
    return None


async def _image(reference: str, ctx: Context, planner: _Planner) -> Image | None:
    if is_id(reference):
        try:
            return await ctx.cloud.images.get(reference.lower())
        except NotFound as error:
            words = f"there is no image {reference} that this project sees ({error.cloud_code or error.status}: {error.words})"
            planner.refuse(
                "image",
                words,
                "Check id, project and region; an offered image has to be accepted first.",
                code="Ecs.0031",
                page=_CODES,
            )
            return None
    named = [one async for one in ctx.cloud.images.list(name=reference)] if reference else []
    named = [one for one in named if one.name == reference]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(one.id for one in named)
        planner.refuse("image", f"{len(named)} images are called {reference!r}", f"Write the id instead: {ids}.")
    else:
        planner.refuse(
            "image",
            f"no image is called {reference!r} in this project",
            "Check name, project and region.",
            code="Ecs.0031",
            page=_CODES,
        )
    return None


async def _disks_of(server: Server, ctx: Context) -> dict[str, Disk]:
    ids = tuple(disk.id for disk in server.disks)
    return {disk.id: disk async for disk in ctx.cloud.disks.list(ids=ids) if disk.id in ids} if ids else {}


async def _behind(image: Image | None, ctx: Context, planner: _Planner) -> tuple[Backup | None, SourceFacts | None]:
    """The backup behind the image, and the facts of its source that were recorded with it; a recipient need see neither."""
    if image is None or image.backup_id is None:
        return None, None
    facts = await recall(image.backup_id, ctx)
    try:
        return await ctx.cloud.backups.get(image.backup_id), facts
    except NotFound:
        if image.owner == ctx.project_id:
            planner.refuse(
                "backup",
                f"the backup {image.backup_id} behind the image is gone",
                "Choose another image.",
                code="Ecs.0034",
                page=_CODES,
            )
    except CloudError as error:
        if image.owner == ctx.project_id:
            planner.note(
                "backup", "unknowable", f"the backup behind the image could not be read: {error.message}", code=error.code
            )
    return None, facts


async def _access(image: Image, ctx: Context, planner: _Planner) -> str | None:
    """own, public, accepted, pending, rejected; None where it could not be read."""
    if image.owner == ctx.project_id:
        return "own"
    if image.visibility == "public":
        return "public"
    try:
        return (await ctx.cloud.images.member(image.id, ctx.project_id)).status
    except NotFound:
        return "not shared"
    except CloudError as error:
        planner.note("image access", "unknowable", f"could not be read: {error.message}", code=error.code)
        return None


async def _nothing() -> None:
    return None


def confirm(plan: ChangePlan, said: str | None, *, how: str) -> None:
    """A system disk goes only if its server's name was said. Raises UsageError that says how, `how` it is said here."""
    name = plan.server.name if plan.server else ""
    if said != name:
        wrong = f"{said!r} is not its name" if said else "the server's name is asked for"
        raise UsageError(f"Nothing was changed: {wrong}.", action=f"Add {how} the server's name ({name}).")


def power_check(server: Server, *, stop: bool) -> Check:
    """Whether its state lets its OS be changed: stopped, or a change failed before."""
    if being_changed(server):
        return _check(
            "power state",
            "refused",
            f"{server.name}'s OS is just being changed by somebody else",
            "Wait until it has ended.",
            waiting_helps=True,
            code="Ecs.0603",
            page=_CODES,
        )
    if server.status == "SHUTOFF":
        return _check("power state", "passed", f"{server.name} is stopped")
    if server.status == "ERROR":
        fault = server.fault or "no reason given"
        why = f"{server.name} is in ERROR ({fault}); the cloud takes it only if a change of its OS has failed before"
        return _check("power state", "unknowable", why)
    if server.status == "ACTIVE" and stop:
        return _check("power state", "passed", f"{server.name} is running and is stopped first, as its system shuts down (SOFT)")
    if server.status == "ACTIVE":
        action = "Stop it, or add --stop: it is then shut down by its own system (SOFT), never by force."
        return _check("power state", "refused", f"{server.name} is running, it must be stopped", action, code="Ecs.0100")
    why = f"{server.name} is {server.status}, it must be stopped"
    return _check(
        "power state", "refused", why, "Look at it in the console.", waiting_helps=server.status == "REBOOT", code="Ecs.0100"
    )


def _server_checks(server: Server, disks: dict[str, Disk] | None, *, stop: bool) -> Iterator[Check]:
    yield _check("server", "passed", f"{server.name} ({server.id})")
    yield power_check(server, stop=stop)
    stopping = stop and server.status == "ACTIVE" and server.task_state == "powering-off"  # by an earlier run, if not by hand
    if server.task_state and not being_changed(server) and not stopping:
        why, action = f"something is just being done to it: {server.task_state}", "Wait until it is over."
        yield _check("busy", "refused", why, action, waiting_helps=True, code="Ecs.0603", page=_CODES)
    if server.locked:
        yield _check(
            "lock", "refused", f"{server.name} is locked", "Have it unlocked by whoever locked it.", code="Ecs.0605", page=_CODES
        )
    if server.metadata.get("EcmResStatus", "").lower() == "freeze":
        yield _check(
            "frozen", "refused", f"{server.name} is frozen", "Settle the account's arrears first.", code="Ecs.0003", page=_CODES
        )
    disk_id = system_disk(server)
    if disk_id is None:
        if not being_changed(server):
            action = "Launch a new server from the image instead."
            yield _check("system disk", "refused", f"no system disk of {server.name} is to be seen", action, code="Ecs.0105")
        return
    disk = (disks or {}).get(disk_id)
    yield _check(
        "system disk", "passed", f"{disk_id}{f', {disk.size_gb} GB' if disk else ''}: it is deleted with all that is on it"
    )
    if disk and disk.encrypted:
        action = "Change the OS in the console, where a key can be chosen."
        yield _check("encryption", "refused", f"the system disk {disk_id} is encrypted, and the new one would not be", action)


def _image_checks(image: Image, backup: Backup | None, access: str | None) -> Iterator[Check]:
    if image.status == "active":
        yield _check("image", "passed", f"{image.name} ({image.id}) is active")
    else:
        waits = image.status in {"queued", "saving"}
        action = "Wait until it is Normal." if waits else "Choose another image."
        why = f"{image.name} ({image.id}) is {image.status}, it must be active"
        yield _check("image", "refused", why, action, waiting_helps=waits, code="Ecs.0032", page=_CODES)
    if access in {"own", "public", "accepted"}:
        words = {"own": "this project's own", "public": "a public image", "accepted": "shared with this project, and accepted"}
        yield _check("image access", "passed", words[access])
    elif access:
        why = f"{image.name} belongs to project {image.owner}; its share with this project: {access}"
        yield _check("image access", "refused", why, "Accept the image into a vault first.", code="Ecs.0031", page=_SHARING)
    if backup and backup.status not in _FEEDS:
        waits = backup.status in {"restoring", "waiting_restore"}
        why = f"the backup {backup.id} behind the image is {backup.status}, it must be available"
        yield _check(
            "backup", "refused", why, "Choose another image, or wait.", waiting_helps=waits, code="Ecs.0048", page=_CODES
        )
    if image.injection is False:
        why = "the image has no Cloud-Init or Cloudbase-Init (__support_fc_inject)"
        yield _check("guest preparation", "refused", why, "Launch a new server from it instead.", code="Ecs.0007")
    else:
        told = "the image is marked as having it; " if image.injection else ""
        why = f"{told}no API shows whether Cloud-Init works inside; the proof is the server that answers afterwards"
        yield _check("guest preparation", "unknowable", why, "Add probes: `--probe 'tcp: 22'`.", page=_GUIDE)


def _fit(server: Server, image: Image, disks: dict[str, Disk] | None, *, again: bool) -> Iterator[Check]:
    if not again and server.image_id == image.id and server.status != "ERROR":
        why = f"{server.name} has been running from {image.name} already, and nothing here tells why"
        action = "If its system disk is to be replaced by the image's all the same, add --again."
        yield _check("same image", "refused", why, action, page=_OURS)
    disk = (disks or {}).get(system_disk(server) or "")
    if disk and image.min_disk_gb > disk.size_gb:
        why = f"the image needs {image.min_disk_gb} GB, the system disk has {disk.size_gb} and stays of that size"
        yield _check("disk size", "refused", why, "Launch a new server from the image instead.", code="Ecs.0007")
    elif disk:
        yield _check("disk size", "passed", f"{disk.size_gb} GB, the image needs {image.min_disk_gb or 'no certain size'}")
    wrong = ""
    if image.min_ram_mb and 0 < server.ram_mb < image.min_ram_mb:
        wrong = f"the image wants {image.min_ram_mb} MB at least"
    elif image.max_ram_mb and server.ram_mb > image.max_ram_mb:
        wrong = f"the image takes {image.max_ram_mb} MB at most"
    elif image.os_bit == "32" and server.ram_mb > _BITS_32_MB:
        wrong = f"a system of 32 bit takes {_BITS_32_MB} MB at most"
    if wrong:
        why = f"{server.name} has {server.ram_mb} MB of memory, {wrong}"
        yield _check("memory", "refused", why, "Resize the server first, or launch a new one.", code="Ecs.0029", page=_FLAVORS)
    else:
        yield _check("memory", "passed", f"{server.ram_mb} MB")


def _login(planner: _Planner, key_pair: str | None, keys: list[str] | None) -> None:
    if key_pair is None:
        planner.note(
            "login",
            "warned",
            "no key pair is named, so the accounts inside the image hold; the cloud's pages disagree whether it demands one",
            "Name one with --key-pair if nobody knows the image's passwords, or if the cloud refuses.",
        )
    elif keys is not None and key_pair not in keys:
        there = f"There are: {', '.join(sorted(keys)) or 'none'}."
        planner.refuse("login", f"there is no key pair {key_pair!r}", there)
    elif keys is not None:
        planner.note("login", "passed", f"key pair {key_pair}")


def _server_disks(server: Server | None, disks: dict[str, Disk] | None) -> tuple[PlannedDisk, ...]:
    return tuple(
        PlannedDisk(
            disk_id=disk.id,
            device=disk.device,
            system=disk.boot_index == 0,
            size_gb=disks[disk.id].size_gb if disks and disk.id in disks else disk.size_gb or 0,
            becomes="deleted, a new one comes in its place" if disk.boot_index == 0 else "stays as it is",
        )
        for disk in (server.disks if server else ())
    )


def _image_disks(backup: Backup | None, facts: SourceFacts | None) -> tuple[PlannedDisk, ...]:
    """The data disks inside the image: as its backup has them, else as they were recorded."""
    devices = {disk.id: disk.device for disk in facts.disks} if facts else {}
    if backup:
        found = [(disk.disk_id, disk.size_gb) for disk in backup.disks if not disk.system]
    else:
        found = [(disk.id, disk.size_gb or 0) for disk in (facts.disks if facts else ()) if disk.boot_index != 0]
    return tuple(
        PlannedDisk(disk_id=ident, device=devices.get(ident, ""), system=False, size_gb=size, becomes="not restored")
        for ident, size in found
    )


def _data_disks(mine: tuple[PlannedDisk, ...], theirs: tuple[PlannedDisk, ...], image: Image | None, *, accepted: bool) -> Check:
    stay = [_named(disk) for disk in mine if not disk.system]
    lost = [_named(disk) for disk in theirs]
    unseen = "not to be seen from here" if image and image.backup_id else "none"
    why = (
        "only the system disk data is written when an OS is changed with a full-ECS image. "
        f"Data disks of the image, which are NOT restored: {', '.join(lost) or unseen}. "
        f"Data disks of the server, which stay as they are: {', '.join(stay) or 'none'}"
    )
    launch = _LAUNCH.format(image=image.id if image else "IMAGE")
    if accepted:
        return _check("data disks", "warned", why, launch, page=_GUIDE)
    action = f"{launch} If the system disk alone is meant, add --accept-data-disks-unchanged."
    return _check("data disks", "refused", why, action, page=_GUIDE)


def _named(disk: PlannedDisk) -> str:
    return f"{disk.device or disk.disk_id} ({disk.size_gb} GB)" if disk.size_gb else disk.device or disk.disk_id
