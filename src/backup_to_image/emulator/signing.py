"""Checks AK/SK signatures, both forms that are in use (BEHAVIOUR.md 1.3): plain (Access=) and scoped (Credential=).

Written from the description and checked with `tests/contract/signing-vectors.json`; the client has its own implementation.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

__all__ = ["ALGORITHM", "Signed", "canonical_request", "expected_signature", "parse"]

ALGORITHM = "SDK-HMAC-SHA256"
_UNRESERVED = "-_.~"
_HEADER = re.compile(
    rf"^{ALGORITHM} (?P<kind>Access|Credential)=(?P<key>[^,]+), ?"
    r"SignedHeaders=(?P<headers>[^,]*), ?Signature=(?P<signature>[0-9a-f]+)$"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What an Authorization header claims."""

    access_key: str
    scope: str  # "" in the plain form, <yyyymmdd>/<region>/<service>/sdk_request in the scoped one
    headers: tuple[str, ...]
    signature: str


def parse(authorization: str) -> Signed | None:
    """The parts of an Authorization header, or None where it is of no known form."""
    match = _HEADER.match(authorization.strip())
    if match is None:
        return None
    access_key, _, scope = match["key"].partition("/")
    if (match["kind"] == "Credential") != bool(scope):
        return None
    return Signed(access_key, scope, tuple(match["headers"].split(";")), match["signature"])


def canonical_request(
    method: str, path: str, query: str, headers: dict[str, str], signed_headers: tuple[str, ...], payload_hash: str
) -> str:
    """The request as both sides must write it before hashing; `path` is decoded, `query` as it stood in the URL."""
    parts = [quote(part, safe=_UNRESERVED) for part in path.split("/")]
    canonical_path = "/".join(parts)
    if not canonical_path.endswith("/"):
        canonical_path += "/"
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    canonical_query = "&".join(f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in pairs)
    lines = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in signed_headers)
    return "\n".join([method, canonical_path, canonical_query, lines, ";".join(signed_headers), payload_hash])


def payload_hashes(method: str, query: str, body: bytes, declared: str | None) -> list[str]:
    """The hashes that a client may have used for this body."""
    if declared == "UNSIGNED-PAYLOAD":
        return [declared]
    found = [hashlib.sha256(body).hexdigest()]
    if method == "POST" and not body and query:
        found.append(hashlib.sha256(query.encode()).hexdigest())  # what OTC's Go client does
    return found


def expected_signature(secret: str, scope: str, date: str, canonical: str) -> str:
    """The signature that the holder of the secret would have made."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    if not scope:
        return _mac(secret.encode(), f"{ALGORITHM}\n{date}\n{digest}").hex()
    key = b"SDK" + secret.encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    return _mac(key, f"{ALGORITHM}\n{date}\n{scope}\n{digest}").hex()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
