"""A stage for the client: it plays the cloud at the wire and checks every request against the contract before it answers."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from backup_to_image.clock import FakeClock
from backup_to_image.contract import openapi
from backup_to_image.otc import Cloud, Credentials

EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
PROJECT = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
ACCOUNT = "OTC00000000001000000xxx"
HOST = "eu-de.otc.t-systems.com"
TOKEN = "MIIExampleToken-made-up"

# What a test may have the cloud do for one request.
Act = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def example(name: str) -> dict[str, Any]:
    """The example `service/operation.case`."""
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def answer(name: str) -> httpx.Response:
    """What the cloud answers in the example `service/operation.case`."""
    told = example(name)["response"]
    return reply(told["status"], told.get("body"), told.get("headers"))


def reply(status: int, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
    if body is None:
        return httpx.Response(status, headers=headers)
    return httpx.Response(status, json=body, headers=headers)


def catalog(project: str = PROJECT) -> list[dict[str, Any]]:
    """The shapes of BEHAVIOUR.md 1.2."""
    entries = [
        ("image", "glance", f"https://ims.{HOST}"),
        ("cbr", "cbr", f"https://cbr.{HOST}/v3/{project}"),
        ("ecs", "ecs", f"https://ecs.{HOST}/v1/{project}"),
        ("compute", "nova", f"https://ecs.{HOST}/v2.1/{project}"),
        ("volumev2", "cinderv2", f"https://evs.{HOST}/v2/{project}"),
        ("vpc", "vpc", f"https://vpc.{HOST}/v1/{project}"),
        ("identity", "keystone", f"https://iam.{HOST}/v3"),
    ]
    return [
        {"type": kind, "name": name, "endpoints": [{"interface": "public", "region": "eu-de", "region_id": "eu-de", "url": url}]}
        for kind, name, url in entries
    ]


def token(
    *, number: int = 1, lifetime: timedelta = timedelta(hours=24), body: dict[str, Any] | None = None, project: str | None = None
) -> httpx.Response:
    """A granted log-in; `number` tells one token from the next."""
    told = json.loads(json.dumps(body or example("iam/createToken.project-name")["response"]["body"]))
    if project:
        told["token"]["project"]["id"] = project
    if "catalog" in told["token"]:
        told["token"]["catalog"] = catalog(project or PROJECT)
    issued = datetime(2026, 1, 2, 1, tzinfo=UTC)
    told["token"] |= {"issued_at": f"{issued:%Y-%m-%dT%H:%M:%S.%fZ}", "expires_at": f"{issued + lifetime:%Y-%m-%dT%H:%M:%S.%fZ}"}
    return reply(201, told, {"X-Subject-Token": f"{TOKEN}-{number}"})


def credentials(**more: Any) -> Credentials:
    told: dict[str, Any] = {
        "auth_url": f"https://iam.{HOST}:443/v3",
        "username": "dr-robot",
        "password": SecretStr("made-up-Passw0rd"),
        "user_domain_name": ACCOUNT,
        "project_name": "eu-de_dr",
    }
    return Credentials(**{name: value for name, value in (told | more).items() if value is not None})


class Stage:
    """Plays a cloud: `says("getBackup", ...)` lines up answers, the last of which is repeated; log-ins are granted by default."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.asked: list[tuple[str, httpx.Request]] = []
        self.acts: dict[str, list[Act]] = {}
        self.checks = True
        self.logins = 0

    def says(self, operation: str, *acts: Act) -> None:
        self.acts[operation] = list(acts)

    def cloud(self, **more: Any) -> Cloud:
        """A client of this stage; arguments are changes of the credentials, or `trace`."""
        trace = more.pop("trace", None)
        return Cloud.connect(credentials(**more), clock=self.clock, transport=httpx.MockTransport(self), trace=trace)

    def requests(self, operation: str) -> list[httpx.Request]:
        return [request for name, request in self.asked if name == operation]

    def operations(self) -> list[str]:
        return [name for name, _ in self.asked]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        operation = operation_of(request)
        self.asked.append((operation, request))
        if self.checks:
            check(operation, request)
        acts = self.acts.get(operation, [])
        if not acts and operation == "createToken":
            self.logins += 1
            return token(number=self.logins)
        assert acts, f"nothing is lined up for {operation}"
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        if isinstance(act, Exception):
            raise act
        return (
            act(request)
            if not isinstance(act, httpx.Response)
            else httpx.Response(act.status_code, headers=act.headers, content=act.content)
        )


@cache
def _routes() -> list[tuple[str, str, re.Pattern[str], dict[str, Any]]]:
    found: list[tuple[str, str, re.Pattern[str], dict[str, Any]]] = []
    for path in openapi()["paths"].values():
        for method, operation in path.items():
            if isinstance(operation, dict) and "operationId" in operation:
                pattern = re.sub(r"\\{[^}]*\\}", "([^/]+)", re.escape(operation["x-path"]))
                found.append((operation["x-service"], method.upper(), re.compile(pattern), operation))
    # A fixed path goes before one with a parameter in the same place.
    return sorted(found, key=lambda route: route[3]["x-path"].count("{"))


def operation_of(request: httpx.Request) -> str:
    return _route(request)[3]["operationId"]


def _route(request: httpx.Request) -> tuple[str, str, re.Pattern[str], dict[str, Any]]:
    service = request.url.host.partition(".")[0]
    for route in _routes():
        # EIP has no catalog entry of its own and lives at the VPC's address.
        here = route[0] == service or (route[0] == "eip" and service == "vpc")
        if here and route[1] == request.method and route[2].fullmatch(unquote(request.url.path)):
            return route
    raise AssertionError(f"the contract knows no {request.method} {request.url}")


def check(operation: str, request: httpx.Request) -> None:
    """The request fits the contract: documented parameters only, and a body that its closed schema takes."""
    told = _route(request)[3]
    parameters = {one["name"]: one for one in map(_resolved, told.get("parameters", [])) if one["in"] == "query"}
    for name, value in request.url.params.multi_items():
        assert name in parameters, f"{operation}: query parameter {name} is not documented"
        _valid(operation, parameters[name]["schema"], value)
    body = told.get("requestBody")
    assert bool(request.content) == bool(body), f"{operation}: a body where none is documented, or none where one is"
    if body:
        assert request.headers["content-type"] == "application/json"
        schema = next(iter(body["content"].values()))["schema"]
        _valid_json(operation, schema, json.loads(request.content))


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = openapi()
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return _resolved(found)


def _valid(operation: str, schema: dict[str, Any], value: str) -> None:
    schema = _resolved(schema)
    if schema.get("type") == "array":
        schema = _resolved(schema["items"])
    read: Any = value
    if schema.get("type") == "integer":
        read = int(value)
    elif schema.get("type") == "boolean":
        read = {"true": True, "false": False}[value]
    _valid_json(operation, schema, read)


def _valid_json(operation: str, schema: dict[str, Any], value: Any) -> None:
    problems = list(Draft202012Validator({**schema, "components": openapi()["components"]}).iter_errors(value))
    assert not problems, f"{operation}: {problems[0].json_path}: {problems[0].message}"
