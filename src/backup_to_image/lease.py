"""The right to make one thing, held by one process at a time.

Two live processes of one order are a normal case: a lost heartbeat or a double click makes them. Who holds the lease may make;
it is checked, and renewed, right before each request that makes or removes. A holder that was held up for longer than a minute
has lost it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime

from backup_to_image.errors import StillRunning
from backup_to_image.journal import Journal, record_key, write_file
from backup_to_image.model.cloud import Value

__all__ = ["Lease", "hold"]

LEASE_SECONDS = 60.0
_LOOK_AGAIN = 2.0


class _Holder(Value):
    host: str = ""
    process: int = 0
    nonce: str = ""
    fence: int = 0
    until: AwareDatetime | None = None

    def alive(self, now: datetime) -> bool:
        """Whether it still counts. A process of this host that has ended holds nothing, whatever its time says."""
        if not self.nonce or self.until is None or self.until <= now:
            return False
        return self.host != socket.gethostname() or _runs(self.process)


class Lease:
    """A held lease. `fence` rises with every holder, so a late one can be told from the present one."""

    def __init__(self, journal: Journal, path: Path, holder: _Holder) -> None:
        self._journal = journal
        self._path = path
        self._holder = holder

    @property
    def fence(self) -> int:
        return self._holder.fence

    def check(self) -> None:
        """Renew and go on, or stop before the request that would make a second thing. Raises StillRunning."""
        current = _read(self._path)
        if (current.nonce, current.fence) != (self._holder.nonce, self._holder.fence):
            raise StillRunning(
                "Another run of the same order",
                last_seen="it has taken over while this one was held up",
                deadline=None,
                check="Nothing was made twice. Run the same command again: it adopts what the other one made.",
            )
        _store(self._journal, self._path, self._holder)

    def release(self) -> None:
        current = _read(self._path)
        if (current.nonce, current.fence) == (self._holder.nonce, self._holder.fence):
            with contextlib.suppress(OSError):
                write_file(self._path, _Holder(fence=self.fence).model_dump_json().encode())


@asynccontextmanager
async def hold(journal: Journal, kind: str, project_id: str, name: str, *, deadline: datetime) -> AsyncGenerator[Lease]:
    """Hold the only right to make this thing; wait while another live run holds it. Raises StillRunning at the deadline."""
    path = journal.folder / f"{record_key(f'lease-{kind}', project_id, name)}.lease"
    me = _Holder(host=socket.gethostname(), process=os.getpid(), nonce=secrets.token_hex(8))
    while (lease := _take(journal, path, me)) is None:
        left = (deadline - journal.clock.now()).total_seconds()
        if left <= 0:
            raise StillRunning(f"Another run of the same order ({kind} {name})", last_seen="at work", deadline=deadline)
        await journal.clock.sleep(min(_LOOK_AGAIN, left))
    try:
        yield lease
    finally:
        lease.release()


def _take(journal: Journal, path: Path, me: _Holder) -> Lease | None:
    """Become the holder if nobody is. Of two takers one wins: the lock file is made with O_EXCL, and expires after a crash."""
    lock = path.with_suffix(".lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        with contextlib.suppress(OSError):
            if time.time() - lock.stat().st_mtime > LEASE_SECONDS / 10:  # taking lasts milliseconds: its taker has crashed
                lock.unlink()
        return None
    except OSError as error:
        raise journal.unwritable(error) from None
    try:
        current = _read(path)
        if current.alive(journal.clock.now()):
            return None
        taken = me.model_copy(update={"fence": current.fence + 1})
        _store(journal, path, taken)
        return Lease(journal, path, taken)
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


def _store(journal: Journal, path: Path, holder: _Holder) -> None:
    renewed = holder.model_copy(update={"until": journal.clock.now() + timedelta(seconds=LEASE_SECONDS)})
    try:
        write_file(path, renewed.model_dump_json().encode())
    except OSError as error:
        raise journal.unwritable(error) from None


def _read(path: Path) -> _Holder:
    try:
        return _Holder.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return _Holder()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
