"""Who asks: tokens and AK/SK signatures, and the words in which each service turns a stranger away (BEHAVIOUR.md 1.1)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

from . import signing
from .cloud import Cloud
from .routing import Operation
from .store import moment, timestamp
from .wire import Caller, Doc, Refusal

__all__ = ["NO_RIGHT", "TOKEN_LIFE", "authenticate", "fingerprint", "issue_token", "require_rights"]

TOKEN_LIFE = timedelta(hours=24)
_SKEW = timedelta(minutes=15)

# What a service answers to a token that is no (longer) good. IAM tells expired from invalid, the others do not.
_BAD_TOKEN = {
    "ims": (400, "IMG.0087", "the token is not valid or has to be updated"),
    "ecs": (401, "Common.0013", "the token is not valid"),
    "cbr": (500, "BackupService.9998", "authentication failed"),
    "vpc": (401, "VPC.0008", "the token is not valid"),
    "eip": (401, "VPC.0008", "the token is not valid"),
    "evs": (400, "EVS.0002", "the token is not valid"),
}

# What it answers when the project of the URL (or of the scope) is not the caller's.
_FOREIGN_PROJECT = {
    "ims": (400, "IMG.0030", "token and project do not belong together"),
    "ecs": (400, "Ecs.0023", "token and project do not belong together"),
    "cbr": (500, "BackupService.9998", "authentication failed"),
    "vpc": (400, "VPC.0007", "token and project do not belong together"),
    "eip": (400, "VPC.0007", "token and project do not belong together"),
    "evs": (400, "EVS.0001", "token and project do not belong together"),
}

# What it answers when the user's role only lets him read.
NO_RIGHT = {
    "iam": ("403", "not authorized"),
    "ims": ("IMG.0026", "role not sufficient"),
    "ecs": ("Pdp.0001", "policy does not allow this action"),
    "cbr": ("APIGW.0302", "policy does not allow this action"),
    "vpc": ("VPC.2201", "policy does not allow this action"),
    "eip": ("VPC.2201", "policy does not allow this action"),
    "evs": ("EVS.5403", "policy does not allow this action"),
}


def fingerprint(token: str) -> str:
    """How a token is kept: whoever reads the state file finds none."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue_token(cloud: Cloud, user: Doc, *, project: Doc | None, domain: Doc | None) -> tuple[str, Doc]:
    """A new token, good for 24 hours of the clock; older ones stay good."""
    token = "MII" + secrets.token_urlsafe(720)
    now = cloud.now()
    kept = cloud.new(
        "token",
        {
            "id": fingerprint(token),
            "created_at": timestamp(now),
            "expires_at": timestamp(now + TOKEN_LIFE),
            "user_id": user["id"],
            "project_id": project["id"] if project else None,
            "domain_id": (domain["id"] if domain else None) or user["domain_id"],
            "scope": "project" if project else "domain" if domain else "none",
        },
    )
    return token, kept


def authenticate(
    cloud: Cloud,
    service: str,
    path: dict[str, str],
    headers: dict[str, str],
    raw: tuple[str, str, str, bytes],
) -> Caller:
    """The caller behind a token or a signature, scoped to the project of the URL; otherwise the service's own refusal.

    `raw` is method, decoded path, query text and body: what a signature is made over.
    """
    if token := headers.get("x-auth-token"):
        caller = _by_token(cloud, service, token)
    elif authorization := headers.get("authorization"):
        caller = _by_signature(cloud, service, authorization, headers, raw)
    else:
        raise _stranger(cloud, service, "missing")
    if service != "iam":
        wanted = path.get("project_id", caller.project_id)
        if caller.project_id is None or wanted is None or wanted.lower() != caller.project_id:
            raise Refusal(*_FOREIGN_PROJECT[service])
    return caller


def require_rights(operation: Operation, service: str, caller: Caller) -> None:
    """Refuse what the user's role does not allow: readers read, everybody else may do everything."""
    if operation.writes and "te_admin" not in caller.user["roles"]:
        code, message = NO_RIGHT[service]
        raise Refusal(403, code, message)


def _stranger(cloud: Cloud, service: str, why: str) -> Refusal:
    if service == "iam":
        if why == "missing":
            return Refusal(401, "401", "authentication needed")
        return Refusal(
            401, "IAM.0066" if why == "expired" else "IAM.0067", "token expired" if why == "expired" else "token not valid"
        )
    if cloud.switches["bad_token"] == "gateway":  # noqa: S105 - the name of a switch
        return Refusal(401, "APIGW.0301", "credentials refused")
    if why == "missing" and service == "ims":
        return Refusal(401, "401", "authentication needed")
    return Refusal(*_BAD_TOKEN[service])


def _by_token(cloud: Cloud, service: str, token: str) -> Caller:
    kept = cloud.get("token", fingerprint(token))
    user = cloud.get("user", kept["user_id"]) if kept else None
    if kept is None or user is None:
        raise _stranger(cloud, service, "invalid")
    if moment(kept["expires_at"]) <= cloud.now():
        raise _stranger(cloud, service, "expired")
    return Caller(user=user, project_id=kept["project_id"], domain_id=kept["domain_id"], token_id=kept["id"])


def _by_signature(
    cloud: Cloud, service: str, authorization: str, headers: dict[str, str], raw: tuple[str, str, str, bytes]
) -> Caller:
    signed = signing.parse(authorization)
    user = next(cloud.walk("user", ak=signed.access_key), None) if signed else None
    date = headers.get("x-sdk-date", "")
    if signed is None or user is None or "x-sdk-date" not in signed.headers or not _fresh(cloud, date):
        raise _stranger(cloud, service, "invalid")
    if signed.scope and not (signed.scope.startswith(date[:8] + "/") and signed.scope.endswith("/sdk_request")):
        raise _stranger(cloud, service, "invalid")
    method, path, query, body = raw
    for payload in signing.payload_hashes(method, query, body, headers.get("x-sdk-content-sha256")):
        canonical = signing.canonical_request(method, path, query, headers, signed.headers, payload)
        expected = signing.expected_signature(user["sk"], signed.scope, date, canonical)
        if hmac.compare_digest(expected, signed.signature):
            break
    else:
        raise _stranger(cloud, service, "invalid")
    # The project may stand in an unsigned header: OTC's Go client adds it after signing.
    project = headers.get("x-project-id")
    if project is not None and project not in user["projects"]:
        project = None
    return Caller(user=user, project_id=project, domain_id=user["domain_id"])


def _fresh(cloud: Cloud, date: str) -> bool:
    try:
        when = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(when - cloud.now()) <= _SKEW
