"""What must survive a crash: intents and handles, as small JSON records in a folder.

A record is a hint, never the truth: whoever reads one acts only after the cloud has confirmed it. It holds no secret. Losing the
journal is survivable; being unable to write it stops the work before anything is made, because a request whose intent is not
written down could be made twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from pathlib import Path
from typing import Any, Self, cast

from pydantic import AwareDatetime, ConfigDict, ValidationError

from backup_to_image.clock import Clock, SystemClock
from backup_to_image.errors import B2iError
from backup_to_image.model.cloud import Value

__all__ = ["Journal", "JournalError", "Record", "record_key", "write_file"]

log = logging.getLogger(__name__)


class JournalError(B2iError):
    """The journal cannot be read or written, so nothing is made."""

    exit_code = 2
    code = "b2i.journal"


class Record(Value):
    """One thing that we asked a cloud to make. Unknown fields of a newer version are kept out of the way, not fatal."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    """image, launch, teardown, facts."""
    project_id: str
    name: str
    """What it is keyed by: a backup id, a launch id."""
    state: str
    """intent: the request is about to go out. sent: the cloud took it. done, failed, gone."""
    written_at: AwareDatetime
    first_intent_at: AwareDatetime | None = None
    """When the request went out for the first time, which is when its effect may have begun."""
    job_id: str | None = None
    image_id: str | None = None
    server_ids: tuple[str, ...] = ()
    generation: int = 0
    mark: str = ""
    """The launch id that servers carry; differs from `name` once a launch was repeated."""
    code: str | None = None
    reason: str = ""
    facts: dict[str, Any] = {}

    def ids(self, fact: str) -> tuple[str, ...]:
        """A fact that is a list of ids; empty where it is absent or something else."""
        value = self.facts.get(fact)
        return tuple(str(one) for one in cast("list[Any]", value)) if isinstance(value, list) else ()

    @property
    def key(self) -> str:
        return record_key(self.kind, self.project_id, self.name)


def record_key(kind: str, project_id: str, name: str) -> str:
    """Where a record lies: the same for everybody who means the same thing."""
    return hashlib.sha256(f"{kind}\0{project_id}\0{name}".encode()).hexdigest()


class Journal:
    """A folder of records, for one host or a shared POSIX mount. Every write is atomic and on disk when it returns."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()

    @classmethod
    def open(cls, folder: Path, *, clock: Clock | None = None) -> Self:
        """Make sure that the journal can be written, before anything depends on it. Raises JournalError with the reason."""
        journal = cls(folder, clock=clock)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / f".probe-{secrets.token_hex(4)}"
            write_file(probe, b"{}")
            probe.unlink()
        except OSError as error:
            raise journal.unwritable(error) from None
        return journal

    def read(self, kind: str, project_id: str, name: str) -> Record | None:
        """The record, or None. A damaged one is set aside under `.damaged` and reported, never fatal."""
        path = self._path(record_key(kind, project_id, name))
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                path.replace(aside)
            log.warning(
                "The journal's record of %s %s was damaged (%d mistakes) and set aside as %s.",
                kind,
                name,
                error.error_count(),
                aside.name,
            )
            return None
        except OSError as error:
            raise JournalError(f"The journal {self.folder} cannot be read: {error}.", action="Nothing was made.") from None

    def write(self, record: Record) -> Record:
        """Keep the record; on disk when this returns. Raises JournalError where it cannot, before anything was made."""
        stamped = record.model_copy(update={"written_at": self.clock.now()})
        try:
            write_file(self._path(record.key), stamped.model_dump_json(exclude_none=True, indent=1).encode())
        except OSError as error:
            raise self.unwritable(error) from None
        return stamped

    def records(self, kind: str) -> list[Record]:
        """Every readable record of one kind, oldest first."""
        found: list[Record] = []
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValidationError):
                record = Record.model_validate_json(path.read_bytes())
                if record.kind == kind:
                    found.append(record)
        return sorted(found, key=lambda record: record.written_at)

    def unwritable(self, error: OSError) -> JournalError:
        return JournalError(
            f"The journal {self.folder} cannot be written: {error.strerror or error}.",
            action="Nothing was made. Make room or name another folder as `journal:` in b2i.yaml.",
        )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def write_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, or leave it as it was: a crash at any instant leaves one or the other."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
