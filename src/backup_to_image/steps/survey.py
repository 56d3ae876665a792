"""One project as its lists show it: what a fleet needs to know, for a few requests in all instead of some for each server.

Each list is read once for all who ask, and again when it has grown old. What may not be read is noted with the cloud's words, not
raised: whoever needed it says what he could not see. A list may be late or miss something, so what is to be deleted is looked at
by its id before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from backup_to_image.errors import ApiError, CloudError
from backup_to_image.model import Backup, Disk, Image, Quota, Server, Vault
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import CLOCK_SLACK, Findings, first_image, image_among, usual_seconds
from backup_to_image.waiting import passes

__all__ = ["Survey"]

T = TypeVar("T")

_HISTORY = 100


class _Reading(Generic[T]):
    """What one list said, or why it said nothing, and when."""

    def __init__(self, read: Callable[[], Awaitable[T]], nothing: T, ctx: Context, fresh: timedelta) -> None:
        self._read = read
        self._nothing = nothing
        self._ctx = ctx
        self._fresh = fresh
        self._task: asyncio.Task[T] | None = None
        self._asked_at: datetime | None = None
        self.unread = ""
        self.passes = False
        """Whether it may be read a little later."""

    async def get(self) -> T:
        now = self._ctx.clock.now()
        if self._task is None or self._asked_at is None or not self._asked_at <= now < self._asked_at + self._fresh:
            self._asked_at = now
            self._task = asyncio.create_task(self._look())
        return await asyncio.shield(self._task)  # whoever gives up waiting leaves the list to the others

    async def _look(self) -> T:
        try:
            found = await self._read()
        except CloudError as error:
            self.unread = error.words if isinstance(error, ApiError) and error.words else error.message
            self.passes = passes(error)
            return self._nothing
        self.unread = ""
        return found


class Survey:
    """Everything of one project that a fleet is chosen from and validated by.

    `since` bounds what is read of backups and new images; None reads them all. `fresh` is how long a list is believed.
    """

    def __init__(self, ctx: Context, *, since: datetime | None = None, fresh: timedelta = timedelta(minutes=5)) -> None:
        self._ctx = ctx
        self._since = since

        def reading(read: Callable[[], Awaitable[T]], nothing: T) -> _Reading[T]:
            return _Reading(read, nothing, ctx, fresh)

        self._servers = reading(self._read_servers, dict[str, Server]())
        self._disks = reading(self._read_disks, dict[str, Disk]())
        self._vaults = reading(self._read_vaults, dict[str, Vault]())
        self._backups = reading(self._read_backups, tuple[Backup, ...]())
        self._images = reading(self._read_images, tuple[Image, ...]())
        self._quota = reading(self._read_quota, None)

    async def servers(self) -> Mapping[str, Server]:
        """The project's servers by id."""
        return await self._servers.get()

    async def disks(self) -> Mapping[str, Disk]:
        """The project's disks by id."""
        return await self._disks.get()

    async def vaults(self) -> Mapping[str, Vault]:
        """The project's vaults by id."""
        return await self._vaults.get()

    async def backups(self) -> tuple[Backup, ...]:
        """Own backups of servers, newest first; no older than `since`. Their disks are not told."""
        return await self._backups.get()

    async def images(self) -> tuple[Image, ...]:
        """Own full-ECS images, newest first: all, or those since the survey's beginning and at least the last hundred."""
        return await self._images.get()

    async def quota(self) -> Quota | None:
        """How many private images there may be; None where that cannot be read."""
        return await self._quota.get()

    def unread(self) -> dict[str, str]:
        """What could not be read, by name, with the cloud's words."""
        return {what: reading.unread for what, reading in self._readings().items() if reading.unread}

    def may_be_read_later(self, names: Collection[str]) -> bool:
        """Whether some of these lists could not be read, and for none of them for good."""
        wanting = [reading for what, reading in self._readings().items() if what in names and reading.unread]
        return bool(wanting) and all(reading.passes for reading in wanting)

    def _readings(self) -> dict[str, _Reading[Any]]:
        return {
            "servers": self._servers,
            "disks": self._disks,
            "vaults": self._vaults,
            "backups": self._backups,
            "images": self._images,
            "image quota": self._quota,
        }

    async def look(self, backup: Backup, ctx: Context) -> Findings:
        """What `findings.look` finds, from the lists: no request for this backup but for an image that only the backup names."""
        images, servers, disks, vaults, quota = await asyncio.gather(
            self.images(), self.servers(), self.disks(), self.vaults(), self.quota()
        )
        source = servers.get(backup.resource_id) if backup.kind == "server" else None
        unread = {"vault": self._vaults.unread, "source server": self._servers.unread}
        unread |= {"source disks": self._disks.unread, "image quota": self._quota.unread}
        return Findings(
            backup=backup,
            image=image_among(images, backup) or await first_image(backup.image_ids, ctx),
            vault=vaults.get(backup.vault_id) if backup.vault_id else None,
            source=source,
            source_gone=backup.kind == "server" and source is None and not self._servers.unread,
            source_disks=tuple(disks[one.id] for one in source.disks if one.id in disks) if source else (),
            quota=quota,
            usual_seconds=usual_seconds(images, backup),
            unread={what: why for what, why in unread.items() if why},
        )

    async def _read_servers(self) -> dict[str, Server]:
        return {server.id: server async for server in self._ctx.cloud.servers.list()}

    async def _read_disks(self) -> dict[str, Disk]:
        return {disk.id: disk async for disk in self._ctx.cloud.disks.list()}

    async def _read_vaults(self) -> dict[str, Vault]:
        return {vault.id: vault async for vault in self._ctx.cloud.vaults.list()}

    async def _read_backups(self) -> tuple[Backup, ...]:
        since = self._since - CLOCK_SLACK if self._since else None
        return tuple([backup async for backup in self._ctx.cloud.backups.list(since=since) if backup.kind == "server"])

    async def _read_images(self) -> tuple[Image, ...]:
        oldest = self._since - CLOCK_SLACK if self._since else None
        found: list[Image] = []
        async for image in self._ctx.cloud.images.list(whole=True, owner=self._ctx.project_id, newest_first=True):
            found.append(image)
            if oldest and len(found) >= _HISTORY and image.created_at and image.created_at < oldest:
                break
        return tuple(found)

    async def _read_quota(self) -> Quota | None:
        return (await self._ctx.cloud.images.quota()).get("image")
