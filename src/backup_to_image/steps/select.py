"""Which backups there are, which of them could become an image, and which is the newest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from backup_to_image.errors import UsageError
from backup_to_image.model import Backup
from backup_to_image.steps.context import Context

__all__ = ["newest_backup", "server_backups", "why_not"]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def server_backups(server: str | None, ctx: Context, *, usable: bool = False) -> AsyncIterator[tuple[Backup, str]]:
    """Backups of servers, newest first, each with the reason why it cannot become an image ("" if it can).

    `server` is an id or a name; disks of a backup are not read, so what only they tell is left to `validate`.
    """
    found = [
        backup
        async for backup in ctx.cloud.backups.list()
        if server is None or server in {backup.resource_id, backup.resource_name}
    ]
    for backup in sorted(found, key=lambda one: one.latest_at or _LONG_AGO, reverse=True):
        reason = why_not(backup)
        if not (usable and reason):
            yield backup, reason


def why_not(backup: Backup) -> str:
    """Why this backup cannot become a new image, as far as its own record tells; "" if nothing speaks against it."""
    if backup.kind != "server":
        return "backup of a disk, not of a server"
    if backup.image_ids:
        return f"has its image already: {', '.join(backup.image_ids)}"
    if backup.status != "available":
        return f"is {backup.status}" + ("; wait for it" if backup.status in {"protecting", "waiting_protect"} else "")
    if backup.contains_system_disk is False:
        return "holds no system disk"
    return ""


async def newest_backup(server: str, ctx: Context) -> Backup:
    """The newest backup of a server that is available: one that has an image already is as good, it is adopted.

    Raises UsageError where the server has none, or the name means several servers.
    """
    servers: set[str] = set()
    newest: Backup | None = None
    async for backup, reason in server_backups(server, ctx):
        if backup.kind != "server":
            continue
        servers.add(backup.resource_id)
        if newest is None and (not reason or backup.image_ids):
            newest = backup
    if len(servers) > 1:
        raise UsageError(f"{len(servers)} servers are called {server!r}: {', '.join(sorted(servers))}.", action="Name the id.")
    if newest is None:
        raise UsageError(
            f"Server {server!r} has no backup that could become an image.", action=f"`b2i backups --server {server}` says why."
        )
    return newest
