"""The one place that sends: proxies and TLS, the request budget, the short retries, the count and the trace.

Only what may be repeated is: an unclear answer to a request that makes something goes to the caller as NoAnswer, who looks before
sending again. Redirects are not followed: an API that redirects is a portal in between.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from backup_to_image.clock import Clock
from backup_to_image.errors import ApiError, BadAnswer, ErrorClass, NoAnswer, Throttled, UsageError
from backup_to_image.otc.budget import Budget
from backup_to_image.otc.calls import Call, Reply
from backup_to_image.otc.credentials import Credentials, is_loopback
from backup_to_image.otc.refusals import THROTTLED, is_refusal, refusal
from backup_to_image.otc.trace import Exchange, redacted_body, redacted_headers

__all__ = ["Headers", "Trace", "Transport"]

Trace = Callable[[Exchange], None]
Headers = Callable[[Call, str], Awaitable[Mapping[str, str]]]

log = logging.getLogger("backup_to_image.otc")

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
BIGGEST_ANSWER = 64 * 1024 * 1024
PATIENCE = timedelta(seconds=90)
FIRST_CONTACT = timedelta(seconds=8)
"""An address that has never been reached is more likely wrong than down, and somebody waits for the answer."""
LONGEST_PAUSE = 300.0  # whatever a Retry-After says
PAUSES = (0.5, 2.0, 5.0, 15.0, 30.0)
# These say that too many image tasks run, not that too many requests are sent: they come after one request a minute too.
_NOT_OUR_PACE = frozenset({"IMG.0060"})
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})


class Transport:
    """Sends calls of one client and counts them."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._transport = transport
        self._trace = trace
        self._clients: dict[tuple[bool, bool], httpx.AsyncClient] = {}
        self._chance = random.Random()  # noqa: S311 - jitter keeps workers apart, it guards nothing
        self.budget = Budget(clock)
        self.requests = 0
        self._heard = False

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def send(self, call: Call, base: str, headers: Headers) -> Reply:
        """The answer that grants. Repeats what may be repeated for a short time, inside the budget.

        Raises ApiError and its kin for a refusal, NoAnswer where nothing clear came back.
        """
        begun = self._clock.now()
        for pause in (*PAUSES, None):
            asked: float | None = None
            try:
                reply = await self._once(call, base, headers)
                if not is_refusal(reply):
                    self.budget.went_well()
                    return reply
                error: ApiError | NoAnswer | BadAnswer = self._unclear(call, reply) or refusal(call, reply, self._clock)
                if isinstance(error, ApiError):
                    asked = None if error.retry_after is None else min(error.retry_after, LONGEST_PAUSE)
            except NoAnswer as nothing:
                error = nothing
            wait = self._chance.uniform(0.7, 1.3) * (pause or PAUSES[-1]) if asked is None else asked
            too_fast = isinstance(error, Throttled) and error.cloud_code not in _NOT_OUR_PACE
            if isinstance(error, Throttled) and too_fast:
                self.budget.throttled(wait, _until_it_takes_more(call, error))
            unreached = isinstance(error, NoAnswer) and not error.sent and not self._heard
            give_up = begun + (FIRST_CONTACT if unreached else PATIENCE)
            if pause is None or not self._passes(call, error) or self._clock.now() + timedelta(seconds=wait) > give_up:
                raise error
            log.debug("%s: %s; again in %.1f s", call.operation, type(error).__name__, wait)
            if not too_fast:  # what was too fast waits in the budget, with all others
                await self._clock.sleep(wait)
        raise AssertionError("the last pause is None")  # pragma: no cover

    async def _once(self, call: Call, base: str, headers: Headers) -> Reply:
        await self.budget.take()
        url = base + call.path
        content = call.content
        sent = {"Accept": "application/json", **await headers(call, base)}
        if content:
            sent["Content-Type"] = "application/json"
        if call.guard:
            call.guard()
        began = self._clock.now()
        self.requests += 1
        request: httpx.Request | None = None
        try:
            client = self._client(url)
            request = client.build_request(call.method, url, params=call.query or None, content=content or None, headers=sent)
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                received = await self._read(call, response)
            finally:
                await response.aclose()
        except httpx.InvalidURL as error:
            raise UsageError(f"{call.operation}: {url!r} is no address: {error}.") from None
        except httpx.RequestError as error:
            nothing = NoAnswer(call.operation, _reason(error), sent=_was_sent(error), address=_origin(url))
            self._note(call, url, sent, None, b"", {}, began, str(nothing))
            raise nothing from None
        self._heard = True
        headers_back = {name.lower(): value for name, value in response.headers.items()}
        self._note(call, str(request.url), sent, response.status_code, received, headers_back, began, "")
        return Reply(operation=call.operation, status=response.status_code, headers=headers_back, content=received)

    async def _read(self, call: Call, response: httpx.Response) -> bytes:
        received = bytearray()
        async for chunk in response.aiter_bytes():
            received += chunk
            if len(received) > BIGGEST_ANSWER:
                what = f"more than {BIGGEST_ANSWER // 2**20} MB"
                raise NoAnswer(call.operation, what, sent=True) if call.makes else BadAnswer(call.operation, what)
        return bytes(received)

    def _unclear(self, call: Call, reply: Reply) -> NoAnswer | BadAnswer | None:
        """Neither grant nor refusal: a redirect, or trouble of the service after a request that makes something."""
        if reply.status < 200 or 300 <= reply.status < 400:
            what = f"HTTP {reply.status}" + (f" to {_origin(reply.headers['location'])}" if "location" in reply.headers else "")
            return (
                NoAnswer(call.operation, what, sent=True)
                if call.makes
                else BadAnswer(call.operation, f"{what}; is a portal in between?")
            )
        if call.makes and reply.status >= 500:
            refused = refusal(call, reply, self._clock)
            if refused.error_class is ErrorClass.UNCLEAR:
                said = f"{refused.cloud_code} {refused.words}" if refused.cloud_code else "without a code"
                return NoAnswer(call.operation, f"HTTP {reply.status} {said}", sent=True)
        return None

    def _passes(self, call: Call, error: ApiError | NoAnswer | BadAnswer) -> bool:
        """Whether the same request may be sent again, and may then fare better."""
        if call.makes or isinstance(error, BadAnswer):
            return False
        if isinstance(error, NoAnswer):
            return "CERTIFICATE_VERIFY_FAILED" not in str(error)
        if error.cloud_code in THROTTLED or isinstance(error, Throttled):
            return True
        return error.status in _PASSING_STATUS and (error.error_class is ErrorClass.UNCLEAR or error.cloud_code is None)

    def _client(self, url: str) -> httpx.AsyncClient:
        """A client per way out: loopback never goes through a proxy, and is the only place that may do without TLS checks."""
        split = urlsplit(url)
        local, tls = is_loopback(split.hostname or ""), split.scheme == "https"
        if (local, tls) not in self._clients:
            self._clients[local, tls] = httpx.AsyncClient(
                transport=self._transport,
                trust_env=not local,
                verify=self._tls(local=local) if tls and self._transport is None else False,
                timeout=TIMEOUT,
                limits=httpx.Limits(max_connections=40, max_keepalive_connections=20),
                headers={"User-Agent": "backup-to-image"},
                follow_redirects=False,
            )
        return self._clients[local, tls]

    def _tls(self, *, local: bool) -> ssl.SSLContext | bool:
        if local and not self._credentials.verify:
            return False
        if self._credentials.cacert is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._credentials.cacert)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cacert: {self._credentials.cacert} cannot be read as certificates: {error}.") from None

    def _note(
        self,
        call: Call,
        url: str,
        sent: Mapping[str, str],
        status: int | None,
        body: bytes,
        back: Mapping[str, str],
        began: Any,
        error: str,
    ) -> None:
        seconds = (self._clock.now() - began).total_seconds()
        log.debug("%s %s: %s in %.2f s", call.method, call.operation, status or error, seconds)
        if self._trace:
            self._trace(
                Exchange(
                    time=began,
                    operation=call.operation,
                    method=call.method,
                    url=url,
                    status=status,
                    seconds=seconds,
                    request_headers=redacted_headers(sent),
                    request=redacted_body(call.content),
                    response_headers=redacted_headers(back),
                    response=redacted_body(body),
                    error=error,
                )
            )


def _until_it_takes_more(call: Call, refused: Throttled) -> str:
    """What a throttled request waits for, in the cloud's own words."""
    said = ": ".join(part for part in (refused.code, " ".join(refused.words.split())[:150]) if part)
    if refused.retry_after is not None:
        capped = f", of which {LONGEST_PAUSE:.0f} s are kept" if refused.retry_after > LONGEST_PAUSE else ""
        said += f"; Retry-After {refused.retry_after:.0f} s{capped}"
    return f"{call.service} to take requests again ({said})"


def _was_sent(error: httpx.RequestError) -> bool:
    """False only where the request surely never reached the service."""
    never = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.LocalProtocolError,
    )
    return not isinstance(error, never)


def _reason(error: httpx.RequestError) -> str:
    """The failure in words; httpx's messages hold no headers, but a proxy's URL may hold a password."""
    words = str(error) if not isinstance(error, httpx.ProxyError) else "the proxy did not let it through"
    kind = {
        "ConnectTimeout": "no connection within 10 s",
        "ReadTimeout": "no answer within 60 s",
        "WriteTimeout": "could not be sent within 60 s",
        "PoolTimeout": "no free connection",
    }
    return kind.get(type(error).__name__) or words.rstrip(".") or type(error).__name__


def _origin(url: str) -> str:
    split = urlsplit(url)
    return f"{split.scheme}://{split.hostname}{f':{split.port}' if split.port else ''}" if split.hostname else "elsewhere"
