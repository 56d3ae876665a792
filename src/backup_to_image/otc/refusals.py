"""From an answer that refuses to the right error: the code decides, not the HTTP status (BEHAVIOUR.md 3, 15)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, cast

from backup_to_image.clock import Clock
from backup_to_image.doctor import diagnose
from backup_to_image.errors import AlreadyUsed, ApiError, Denied, NotFound, Throttled
from backup_to_image.otc.calls import Call, Reply
from backup_to_image.otc.wire import Body, part, parts, text

__all__ = ["ALREADY_USED", "THROTTLED", "TOKEN_REFUSED", "is_refusal", "refusal", "retry_after", "said"]

_CODE = re.compile(r"\b(?:IMG|BackupService|Ecs|Common|Pdp|EVS|VPC|IAM|APIGW)\.\d{3,5}\b", re.IGNORECASE)

ALREADY_USED = frozenset({"IMG.0029", "IMG.0134", "BackupService.6210", "BackupService.6211"})
"""The backup has its image (BEHAVIOUR.md 8)."""

THROTTLED = frozenset({"IMG.0060", "IMG.0187", "Common.1503", "Common.0024", "IAM.0012", "APIGW.0308"})
"""Too much at a time; nothing was done (BEHAVIOUR.md 13)."""

TOKEN_REFUSED = frozenset(
    {
        *("IAM.0066", "IAM.0067", "Common.0013", "VPC.0008", "EVS.0002", "EVS.5401", "IMG.0030", "IMG.0087"),
        *("BackupService.9998", "APIGW.0301", "APIGW.0307"),
    }
)
"""What an ended token is called by each service, whatever the status (BEHAVIOUR.md 1.1). Checked before anything is done."""

_DENIED = frozenset(
    {
        *(
            "IMG.0026",
            "IMG.0067",
            "IMG.0133",
            "IMG.0145",
            "IMG.0165",
            "BackupService.8600",
            "APIGW.0302",
            "APIGW.0303",
            "APIGW.0305",
        ),
        *("Ecs.0003", "Ecs.0023", "Ecs.0066", "Ecs.0067", "Ecs.0068", "Ecs.0069", "Ecs.0070", "Ecs.0071", "Ecs.0110", "Pdp.0001"),
        *("Common.0018", "EVS.0001", "EVS.0003", "EVS.1027", "EVS.2056", "EVS.5403", "VPC.0007", "VPC.0010", "VPC.2201"),
    }
)
_NOT_FOUND = frozenset(
    {
        *("IMG.0005", "IMG.0020", "IMG.0027", "IMG.0031", "IMG.0066", "IMG.0086", "IMG.0121", "IMG.0144"),
        *(f"BackupService.{number}" for number in (6200, 6217, 6105, 6500, 6705)),
        *("Ecs.0114", "Ecs.0614", "EVS.5404", "VPC.0504"),
    }
)


def is_refusal(reply: Reply) -> bool:
    """Also a 202 can refuse: ECS answers so when its flow limit starts nothing (BEHAVIOUR.md 11)."""
    if not 200 <= reply.status < 300:
        return True
    return reply.status == 202 and said(reply)[0] is not None


def refusal(call: Call, reply: Reply, clock: Clock) -> ApiError:
    """The error for an answer that refuses."""
    code, words = said(reply)
    diagnosis = diagnose(code, reply.status)
    kind: type[ApiError] = ApiError
    if code in ALREADY_USED:
        kind = AlreadyUsed
    elif code in THROTTLED or (code is None and reply.status == 429):
        kind = Throttled
    elif code in TOKEN_REFUSED or code in _DENIED or reply.status == 401 or (code is None and reply.status == 403):
        kind = Denied
    elif code in _NOT_FOUND or (reply.status == 404 and not (code or "").startswith("APIGW.")):
        # The gateway's 404 is about the address: taken for a thing that is gone it would prove a deletion that never was.
        kind = NotFound
    return kind(
        operation=call.operation,
        status=reply.status,
        code=code,
        words=words,
        error_class=diagnosis.error_class,
        cause=diagnosis.cause,
        action=diagnosis.action,
        request_id=reply.request_id or _request_id(reply),
        retry_after=retry_after(reply, clock),
        subject=call.subject,
    )


def said(reply: Reply) -> tuple[str | None, str]:
    """The cloud's code, if one of its code forms is anywhere in the body, and its words."""
    try:
        body: Any = json.loads(reply.content)
    except ValueError:
        page = reply.content[:20_000].decode(errors="replace")
        shown = re.sub(r"\s+", " ", re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", page)).strip()
        return _code(shown), shown[:200]
    if not isinstance(body, dict):
        return None, ""
    levels = list(_levels(cast("Body", body)))
    names = ("code", "error_code", "errorCode")
    words = ("message", "error_msg", "fail_reason", "title", "error")
    for fields in (names, words):  # one page of the documentation shows the two exchanged
        for level in levels:
            for name in fields:
                found = _code(text(level, name))
                if found:
                    other = [text(level, field) for field in (*words, *names)]
                    return found, next((one for one in other if one and _code(one) != found), "")[:500]
    return None, next((text(level, name) for level in levels for name in words if text(level, name)), "")[:500]


def retry_after(reply: Reply, clock: Clock) -> float | None:
    """Seconds to wait, where the answer says so; as a number or as a date."""
    value = reply.headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _levels(body: Body) -> Iterator[Body]:
    """Where an error may stand, the most telling first: inside `error`, at the top, in the details, in batch leftovers."""
    inside = part(body, "error")
    if inside:
        yield inside
    yield body
    for holder in (inside, body):
        for name in ("details", "internalError"):
            yield from parts(holder, name)


def _code(words: str) -> str | None:
    match = _CODE.search(words)
    if not match:
        return None
    family, _, number = match[0].partition(".")
    spelled = {name.lower(): name for name in ("IMG", "BackupService", "Ecs", "Common", "Pdp", "EVS", "VPC", "IAM", "APIGW")}
    return f"{spelled[family.lower()]}.{number}"


def _request_id(reply: Reply) -> str | None:
    """The gateway writes its request id into the body."""
    try:
        body = json.loads(reply.content)
    except ValueError:
        return None
    return text(cast("Body", body), "request_id") or None if isinstance(body, dict) else None
