"""The facts of a source server, recorded when its image is made: on the day they are needed the server is gone."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ValidationError

from backup_to_image.errors import CloudError
from backup_to_image.journal import Record
from backup_to_image.model import Backup, Disk, Image, Server, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import Findings
from backup_to_image.steps.names import FLAVOR_TAG, decode_tag

__all__ = ["DiskFacts", "SourceFacts", "backup_of", "facts_of", "facts_of_image", "recall", "record"]


class DiskFacts(Value):
    """A disk as it hung on the source server."""

    id: str
    device: str = ""
    boot_index: int | None = None
    size_gb: int | None = None
    type: str = ""


class SourceFacts(Value):
    """What `same-as-source` and device names in a launch order mean."""

    server_id: str
    name: str
    host_name: str = ""
    flavor_id: str = ""
    vcpus: int = 0
    ram_mb: int = 0
    zone: str | None = None
    vpc_id: str = ""
    addresses: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None
    tags: dict[str, str] = {}
    disks: tuple[DiskFacts, ...] = ()


def facts_of(server: Server, disks: tuple[Disk, ...]) -> SourceFacts:
    """Take down what a launch will ask for."""
    known = {disk.id: disk for disk in disks}
    return SourceFacts(
        server_id=server.id,
        name=server.name,
        host_name=server.host_name,
        flavor_id=server.flavor_id,
        vcpus=server.vcpus,
        ram_mb=server.ram_mb,
        zone=server.zone,
        vpc_id=server.vpc_id,
        addresses=tuple(address.ip for address in server.addresses if not address.floating),
        security_groups=server.security_group_names or server.security_group_ids,
        key_name=server.key_name,
        tags=server.tags,
        disks=tuple(
            DiskFacts(
                id=disk.id,
                device=disk.device,
                boot_index=disk.boot_index,
                size_gb=known[disk.id].size_gb if disk.id in known else disk.size_gb,
                type=known[disk.id].type if disk.id in known else "",
            )
            for disk in server.disks
        ),
    )


async def record(found: Findings, ctx: Context) -> None:
    """Keep the facts under the backup's id, in the journal. Nothing to keep when the source is gone or was not to be seen."""
    if found.source is None:
        return
    facts = facts_of(found.source, found.source_disks)
    await ctx.journal.write(
        Record(
            kind="facts",
            project_id=ctx.project_id,
            name=found.backup.id,
            state="done",
            written_at=datetime.now(UTC),
            facts=facts.model_dump(mode="json"),
        )
    )


async def recall(backup_id: str, ctx: Context) -> SourceFacts | None:
    """The facts recorded with this backup's image, or None."""
    kept = await ctx.journal.read("facts", ctx.project_id, backup_id)
    if kept is None:
        return None
    try:
        return SourceFacts.model_validate(kept.facts)
    except ValidationError:
        return None


async def facts_of_image(image: Image, ctx: Context) -> SourceFacts | None:
    """What is known of an image's source: the facts recorded with it, else the flavor that its own tag names, else None."""
    facts = await recall(image.backup_id, ctx) if image.backup_id else None
    if facts is None and FLAVOR_TAG in image.tags:
        return SourceFacts(server_id="", name="", flavor_id=decode_tag(image.tags[FLAVOR_TAG]))
    return facts


async def backup_of(image: Image, ctx: Context) -> Backup | None:
    """The backup behind an image, with its disks; None where it is not to be seen: a recipient need not (BEHAVIOUR.md 14)."""
    try:
        return await ctx.cloud.backups.get(image.backup_id) if image.backup_id else None
    except CloudError:
        return None
