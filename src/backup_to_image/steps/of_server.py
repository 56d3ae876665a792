"""An order that names a server instead of a backup: its newest one, or one that is made now.

Asked again, both would give another backup. So a flow run keeps to the one that it has begun with, however often it is started:
after a crash, by Retry, or by whoever brings late runs back. Another run is another order.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from backup_to_image.errors import B2iError, NotFound
from backup_to_image.journal import Record
from backup_to_image.model import Backup, ImageOrder
from backup_to_image.steps.backup_now import backup_now, expect, left_of_new_backup
from backup_to_image.steps.context import Context
from backup_to_image.steps.leftovers import Leftovers, look_for_leftovers
from backup_to_image.steps.select import newest_backup

__all__ = ["WhichBackup", "left_of_server_order", "take_new_backup", "take_newest_backup"]

WhichBackup = Literal["newest", "now"]

_KIND = "run-backup"
_BACKUP = "backup"
_FORGET_AFTER = timedelta(days=90)
"""Nobody retries a run that is so old."""


async def take_newest_backup(server: str, ctx: Context) -> str:
    """The id of the server's newest backup that can become an image; in a flow run, of that with which the run began.

    Raises UsageError where there is none or the name means several servers, JournalError.
    """
    taken = await _taken(ctx.run_id, ctx)
    if taken is None:
        taken = (await newest_backup(server, ctx)).id
        await _take(taken, ctx)
    return taken


async def take_new_backup(server: str, order: ImageOrder, ctx: Context) -> Backup:
    """A backup of the server that is made now; in a flow run that was started before, the one that was made then.

    Raises what `backup_now` raises, and B2iError where the backup of an earlier start is gone by now: another one costs money and
    nobody has ordered it.
    """
    taken = await _taken(ctx.run_id, ctx)
    if taken is None:
        made = await backup_now(await expect(server, ctx), order, ctx)
        await _take(made.id, ctx)
        return made
    try:
        return await ctx.cloud.backups.get(taken)
    except NotFound:
        raise B2iError(
            f"The backup {taken}, which this run had made before, exists no more.",
            action="A new run makes another one: Copy to new run.",
        ) from None


async def left_of_server_order(server: str, backup: WhichBackup, order: ImageOrder, ctx: Context, *, run_id: str) -> Leftovers:
    """What a flow run with such an order has in the cloud. Makes nothing. Raises UsageError, JournalError, CloudError."""
    taken = await _taken(run_id, ctx)
    if taken is not None:
        left = await look_for_leftovers(order.model_copy(update={"backup_id": taken}), ctx)
        return left.model_copy(update={"backup_made": backup == "now"})
    if backup == "now":
        return await left_of_new_backup(await expect(server, ctx), order, ctx)
    return Leftovers(seen_at=ctx.clock.now())


async def _taken(run_id: str | None, ctx: Context) -> str | None:
    noted = await ctx.journal.read(_KIND, ctx.project_id, run_id) if run_id else None
    taken = noted.facts.get(_BACKUP) if noted else None
    return taken if isinstance(taken, str) else None


async def _take(backup_id: str, ctx: Context) -> None:
    """Write down with which backup this run goes on; what old runs had is forgotten."""
    if not ctx.run_id:
        return
    now = ctx.clock.now()
    for old in await ctx.journal.records(_KIND):
        if old.project_id == ctx.project_id and old.written_at < now - _FORGET_AFTER:
            await ctx.journal.forget(old)
    record = Record(
        kind=_KIND, project_id=ctx.project_id, name=ctx.run_id, state="done", written_at=now, facts={_BACKUP: backup_id}
    )
    await ctx.journal.write(record)
