"""A journal on Valkey or Redis, for several hosts: records that are replaced as a whole, leases that end by the server's clock.

Every command may be sent again after an answer that was lost: a record is written whole, and a taker knows its own lease again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

from pydantic import ValidationError
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from backup_to_image.journal.store import Holder, StoreError
from backup_to_image.model.shared_place import PASSWORD_VARIABLE, SharedPlace

__all__ = ["Shared"]

_SECONDS = 5.0
"""For a connection, and for an answer."""
_RETRIES = 2
_ALTOGETHER = 15.0
"""For a command with everything that it takes: much less than a lease lasts."""
_RESTARTS_WITHIN = 10.0
"""For a server that was there to come back: a night of hundreds of servers does not fail because one was restarted."""
_AGAIN_AFTER = 0.5
_CONNECTIONS = 16
"""A night's pipelines share them; whoever finds none free waits for the next."""
_IDLE = 30
_BATCH = 500

# Who holds it after this: whoever asks, if nobody else does. ARGV: the taker, its time, and content that counts as nobody.
# A lease without an end was not written by this script, and would never be free.
_TAKE = """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE') then
  return held
end
if type(held) == 'string' and held ~= ARGV[3] and redis.call('PTTL', KEYS[1]) >= 0 then
  return held
end
local taker = cjson.decode(ARGV[1])
taker.fence = redis.call('INCR', KEYS[2])
local content = cjson.encode(taker)
redis.call('SET', KEYS[1], content, 'PX', ARGV[2])
return content
"""

_IF_MINE = """
local known, holder = pcall(cjson.decode, redis.call('GET', KEYS[1]))
if not (known and type(holder) == 'table' and holder.nonce == ARGV[1]) then
  return 0
end
"""
_RENEW = _IF_MINE + "return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_RELEASE = _IF_MINE + "return redis.call('DEL', KEYS[1])"


class Shared:
    """A key for each record and each lease, under a prefix of our own."""

    def __init__(self, place: SharedPlace) -> None:
        self._place = place
        self._client = _client(place)
        self.durable: bool | None = None
        self.warnings: tuple[str, ...] = ()
        self._opened = False

    @property
    def place(self) -> str:
        return str(self._place)

    async def open(self) -> None:
        await self._do("SET", self._key("probe"), b"", "PX", _milliseconds(_SECONDS))
        probe, me = f"probe-{secrets.token_hex(4)}", Holder.this_process()
        await self.take(probe, me, _SECONDS)
        await self.release(probe, me)
        self._judge(await self._info("persistence"), await self._info("memory"))
        self._opened = True

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def get(self, name: str) -> bytes | None:
        try:
            return cast("bytes | None", await self._do("GET", self._record(name)))
        except StoreError as error:
            if "WRONGTYPE" in str(error):
                return b""  # something of somebody else: as good as a damaged record
            raise

    async def put(self, name: str, content: bytes) -> None:
        await self._do("SET", self._record(name), content)

    async def all(self, prefix: str) -> list[bytes]:
        pattern = self._record(re.sub(r"([\\*?\[\]^])", r"\\\1", prefix)) + "*"
        found: set[bytes] = set()
        cursor: int | None = None
        while cursor != 0:
            cursor, names = await self._do("SCAN", cursor or 0, "MATCH", pattern, "COUNT", _BATCH)
            found.update(names)
        names = sorted(found)
        batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
        return [content for batch in batches for content in await self._do("MGET", *batch) if content is not None]

    async def remove(self, name: str) -> None:
        await self._do("DEL", self._record(name))

    async def set_aside(self, name: str) -> str:
        aside = self._key("damaged", name)
        with contextlib.suppress(StoreError):
            await self._do("RENAME", self._record(name), aside)
        return aside

    async def take(self, name: str, me: Holder, seconds: float) -> Holder | None:
        asking = me.model_dump_json(exclude={"fence", "until"})
        nobody = b""
        while True:
            content = await self._run(_TAKE, [self._lease(name), self._key("fence")], asking, _milliseconds(seconds), nobody)
            holder = _parsed(content)
            if holder.nonce == me.nonce:
                return holder
            if holder.nonce and not holder.has_died:
                return None
            nobody = content

    async def renew(self, name: str, me: Holder, seconds: float) -> bool:
        return await self._run(_RENEW, [self._lease(name)], me.nonce, _milliseconds(seconds)) == 1

    async def release(self, name: str, me: Holder, *, for_good: bool = False) -> None:  # noqa: ARG002 - nothing stays anyway
        await self._run(_RELEASE, [self._lease(name)], me.nonce)

    def _key(self, kind: str, name: str = "") -> str:
        return ":".join(part for part in (self._place.prefix, kind, name) if part)

    def _record(self, name: str) -> str:
        return f"{self._key('record')}:{name}"

    def _lease(self, name: str) -> str:
        return self._key("lease", name)

    async def _run(self, script: str, keys: list[str], *arguments: str | bytes | int) -> Any:
        return await self._do("EVAL", script, len(keys), *keys, *arguments)

    async def _do(self, *command: str | bytes | int) -> Any:
        run = cast("Callable[..., Awaitable[Any]]", self._client.execute_command)  # pyright: ignore[reportUnknownMemberType] - no types
        with self._told():
            async with asyncio.timeout(_ALTOGETHER):
                return await self._patiently(run, *command)

    async def _patiently(self, run: Callable[..., Awaitable[Any]], *command: str | bytes | int) -> Any:
        """A server that was there is waited for while it restarts; one that never was is told at once."""
        end = asyncio.get_running_loop().time() + _RESTARTS_WITHIN
        while True:
            try:
                answer = await run(*command)
            except exceptions.AuthenticationError:
                raise
            except exceptions.ConnectionError:
                if not self._opened or asyncio.get_running_loop().time() > end:
                    self._opened = False  # whoever asks next is told at once, until it answers again
                    raise
            else:
                self._opened = True
                return answer
            await asyncio.sleep(_AGAIN_AFTER)

    async def _info(self, section: str) -> dict[str, Any] | None:
        """What the server tells of itself; None where it does not."""
        try:
            found = await self._do("INFO", section)
        except StoreError:
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None

    def _judge(self, persistence: dict[str, Any] | None, memory: dict[str, Any] | None) -> None:
        """Whether what is written outlasts a restart and a lack of memory, as far as the server tells."""
        in_memory = None if persistence is None or "aof_enabled" not in persistence else not persistence["aof_enabled"]
        policy = None if memory is None else memory.get("maxmemory_policy")
        evicts = None if memory is None or policy is None else bool(memory.get("maxmemory")) and policy != "noeviction"
        warnings: list[str] = []
        if in_memory:
            warnings.append(f"The journal {self.place} may be forgotten when its server restarts: set `appendonly yes` there.")
        if evicts:
            warnings.append(
                f"The journal {self.place} may throw records away when its memory is used up (maxmemory-policy {policy}): "
                "set `noeviction` there."
            )
        self.warnings = tuple(warnings)
        self.durable = False if warnings else None if in_memory is None or evicts is None else True

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except (RedisError, OSError, UnicodeError) as error:
            raise StoreError(_words(error, self._place)) from None


def _client(place: SharedPlace) -> Redis:
    password = place.password.get_secret_value() if place.password else None
    told: dict[str, Any] = {"db": place.database, "username": place.user, "password": password, "protocol": 2}
    if place.socket:
        told |= {"connection_class": UnixDomainSocketConnection, "path": place.socket}
    else:
        told |= {"connection_class": Connection, "host": place.host, "port": place.port, "socket_keepalive": True}
    if place.encrypted:
        checks = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": place.ca}
        told |= {"connection_class": SSLConnection} | checks
    return Redis.from_pool(
        BlockingConnectionPool(
            max_connections=_CONNECTIONS,
            timeout=None,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            health_check_interval=_IDLE,
            retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=1.0), _RETRIES),
            **told,
        )
    )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _parsed(content: bytes) -> Holder:
    """Who holds it; nobody where the content is damaged."""
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        return Holder()


_CLUSTER = "it is part of a cluster, which a journal cannot lie on: name a server without cluster mode"
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, "it is still loading its data; try again in a moment"),
    (exceptions.ReadOnlyError, "it is a replica that cannot be written: name the primary"),
    (exceptions.OutOfMemoryError, "its memory is used up (maxmemory)"),
    (exceptions.TimeoutError, _SILENT := f"it does not answer (tried for {_ALTOGETHER:.0f} s)"),
    (TimeoutError, _SILENT),
    (exceptions.ClusterDownError, _CLUSTER),
    (exceptions.ClusterCrossSlotError, _CLUSTER),
    (exceptions.AskError, _CLUSTER),
)
_REPLIES = {
    "READONLY": "it is a replica that cannot be written: name the primary",
    "OOM": "its memory is used up (maxmemory)",
    "MISCONF": "it cannot write to its own disk, so it takes nothing (MISCONF)",
    "NOREPLICAS": "it has too few replicas at present, so it takes nothing (NOREPLICAS)",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "DENIED": "it is in protected mode and takes nobody from outside: give it a user and a password",
} | dict.fromkeys(("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN"), _CLUSTER)


_FORBIDDEN_IN_SCRIPT = re.compile("ACL failure in script|user executing the script")


def _words(error: BaseException, place: SharedPlace) -> str:
    """Why it cannot be done, in plain words; never a secret."""
    if isinstance(error, exceptions.AuthenticationError):
        if "without any password configured" in str(error):
            return f"it has no password: unset {PASSWORD_VARIABLE}, or name a user in the address"
        given = "is wrong" if place.password else f"is wanted: set {PASSWORD_VARIABLE}"
        return f"{f'user {place.user} or ' if place.user else ''}the password {given}"
    for known, words in _CLASSES:
        if isinstance(error, known):
            return words
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if isinstance(error, exceptions.NoPermissionError) or _FORBIDDEN_IN_SCRIPT.search(said):
        return f"its rules (ACL) do not let user {place.user or 'default'} do this: {said}"
    if isinstance(error, exceptions.ResponseError):
        return next((words for reply, words in _REPLIES.items() if re.search(rf"\b{reply}\b", said)), said)
    return _network_words(error) or said


def _network_words(error: BaseException) -> str | None:
    """What the system said when it could not be reached: at the beginning of the chain, or as a number in the client's words."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {seen.verify_message} (`?ca=FILE` names its authority)"
        if isinstance(seen, ssl.SSLError):
            return f"no TLS with it: {seen.reason or seen}"
        if isinstance(seen, socket.gaierror):
            return f"its name is not known: {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    number = re.search(r"\b(?:Error|Errno) (\d+)\b", str(error))
    if number is None:
        return None
    return "nobody listens there (connection refused)" if int(number[1]) == errno.ECONNREFUSED else os.strerror(int(number[1]))
