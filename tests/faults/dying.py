"""The nearest to kill -9 that can be done to a command in this process: it does, keeps and asks nothing from there on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest.mock import patch

from backup_to_image.journal.folder import Folder
from tests.support.region import Asked, Killed, Region

__all__ = ["How", "dying"]

How = Literal["here", "elsewhere", "gently"]


@contextlib.contextmanager
def dying(region: Region, number: int, *, after: bool = False, how: How = "here") -> Iterator[None]:
    """The process ends before or after the so-manieth request or word of the journal: nothing of it is heard or kept any more.

    `elsewhere`: on another host, where nobody sees that it has died, and its leases run until their end. `gently`: by a signal.
    """
    left, dead = number, False

    def step(*, counts: bool) -> None:
        nonlocal left, dead
        if dead:
            raise Killed
        left -= counts
        if counts and left == -1:
            if how == "gently":
                signal.raise_signal(signal.SIGTERM)
                return
            dead = True
            raise Killed

    def around(do: Callable[..., Any]) -> Callable[..., Any]:
        async def done(*args: Any) -> None:
            step(counts=not after)
            await do(*args)
            step(counts=after)

        return done

    async def release(self: Folder, *args: Any, **more: Any) -> None:
        if not (dead and how == "elsewhere"):
            await let_go(self, *args, **more)

    def before(_: Asked) -> None:
        step(counts=not after)

    def afterwards(_: Asked) -> None:
        step(counts=after)

    let_go = Folder.release
    region.watchers.append(before)
    region.answered.append(afterwards)
    try:
        with (
            patch.object(Folder, "put", around(Folder.put)),
            patch.object(Folder, "remove", around(Folder.remove)),
            patch.object(Folder, "release", release),
        ):
            yield
    finally:
        region.watchers.remove(before)
        region.answered.remove(afterwards)
