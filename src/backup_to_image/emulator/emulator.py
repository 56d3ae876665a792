"""The pretend region as one object: build it, hand its app to a server or its transport to httpx, see what was asked of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from backup_to_image.clock import Clock, SystemClock

from .account import account
from .cloud import Cloud
from .faults import Faults
from .front import Front
from .seeding import sow
from .store import Store
from .switches import Switches
from .wire import ConnectionCut, Doc

__all__ = ["Emulator", "InProcessTransport"]

# So many requests are remembered; a night of a thousand servers makes fewer.
_JOURNAL_LENGTH = 200_000


class InProcessTransport(httpx.ASGITransport):
    """Requests to the region without sockets; a cut connection reaches the client as httpx reports one."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request to the region's app."""
        try:
            return await super().handle_async_request(request)
        except ConnectionCut as cut:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request) from cut


class Emulator:
    """A pretend region of Open Telekom Cloud, strict and slow like the real one.

    `clock` is its time (a FakeClock makes hours pass in milliseconds; nothing runs in the background). `state` is a SQLite file
    that survives a kill -9, or memory. `speed` divides every duration (an image takes two minutes at 1). `seed` names a built-in
    seed or a YAML file, or is its content; it is sown only into an empty state. `first_port` is IAM's port, the other services
    follow. Raises `SeedError` for a seed with mistakes, ValueError for a speed that is not positive.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        state: str | Path = ":memory:",
        speed: float = 1.0,
        seed: str | Path | Mapping[str, Any] = "demo",
        first_port: int = 8774,
    ) -> None:
        self.cloud = Cloud(clock=clock or SystemClock(), store=Store(state), speed=speed, first_port=first_port)
        self.requests: deque[Doc] = deque(maxlen=_JOURNAL_LENGTH)
        self.app = Front(self.cloud, self.requests)
        if self.cloud.store.empty:
            sow(self.cloud, seed)
            self.cloud.store.commit()

    @property
    def faults(self) -> Faults:
        """What can go wrong: `arm`, `disarm`, `list`."""
        return self.cloud.faults

    @property
    def switches(self) -> Switches:
        """The open questions of BEHAVIOUR.md section 14: `emulator.switches["refusals"] = "in_job"`."""
        return self.cloud.switches

    def account(self, host: str = "127.0.0.1") -> Doc:
        """All that a client has to know: log-in, endpoints, ids worth knowing."""
        return account(self.cloud, host)

    def transport(self) -> httpx.ASGITransport:
        """For `httpx.AsyncClient(transport=...)`: the region in this process, each service at http://127.0.0.1:<its port>."""
        return InProcessTransport(app=self.app)

    def tick(self) -> int:
        """Let happen whatever is due by the clock, as every request does first; returns how much happened."""
        happened = self.cloud.tick()
        self.cloud.store.commit()
        return happened

    async def settle(self) -> int:
        """`tick`, and open or close the ports of guests accordingly; for tests and tickers. Returns how much happened."""
        return self.tick() + await self.cloud.guests.settle()

    async def aclose(self) -> None:
        """`close`, in the loop that served: connections to guests are told at once."""
        self.close()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Hang up every guest, write what is left and let go of the state file."""
        self.cloud.guests.close()
        self.cloud.store.close()
