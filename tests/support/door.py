"""The one address of several servers, as a proxy in front of them has it: each connection to the next one that is there."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import threading
from collections.abc import Sequence
from typing import Self

__all__ = ["Door"]

_PIECE = 65536


class Door:
    """On loopback. Bytes pass as they are, so WebSockets do; a connection ends with its server, and the next finds another."""

    def __init__(self, behind: Sequence[int]) -> None:
        self.behind = tuple(behind)
        self._next = itertools.cycle(self.behind)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if server := self._connect():
                with server:
                    _both_ways(client, server)

    def _connect(self) -> socket.socket | None:
        for _ in self.behind:
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", next(self._next)), timeout=5)
        return None


def _both_ways(one: socket.socket, other: socket.socket) -> None:
    """Until either side hangs up."""
    other.settimeout(None)
    with selectors.DefaultSelector() as waiting:
        waiting.register(one, selectors.EVENT_READ, other)
        waiting.register(other, selectors.EVENT_READ, one)
        while True:
            for ready, _ in waiting.select():
                piece = ready.fileobj.recv(_PIECE)  # type: ignore[union-attr] - the two sockets above
                if not piece:
                    return
                ready.data.sendall(piece)
