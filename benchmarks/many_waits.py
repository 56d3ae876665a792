"""Many images waited for at once over one connection: requests for each, how late the news is, processor time and memory.

The emulated demo company with each server many times, on a clock that jumps; client and cloud in one process. The images are
asked for over a second connection, so what the first one sends is waiting and nothing else. Prints a table; `--json` prints the
figures; `--strict` ends with 1 where one of them misses its target.

    python -m benchmarks.many_waits [--json] [--strict]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator, ims_create
from backup_to_image.journal import Journal
from backup_to_image.model import Backup
from backup_to_image.otc import Cloud, Credentials
from backup_to_image.settings import Settings
from backup_to_image.steps.await_image import await_image
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look
from backup_to_image.steps.make import ImageHandle
from benchmarks.main_job import company, last_night, late, late_news, size_of

COPIES = 20


@dataclass(frozen=True)
class Night:
    """So many images, at most so many of them in flight; with or without a history that tells how long one takes."""

    images: int
    at_once: int
    history: str = "project"
    most_requests: float | None = None
    times: int = 1
    """How often it is measured: few images at once all get their news from the same few lists, so one night says little."""

    @property
    def title(self) -> str:
        how = "at once" if self.at_once >= self.images else f"{self.at_once} at a time"
        return f"{self.images}, {how}" + (", nothing known of earlier ones" if self.history == "none" else "")


NIGHTS = (
    Night(1, 1, times=40),
    Night(10, 10, times=20),
    Night(40, 40, times=10, most_requests=2.0),
    Night(100, 100, times=5),
    Night(500, 500, most_requests=1.2),
    Night(500, 40, most_requests=2.0),
    Night(500, 40, "none", most_requests=2.0),
)


async def measure(night: Night, folder: Path) -> dict[str, Any]:
    """Wait for the images of one night. What is sent, when each is green, and what it costs."""
    async with _opened(night, folder) as (emulator, making, waiting):
        backups = list(islice(last_night(emulator, making.project_id), night.images * night.times))
        assert len(backups) == night.images * night.times, "the company is too small"
        known = {backup["id"]: await making.cloud.backups.get(backup["id"]) for backup in backups}
        usual = (await look(known[backups[0]["id"]], making)).usual_seconds if night.history != "none" else ()
        window = asyncio.Semaphore(night.at_once)
        delays: list[timedelta] = []
        seconds: list[timedelta] = []

        async def one(backup: dict[str, Any]) -> None:
            async with window:
                handle = await _ask(known[backup["id"]], making, usual)
                finished = await await_image(handle, waiting)
                image = emulator.cloud.get("image", finished.image.id) or {}
                active = datetime.fromisoformat(image["active_at"])
                delays.append(waiting.clock.now() - active)
                seconds.append(active - handle.since)

        sent, requests, cpu = len(emulator.requests), waiting.cloud.requests, time.process_time()
        for batch in range(0, len(backups), night.images):
            await asyncio.gather(*(one(backup) for backup in backups[batch : batch + night.images]))
        cpu, requests = time.process_time() - cpu, waiting.cloud.requests - requests
        shares = [delay / whole for delay, whole in zip(delays, seconds, strict=True)]
        operations = Counter(each["operationId"] for each in list(emulator.requests)[sent:])
    return {
        "night": night.title,
        "image_seconds_median": round(statistics.median(seconds) / timedelta(seconds=1), 1),
        "requests_for_each": round(requests / len(backups), 2),
        "most_requests": night.most_requests,
        "lists": round(operations["listCloudImages"] / night.times, 1),
        "jobs": round(operations["getImsJob"] / night.times, 1),
        "delay_median": round(statistics.median(shares), 4),
        "delay_p95": round(late(shares), 4),
        "delay_max": round(max(shares), 4),
        "cpu_ms_for_each": round(cpu / len(backups) * 1000, 2),
    }


async def memory(folder: Path, images: int = 500) -> float:
    """KiB of Python objects for each of so many waits in flight; the cloud's not counted."""
    night = Night(images, images)
    async with _opened(night, folder) as (emulator, making, waiting):
        backups = list(islice(last_night(emulator, making.project_id), images))
        handles = [await _ask(await making.cloud.backups.get(backup["id"]), making, (115.0,)) for backup in backups]
        await await_image(handles.pop(), waiting)  # what is imported and cached once
        again = [handle.model_copy(update={"since": waiting.clock.now()}) for handle in handles]
        tracemalloc.start(1)
        held = tracemalloc.Filter(inclusive=False, filename_pattern="*/emulator/*")
        idle = size_of(held)
        tasks = [asyncio.create_task(await_image(handle, waiting)) for handle in again]
        await waiting.clock.sleep(5)
        grown = size_of(held) - idle
        tracemalloc.stop()
        await asyncio.gather(*tasks)
    return grown / 1024 / len(tasks)


@asynccontextmanager
async def _opened(night: Night, folder: Path) -> AsyncGenerator[tuple[Emulator, Context, Context]]:
    clock = FakeClock()
    emulator = Emulator(clock=clock, seed=company(night.history, COPIES))
    account = emulator.account()
    credentials = Credentials(
        auth_url=account["auth_url"],
        username=account["user"],
        password=SecretStr(account["password"]),
        user_domain_name=account["domain_name"],
        project_name=account["project_name"],
    )
    at_most = ims_create._AT_ONCE  # noqa: SLF001 - the pages allow 40 at a time; what more would cost is measured all the same
    ims_create._AT_ONCE = max(at_most, night.at_once)  # noqa: SLF001
    async with (
        Cloud.connect(credentials, clock=clock, transport=emulator.transport()) as makes,
        Cloud.connect(credentials, clock=clock, transport=emulator.transport()) as waits,
        Journal.at(folder / night.title, clock=clock) as journal,
    ):
        await makes.login()
        await waits.login()
        yield emulator, Context(makes, journal, Settings()), Context(waits, journal, Settings())
    ims_create._AT_ONCE = at_most  # noqa: SLF001
    emulator.close()


async def _ask(backup: Backup, ctx: Context, usual: tuple[float, ...]) -> ImageHandle:
    since, name = ctx.clock.now(), f"image-{backup.id[:8]}"
    job_id = await ctx.cloud.images.start_from_backup(backup_id=backup.id, name=name)
    return ImageHandle(backup=backup, name=name, job_id=job_id, since=since, usual_seconds=usual)


def missed(row: dict[str, Any]) -> list[str]:
    """Which targets these figures miss, in words."""
    if row["most_requests"] is None:
        return []
    wrong = []
    if row["requests_for_each"] > row["most_requests"]:
        wrong.append(f"{row['requests_for_each']} requests for each image, {row['most_requests']} at most")
    return wrong + late_news(row)


def _table(rows: list[dict[str, Any]], kib: float) -> str:
    lines = [
        "| images | image takes | requests for each | lists, job calls | late: median | p95 | max | CPU for each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['night']} | {row['image_seconds_median']:.0f} s | {row['requests_for_each']:.2f}"
        + (f" (at most {row['most_requests']})" if row["most_requests"] else "")
        + f" | {row['lists']:g}, {row['jobs']:g} | {row['delay_median']:.1%} | {row['delay_p95']:.1%} | {row['delay_max']:.1%} | "
        f"{row['cpu_ms_for_each']:.1f} ms |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"Memory: {kib:.0f} KiB for each of 500 waits in flight."])


def main() -> int:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--json", action="store_true")
    words.add_argument("--strict", action="store_true", help="end with 1 where a target is missed")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [asyncio.run(measure(night, Path(folder))) for night in NIGHTS]
        kib = asyncio.run(memory(Path(folder)))
    print(json.dumps({"nights": rows, "memory_kib": round(kib, 1)}) if given.json else _table(rows, kib))
    wrong = [f"{row['night']}: {each}" for row in rows for each in missed(row)]
    print("\n".join(f"Missed: {each}" for each in wrong), file=sys.stderr)
    return 1 if wrong and given.strict else 0


if __name__ == "__main__":
    sys.exit(main())
