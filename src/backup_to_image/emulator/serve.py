"""The region on sockets: seven ports, one process, stopped cleanly by SIGINT or SIGTERM.

`serve` runs in a loop that exists; `run` is what `b2i emulator` calls: it blocks until stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from .emulator import Emulator
from .routing import PORT_ORDER
from .wire import ConnectionCut, Doc

__all__ = ["PortsTaken", "run", "serve"]

# How often things happen that nobody asks about (a guest begins to listen); at great speed more often.
_TICK_SECONDS = 0.5

# A client that holds its connection open does not hold up the end for longer than this.
_GRACE_SECONDS = 2


class PortsTaken(OSError):
    """The ports that the region needs are not all free; the message says which one is taken."""


class _Server(uvicorn.Server):
    """Leaves signals to us, and says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Uvicorn would send the signal again at the end, and the process would die of it."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        self._listening()


async def serve(emulator: Emulator, *, host: str = "127.0.0.1", ready: Callable[[Doc], None] | None = None) -> None:
    """Serve every service on its port until SIGINT, SIGTERM or cancellation; `ready` is called with the account once all listen.

    The emulator's first port 0 means seven free ports in a row, written back to `emulator.cloud.first_port`. Raises PortsTaken.
    """
    sockets = _listen(emulator, host)

    def listening() -> None:
        if ready is not None:
            ready(emulator.account(host if host not in {"0.0.0.0", "::"} else "127.0.0.1"))

    config = uvicorn.Config(
        _cutting(emulator.app),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config, listening)
    with _stopped_by_signals(server):
        ticker = asyncio.create_task(_tick(emulator))
        try:
            await server.serve(sockets=sockets)
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
            for each in sockets:
                each.close()
            await emulator.aclose()


def run(
    *,
    port: int = 8774,
    state: str | Path = ":memory:",
    speed: float = 1.0,
    seed: str | Path | Mapping[str, Any] = "demo",
    host: str = "127.0.0.1",
    ready: Callable[[Doc], None] | None = None,
) -> None:
    """What `b2i emulator` does: build the region, serve it until stopped, call `ready` with the account once it listens.

    Raises SeedError for a seed with mistakes, PortsTaken, and ValueError for a speed that is not positive.
    """
    emulator = Emulator(state=state, speed=speed, seed=seed, first_port=port)
    asyncio.run(serve(emulator, host=host, ready=ready))


def _listen(emulator: Emulator, host: str) -> list[socket.socket]:
    first = emulator.cloud.first_port
    if first:
        return _bind(host, first)
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind((host, 0))
            candidate: int = probe.getsockname()[1]
        with contextlib.suppress(PortsTaken, OverflowError):
            sockets = _bind(host, candidate)
            emulator.cloud.first_port = candidate
            return sockets
    raise PortsTaken(f"no {len(PORT_ORDER)} free ports in a row on {host}")


def _bind(host: str, first: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for offset, service in enumerate(PORT_ORDER):
            each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            bound.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                each.bind((host, first + offset))
            except OSError as reason:
                raise PortsTaken(f"port {first + offset} ({service}) on {host} cannot be had: {reason.strerror}") from reason
            each.listen(512)
            each.setblocking(False)
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


@contextlib.contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Generator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit  # a second signal does not wait for anybody
        server.should_exit = True

    caught: list[signal.Signals] = []
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(
            ValueError, RuntimeError, NotImplementedError
        ):  # not in the main thread: whoever runs us stops us
            loop.add_signal_handler(each, stop)
            caught.append(each)
    try:
        yield
    finally:
        for each in caught:
            loop.remove_signal_handler(each)


async def _tick(emulator: Emulator) -> None:
    while True:
        await asyncio.sleep(max(0.05, min(_TICK_SECONDS, 10 / emulator.cloud.speed)))
        await emulator.settle()


def _cutting(app: Any) -> Any:
    """The app for uvicorn: a cut connection is closed before a single byte of an answer."""

    async def on_socket(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except ConnectionCut:
            # Uvicorn hands out bound methods of the object that holds the connection.
            transport = getattr(getattr(send, "__self__", None), "transport", None)
            if transport is None:
                raise
            transport.close()
            while (await receive())["type"] != "http.disconnect":
                continue

    return on_socket
