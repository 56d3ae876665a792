"""What a journal needs of the place where it lies: pieces that are replaced as a whole, and leases that one holder has.

Two places are known, a folder (`folder`) and Valkey or Redis (`shared`). Every method raises StoreError with the reason where the
place cannot be reached, read or written; what was written is safe when the method returns.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime

from backup_to_image.model.cloud import Value

__all__ = ["Holder", "Store", "StoreError"]


class StoreError(Exception):
    """The store cannot do it; the message is the reason in plain words."""


class Holder(Value):
    """Who holds a lease. `fence` rises with every holder, so that a late one can be told from the present one."""

    host: str = ""
    process: int = 0
    started: str = ""
    """When the process began, as its system counts: a number that another process was given later is not it."""
    nonce: str = ""
    fence: int = 0
    until: AwareDatetime | None = None

    @classmethod
    def this_process(cls) -> Holder:
        """This process, with a nonce of its own for every lease that it takes."""
        pid = os.getpid()
        return cls(host=_host(), process=pid, started=_started(pid) or "", nonce=secrets.token_hex(8))

    @property
    def has_died(self) -> bool:
        """Whether it was a process of this host that is gone; of other hosts nobody here can tell."""
        return bool(self.nonce) and self.host == _host() and _started(self.process) != self.started

    def same(self, other: Holder) -> bool:
        return (self.nonce, self.fence) == (other.nonce, other.fence)


class Store(Protocol):
    """Where records and leases lie."""

    @property
    def place(self) -> str:
        """As people know it; without secrets."""
        ...

    @property
    def durable(self) -> bool | None:
        """Whether what was written outlasts a restart; None where that is not known. Known once it is open."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should see to although it works, in whole sentences. Known once it is open."""
        ...

    async def open(self) -> None:
        """Make sure that it can be written, before anything depends on it."""
        ...

    async def close(self) -> None: ...

    async def get(self, name: str) -> bytes | None:
        """The content of that name, or None."""
        ...

    async def put(self, name: str, content: bytes) -> None:
        """Replace it as a whole, or leave it as it was: a crash at any instant leaves one or the other."""
        ...

    async def all(self, prefix: str) -> list[bytes]:
        """The contents of every name that begins so, in no order."""
        ...

    async def remove(self, name: str) -> None:
        """Forget that name; nothing happens where it is not there."""
        ...

    async def set_aside(self, name: str) -> str:
        """Take damaged content out of the way but keep it; returns where it lies now."""
        ...

    async def take(self, name: str, me: Holder, seconds: float) -> Holder | None:
        """Become the holder for so long if nobody is; of many takers at once one gets it. None: somebody else holds it."""
        ...

    async def renew(self, name: str, me: Holder, seconds: float) -> bool:
        """Go on holding; False where it is somebody else's by now."""
        ...

    async def release(self, name: str, me: Holder, *, for_good: bool = False) -> None:
        """Let go of it, if it is still mine. `for_good`: nobody will want it again, so nothing of it need stay."""
        ...


@cache
def _host() -> str:
    """This host, as far as process numbers mean the same thing: a container has its own."""
    name = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        return f"{name}/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return name


def _started(process: int) -> str | None:
    """When that process began; "" where the system does not tell, None where there is no such process (any more)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() or not _runs(process) else ""
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else rest[18]  # a zombie makes nothing any more


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
