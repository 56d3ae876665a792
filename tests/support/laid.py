"""A journal in each of the places where it may lie, and what really lies there, past everything of ours."""

import secrets
from pathlib import Path
from typing import Any, Protocol

from backup_to_image.clock import Clock, FakeClock, SystemClock
from backup_to_image.journal import LEASE_SECONDS, Journal
from backup_to_image.model.shared_place import SharedPlace
from tests.support.valkey import Valkey, eventually

__all__ = ["InFolder", "Laid", "OnValkey"]


class Laid(Protocol):
    place: Path | SharedPlace
    seconds: float
    """How long a lease lasts here without being renewed."""

    def journal(self, clock: Clock | None = None) -> Journal:
        """Another process's view of the same place."""
        ...

    def records(self) -> dict[str, bytes]:
        """What lies there, by name."""
        ...

    def plant(self, name: str, content: bytes) -> None:
        """Something that no b2i wrote, where a record lies."""
        ...

    def damaged(self) -> list[bytes]: ...

    def leases(self) -> dict[str, bytes]: ...

    def plant_lease(self, name: str, content: bytes, *, ends: bool) -> None:
        """As another host would have written it; `ends`: with the time that a lease has."""
        ...

    def stand_still(self, clock: Clock) -> None:
        """This process does not run for longer than a lease lasts."""
        ...


class InFolder:
    seconds = LEASE_SECONDS

    def __init__(self, folder: Path) -> None:
        self.place = folder

    def journal(self, clock: Clock | None = None) -> Journal:
        return Journal.at(self.place, clock=clock or FakeClock())

    def records(self) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in self.place.glob("*.json")}

    def plant(self, name: str, content: bytes) -> None:
        (self.place / f"{name}.json").write_bytes(content)

    def damaged(self) -> list[bytes]:
        return [path.read_bytes() for path in self.place.glob("*.damaged")]

    def leases(self) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in self.place.glob("*.lease")}

    def plant_lease(self, name: str, content: bytes, *, ends: bool) -> None:
        (self.place / f"{name}.lease").write_bytes(content)

    def stand_still(self, clock: Clock) -> None:
        assert isinstance(clock, FakeClock)
        clock.advance(self.seconds + 1)


class OnValkey:
    """The server lets leases expire by its own clock, so time is real here, and short."""

    seconds = 0.5

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.place = SharedPlace.parse(f"{server.address}?prefix=t{secrets.token_hex(4)}")

    def journal(self, clock: Clock | None = None) -> Journal:
        return Journal.at(self.place, clock=clock or SystemClock())

    def _all(self, kind: str) -> dict[str, bytes]:
        before = f"{self.place.prefix}:{kind}:"
        return {name.removeprefix(before): self.server.do("GET", name) for name in self.server.names(f"{before}*")}

    def records(self) -> dict[str, bytes]:
        return self._all("record")

    def plant(self, name: str, content: bytes) -> None:
        self.server.do("SET", f"{self.place.prefix}:record:{name}", content)

    def damaged(self) -> list[bytes]:
        return list(self._all("damaged").values())

    def leases(self) -> dict[str, bytes]:
        return self._all("lease")

    def plant_lease(self, name: str, content: bytes, *, ends: bool) -> None:
        until: list[Any] = ["PX", round(self.seconds * 1000)] if ends else []
        self.server.do("SET", f"{self.place.prefix}:lease:{name}", content, *until)

    def stand_still(self, clock: Clock) -> None:
        eventually(lambda: not self.leases())
