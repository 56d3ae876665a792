"""A call with everything around it: the log-in before it, the endpoint under it, one renewal after a refused token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from backup_to_image.clock import Clock
from backup_to_image.errors import ApiError, BadAnswer, Denied, ErrorClass, NoAnswer
from backup_to_image.otc.auth import Auth
from backup_to_image.otc.calls import Call, Query, Reply, arguments
from backup_to_image.otc.endpoints import Service
from backup_to_image.otc.refusals import TOKEN_REFUSED
from backup_to_image.otc.transport import Transport
from backup_to_image.otc.wire import Body, text

__all__ = ["Session", "pages"]

_PATIENCE_WITH_PAGES = 3


class Session:
    """What the service classes call through. `{project}` in a path is the project that was logged in to."""

    def __init__(self, service: Service, auth: Auth, transport: Transport, clock: Clock) -> None:
        self._service: Service = service
        self._auth = auth
        self._transport = transport
        self.clock = clock

    @property
    def project_id(self) -> str:
        return self._auth.project.id

    async def ready(self) -> None:
        """Log in, unless done already."""
        await self._auth.ready()

    async def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        makes: bool = False,
        subject: str = "",
        guard: Callable[[], None] | None = None,
    ) -> Reply:
        """Ask, and get the answer that grants. `makes`, also of what deletes: never sent twice unasked; `guard`: see Call."""
        generation = await self._auth.ready()
        call = Call(
            operation=operation,
            service=self._service,
            method=method,
            path=path.replace("{project}", self._auth.project.id),
            query=arguments(query),
            body=body,
            makes=makes,
            subject=subject,
            guard=guard,
        )
        base = self._auth.endpoints.base(self._service)
        try:
            reply = await self._transport.send(call, base, self._auth.headers)
        except Denied as error:
            # A token is looked at before anything is done, so even a request that makes something may be sent once more.
            token_refused = error.cloud_code in TOKEN_REFUSED or (error.status == 401 and error.cloud_code is None)
            if not token_refused or not await self._auth.renew(generation):
                raise
            generation = await self._auth.ready()
            reply = await self._transport.send(call, self._auth.endpoints.base(self._service), self._auth.headers)
        self._auth.accepted(generation)
        return reply

    async def json(self, operation: str, method: str, path: str, **more: Any) -> Body:
        """Ask, and get the answer's JSON object. A reading whose answer broke off is asked once more."""
        reply = await self.call(operation, method, path, **more)
        try:
            return reply.json()
        except BadAnswer:
            if method != "GET":
                raise
        return (await self.call(operation, method, path, **more)).json()

    async def made(self, operation: str, method: str, path: str, **more: Any) -> Body:
        """Ask for something to be made. Where the grant cannot be read, nobody knows what was made: NoAnswer, look again."""
        reply = await self.call(operation, method, path, makes=True, **more)
        try:
            return reply.json()
        except BadAnswer:
            raise NoAnswer(operation, f"HTTP {reply.status} with a body that cannot be read", sent=True) from None

    async def job(self, operation: str, method: str, path: str, **more: Any) -> str:
        """Ask for something that takes time; returns the id of its job."""
        ident = text(await self.made(operation, method, path, **more), "job_id")
        if not ident:
            raise NoAnswer(operation, "a grant without job_id", sent=True)
        return ident


async def pages(fetch: Callable[[str | None], Awaitable[list[Body]]], size: int, operation: str) -> AsyncIterator[Body]:
    """All entries of a list that is paged by marker, each once, though pages come twice or shift meanwhile.

    A page that is not full is the last. Raises BadAnswer where the list does not get on: an incomplete list must not look whole.
    """
    seen: set[str] = set()
    marker: str | None = None
    stuck = 0
    while True:
        try:
            page = await fetch(marker)
        except ApiError as error:
            # The entry that marked the place may have been deleted meanwhile; then the list is read from its start.
            stuck += 1
            if marker is None or error.error_class is not ErrorClass.PERMANENT or stuck >= _PATIENCE_WITH_PAGES:
                raise
            marker = None
            continue
        fresh = [entry for entry in page if text(entry, "id") not in seen]
        for entry in fresh:
            if text(entry, "id") in seen:
                continue
            seen.add(text(entry, "id"))
            yield entry
        if len(page) < size:
            return
        stuck = 0 if fresh else stuck + 1
        if stuck >= _PATIENCE_WITH_PAGES:
            raise BadAnswer(operation, "the same page again and again")
        marker = text(page[-1], "id")
