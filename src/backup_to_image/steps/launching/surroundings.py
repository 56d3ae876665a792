"""What launches are planned against: networks, flavors, zones, keys, servers and quota of a project, each list read once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from backup_to_image.model import Backup, Flavor, Image, Limits, SecurityGroup, Server, Subnet, Vpc, Zone
from backup_to_image.steps.context import Context
from backup_to_image.steps.facts import backup_of

__all__ = ["Surroundings"]

T = TypeVar("T")


class Surroundings:
    """The lists of one project, for one plan or for many at a time. One that cannot be read raises CloudError for all who ask.

    To be thrown away when the plans are made: nothing here grows younger.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._cloud = ctx.cloud
        self._read: dict[str, asyncio.Future[Any]] = {}

    async def vpcs(self) -> list[Vpc]:
        return await self._once("vpcs", self._cloud.networks.vpcs)

    async def subnets(self) -> list[Subnet]:
        return await self._once("subnets", self._cloud.networks.subnets)

    async def security_groups(self) -> list[SecurityGroup]:
        return await self._once("security groups", self._cloud.networks.security_groups)

    async def servers(self) -> list[Server]:
        async def read() -> list[Server]:
            return [server async for server in self._cloud.servers.list()]

        return await self._once("servers", read)

    async def flavors(self) -> list[Flavor]:
        return await self._once("flavors", self._cloud.servers.flavors)

    async def zones(self) -> list[Zone]:
        return await self._once("zones", self._cloud.servers.zones)

    async def limits(self) -> Limits:
        return await self._once("limits", self._cloud.servers.limits)

    async def key_pairs(self) -> list[str]:
        return await self._once("key pairs", self._cloud.servers.key_pairs)

    async def backup_of(self, image: Image) -> Backup | None:
        """The backup behind an image, with its disks; None where it is not to be seen."""
        return await self._once(f"backup of image {image.id}", lambda: backup_of(image, self._ctx))

    async def _once(self, what: str, read: Callable[[], Awaitable[T]]) -> T:
        if what not in self._read:
            self._read[what] = asyncio.ensure_future(read())
        return cast("T", await asyncio.shield(self._read[what]))  # whoever gives up waiting leaves the list to the others
