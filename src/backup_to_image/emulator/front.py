"""The door of the region: an ASGI app that finds the service by the port, the operation by the contract, and answers.

The order for every request: pass of time, route, faults that come before, caller, contract, handler, everything made durable,
faults that come after, journal, answer. Handlers are plain functions that run to their end, so two requests never interleave.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from . import control
from .auth import authenticate, fingerprint, require_rights
from .cloud import Cloud
from .routing import Operation, Router, fit
from .services import Service, services
from .store import timestamp
from .strikes import afterwards, cut_short
from .wire import Answer, Call, ConnectionCut, Doc, Problem, Refusal, error_body

__all__ = ["Front"]

_LOG = logging.getLogger(__name__)

# A body larger than this is refused like the real gateways do (BEHAVIOUR.md 1.3).
_BODY_LIMIT = 12 * 1024 * 1024


class Front:
    """ASGI 3 app for all services of one region; tells them apart by the port of `scope["server"]`."""

    def __init__(self, cloud: Cloud, journal: deque[Doc]) -> None:
        self._cloud = cloud
        self._router = Router()
        self._journal = journal
        for service in services().values():
            cloud.transitions.update(service.transitions)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection event of the ASGI server."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await _read(receive)
        if body is None:
            return
        answer = await self._answer(scope, body)
        await self._send(answer, scope["method"], send)

    async def _answer(self, scope: Any, body: bytes) -> Answer:
        cloud = self._cloud
        method: str = scope["method"]
        path: str = scope["path"]
        query: str = scope["query_string"].decode("latin-1")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        named = headers.get("host", "127.0.0.1")
        host = named.rpartition(":")[0] or named
        service = cloud.service_on((scope.get("server") or (None, None))[1])
        cloud.tick()
        cloud.store.commit()
        await cloud.guests.settle()
        if service is None:
            return _refused("iam", Refusal(404, "APIGW.0101", "nothing is served here"))
        if service == "iam" and path.startswith("/_emulator/"):
            return control.answer(cloud, self._journal, method, path, query, body, host)
        origin = f"{scope.get('scheme', 'http')}://{host}"
        started = timestamp(cloud.now())
        operation, values, known = self._router.find(service, method, path)
        project = self._project(headers)
        names: list[str] = []
        try:
            answer = await self._carry_out(
                service, operation, values, known, (method, path, query, body), headers, origin, project, names
            )
        except ConnectionCut:
            self._note(started, service, operation, method, path, query, None, project, names)
            raise
        self._note(started, service, operation, method, path, query, answer, project, names)
        return answer

    async def _carry_out(
        self,
        served_by: str,
        operation: Operation | None,
        values: dict[str, str],
        known: bool,
        raw: tuple[str, str, str, bytes],
        headers: dict[str, str],
        origin: str,
        project: str | None,
        names: list[str],
    ) -> Answer:
        method, path = raw[0], raw[1]
        if operation is None:
            discovery = services()[served_by].discovery.get(path.rstrip("/") or "/") if served_by in services() else None
            if discovery is not None and method in {"GET", "HEAD"}:
                return Answer(300 if path == "/" else 200, discovery(self._cloud, origin))
            if (helped := self._help(served_by, raw, headers)) is not None:
                return helped
            if known:
                return _refused(served_by, Refusal(405, "APIGW.0101", f"{method} is not allowed here"))
            return _refused(served_by, Refusal(404, "APIGW.0101", "the API does not exist"))
        service = services().get(operation.service)
        if service is None or operation.id not in service.routes:
            return _refused(operation.service, Refusal(501, "APIGW.0101", f"{operation.id} is not part of this emulator"))
        struck = self._cloud.faults.strike(operation, project)
        names.extend(armed.fault.name for armed in struck)
        if struck and (instead := await cut_short(self._cloud, operation, struck, headers)) is not None:
            return instead
        call = Call(operation, values, {}, headers, None, None, origin, raw[2])
        call.struck = {armed.fault.name: armed.parameters for armed in struck if armed.fault.stage == "effect"}
        answer = self._handle(service, call, raw)
        self._cloud.store.commit()
        await self._cloud.guests.settle()
        return await afterwards(self._cloud, call, answer, struck)

    def _help(self, served_by: str, raw: tuple[str, str, str, bytes], headers: dict[str, str]) -> Answer | None:
        """A read that the contract does not name and that OpenStack's own clients cannot do without; None where there is none."""
        service = services().get(served_by)
        if service is None or raw[0] != "GET":
            return None
        given = tuple(raw[1].strip("/").split("/"))
        for template, helper in service.helpers.items():
            values = fit(tuple(template.strip("/").split("/")), given)
            if values is None:
                continue
            try:
                caller = authenticate(self._cloud, served_by, values, headers, raw)
                return helper(self._cloud, caller.project_id or "", values, dict(parse_qsl(raw[2])))
            except Refusal as refusal:
                return _refused(served_by, refusal)
        return None

    def _handle(self, service: Service, call: Call, raw: tuple[str, str, str, bytes]) -> Answer:
        operation = call.operation
        try:
            if operation.secured:
                call.caller = authenticate(self._cloud, service.name, call.path, call.headers, raw)
            self._check(service, call, raw)
            if call.caller is not None:
                require_rights(operation, service.name, call.caller)
            return service.routes[operation.id](self._cloud, call)
        except Refusal as refusal:
            return _refused(service.name, refusal)
        except Exception:  # noqa: BLE001 - a mistake of ours must not look like an answer of the cloud
            _LOG.exception("%s failed inside the emulator", operation.id)
            return Answer(500, {"error_code": "EMULATOR", "error_msg": f"{operation.id} failed inside the emulator; see its log"})

    def _check(self, service: Service, call: Call, raw: tuple[str, str, str, bytes]) -> None:
        operation = call.operation
        if len(raw[3]) > _BODY_LIMIT:
            raise Refusal(413, "APIGW.0201", "request body larger than 12 MB")
        problem = operation.check_path(call.path) or operation.check_headers(call.headers)
        if problem is not None:
            raise service.malformed(operation, problem)
        query = operation.read_query(raw[2])
        if isinstance(query, Problem):
            raise service.malformed(operation, query)
        sent = b"" if operation.method == "DELETE" and self._cloud.switches["delete_bodies"] == "dropped" else raw[3]
        body = operation.read_body(sent, call.headers.get("content-type", ""))
        if isinstance(body, Problem):
            if not service.admits(operation, body):
                raise service.malformed(operation, body)
            body = body.value
        call.query, call.body = query, body

    def _project(self, headers: dict[str, str]) -> str | None:
        if token := headers.get("x-auth-token"):
            kept = self._cloud.get("token", fingerprint(token))
            return kept["project_id"] if kept else None
        return headers.get("x-project-id")

    def _note(
        self,
        started: str,
        service: str,
        operation: Operation | None,
        method: str,
        path: str,
        query: str,
        answer: Answer | None,
        project: str | None,
        faults: list[str],
    ) -> None:
        """Write the request into the journal: what was asked, never with which credentials or body."""
        self._journal.append(
            {
                "number": self._journal[-1]["number"] + 1 if self._journal else 1,
                "time": started,
                "service": operation.service if operation else service,
                "operationId": operation.id if operation else None,
                "method": method,
                "path": path,
                "query": query,
                "status": answer.status if answer else None,
                "code": answer.code if answer else None,
                "project": project,
                "faults": faults,
            }
        )

    async def _send(self, answer: Answer, method: str, send: Any) -> None:
        content = answer.raw
        if content is None:
            content = b"" if answer.body is None else json.dumps(answer.body, separators=(",", ":")).encode()
        headers = [(b"date", format_datetime(self._cloud.now(), usegmt=True).encode())]
        if answer.status != 204:
            headers.append((b"content-length", str(len(content)).encode()))
            if content:
                headers.append((b"content-type", answer.media_type.encode()))
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else content})


def _refused(service: str, refusal: Refusal) -> Answer:
    return Answer(refusal.status, error_body(service, refusal), code=refusal.code)


async def _read(receive: Any) -> bytes | None:
    """The body; None where whoever asks was gone before all of it was here: half a request is none."""
    chunks: list[bytes] = []
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        chunks.append(event.get("body", b""))
        if not event.get("more_body"):
            return b"".join(chunks)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
