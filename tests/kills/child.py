"""What runs in the process that is to die: b2i itself, told through its own doors what to look at.

The requests are seen by a transport of httpx, given to `Options.connect`; the journal's steps on disk by Python's audit hook,
which fires right before each of them. Nothing of b2i is replaced. Whatever is seen is a point at which the process may stop for
ever; its name is what last changed something, what is going on, and how far that has got, so that nothing here knows the steps.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx

from backup_to_image.cli import run
from backup_to_image.cli.options import Options
from backup_to_image.clock import Clock, SystemClock
from backup_to_image.emulator.routing import PORT_ORDER, Router
from backup_to_image.otc import Cloud, Credentials, Exchange

T = TypeVar("T")

ROUTER = Router()
_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.[0-9a-f]{8}$")
_KEY = re.compile(r"-[0-9a-f]{64}|-[0-9a-f]{8}$")
_CODE = re.compile(rb'"(?:error_)?code"\s*:\s*"([^"]+)"')
_ADMIN_PASS = re.compile(rb'"adminPass"\s*:\s*"([^"]+)"')


class Point(NamedTuple):
    """A place to die: the last thing that changed something (empty: whatever it was), what goes on, and how far it has got.

    In a night it is the last thing done for the same server: how the servers' steps fall between each other's is chance.
    """

    since: str
    what: str
    phase: str

    def __str__(self) -> str:
        return " > ".join(part for part in self if part)


@dataclass(frozen=True)
class Plan:
    """One run of b2i: from which folder, with which words, and where it ends."""

    folder: Path
    words: tuple[str, ...]
    environ: dict[str, str]
    log: Path
    """Where standard output (.out) and error (.err), what was seen (.seen) and the secrets that went by (.secrets) are kept."""
    first_port: int
    end_at: Point | int | None = None
    """A point, or the number of the thing seen: there the process gets the signal."""
    by: signal.Signals = signal.SIGKILL
    speed: float = 1.0
    quick_since: datetime | None = None
    """So many times as fast as the machine's own clock does the run's go, since then."""

    def file(self, kind: str) -> Path:
        return self.log.with_suffix(f".{kind}")


class QuickClock:
    """Time that passes so many times as fast for everything that b2i waits for."""

    def __init__(self, speed: float, since: datetime) -> None:
        self._speed, self._since = speed, since
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._since + (self._real.now() - self._since) * self._speed

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds / self._speed)


@dataclass
class Line:
    """What is done one after the other: a command, or what a night or a runbook does beside other things."""

    since: str


_LINE: ContextVar[Line] = ContextVar("line")


@dataclass
class Witness:
    """Sees what a run asks of the cloud and writes into its journal, in order, and ends it where it was told to."""

    plan: Plan
    whole: Line = field(default_factory=lambda: Line("the start"))
    count: int = 0
    _under_way: tuple[Line, str, str] | None = None
    """A step of the journal that the system is just taking: in which line, what, and what will have changed."""
    _seen: int = field(init=False)
    _secrets: int = field(init=False)

    def __post_init__(self) -> None:
        self._seen = os.open(self.plan.file("seen"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._secrets = os.open(self.plan.file("secrets"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self.journal = f"{self.plan.folder / 'journal'}{os.sep}"

    @property
    def line(self) -> Line:
        return _LINE.get(self.whole)

    def reached(self, since: str, what: str, phase: str, status: int | None = None, code: str = "") -> None:
        self.count += 1
        here = Point(since, what, phase)
        os.write(self._seen, f"{json.dumps([*here, status, code])}\n".encode())
        if self.plan.end_at in (here, Point("", what, phase), self.count):
            os.kill(os.getpid(), self.plan.by)

    def overheard(self, secret: str) -> None:
        os.write(self._secrets, f"{secret}\n".encode())

    # -- the journal ----------------------------------------------------------------------------------------------------

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in {"open", "os.rename", "os.link", "os.remove"} or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.fspath(arguments[0])
        if not path.startswith(self.journal) and f"{path}{os.sep}" != self.journal:
            return
        self._taken()
        name = path.removeprefix(self.journal)
        temporary = _TEMPORARY.match(name)
        line = self.line
        if event == "open" and arguments[2] & os.O_CREAT and temporary:
            self.reached(line.since, _label(temporary["name"]), "before")
        elif event in {"os.rename", "os.link"}:
            what = _label(os.fspath(arguments[1]).removeprefix(self.journal))
            self.reached(line.since, what, "torn")
            self._under_way = (line, what, self._change(line, what, Path(path)))
        elif event == "os.remove" and not temporary and not name.startswith("."):
            what = f"{_label(name)} away"
            self.reached(line.since, what, "before")
            self._under_way = (line, what, line.since if name.endswith(".claim") else what)

    def _taken(self) -> None:
        """The system has done what it was doing when we last looked."""
        if self._under_way:
            line, what, change = self._under_way
            self._under_way = None
            since, line.since = line.since, change
            self.reached(since, what, "after")

    def _change(self, line: Line, what: str, path: Path) -> str:
        """What the run will go on from: a record's new state; a lease taken or let go, but not the same one renewed."""
        if what.startswith("record "):
            return f"{what} {json.loads(path.read_bytes()).get('state', '')}".strip()
        if what.startswith("claim "):
            return what
        free = what.startswith("lease ") and "nonce" not in json.loads(path.read_bytes())
        return f"{what} let go" if free else line.since

    # -- the cloud ------------------------------------------------------------------------------------------------------

    def connect(
        self, credentials: Credentials, *, trace: Callable[[Exchange], None] | None = None
    ) -> AbstractAsyncContextManager[Cloud]:
        if self.plan.words[0] in {"nightly", "runbook"}:
            self._tell_lines_apart()
        since = self.plan.quick_since
        clock: Clock = QuickClock(self.plan.speed, since) if since else SystemClock()
        return Cloud.connect(credentials, clock=clock, transport=Watched(self), trace=trace)

    def _tell_lines_apart(self) -> None:
        """From here on, whatever the command's own task begins is a line of its own; what such a line begins belongs to it."""
        command = asyncio.current_task()

        def begin(
            loop: asyncio.AbstractEventLoop,
            work: Generator[Any, None, T] | Coroutine[Any, Any, T],
            *,
            context: Context | None = None,
            **more: Any,
        ) -> asyncio.Task[T]:
            if asyncio.current_task(loop) is command:
                context = context or copy_context()
                context.run(_LINE.set, Line(self.whole.since))
            return asyncio.Task(work, loop=loop, context=context, **more)

        asyncio.get_running_loop().set_task_factory(begin)


class Watched(httpx.AsyncBaseTransport):
    """The way to the cloud, with somebody who looks on."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.inner = httpx.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        witness, line = self.witness, self.witness.line
        since = line.since
        service = PORT_ORDER[(request.url.port or 0) - witness.plan.first_port]
        operation, _, _ = ROUTER.find(service, request.method, request.url.path)
        assert operation, f"{request.method} {request.url.path} is not part of the contract"
        asked = await request.aread()
        rehearsed = bool(asked) and json.loads(asked).get("dry_run") is True
        what = f"{operation.id} as a rehearsal" if rehearsed else operation.id
        body = bytearray()
        self._overhear(asked)
        witness.reached(since, what, "before")
        response = await self.inner.handle_async_request(request)
        if operation.writes and not rehearsed:
            line.since = what
        for header in ("X-Subject-Token", "X-Auth-Token"):
            for secret in (request.headers.get(header), response.headers.get(header)):
                if secret:
                    witness.overheard(secret)
        witness.reached(since, what, "effect", response.status_code)

        def heard(chunk: bytes) -> None:
            self._overhear(chunk)
            body.extend(chunk)

        def answered() -> None:
            code = _CODE.search(bytes(body)) if response.status_code >= 400 else None
            witness.reached(since, what, "answer", response.status_code, code[1].decode() if code else "")

        assert isinstance(response.stream, httpx.AsyncByteStream)
        stream = _Answer(response.stream, heard, answered)
        return httpx.Response(response.status_code, headers=response.headers, stream=stream, extensions=response.extensions)

    def _overhear(self, body: bytes) -> None:
        for secret in _ADMIN_PASS.findall(body):
            self.witness.overheard(secret.decode())

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Answer(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, heard: Callable[[bytes], None], answered: Callable[[], None]) -> None:
        self._inner, self._heard, self._answered = inner, heard, answered

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._heard(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._answered()


def b2i(plan: Plan) -> None:
    """`b2i WORDS`, in this process, until it ends or is ended."""
    os.chdir(plan.folder)
    os.environ.clear()
    os.environ.update(plan.environ)
    for number, kind in ((1, "out"), (2, "err")):
        descriptor = os.open(plan.file(kind), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    witness = Witness(plan)
    sys.addaudithook(witness.audit)
    run(list(plan.words), options=Options(connect=witness.connect))


def _label(name: str) -> str:
    """A file of the journal as people know it: what kind of file, of what."""
    stem, _, ending = name.rpartition(".")
    kind = {"json": "record", "lease": "lease", "claim": "claim"}.get(ending, "")
    of = _KEY.sub("", name if not kind else stem.rpartition(".")[0] if kind == "claim" else stem)
    return f"{kind} {of.removeprefix('lease-')}".strip() if kind else of.removeprefix(".")
