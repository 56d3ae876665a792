"""From a command's arguments to a connected cloud and back to an exit code: the frame around every command that talks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from backup_to_image.cli.options import Options
from backup_to_image.cli.output import Output
from backup_to_image.errors import B2iError, UsageError
from backup_to_image.journal import Journal
from backup_to_image.otc import Cloud, Credentials, Exchange, read_clouds
from backup_to_image.settings import Settings, read_settings
from backup_to_image.steps.context import Context

__all__ = ["configured", "connected", "here_alone", "perform", "remembered", "tracing"]

log = logging.getLogger(__name__)


class Unexpected(B2iError):
    """A mistake of b2i itself."""

    code = "b2i.unexpected"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"b2i itself made a mistake ({type(error).__name__}: {error}).",
            action="Run it again with -vv and report what it prints. What the cloud was asked for is found by the next run.",
        )


Work = Callable[[Output], Awaitable[int]]


def perform(options: Options, work: Work, *, blank: dict[str, Any] | None = None) -> int:
    """Run one command's work; whatever goes wrong is told in plain words, and as JSON where asked, with the right exit code.

    `blank` are the keys that the command's JSON always has. SIGINT and SIGTERM end the work in order: 130 and 143.
    """
    output = Output(json=options.json, quiet=options.quiet, blank=blank or {}, words=options.words)
    level = {0: logging.WARNING, 1: logging.INFO}.get(options.verbose, logging.DEBUG)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("backup_to_image").setLevel(level)  # ours alone: at DEBUG httpcore tells every header, tokens too
    stopped: list[signal.Signals] = []
    try:
        return asyncio.run(_until_signal(work, output, stopped))
    except B2iError as error:
        output.failed(error)
        return error.exit_code
    except (asyncio.CancelledError, KeyboardInterrupt):
        name = stopped[0] if stopped else signal.SIGINT
        output.interrupted(name.name)
        return 128 + name
    except Exception as error:  # our own mistake: told like any other, the trace is for whoever mends it
        log.debug("unexpected", exc_info=error)
        output.failed(Unexpected(error))
        return 1


async def _until_signal(work: Work, output: Output, stopped: list[signal.Signals]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work(output))

    def stop(name: signal.Signals) -> None:
        stopped.append(name)
        task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError):  # not in the main thread: then nobody sends us signals
            loop.add_signal_handler(name, stop, name)
    return await task


@asynccontextmanager
async def connected(options: Options, output: Output, *, cloud_name: str | None = None) -> AsyncGenerator[Context]:
    """Settings read, journal writable, logged in: a Context that is closed afterwards.

    Raises UsageError with every mistake of clouds.yaml, b2i.yaml and the environment; LoginRefused; JournalError.
    """
    here_alone(options)
    settings, credentials = configured(options, output, cloud_name=cloud_name)
    with tracing(options) as trace:
        async with (options.connect or Cloud.connect)(credentials, trace=trace) as cloud:
            cloud.budget.tell = output.say
            project = await cloud.login()
            async with Journal.at(settings.journal_place(os.environ), clock=cloud.clock) as journal:
                output.say(f"project {project.name or project.id} in {cloud.region or 'its region'}")
                for warning in journal.warnings:
                    output.note(warning)
                yield Context(cloud, journal, settings, tell=output.say)


@asynccontextmanager
async def remembered(options: Options) -> AsyncGenerator[Journal]:
    """The journal alone, for what needs no cloud. Raises UsageError, JournalError."""
    here_alone(options)
    settings = read_settings(options.config)
    async with Journal.at(settings.journal_place(os.environ), clock=options.clock) as journal:
        yield journal


def here_alone(options: Options) -> None:
    """Raises UsageError where a deployment is asked for what none does."""
    if options.prefect:
        raise UsageError(
            "--prefect: no deployment does what this command does.",
            action="Leave it out: b2i does it in its own process.",
        )


def configured(options: Options, output: Output, *, cloud_name: str | None = None) -> tuple[Settings, Credentials]:
    """Our settings and the credentials. Raises UsageError with every mistake of both at once."""
    problems: list[str] = []
    settings = Settings()
    try:
        settings = read_settings(options.config)
    except UsageError as error:
        problems += [f"{problem} {error.action}".strip() for problem in error.problems]
    try:
        cloud = options.cloud or cloud_name
        credentials, warnings = read_clouds(cloud, environ=os.environ, cwd=Path.cwd(), region=options.region)
    except UsageError as error:
        raise UsageError([*problems, *error.problems], action=error.action) from None
    if problems:
        raise UsageError(problems)
    for warning in warnings:
        output.note(warning)
    return settings, credentials


@contextlib.contextmanager
def tracing(options: Options) -> Generator[Callable[[Exchange], None] | None]:
    """The writer of `--trace`, one JSON object a line in a file that only its owner reads; None without the option."""
    if not options.trace:
        yield None
        return
    try:
        descriptor = os.open(options.trace, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    except OSError as error:
        raise UsageError(f"--trace {options.trace}: {error.strerror or error}.") from None
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:

        def write(exchange: Exchange) -> None:
            file.write(json.dumps(exchange.model_dump(mode="json")) + "\n")
            file.flush()

        yield write
