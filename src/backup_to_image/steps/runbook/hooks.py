"""What a runbook does outside of the cloud: a request, or a program of this host. Neither ever sees our credentials."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from datetime import timedelta

import httpx

from backup_to_image.errors import B2iError
from backup_to_image.model.recovery import RunbookRun
from backup_to_image.model.runbook import HttpCall, RunbookStep
from backup_to_image.steps.context import Context, minutes

__all__ = ["StepFailed", "do_step", "environment_of"]

_ASK_EVERY = 5.0
_ONE_TRY = timedelta(seconds=30)
_SAFE_TO_REPEAT = {"GET", "HEAD"}
_MOST_OUTPUT = 4000
"""Characters of a command's output that are kept: the last ones, where it says how it ended."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""All that a command gets of our environment: there may be credentials in the rest."""


class StepFailed(B2iError):
    """A step of a runbook did not come out as it should."""

    code = "b2i.step-failed"


async def do_step(step: RunbookStep, run: RunbookRun, group: str, ctx: Context) -> str:
    """Do what a step of a machine says; what came of it, in words. Raises StepFailed.

    Not safe to repeat by itself: a command runs again, and so does a POST. A GET is asked again until it answers as it should, as
    long as the step may take.
    """
    if step.http:
        return await _call(step.http, step.patience, ctx)
    return await _run(step.command or (), step.patience, environment_of(run, group), ctx)


def environment_of(run: RunbookRun, group: str) -> dict[str, str]:
    """What a command is told, and nothing besides: the run, its mode, and the servers that are up by now, as JSON."""
    up = [
        {"source": server.source, "name": server.name, "server_ids": server.server_ids, "addresses": server.addresses}
        for _, server in run.servers
        if server.state == "up"
    ]
    told = {
        "B2I_RUN": run.id,
        "B2I_RUNBOOK": run.runbook,
        "B2I_MODE": run.mode,
        "B2I_GROUP": group,
        "B2I_SERVERS": json.dumps(up),
    }
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | told


async def _call(call: HttpCall, patience: timedelta, ctx: Context) -> str:
    deadline = ctx.deadline(patience)
    what = f"{call.method} {call.url}"
    async with httpx.AsyncClient(timeout=min(_ONE_TRY, patience).total_seconds()) as client:
        while True:
            try:
                status = (await client.request(call.method, call.url)).status_code
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                seen = str(error) or type(error).__name__
            else:
                seen = f"HTTP {status}"
                if status == call.status:
                    return seen
            if call.method not in _SAFE_TO_REPEAT or ctx.clock.now() >= deadline:
                raise StepFailed(
                    f"{what}: {seen}, and HTTP {call.status} was wanted" + f" within {minutes(patience)}.",
                    action="Look at what it calls, then retry the group.",
                )
            await ctx.clock.sleep(_ASK_EVERY)


async def _run(command: tuple[str, ...], patience: timedelta, environment: Mapping[str, str], ctx: Context) -> str:
    if command[0] not in ctx.settings.allowed_commands:
        raise StepFailed(
            f"{command[0]} is not allowed on this host.",
            action=f"Add it to `allowed_commands` in {ctx.settings.file or 'b2i.yaml'}, then retry the group.",
            code="b2i.command-not-allowed",
        )
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that what it has started itself can be stopped with it
        )
    except (OSError, ValueError) as error:
        raise StepFailed(f"{command[0]} could not be started: {error}.", action="Mend it, then retry the group.") from None
    kept = bytearray()
    try:
        async with asyncio.timeout(patience.total_seconds()):  # the machine's own time: a program knows no other
            await _read(process, kept)
            status = await process.wait()
    except BaseException as error:
        _end(process)
        if not isinstance(error, TimeoutError):
            raise
        raise StepFailed(
            f"{command[0]} was stopped after {minutes(patience)}: it had not ended. {_shown(kept)}".strip(),
            action="Retry the group, or give the step more `timeout`.",
        ) from None
    if status:
        raise StepFailed(f"{command[0]} ended with {status}. {_shown(kept)}".strip(), action="Mend it, then retry the group.")
    return _shown(kept)


async def _read(process: asyncio.subprocess.Process, kept: bytearray) -> None:
    """Read to the end, and keep the end of it."""
    if process.stdout is None:
        return
    while piece := await process.stdout.read(65536):
        kept += piece
        del kept[: -4 * _MOST_OUTPUT]


def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever of it still runs goes, what it has started itself too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _shown(kept: bytes | bytearray) -> str:
    text = kept.decode(errors="replace").strip()
    shown = "".join(char if char.isprintable() or char == "\n" else " " for char in text)
    return shown[-_MOST_OUTPUT:]
