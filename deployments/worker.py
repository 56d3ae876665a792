"""A process worker that lets its runs finish when it is stopped.

    python -m deployments.worker            on the worker's host, in the checkout; takes runs from the pool b2i
    python -m deployments.worker --limit 4  at most so many runs at a time

SIGTERM: no new runs; what runs goes on to its own end, then the worker ends. A second one ends both at once, as Ctrl-C does, and
the next worker takes the runs up. `prefect worker start` serves as well, but ends its runs together with itself on SIGTERM
(3.8.8; PrefectHQ/prefect#22528), which costs them the minutes until their silence is noticed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import click
import httpx
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

from backup_to_image.cli.prefect_door import prefect_server
from backup_to_image.errors import B2iError
from deployments.setup import POOL

__all__ = ["main", "work"]


async def work(pool: str, *, limit: int | None, name: str | None) -> None:
    """Take runs from the pool until SIGTERM, then wait for those that run. Raises UsageError where there is no server."""
    async with prefect_server():
        pass
    stopped = _stopped_by(signal.SIGTERM)
    # A worker whose block is left without an error waits for its runs.
    async with ProcessWorker(pool, name=name, limit=limit) as worker:
        click.echo(f"Worker {worker.name!r} takes runs from {pool!r}.")
        async with anyio.create_task_group() as loops:
            loops.start_soon(_repeat, worker.get_and_submit_flow_runs, get_current_settings().worker.query_seconds)
            loops.start_soon(_repeat, worker.sync_with_backend, worker.heartbeat_interval_seconds)
            await stopped.wait()
            loops.cancel_scope.cancel()
        click.echo("Stopping: no new runs; those that run may finish.")
    click.echo("Stopped.")


def _stopped_by(number: signal.Signals) -> asyncio.Event:
    """Set by the first signal; the second one cancels what waits for the runs, and so ends them."""
    stopped, task = asyncio.Event(), asyncio.current_task()

    def stop() -> None:
        if stopped.is_set() and task:
            task.cancel()
        stopped.set()

    asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopped


async def _repeat(what: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """Again and again; a server that is away for long ends neither the worker nor its runs."""
    told = ""
    while True:
        trouble = ""
        try:
            await what()
        except httpx.HTTPError as error:
            trouble = f"The Prefect server is in trouble ({type(error).__name__}); asking it again."
        if trouble != told:
            click.echo(trouble or "The Prefect server answers again.")
        told = trouble
        await anyio.sleep(seconds)


@click.command("worker", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--pool", default=POOL, show_default=True, help="Work pool of type process.")
@click.option("--limit", type=click.IntRange(1), help="Most runs at a time; default: no limit.")
@click.option("--name", help="The worker's name in the UI; default: one of Prefect's.")
def main(*, pool: str, limit: int | None, name: str | None) -> None:
    """Do what is ordered, and let it finish when this is stopped.

    Exit codes: 0 stopped; 2 no Prefect server at PREFECT_API_URL; 143 stopped twice, the runs with it.
    """
    try:
        asyncio.run(work(pool, limit=limit, name=name))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except B2iError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
