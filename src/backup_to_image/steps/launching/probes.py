"""Ask a launched server whether it really lives: TCP, HTTP, SSH banner and console log, all at once, each with its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx

from backup_to_image.errors import CloudError
from backup_to_image.model import Probe, ProbeResult, Server
from backup_to_image.steps.context import Context, minutes

__all__ = ["probe_server"]

_ASK_EVERY = 1.0
_CONSOLE_EVERY = 5.0
_ONE_TRY = 5.0
_CONSOLE_LINES = 200
_SSH = b"SSH-"
_LINES_BEFORE = 20


async def probe_server(server: Server, probes: tuple[Probe, ...], ctx: Context) -> tuple[ProbeResult, ...]:
    """What each probe of this server answered in the end, asked again until its time is up. A no is told, not raised."""
    address = next((one.ip for one in server.addresses if one.floating), None) or next((one.ip for one in server.addresses), "")
    return tuple(await asyncio.gather(*(_ask(server, address, probe, ctx) for probe in probes)))


async def _ask(server: Server, address: str, probe: Probe, ctx: Context) -> ProbeResult:
    begun = ctx.clock.now()
    deadline = begun + probe.timeout
    ask, beat = _question(server, address, probe, ctx)
    while True:
        ok, answer = await ask()
        elapsed = ctx.clock.now() - begun
        if ok or ctx.clock.now() >= deadline:
            word = f"answered after {minutes(elapsed)}" if ok else f"did not answer within {minutes(probe.timeout)}"
            ctx.tell(f"server {server.name}: {probe.name} {word} ({answer})")
            return ProbeResult(
                server_id=server.id, probe=probe.name, ok=ok, answer=answer, seconds=round(elapsed.total_seconds(), 1)
            )
        await ctx.clock.sleep(min(beat, max(0.1, (deadline - ctx.clock.now()) / timedelta(seconds=1))))


def _question(
    server: Server, address: str, probe: Probe, ctx: Context
) -> tuple[Callable[[], Awaitable[tuple[bool, str]]], float]:
    if probe.console is not None:
        return lambda: _console(server, probe.console or "", ctx), _CONSOLE_EVERY
    if not address:
        return _no_address, _ASK_EVERY
    if probe.http is not None:
        http = probe.http
        return lambda: _http(address, http.port, http.path, http.status), _ASK_EVERY
    if probe.ssh is not None:
        return lambda: _connect(address, probe.ssh or 22, banner=True), _ASK_EVERY
    return lambda: _connect(address, probe.tcp or 0, banner=False), _ASK_EVERY


async def _no_address() -> tuple[bool, str]:
    return False, "the server has no address"


async def _connect(address: str, port: int, *, banner: bool) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(_ONE_TRY):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                greeting = await _greeting(reader) if banner else b""
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return False, f"{address}:{port} is silent"
    except OSError as error:
        return False, f"{address}:{port}: {os.strerror(error.errno) if error.errno else error}"
    if banner and not greeting:
        return False, f"{address}:{port} is open and says nothing"
    if banner and not greeting.startswith(_SSH):
        return False, f"{address}:{port} greets with {greeting[:40].decode(errors='replace').strip()!r}, not with SSH"
    return True, greeting.decode(errors="replace").strip() if banner else f"{address}:{port} is open"


async def _greeting(reader: asyncio.StreamReader) -> bytes:
    """The line by which an SSH server says who it is, else the first that was said; b"" where nobody speaks.

    An SSH server may say other lines before that one (RFC 4253, section 4.2).
    """
    first = b""
    with contextlib.suppress(TimeoutError, ValueError):  # ValueError: a line without an end
        async with asyncio.timeout(_ONE_TRY / 2):
            for _ in range(_LINES_BEFORE):
                line = await reader.readline()
                first = first or line
                if line.startswith(_SSH):
                    return line
                if not line:
                    break
    return first


async def _http(address: str, port: int, path: str, status: int) -> tuple[bool, str]:
    host = f"[{address}]" if ":" in address else address
    try:
        # Straight to the server: a proxy of this host knows nothing of its network.
        async with httpx.AsyncClient(timeout=_ONE_TRY, trust_env=False) as client:
            answer = await client.get(f"http://{host}:{port}{path}")
    except httpx.HTTPError as error:
        return False, f"{address}:{port}: {error or 'no answer in time'}"
    return answer.status_code == status, f"HTTP {answer.status_code}"


async def _console(server: Server, text: str, ctx: Context) -> tuple[bool, str]:
    try:
        shown = await ctx.cloud.servers.console(server.id, lines=_CONSOLE_LINES)
    except CloudError as error:
        return False, error.message
    return (True, f"the console shows {text!r}") if text in shown else (False, f"the console does not show {text!r}")
