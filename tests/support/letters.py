"""A webhook on loopback, and what was sent to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.house import House

__all__ = ["Letters", "letter_box", "unsubscribe"]


@dataclass
class Letters:
    """What came, oldest first, and where to send more."""

    address: str
    came: list[str] = field(default_factory=list)


@contextmanager
def letter_box() -> Iterator[Letters]:
    letters = Letters("")

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            letters.came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    box = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    letters.address = f"http://127.0.0.1:{box.server_port}/"
    threading.Thread(target=box.serve_forever, daemon=True).start()
    yield letters
    box.shutdown()


def unsubscribe(house: House) -> None:
    """Nobody is told any more: the next test's runs would send letters, too."""
    for one in house.ask("POST", "/automations/filter"):
        if one["actions"][0]["type"] == "send-notification":
            house.ask("DELETE", f"/automations/{one['id']}")
    for block in house.ask("POST", "/block_documents/filter"):
        if block["name"] == "b2i-night":
            house.ask("DELETE", f"/block_documents/{block['id']}")
