"""One request as its service documents it, and one answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from backup_to_image.errors import BadAnswer
from backup_to_image.otc.endpoints import Service

__all__ = ["Call", "Query", "Reply"]

Query = dict[str, str | list[str] | None]


@dataclass(frozen=True, kw_only=True)
class Call:
    """What to ask. `makes`: it makes or deletes something for good, so it is sent again only after a refused token."""

    operation: str
    service: Service
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    makes: bool = False
    subject: str = ""
    guard: Callable[[], None] | None = None
    """Asked right before it leaves, after every wait for a turn and for a log-in: it raises where the request must not go out."""

    @property
    def content(self) -> bytes:
        return b"" if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()


def arguments(query: Query | None) -> tuple[tuple[str, str], ...]:
    """Query parameters in order; those without a value are left out, lists are repeated."""
    flat: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        if value is None:
            continue
        flat += [(name, one) for one in value] if isinstance(value, list) else [(name, value)]
    return tuple(flat)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    operation: str
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def request_id(self) -> str | None:
        for name in ("x-request-id", "x-openstack-request-id", "x-compute-request-id"):
            if self.headers.get(name):
                return self.headers[name]
        return None

    def json(self) -> Mapping[str, Any]:
        """The body, which must be a JSON object, as every documented one is."""
        try:
            body: Any = json.loads(self.content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise BadAnswer(self.operation, "a body that is no JSON object", request_id=self.request_id)
        return cast("dict[str, Any]", body)
