"""`--backup-now`: one server's backup made for an image order, once nothing that can be known speaks against the order."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from backup_to_image.errors import B2iError, Refused, UsageError
from backup_to_image.model import Backup, BackupDisk, Check, Delivery, ImageOrder, Report, Server, Value, Vault
from backup_to_image.steps.back_up import asked_for, back_up, keep, left_of_backup, use_up
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look
from backup_to_image.steps.leftovers import Leftovers
from backup_to_image.steps.pipeline import image_from_backup
from backup_to_image.steps.validate import Look, check_planned

__all__ = [
    "Expected",
    "MakeDelivery",
    "backup_now",
    "backup_of",
    "check_backup_now",
    "expect",
    "image_from_new_backup",
    "left_of_new_backup",
]

_ORDER = "create"
_DEFAULT_WAIT = timedelta(hours=1)
_NOT_YET = "00000000-0000-0000-0000-000000000000"


class Expected(Value):
    """A server that is to be backed up now, and the vault that takes the backup; None where no vault protects it."""

    server: Server
    vault: Vault | None


class MakeDelivery(Protocol):
    """The five steps of an order, as `steps.pipeline` or as Prefect tasks."""

    async def __call__(self, order: ImageOrder, ctx: Context, *, after_failure: bool) -> Delivery: ...


async def expect(reference: str, ctx: Context) -> Expected:
    """The server of that id or name, and its vault. Makes nothing. Raises UsageError where none or several are meant."""
    server = await _server(reference, ctx)
    mine = [one async for one in ctx.cloud.vaults.list(object_type="server", protect_type="backup", server_id=server.id)]
    return Expected(server=server, vault=next((one for one in mine if server.id in one.server_ids), None))


async def _server(reference: str, ctx: Context) -> Server:
    named = [one async for one in ctx.cloud.servers.list() if reference in {one.id, one.name}]
    if len(named) > 1:
        ids = ", ".join(sorted(one.id for one in named))
        raise UsageError(f"{len(named)} servers are called {reference!r}: {ids}.", action="Name the id.")
    if not named:
        raise UsageError(
            f"No server has the id or the name {reference!r} in this project.", action="Only what exists is backed up."
        )
    return named[0]


async def check_backup_now(expected: Expected, order: ImageOrder, ctx: Context, *, look: Look = look) -> Report:
    """The report on an order before its backup is made. Makes nothing.

    Every rule is asked about the backup as it will be: of this server, with its disks, in its vault. `look` finds what is around
    it; a fleet has it from its lists.
    """
    backup = backup_of(expected, ctx)
    found = await look(backup, ctx)
    disks = tuple(
        BackupDisk(backup_id="", disk_id=one.id, name=one.name, size_gb=one.size_gb, system=one.bootable, encrypted=one.encrypted)
        for one in found.source_disks
    )
    backup = backup.model_copy(update={"disks": disks, "encrypted": any(disk.encrypted for disk in disks)})
    checks, _ = await check_planned(order, found.model_copy(update={"backup": backup}), ctx)
    about = (_protected(expected), *(one for one in checks if one.rule not in {"exists", "ready", "unused"}))
    return Report(subject=f"a backup of server {expected.server.name} to be made now", checks=about)


def backup_of(expected: Expected, ctx: Context) -> Backup:
    """The backup as it will be, as far as that is known before."""
    server, vault = expected.server, expected.vault
    return Backup(
        id=_NOT_YET,
        name="to be made now",
        status="available",
        kind="server",
        resource_id=server.id,
        resource_name=server.name,
        vault_id=vault.id if vault else None,
        project_id=ctx.project_id,
        created_at=ctx.clock.now(),
        contains_system_disk=True,
    )


def _protected(expected: Expected) -> Check:
    if expected.vault:
        return Check(rule="protected", verdict="passed", why=f"vault {expected.vault.name} takes its backups")
    return Check(
        rule="protected",
        verdict="refused",
        why=f"no vault protects server {expected.server.name}, so it cannot be backed up",
        action="Bind it to a server vault in CBR.",
        code="BackupService.6135",
        page="CBR api-ref/source/cbr_apis/restore_points/creating_a_restore_point.rst",
    )


async def backup_now(expected: Expected, order: ImageOrder, ctx: Context) -> Backup:
    """The server's new backup, ready to become the image of this order.

    Run again after a kill, or after the deadline has passed, it goes on with the backup that the run before has asked for: the
    journal knows it until `use_up` says that an order with it has ended well, and for as long as one such order may take in all
    after the last run has left it; later it would not be a backup of now. Raises Refused with every reason before anything is
    made; JobFailed with the cloud's reason; StillRunning with the handle.
    """
    wait = order.wait_backup or _DEFAULT_WAIT
    now = ctx.clock.now()
    since = _asked_since(order, now)
    server_id = expected.server.id
    if not await asked_for(server_id, ctx, order=_ORDER, since=since):
        report = await check_backup_now(expected, order, ctx)
        if not report.ok:
            raise Refused(report)
    vault_id = expected.vault.id if expected.vault else ""
    (ended,) = await back_up((server_id,), vault_id, ctx, order=_ORDER, deadline=now + wait, since=since)
    return ended.model_copy(update={"server_name": expected.server.name}).need()


def _asked_since(order: ImageOrder, now: datetime) -> datetime:
    """What an earlier run of the same order has asked for before this moment is no backup of now."""
    return now - (order.wait_backup or _DEFAULT_WAIT) - order.timeout


async def left_of_new_backup(expected: Expected, order: ImageOrder, ctx: Context) -> Leftovers:
    """What the cloud has of the backup, where one was asked for and no order has used it up. Makes nothing."""
    server_id, now = expected.server.id, ctx.clock.now()
    if not await asked_for(server_id, ctx, order=_ORDER, since=_asked_since(order, now)):
        return Leftovers(seen_at=now)
    return (await left_of_backup(server_id, ctx)).model_copy(update={"backup_made": True})


async def image_from_new_backup(
    backup: Backup, order: ImageOrder, ctx: Context, *, after_failure: bool = False, make: MakeDelivery = image_from_backup
) -> Delivery:
    """What `make` does; until that has ended well, whoever gives the same order again goes on with this backup."""
    try:
        delivery = await make(order, ctx, after_failure=after_failure)
    except (B2iError, asyncio.CancelledError):
        await keep(backup, ctx)
        raise
    await (keep if delivery.outcome == "partly" else use_up)(backup, ctx)
    return delivery
