"""The records that a run leaves for whoever comes after it.

A record is a hint, never the truth: whoever reads one acts only after the cloud has confirmed it. It holds no secret. Losing the
journal is survivable; being unable to write it stops the work before anything is made, because a request whose intent is not
written down could be made twice.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from backup_to_image.clock import Clock, SystemClock
from backup_to_image.errors import B2iError, UsageError
from backup_to_image.journal.folder import Folder
from backup_to_image.journal.record import FORM, Record, form_of, record_name
from backup_to_image.journal.store import Store, StoreError
from backup_to_image.model.shared_place import SharedPlace

__all__ = ["Journal", "JournalError"]

log = logging.getLogger(__name__)


class JournalError(B2iError):
    """The journal cannot be read or written, so nothing is made."""

    exit_code = 2
    code = "b2i.journal"


class Journal:
    """Records by kind, project and name. Every write is safe when it returns.

    async with Journal.at(place, clock=clock) as journal:
        await journal.write(record)
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    @classmethod
    def at(cls, place: str | Path | SharedPlace, *, clock: Clock | None = None) -> Self:
        """The journal in that folder, or on that server. Nothing is touched yet. Raises UsageError where a package is missing."""
        clock = clock or SystemClock()
        return cls(_shared(place) if isinstance(place, SharedPlace) else Folder(Path(place), clock=clock), clock=clock)

    @property
    def place(self) -> str:
        return self.store.place

    @property
    def durable(self) -> bool | None:
        """Whether what was written outlasts a restart; None where nobody knows."""
        return self.store.durable

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should see to although it works; told once, by whoever opened it."""
        return self.store.warnings

    async def open(self) -> Self:
        """Make sure that it can be written, before anything depends on it. Raises JournalError with the reason."""
        try:
            await self.store.open()
        except StoreError as error:
            await self.close()
            raise self.unwritable(error) from None
        return self

    async def close(self) -> None:
        await self.store.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        await self.close()

    async def read(self, kind: str, project_id: str, name: str) -> Record | None:
        """The record, or None. A damaged one is set aside and told; one of a newer form, or unreadable, raises JournalError."""
        key = record_name(kind, project_id, name)
        try:
            content = await self.store.get(key)
            return None if content is None else self._understood(content)
        except ValidationError as error:
            mistakes = error.error_count()
            aside = await self.store.set_aside(key)
            log.warning(
                "The journal's record of %s %s was damaged (%d mistakes) and set aside as %s.", kind, name, mistakes, aside
            )
            return None
        except StoreError as error:
            raise self.unreadable(error) from None

    async def write(self, record: Record) -> Record:
        """Keep the record; safe when this returns. Raises JournalError where it cannot, before anything was made."""
        stamped = record.model_copy(update={"written_at": self.clock.now()})
        try:
            await self.store.put(record.key, stamped.model_dump_json(exclude_none=True, indent=1).encode())
        except StoreError as error:
            raise self.unwritable(error) from None
        return stamped

    async def forget(self, record: Record) -> None:
        """Remove the record. Raises JournalError."""
        try:
            await self.store.remove(record.key)
        except StoreError as error:
            raise self.unwritable(error) from None

    async def records(self, kind: str) -> list[Record]:
        """Every readable record of one kind, oldest first. Raises JournalError, also where one has a newer form."""
        found: list[Record] = []
        try:
            for content in await self.store.all(f"{kind}-"):
                with contextlib.suppress(ValidationError):
                    found.append(self._understood(content))
        except StoreError as error:
            raise self.unreadable(error) from None
        return sorted((record for record in found if record.kind == kind), key=lambda record: record.written_at)

    def _understood(self, content: bytes) -> Record:
        """The record. Raises ValidationError for a damaged one; JournalError for one that this version must not act on."""
        form = form_of(content)
        if form > FORM:
            raise JournalError(
                f"The journal {self.place} was written by a newer version of backup-to-image (form {form}, not {FORM}).",
                action="Nothing was made. Use the newer version here as well; the older one must not go on with what it began.",
            )
        return Record.model_validate_json(content)

    def unreadable(self, error: StoreError) -> JournalError:
        return JournalError(f"The journal {self.place} cannot be read: {error}.", action="Nothing was made.")

    def unwritable(self, error: StoreError) -> JournalError:
        return JournalError(
            f"The journal {self.place} cannot be written: {error}.",
            action="Nothing was made. Mend it, make room, or name another one as `journal:` in b2i.yaml.",
        )


def _shared(place: SharedPlace) -> Store:
    try:
        from backup_to_image.journal.shared import Shared  # noqa: PLC0415 - its client is installed where it is used
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "redis":
            raise
        raise UsageError(
            f"The journal {place} needs the Python package redis, which is not installed.",
            action="Install it: pip install 'backup-to-image[redis]'.",
        ) from None
    return Shared(place)
