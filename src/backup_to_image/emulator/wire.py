"""What crosses the wire, and the seven ways in which the services say no.

Handlers receive a `Call`, return an `Answer` or raise a `Refusal`; how a refusal looks on the wire is decided here, once, by the
service that gives it (BEHAVIOUR.md, section 3). No handler builds an error body.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from .routing import Operation

__all__ = ["Answer", "Call", "Caller", "ConnectionCut", "Doc", "Problem", "Refusal", "error_body", "mapping", "sequence"]

# One resource as the emulator keeps it: plain JSON, so that the store can write it down.
Doc: TypeAlias = dict[str, Any]


def mapping(value: Any) -> Doc | None:
    """The value, if it is a JSON object."""
    return cast("Doc", value) if isinstance(value, dict) else None


def sequence(value: Any) -> list[Any] | None:
    """The value, if it is a JSON array."""
    return cast("list[Any]", value) if isinstance(value, list) else None


@dataclass(slots=True)
class Answer:
    """What a handler gives back: a status, a JSON body (None: no body at all) and headers."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    raw: bytes | None = None  # an answer that is not JSON: HTML from a gateway, half a document
    media_type: str = "application/json"
    code: str | None = None
    """Of a coded no."""


class Refusal(Exception):
    """A coded no. The shape of its body is the business of the service: raise it with status, code and words."""

    def __init__(self, status: int, code: str, message: str, *, body: Any = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.body = body  # only where it is not the service's usual shape
        self.status = status
        self.code = code
        self.message = message


class ConnectionCut(Exception):
    """The peer hangs up without a word: raised through the ASGI server, which closes the connection."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user, and the project (or, without one, the account) that his token or signature is scoped to."""

    user: Doc
    project_id: str | None
    domain_id: str
    token_id: str | None = None  # None: the request was signed


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request does not fit the contract: where (body, query, path, header, content), which part, which rule, in words."""

    where: str
    name: str
    rule: str
    message: str
    value: Any = None  # the whole body, where it was JSON


@dataclass(slots=True)
class Call:
    """A request that has been routed, authenticated and checked against the contract."""

    operation: Operation
    path: dict[str, str]
    query: dict[str, Any]
    headers: dict[str, str]
    body: Any
    caller: Caller | None
    origin: str  # scheme and host as the client wrote them, without port: catalog urls are built on it
    raw_query: str = ""
    struck: dict[str, Doc] = field(default_factory=dict[str, Doc])  # faults with an effect on this call: name -> parameters

    @property
    def project(self) -> str:
        """The caller's project; routing has refused calls without one."""
        if self.caller is None or self.caller.project_id is None:
            raise LookupError(f"{self.operation.id} was let in without a project")
        return self.caller.project_id


def error_body(service: str, refusal: Refusal) -> Any:
    """The refusal in the shape of that service (BEHAVIOUR.md, section 3)."""
    code, message = refusal.code, refusal.message
    if refusal.body is not None:
        return refusal.body
    if code.startswith("APIGW."):
        return {"error_code": code, "error_msg": message, "request_id": uuid.uuid4().hex}
    if service == "cbr":
        return {"error_code": code, "error_msg": message}
    if service in {"vpc", "eip"}:
        return {"code": code, "message": message}
    if code.isdigit():  # Keystone's own form, used by IAM and by whatever stands in front of glance
        return {"error": {"code": int(code), "message": message, "title": HTTPStatus(refusal.status).phrase}}
    if service == "iam":
        return {"error_code": code, "error_msg": message}
    return {"error": {"code": code, "message": message}}
