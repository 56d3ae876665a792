"""What went over the line, for `--trace`: every exchange, with the secrets taken out where they arise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from backup_to_image.model import Value

__all__ = ["Exchange", "redacted"]

HIDDEN = "[hidden]"
_SECRET_FIELDS = frozenset(
    {"password", "adminpass", "passcode", "sk", "secret", "secret_key", "security_token", "user_data", "token_id"}
)
_SECRET_HEADERS = frozenset(
    {"authorization", "x-auth-token", "x-subject-token", "x-security-token", "proxy-authorization", "cookie", "set-cookie"}
)


class Exchange(Value):
    """One request and its answer; `status` None where no answer came."""

    time: datetime
    operation: str
    method: str
    url: str
    status: int | None
    seconds: float
    request_headers: dict[str, str] = {}
    request: Any = None
    response_headers: dict[str, str] = {}
    response: Any = None
    error: str = ""


def redacted(value: Any) -> Any:
    """The same JSON with every secret field hidden, at any depth."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {
            name: HIDDEN if name.lower() in _SECRET_FIELDS and not isinstance(inner, dict) and inner else redacted(inner)
            for name, inner in fields.items()
        }
    if isinstance(value, list):
        return [redacted(inner) for inner in cast("list[Any]", value)]
    return value


def redacted_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): HIDDEN if name.lower() in _SECRET_HEADERS else value for name, value in headers.items()}


def redacted_body(content: bytes) -> Any:
    """A body as it may be shown: JSON without secrets; other text is cut, since an error page has no more to say."""
    if not content:
        return None
    try:
        return redacted(json.loads(content))
    except ValueError:
        return content[:2000].decode(errors="replace")
