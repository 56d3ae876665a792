"""The pretend region: its things, its clock, its switches and faults. Handlers get it as their first argument."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from backup_to_image.clock import Clock

from .faults import Faults
from .guests import Guests
from .routing import PORT_ORDER
from .store import Store, moment, timestamp
from .switches import Switches
from .wire import Doc

__all__ = ["Cloud", "Transition"]

# What happens to a document when its `due` comes: called with the moment it was due, which may lie in the past.
Transition = Callable[["Cloud", Doc, datetime], None]


class Cloud:
    """State of one region. Times are the clock's own; only durations are divided by `speed`."""

    def __init__(self, *, clock: Clock, store: Store, speed: float, first_port: int) -> None:
        if speed <= 0:
            raise ValueError("speed must be greater than 0")
        self.clock = clock
        self.store = store
        self.speed = speed
        self.first_port = first_port
        self.switches = Switches()
        self.faults = Faults(self)
        self.guests = Guests(self)
        self.transitions: dict[str, Transition] = {}

    # -- time ---------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The region's present moment: the clock's, shifted where the fault clock-skew is armed."""
        return self.clock.now() + timedelta(seconds=self.faults.skew)

    def stamp(self, when: datetime | None = None) -> str:
        """A moment (default: now) as documents carry it."""
        return timestamp(when or self.now())

    def due(self, seconds: float, start: datetime | None = None) -> str:
        """When what takes that long at speed 1 will be done, as a document's `due`; right even when our clock is wrong."""
        right = (start or self.now()) - timedelta(seconds=self.faults.skew)
        return timestamp(right + timedelta(seconds=seconds / self.speed))

    def tick(self) -> int:
        """Let everything happen whose time has come, in its order; returns how much did."""
        happened = 0
        now = timestamp(self.clock.now())
        while (found := self.store.next_due(now)) is not None:
            when, kind, doc = found
            doc["due"] = None
            self.store.put(kind, doc)
            self.transitions[kind](self, doc, moment(when) + timedelta(seconds=self.faults.skew))
            happened += 1
        return happened

    # -- things -------------------------------------------------------------------------------------------------------

    def new(self, kind: str, doc: Doc, *, hex_id: bool = False) -> Doc:
        """Keep a new thing; an id and a `created_at` are given where it has none."""
        if "id" not in doc:
            doc["id"] = uuid.uuid4().hex if hex_id else str(uuid.uuid4())
        if "created_at" not in doc:
            doc["created_at"] = self.stamp()
        return self.store.put(kind, doc)

    def save(self, kind: str, doc: Doc) -> Doc:
        """Keep the changes made to a thing. Without this call they are lost at the next restart."""
        return self.store.put(kind, doc)

    def get(self, kind: str, identity: str) -> Doc | None:
        """The thing with that id, whoever it belongs to; or None."""
        return self.store.get(kind, identity)

    def own(self, kind: str, identity: str, project: str) -> Doc | None:
        """The thing with that id, if it belongs to that project; or None."""
        doc = self.store.get(kind, identity)
        return doc if doc is not None and doc.get("project") == project else None

    def walk(self, kind: str, project: str | None = None, *, newest_first: bool = False, **equal: Any) -> Iterator[Doc]:
        """Things in order of creation whose fields have these values."""
        docs: Iterable[Doc] | None = None
        for name, value in equal.items():
            if (docs := self.store.indexed(kind, name, value)) is not None:
                docs = reversed(docs) if newest_first else docs
                break
        for doc in self.store.walk(kind, project, newest_first=newest_first) if docs is None else docs:
            if project in {None, doc.get("project")} and all(doc.get(name) == value for name, value in equal.items()):
                yield doc

    def remove(self, kind: str, identity: str) -> None:
        """Let a thing be gone."""
        self.store.remove(kind, identity)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def port(self, service: str) -> int:
        """The port of a service: the first is IAM's, the others follow in a fixed order."""
        return self.first_port + PORT_ORDER.index(service)

    def service_on(self, port: int | None) -> str | None:
        """The service that listens on a port, or None."""
        if port is None or not 0 <= port - self.first_port < len(PORT_ORDER):
            return None
        return PORT_ORDER[port - self.first_port]
