"""The emulator's own door, `/_emulator/...` on the first port: account, faults, requests, switches, contract; all JSON."""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import parse_qs

from backup_to_image.contract import openapi

from .account import account
from .cloud import Cloud
from .faults import CATALOGUE
from .switches import SWITCHES
from .wire import Answer, Doc

__all__ = ["answer"]


def answer(cloud: Cloud, journal: deque[Doc], method: str, path: str, query: str, body: bytes, host: str) -> Answer:
    """What the door answers; mistakes are a 400 with `error`, so that a test which misspells a fault fails at once."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        given: Doc = json.loads(body) if body.strip() else {}
        match method, path.removeprefix("/_emulator/").rstrip("/"):
            case "GET", "account":
                return Answer(200, account(cloud, host))
            case "GET", "requests":
                return Answer(200, _requests(journal, asked))
            case "GET", "faults":
                return Answer(200, _faults(cloud))
            case "POST", "faults":
                return Answer(201, {"id": cloud.faults.arm(**given)})
            case "DELETE", "faults":
                return Answer(200, {"disarmed": cloud.faults.disarm(asked.get("id") or asked.get("name"))})
            case "GET", "switches":
                return Answer(200, _switches(cloud))
            case "PUT", "switches":
                cloud.switches.update(**given)
                return Answer(200, _switches(cloud))
            case "GET", "openapi":
                return Answer(200, openapi())
            case _:
                return Answer(404, {"error": f"there is no {method} {path}"})
    except (ValueError, TypeError) as mistake:
        return Answer(400, {"error": str(mistake)})


def _requests(journal: deque[Doc], asked: dict[str, str]) -> Doc:
    """The journal, from a number (`since=12`: those after it) or a moment (`since=2026-01-02T03:04:05Z`) on."""
    since = asked.get("since")
    entries = list(journal)
    if since is not None:
        entries = [entry for entry in entries if (entry["number"] > int(since) if since.isdigit() else entry["time"] >= since)]
    return {"requests": entries}


def _faults(cloud: Cloud) -> Doc:
    catalogue: list[Doc] = [
        {
            "name": fault.name,
            "stage": fault.stage,
            "says": fault.says,
            "operations": list(fault.operations),
            "parameters": fault.parameters,
        }
        for fault in CATALOGUE.values()
    ]
    return {"catalogue": catalogue, "armed": cloud.faults.list()}


def _switches(cloud: Cloud) -> Doc:
    table: list[dict[str, Any]] = [
        {"name": switch.name, "values": list(switch.values), "decides": switch.decides, "source": switch.source}
        for switch in SWITCHES
    ]
    return {"switches": dict(cloud.switches), "table": table}
