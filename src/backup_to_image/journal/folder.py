"""A journal in a folder: for one host, or for several that share a POSIX file system. Files belong to their owner alone."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from backup_to_image.clock import Clock
from backup_to_image.journal.store import Holder, StoreError
from backup_to_image.wholefile import create_whole, write_whole

__all__ = ["Folder"]


class Folder:
    """A file for each record and each lease; every write is atomic and on disk when it returns."""

    durable = True
    warnings: tuple[str, ...] = ()

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock

    @property
    def place(self) -> str:
        return str(self.folder)

    async def open(self) -> None:
        with _told():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.folder / f".probe-{secrets.token_hex(4)}"
            write_whole(probe, b"{}")
            probe.unlink()

    async def close(self) -> None:
        """Nothing stays open between two calls."""

    async def get(self, name: str) -> bytes | None:
        with _told():
            return _read(self._record(name))

    async def put(self, name: str, content: bytes) -> None:
        with _told():
            write_whole(self._record(name), content)

    async def all(self, prefix: str) -> list[bytes]:
        with _told():
            contents = [_read(path) for path in sorted(self.folder.glob(f"{prefix}*.json"))]
            return [content for content in contents if content is not None]

    async def remove(self, name: str) -> None:
        with _told():
            self._record(name).unlink(missing_ok=True)

    async def set_aside(self, name: str) -> str:
        aside = self._record(name).with_suffix(".damaged")
        with contextlib.suppress(OSError):
            self._record(name).replace(aside)
        return aside.name

    async def take(self, name: str, me: Holder, seconds: float) -> Holder | None:
        """Claims have a name of their own for every number, and are made only if they are not there: of two takers one wins."""
        now = self._clock.now()
        with _told():
            current = self._holder(name)
            if _holds(current, now):
                return None
            taken = me.model_copy(update={"fence": current.fence + 1, "until": now + timedelta(seconds=seconds)})
            while not create_whole(claim := self._claim(name, taken.fence), _dumped(taken)):
                if _holds(_parsed(_read(claim)), now):
                    return None
                taken = taken.model_copy(update={"fence": taken.fence + 1})  # its taker has crashed between two lines of this
            try:
                if self._holder(name) != current:
                    return None  # taken since we looked, and perhaps let go again, for good even
                write_whole(self._lease(name), _dumped(taken))
            finally:
                claim.unlink(missing_ok=True)
            for number in range(current.fence + 1, taken.fence):
                self._claim(name, number).unlink(missing_ok=True)
            return taken

    async def renew(self, name: str, me: Holder, seconds: float) -> bool:
        now = self._clock.now()
        with _told():
            if not self._holder(name).same(me):
                return False
            write_whole(self._lease(name), _dumped(me.model_copy(update={"until": now + timedelta(seconds=seconds)})))
            return True

    async def release(self, name: str, me: Holder, *, for_good: bool = False) -> None:
        with _told():
            if not self._holder(name).same(me):
                return
            if for_good:
                self._lease(name).unlink(missing_ok=True)
            else:
                write_whole(self._lease(name), _dumped(Holder(fence=me.fence)))

    def _holder(self, name: str) -> Holder:
        return _parsed(_read(self._lease(name)))

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _lease(self, name: str) -> Path:
        return self.folder / f"{name}.lease"

    def _claim(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}.claim"


@contextlib.contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(error.strerror or str(error)) from None


def _holds(holder: Holder, now: datetime) -> bool:
    return bool(holder.nonce) and holder.until is not None and holder.until > now and not holder.has_died


def _parsed(content: bytes | None) -> Holder:
    """Who holds it; nobody where the lease is absent or damaged."""
    try:
        return Holder.model_validate_json(content or b"{}")
    except ValidationError:
        return Holder()


def _dumped(holder: Holder) -> bytes:
    return holder.model_dump_json(exclude_defaults=True).encode()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
