"""How the faults that strike the wire do it: instead of the call, or on its answer; handlers read those inside a call."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import datetime
from typing import Any

from .auth import NO_RIGHT, fingerprint
from .cloud import Cloud
from .faults import Armed
from .routing import Operation
from .store import timestamp
from .wire import Answer, Call, ConnectionCut, Refusal, error_body, mapping, sequence

__all__ = ["afterwards", "cut_short"]

_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"

# Words of each service for a trouble of its own.
_TROUBLE = {
    "iam": ("500", "internal server error"),
    "ims": ("IMG.0014", "internal error"),
    "ecs": ("Common.0001", "internal error"),
    "cbr": ("BackupService.9910", "unknown error"),
    "vpc": ("VPC.0002", "internal error"),
    "eip": ("VPC.0002", "internal error"),
    "evs": ("EVS.0000", "internal error"),
}


async def cut_short(cloud: Cloud, operation: Operation, struck: list[Armed], headers: dict[str, str]) -> Answer | None:
    """What the client gets instead of the call, or None where the call goes on."""
    for armed in struck:
        name = armed.fault.name
        if name == "slow":
            await cloud.clock.sleep(armed.parameters["seconds"])
            cloud.tick()
        elif name == "token-expired":
            _expire(cloud, headers)
        elif name == "reset-before":
            raise ConnectionCut(name)
        elif armed.fault.stage == "before" and not armed.parameters.get("effect"):
            return _instead(armed, operation.service)
    return None


async def afterwards(cloud: Cloud, call: Call, answer: Answer, struck: list[Armed]) -> Answer:
    """The answer after the faults have been at it; ConnectionCut where none comes."""
    answer = _not_listed_yet(cloud, call, answer)
    for armed in struck:
        name = armed.fault.name
        if name == "hold":
            await cloud.clock.sleep(armed.parameters["seconds"])
        elif name == "lost-answer":
            raise ConnectionCut(name)
        elif armed.fault.stage == "before" and armed.parameters.get("effect"):
            return _instead(armed, call.operation.service)
        elif name == "truncated-json" and answer.body is not None:
            whole = json.dumps(answer.body).encode()
            answer = Answer(answer.status, None, answer.headers, raw=whole[: max(1, len(whole) // 2)])
        elif name == "swapped-error" and answer.status >= 400 and (error := (mapping(answer.body) or {}).get("error")):
            error["code"], error["message"] = error["message"], error["code"]
        elif name == "unknown-fields" and answer.status < 300:
            answer.body = _with_unknown_fields(answer.body)
        elif name == "unknown-enum" and answer.status < 300:
            answer.body = _with_value(answer.body, armed.parameters["field"], armed.parameters["value"])
        elif name == "doubled-page" and (entries := _entries(answer)):
            entries.append(entries[-1])
        elif name == "shifting-page" and (entries := _entries(answer)) is not None:
            last = armed.memory.get(call.operation.id)
            if last is not None and (call.query.get("marker") or call.query.get("offset")):
                entries.insert(0, last)
    for armed in cloud.faults.watching("shifting-page", call.operation):
        if entries := _entries(answer):
            armed.memory[call.operation.id] = entries[-1]
    return answer


def _instead(armed: Armed, service: str) -> Answer:
    name = armed.fault.name
    if name == "html-502":
        return Answer(502, raw=_HTML, media_type="text/html")
    if name == "error-503":
        return Answer(503, {})
    if name == "error-500":
        code, words = _TROUBLE[service]
        return Answer(500, error_body(service, Refusal(500, code, words)))
    if name == "img-0060":
        return Answer(400, error_body("ims", Refusal(400, "IMG.0060", "too many tasks, flow control")))
    if name == "flow-202":
        return Answer(202, error_body("ecs", Refusal(202, "Common.0024", "flow limit")))
    if name == "forbidden":
        code, words = NO_RIGHT[service]
        return Answer(403, error_body(service, Refusal(403, code, words)))
    code = {"iam": "IAM.0012", "ecs": "Common.1503"}.get(service, "APIGW.0308")
    wait = armed.parameters["retry_after"]
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return Answer(429, error_body(service, Refusal(429, code, "throttled")), headers)


def _expire(cloud: Cloud, headers: dict[str, str]) -> None:
    kept = cloud.get("token", fingerprint(headers.get("x-auth-token", "")))
    if kept is not None:
        kept["expires_at"] = cloud.stamp()
        cloud.save("token", kept)


def _entries(answer: Answer) -> list[Any] | None:
    """The list of a list answer."""
    body = mapping(answer.body) if answer.status == 200 else None
    if body is None:
        return None
    return next((entries for value in body.values() if (entries := sequence(value)) is not None), None)


def _not_listed_yet(cloud: Cloud, call: Call, answer: Answer) -> Answer:
    until = cloud.faults.listed_until
    entries = _entries(answer) if until is not None and call.operation.id.startswith("list") else None
    if until is not None and entries is not None:
        entries[:] = [entry for entry in entries if not _younger(entry, until)]
    return answer


def _younger(entry: Any, until: str) -> bool:
    thing = mapping(entry) or {}
    created = thing.get("created_at") or thing.get("created")
    if not isinstance(created, str):
        return False
    when = datetime.fromisoformat(created if created.endswith("Z") or "+" in created else created + "Z")
    return timestamp(when) > until


def _with_unknown_fields(node: Any) -> Any:
    if (items := sequence(node)) is not None:
        return [_with_unknown_fields(item) for item in items]
    if (fields := mapping(node)) is not None:
        return {
            **{key: _with_unknown_fields(value) for key, value in fields.items()},
            "x_new_in_this_release": {"since": "tomorrow"},
        }
    return deepcopy(node)


def _with_value(node: Any, name: str, value: Any) -> Any:
    if (items := sequence(node)) is not None:
        return [_with_value(item, name, value) for item in items]
    if (fields := mapping(node)) is not None:
        return {
            key: value if key == name and isinstance(old, str) else _with_value(old, name, value) for key, old in fields.items()
        }
    return node
