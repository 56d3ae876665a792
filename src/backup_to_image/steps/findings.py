"""What the cloud tells about a backup before an image is made of it: looked at once, judged elsewhere.

Six requests beside the log-in: backup, vault, source server, its disks, the newest images, the quota. What may not be read is
noted, not fatal: the check that needed it says "unknowable" and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TypeVar

from backup_to_image.errors import ApiError, CloudError, NotFound
from backup_to_image.model import Backup, Check, Disk, Image, Quota, Server, Value, Vault
from backup_to_image.steps.context import Context
from backup_to_image.steps.names import SOURCE_TAG

__all__ = [
    "CLOCK_SLACK",
    "DEAD",
    "Findings",
    "dead_images",
    "find_backup",
    "first_image",
    "image_among",
    "image_of",
    "is_id",
    "look",
    "newest_images",
    "usual_seconds",
]

T = TypeVar("T")

DEAD = frozenset({"killed", "deleted"})
"""States of an image that will never be good."""
# A page that holds what a night of a hundred servers makes; larger ones cost more to read than they save requests.
_HISTORY = 100
# Cloud and backup times come from one cloud but several services; an image cannot be older than its backup by more than this.
CLOCK_SLACK = timedelta(hours=1)


class Findings(Value):
    """One backup with all that is known around it. A None beside a reason in `unread` was not to be seen."""

    backup: Backup
    image: Image | None = None
    """The full-ECS image that this backup already has."""
    vault: Vault | None = None
    source: Server | None = None
    source_gone: bool = False
    source_disks: tuple[Disk, ...] = ()
    quota: Quota | None = None
    usual_seconds: tuple[float, ...] = ()
    """How long images took before: of the same server where it has some, else of the project."""
    unread: dict[str, str] = {}
    """What could not be read, by name, with the cloud's words."""


async def find_backup(reference: str, ctx: Context) -> Backup | Check:
    """The backup of a server of that id, or of that name if only one has it; else the refusal that says why not."""
    if is_id(reference):
        try:
            return await ctx.cloud.backups.get(reference)
        except NotFound as error:
            said = f"{error.cloud_code or error.status}: {error.words}"
            return _missing(f"there is no backup {reference!r} in this project ({said})", code=error.cloud_code or "")
    named = [
        backup async for backup in ctx.cloud.backups.list(name=reference) if backup.name == reference and backup.kind == "server"
    ]
    if len(named) > 1:
        ids = ", ".join(backup.id for backup in named)
        return _missing(f"{len(named)} backups are called {reference!r}", action=f"Name the id instead: {ids}.")
    if not named:
        return _missing(f"no backup of a server is called {reference!r} in this project")
    return await ctx.cloud.backups.get(named[0].id)


def _missing(why: str, *, action: str = "`b2i backups` lists those that can become an image.", code: str = "") -> Check:
    page = "CBR api-ref/source/cbr_apis/backups/querying_a_specified_backup.rst"
    return Check(rule="exists", verdict="refused", why=why, action=action, code=code, page=page)


async def look(backup: Backup, ctx: Context) -> Findings:
    """Read everything around a backup at once. Safe to repeat; makes nothing."""
    unread: dict[str, str] = {}

    async def attempt(what: str, request: Awaitable[T]) -> T | None:
        try:
            return await request
        except NotFound:
            return None
        except CloudError as error:
            unread[what] = error.words if isinstance(error, ApiError) and error.words else error.message
            return None

    server_id = backup.resource_id if backup.kind == "server" else ""
    (images, image), vault, source, quotas = await asyncio.gather(
        newest_images(backup, ctx),
        attempt("vault", ctx.cloud.vaults.get(backup.vault_id)) if backup.vault_id else _nothing(),
        attempt("source server", ctx.cloud.servers.find(server_id)) if server_id else _nothing(),
        attempt("image quota", ctx.cloud.images.quota()),
    )
    disks = await attempt("source disks", _disks_of(source, ctx)) if source else ()
    return Findings(
        backup=backup,
        image=image,
        vault=vault,
        source=source,
        source_gone=bool(server_id) and source is None and "source server" not in unread,
        source_disks=disks or (),
        quota=(quotas or {}).get("image"),
        usual_seconds=usual_seconds(images, backup),
        unread=unread,
    )


async def newest_images(backup: Backup, ctx: Context, *, ignore: tuple[str, ...] = ()) -> tuple[list[Image], Image | None]:
    """The project's newest full-ECS images, and the one made from this backup, if there is one.

    Newest first and no further back than the backup itself: an image is younger than its backup, so ten thousand older ones cost
    nothing. What the backup itself names (`os_images_data`) is looked at by id where the list does not show it yet. After failed
    attempts a backup may have several: one that lives is meant, else the newest. `ignore` names dead ones of earlier attempts.
    """
    seen: list[Image] = []
    oldest = backup.created_at - CLOCK_SLACK if backup.created_at else None
    async for image in ctx.cloud.images.list(whole=True, owner=ctx.project_id, newest_first=True, page_size=_HISTORY):
        seen.append(image)
        if len(seen) % _HISTORY == 0 and (
            (oldest and image.created_at and image.created_at < oldest) or image_among(seen, backup, ignore)
        ):
            break
    return seen, image_among(seen, backup, ignore) or await first_image(backup.image_ids, ctx, ignore)


def image_among(images: Sequence[Image], backup: Backup, ignore: tuple[str, ...] = ()) -> Image | None:
    """The image of this backup among those, newest first: one that lives, else the newest."""
    made = [image for image in images if image.backup_id == backup.id and image.id not in ignore]
    return next((image for image in made if not _dead(image)), made[0] if made else None)


async def image_of(backup: Backup, ctx: Context, *, ignore: tuple[str, ...] = ()) -> Image | None:
    """The full-ECS image made from this backup, looked for afresh in the list and in the backup itself."""
    _, made = await newest_images(backup, ctx, ignore=ignore)
    if made is None:
        again = await ctx.cloud.backups.get(backup.id)
        made = await first_image(again.image_ids, ctx, ignore)
    return made


async def dead_images(backup: Backup, ctx: Context) -> tuple[str, ...]:
    """The images of this backup that failed for good: what the next attempt is not to be taken for."""
    seen, made = await newest_images(backup, ctx)
    ours = [image for image in seen if image.backup_id == backup.id] + ([made] if made else [])
    return tuple(dict.fromkeys(image.id for image in ours if _dead(image)))


def _dead(image: Image) -> bool:
    return image.status in DEAD


async def first_image(image_ids: tuple[str, ...], ctx: Context, ignore: tuple[str, ...] = ()) -> Image | None:
    """The first of these images that exists: what a backup names may be gone."""
    for image_id in image_ids:
        made = await _image(image_id, ctx) if image_id not in ignore else None
        if made is not None:
            return made
    return None


async def _image(image_id: str, ctx: Context) -> Image | None:
    try:
        return await ctx.cloud.images.get(image_id)
    except NotFound:
        return None


async def _disks_of(server: Server, ctx: Context) -> tuple[Disk, ...]:
    return tuple([disk async for disk in ctx.cloud.disks.list(server_id=server.id)])


async def _nothing() -> None:
    return None


def usual_seconds(images: Sequence[Image], backup: Backup) -> tuple[float, ...]:
    """How long images of the same server took, or of the whole project where it has none."""
    finished = [image for image in images if image.status == "active" and image.created_at and image.active_at]
    own = [image for image in finished if image.tags.get(SOURCE_TAG) == backup.resource_id]
    return tuple(
        seconds
        for image in own or finished
        if image.active_at and image.created_at and (seconds := (image.active_at - image.created_at).total_seconds()) > 0
    )


def is_id(text: str) -> bool:
    """Whether this is written as the ids of backups, servers and images are."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(char in "0123456789abcdefABCDEF" for char in "".join(parts))
