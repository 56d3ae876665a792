"""What a project could bring servers back from: its images and accepted ones of others, backups, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import ValidationError

from backup_to_image.errors import CloudError
from backup_to_image.model import Backup, Image, Server, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.facts import SourceFacts
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG, SOURCE_TAG
from backup_to_image.steps.survey import Survey

__all__ = ["Stock", "read_stock"]


class Stock(Value):
    """Everything that was read, and what could not be."""

    images: tuple[Image, ...]
    """Own full-ECS images, and those of others that this project has accepted."""
    backups: Mapping[str, Backup]
    servers: Mapping[str, Server]
    facts: Mapping[str, SourceFacts]
    """What was recorded of the sources, by backup."""
    offered: tuple[Image, ...] = ()
    """Those of others that nobody has answered."""
    unread: Mapping[str, str] = {}

    def source_of(self, image: Image) -> str | None:
        """The server that an image was made of: its mark says it, else its backup, else what was recorded with it."""
        backup, facts = self.backup_of(image), self.facts.get(image.backup_id or "")
        return image.tags.get(SOURCE_TAG) or (backup.resource_id if backup else None) or (facts.server_id if facts else None)

    def backup_of(self, image: Image) -> Backup | None:
        """The backup behind it, which tells how old its state is: the image itself is younger, so its own date would flatter."""
        return self.backups.get(image.backup_id or "")

    def ids_of(self, source: str) -> tuple[str, ...]:
        """The servers that are, or were, called so; the server itself where it is an id.

        Only those that something is left of: what this project has launched itself carries its source's name too.
        """
        left = {one for image in self.images if (one := self.source_of(image))} | {
            one.resource_id for one in self.backups.values()
        }
        if source in left or source in self.servers:
            return (source,)
        named = {ident for ident, name in self._names() if name == source}
        return tuple(sorted(named & left)) or tuple(sorted(named))

    def name_of(self, server_id: str) -> str:
        """What it is called now, else what it was called last; empty where nothing tells."""
        return next((name for ident, name in self._names() if ident == server_id and name), "")

    def _names(self) -> Iterable[tuple[str, str]]:
        for server in self.servers.values():
            if not any(tag == DRILL_TAG or tag.startswith(LAUNCH_TAG) for tag in server.tags):
                yield server.id, server.name
        newest_first: Sequence[Backup] = sorted(
            self.backups.values(), key=lambda one: one.latest_at.timestamp() if one.latest_at else 0.0, reverse=True
        )
        for backup in newest_first:
            yield backup.resource_id, backup.resource_name
        for facts in self.facts.values():
            yield facts.server_id, facts.name


async def read_stock(ctx: Context) -> Stock:
    """Read it all: five lists and the journal. Raises JournalError; what the cloud does not tell stands in `unread`."""
    survey, unread = Survey(ctx), dict[str, str]()
    own, backups, servers, accepted, offered = await asyncio.gather(
        survey.images(),
        survey.backups(),
        survey.servers(),
        _of_others(ctx, "accepted", unread),
        _of_others(ctx, "pending", unread),
    )
    unread |= {what: why for what, why in survey.unread().items() if what in {"images", "backups", "servers"}}
    return Stock(
        images=(*own, *accepted),
        backups={backup.id: backup for backup in backups},
        servers=servers,
        offered=offered,
        facts=await _recorded(ctx),
        unread=unread,
    )


async def _of_others(ctx: Context, status: Literal["accepted", "pending"], unread: dict[str, str]) -> tuple[Image, ...]:
    """Full-ECS images of others that this project has accepted, or was offered."""
    try:
        found = [image async for image in ctx.cloud.images.list(visibility="shared", member_status=status)]
    except CloudError as error:
        unread[f"{status} images"] = error.message
        return ()
    return tuple(image for image in found if image.owner != ctx.project_id)


async def _recorded(ctx: Context) -> dict[str, SourceFacts]:
    found: dict[str, SourceFacts] = {}
    for record in await ctx.journal.records("facts"):
        if record.project_id == ctx.project_id:
            try:
                found[record.name] = SourceFacts.model_validate(record.facts)
            except ValidationError:
                continue
    return found
