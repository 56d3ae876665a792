"""AK/SK signatures of requests, in both forms that public clients send (BEHAVIOUR.md 1.3, 14).

plain: the secret key signs directly; Huawei's guide, its SDK and the community signer for this cloud agree on it.
scoped: a key derived from date, region and service; the cloud's own Go client sends it with both names empty.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

__all__ = ["ALGORITHM", "authorization", "canonical_request", "sdk_date"]

ALGORITHM = "SDK-HMAC-SHA256"


def sdk_date(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def canonical_request(
    method: str, path: str, query: Sequence[tuple[str, str]], headers: Mapping[str, str], content: bytes
) -> tuple[str, str]:
    """The text that is hashed, and the names of the signed headers. `path` is the unescaped path of the request."""
    escaped = "/".join(quote(step, safe="-_.~") for step in path.split("/"))
    arguments = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    lines = sorted((name.lower(), value.strip()) for name, value in headers.items())
    signed = ";".join(name for name, _ in lines)
    parts = [
        method.upper(),
        escaped if escaped.endswith("/") else escaped + "/",  # though the path that is sent has none
        "&".join(f"{name}={value}" for name, value in arguments),
        "".join(f"{name}:{value}\n" for name, value in lines),
        signed,
        hashlib.sha256(content).hexdigest(),
    ]
    return "\n".join(parts), signed


def authorization(
    *,
    access_key: str,
    secret_key: str,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    content: bytes,
    form: Literal["plain", "scoped"] = "plain",
    region: str = "",
    service: str = "",
) -> str:
    """The Authorization header. `headers` are the ones to sign; Host and X-Sdk-Date must be among them."""
    canonical, signed = canonical_request(method, path, query, headers, content)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    date = next(value for name, value in headers.items() if name.lower() == "x-sdk-date")
    if form == "plain":
        signature = _hmac(secret_key.encode(), f"{ALGORITHM}\n{date}\n{digest}").hex()
        return f"{ALGORITHM} Access={access_key}, SignedHeaders={signed}, Signature={signature}"
    scope = f"{date[:8]}/{region}/{service}/sdk_request"
    key = f"SDK{secret_key}".encode()
    for step in scope.split("/"):
        key = _hmac(key, step)
    signature = _hmac(key, f"{ALGORITHM}\n{date}\n{scope}\n{digest}").hex()
    return f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"


def _hmac(key: bytes, words: str) -> bytes:
    return hmac.new(key, words.encode(), hashlib.sha256).digest()
