"""A region on a clock that stands still, and clients whose every answer is held against the contract."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from backup_to_image.clock import FakeClock
from backup_to_image.contract import openapi
from backup_to_image.emulator import Emulator

PORTS = ("iam", "ims", "ecs", "cbr", "vpc", "evs", "eip")


@cache
def _paths() -> list[tuple[str, str, re.Pattern[str], dict[str, Any]]]:
    found = []
    for item in openapi()["paths"].values():
        for method, operation in item.items():
            pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", operation["x-path"].replace(".", r"\.")))
            found.append((operation["x-service"], method.upper(), pattern, operation))
    found.sort(key=lambda entry: entry[3]["x-path"].count("{"))
    return found


def operation_of(service: str, method: str, path: str) -> dict[str, Any] | None:
    served = {"vpc": {"vpc", "eip"}}.get(service, {service})
    for owner, verb, pattern, operation in _paths():
        if owner in served and verb == method and pattern.fullmatch(path.rstrip("/")):
            return operation
    return None


@cache
def _registry() -> Registry[Any]:
    return Registry().with_resource("urn:spec", Resource(contents=openapi(), specification=DRAFT202012))


def _absolute(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: ("urn:spec" + value if key == "$ref" else _absolute(value)) for key, value in node.items()}
    return [_absolute(item) for item in node] if isinstance(node, list) else node


_VALIDATORS: dict[tuple[str, int], Draft202012Validator | None] = {}


def complaints(operation: dict[str, Any], response: httpx.Response) -> list[str]:
    """What about an answer does not fit the contract."""
    name, status = operation["operationId"], response.status_code
    declared = operation["responses"].get(str(status))
    if declared is None:
        return [f"{name}: status {status} is not in the contract: {response.text[:200]}"]
    while "$ref" in declared:
        declared = openapi()["components"]["responses"][declared["$ref"].rsplit("/", 1)[1]]
    missing = [
        f"{name}: header {header} missing"
        for header, given in declared.get("headers", {}).items()
        if given.get("required") and header not in response.headers
    ]
    content = declared.get("content", {})
    if not response.content:
        return missing + ([f"{name}: {status} without a body"] if status < 300 and content else [])
    if response.headers["content-type"].startswith("text/html"):
        return missing if "text/html" in content else [*missing, f"{name}: {status} in HTML"]
    if (name, status) not in _VALIDATORS:
        schema = content.get("application/json", {}).get("schema")
        _VALIDATORS[name, status] = Draft202012Validator(_absolute(schema), registry=_registry()) if schema else None
    validator = _VALIDATORS[name, status]
    if validator is None:
        return [*missing, f"{name}: {status} has a body"]
    errors = list(validator.iter_errors(response.json()))
    return missing + [
        f"{name}: {status} {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors[:3]
    ]


class CheckingTransport(httpx.AsyncBaseTransport):
    """Passes requests on and fails the test on any answer that the contract does not allow."""

    def __init__(self, inner: httpx.AsyncBaseTransport, first_port: int) -> None:
        self.inner = inner
        self.first_port = first_port
        self.lenient = False  # while a fault that breaks answers is armed
        self.seen: set[tuple[str, int]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        await response.aread()
        service = PORTS[(request.url.port or 0) - self.first_port]
        operation = operation_of(service, request.method, request.url.path)
        if operation is not None and request.method != "HEAD":
            self.seen.add((operation["operationId"], response.status_code))
            if not self.lenient:
                assert complaints(operation, response) == []
        return response


@dataclass
class Client:
    """Somebody who is logged in: paths are `<service>/<path>`, `{p}` stands for his project."""

    http: httpx.AsyncClient
    endpoints: dict[str, str]
    project: str
    headers: dict[str, str]

    def url(self, where: str) -> str:
        service, _, path = where.partition("/")
        return f"{self.endpoints[service]}/{path.replace('{p}', self.project)}"

    async def ask(self, method: str, where: str, **given: Any) -> httpx.Response:
        headers = {**self.headers, **given.pop("headers", {})}
        return await self.http.request(method, self.url(where), headers=headers, **given)

    async def get(self, where: str, **query: Any) -> httpx.Response:
        return await self.ask(
            "GET", where, params={name.replace("whole", "__whole_image"): value for name, value in query.items()}
        )

    async def post(self, where: str, body: Any) -> httpx.Response:
        return await self.ask("POST", where, json=body)

    async def put(self, where: str, body: Any) -> httpx.Response:
        return await self.ask("PUT", where, json=body)

    async def patch(self, where: str, body: Any) -> httpx.Response:
        return await self.ask("PATCH", where, json=body)

    async def delete(self, where: str, body: Any = None) -> httpx.Response:
        return await self.ask("DELETE", where, **({} if body is None else {"json": body}))

    # -- what many tests do ---------------------------------------------------------------------------------------------

    async def create_image(self, backup: str, name: str = "web01-kept", **more: Any) -> httpx.Response:
        return await self.post(
            "ims/v1/cloudimages/wholeimages/action", {"name": name, "backup_id": backup, "whole_image_type": "CBR", **more}
        )

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.get(f"ims/v1/{{p}}/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def image(self, image_id: str) -> dict[str, Any]:
        answer = await self.get(f"ims/v2/images/{image_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def backup(self, backup_id: str) -> dict[str, Any]:
        answer = await self.get(f"cbr/v3/{{p}}/backups/{backup_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["backup"]


class Region:
    """The emulated region, its clock, and the ways in."""

    def __init__(self, emulator: Emulator, clock: FakeClock) -> None:
        self.emulator = emulator
        self.clock = clock
        self.account = emulator.account()
        self.transport = CheckingTransport(emulator.transport(), emulator.cloud.first_port)
        self.http = httpx.AsyncClient(transport=self.transport)
        self.endpoints: dict[str, str] = self.account["endpoints"]

    async def token(self, user: str, password: str, domain: str, scope: dict[str, Any]) -> httpx.Response:
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "password": password, "domain": {"name": domain}}},
        }
        return await self.http.post(
            f"{self.endpoints['iam']}/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}
        )

    async def login(self, project: str | None = None, *, user: str | None = None, password: str | None = None) -> Client:
        account = self.account
        project = project or account["project_id"]
        answer = await self.token(
            user or account["user"], password or account["password"], account["domain_name"], {"project": {"id": project}}
        )
        assert answer.status_code == 201, answer.text
        return Client(self.http, self.endpoints, project, {"X-Auth-Token": answer.headers["X-Subject-Token"]})

    async def recipient(self) -> Client:
        guest = self.account["recipient"]
        answer = await self.token(
            guest["user"], guest["password"], guest["domain_name"], {"project": {"id": guest["project_id"]}}
        )
        assert answer.status_code == 201, answer.text
        return Client(self.http, self.endpoints, guest["project_id"], {"X-Auth-Token": answer.headers["X-Subject-Token"]})

    def find(self, kind: str, name: str) -> str:
        """The id of a seeded thing, by its name."""
        return next(doc["id"] for doc in self.emulator.cloud.walk(kind) if doc.get("name") == name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def region(clock: FakeClock) -> AsyncIterator[Region]:
    made = Region(Emulator(clock=clock), clock)
    yield made
    await made.http.aclose()


@pytest.fixture
async def shop(region: Region) -> Client:
    """The robot of the shop, in the shop's project."""
    return await region.login()


@pytest.fixture
async def partner(region: Region) -> Client:
    """The robot of the firm with which images are shared."""
    return await region.recipient()


@pytest.fixture
def backups(region: Region) -> dict[str, Any]:
    return region.account["backups"]
