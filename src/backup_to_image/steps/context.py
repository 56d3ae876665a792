"""What every step works with: a connected cloud, the journal, the settings, the clock, and somebody to tell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Self

from backup_to_image.clock import Clock
from backup_to_image.journal import Journal
from backup_to_image.model import Image
from backup_to_image.otc import Cloud
from backup_to_image.settings import Settings
from backup_to_image.steps.watcher import Watcher
from backup_to_image.steps.window import Turn
from backup_to_image.waiting import IMAGE

__all__ = ["Context", "minutes"]


class Context:
    """One project of one cloud, and what we know and remember about it.

    `tell` takes one line for people: what changed, to what, and until when it is waited for. It is called on changes only.
    `watch` answers all waits for images.
    """

    def __init__(
        self,
        cloud: Cloud,
        journal: Journal,
        settings: Settings,
        *,
        tell: Callable[[str], None] | None = None,
        run_id: str | None = None,
    ) -> None:
        self.cloud = cloud
        self.journal = journal
        self.settings = settings
        self.run_id = run_id
        """The flow run that this is part of, where it is part of one: orders in the journal name it."""
        self.turn: Turn | None = None
        """In a fleet: this server's part of it."""
        self._tell = tell
        self.watch = Watcher(cloud, tell=self.tell)

    def for_server(self, turn: Turn, tell: Callable[[str], None] | None) -> Self:
        """The same for one server of a fleet: all share the cloud, the journal and the watcher."""
        own = type(self)(self.cloud, self.journal, self.settings, tell=tell, run_id=self.run_id)
        own.turn, own.watch = turn, self.watch
        return own

    def place(self, image: Image | None, deadline: datetime) -> AbstractAsyncContextManager[None]:
        """A place in the fleet's window while this image is made; None: it is still to be asked for.

        A single order, and an image that is there, need none. Raises NoPlace.
        """
        if self.turn is None or (image is not None and image.status not in IMAGE.pending):
            return nullcontext()
        return self.turn.place(waits=image is None and not self.turn.under_way, deadline=deadline)

    @property
    def clock(self) -> Clock:
        return self.cloud.clock

    @property
    def project_id(self) -> str:
        return self.cloud.project_id

    def tell(self, line: str) -> None:
        if self._tell:
            self._tell(line)

    def deadline(self, timeout: timedelta) -> datetime:
        return self.clock.now() + timeout


def minutes(elapsed: timedelta) -> str:
    """A length of time as people say it: 12 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(elapsed.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s" if seconds % 60 else f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def until(moment: datetime) -> str:
    """A deadline as a line of a log names it."""
    return f"until {moment.astimezone(UTC):%H:%M:%S} UTC at most"
