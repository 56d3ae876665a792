"""One backup to one image, some 200 times over: requests, looks, how late the news is, processor time and memory.

The emulated demo company, each of its servers seven times, on a clock that jumps; client and cloud in one process. Prints a
table; `--json` prints the figures; `--strict` ends with 1 where one of them misses its target.

    python -m benchmarks.main_job [--images 200] [--json] [--strict]
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.journal import Journal
from backup_to_image.model import ImageOrder
from backup_to_image.otc import Cloud, Credentials
from backup_to_image.settings import Settings
from backup_to_image.steps.context import Context
from backup_to_image.steps.names import SOURCE_TAG
from backup_to_image.steps.pipeline import image_from_backup

COPIES = 7
HISTORIES = {
    "own": "each server has images of three nights",
    "project": "the project has images, none of this server",
    "none": "no image was ever made",
}
MAX_REQUESTS = 9
MEDIAN_DELAY, LATE_DELAY = 0.05, 0.10


@dataclass
class Made:
    """One image, as it was made and waited for."""

    seconds: float
    requests: int
    looks: int
    delay: float
    cpu: float

    @property
    def share(self) -> float:
        return self.delay / self.seconds

    @property
    def looks_allowed(self) -> float:
        return 3 + self.seconds / 60


@dataclass
class Figures:
    """What the images of one kind of history have in common."""

    history: str
    made: list[Made] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "images": len(self.made),
            "image_seconds_median": round(statistics.median(each.seconds for each in self.made), 1),
            "requests_median": statistics.median(each.requests for each in self.made),
            "requests_max": max(each.requests for each in self.made),
            "looks_median": statistics.median(each.looks for each in self.made),
            "looks_p95": late(each.looks for each in self.made),
            "looks_max": max(each.looks for each in self.made),
            "looks_allowed_median": round(statistics.median(each.looks_allowed for each in self.made), 1),
            "looks_within": round(sum(each.looks <= each.looks_allowed for each in self.made) / len(self.made), 3),
            "delay_median": round(statistics.median(each.share for each in self.made), 4),
            "delay_p95": round(late(each.share for each in self.made), 4),
            "delay_max": round(max(each.share for each in self.made), 4),
            "cpu_ms_median": round(statistics.median(each.cpu for each in self.made) * 1000, 1),
        }


def late(values: Iterable[float]) -> float:
    """The 95th percentile: only one in twenty is larger."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def company(history: str, copies: int = COPIES) -> dict[str, Any]:
    """The demo company with each server of the shop so many times, backed up in five nights."""
    demo: dict[str, Any] = yaml.safe_load(
        files("backup_to_image.emulator.seeds").joinpath("demo.yaml").read_text(encoding="utf-8")
    )
    shop: dict[str, Any] = copy.deepcopy(demo["accounts"][0]["projects"][0])
    usable = [server for server in shop["servers"] if not server.get("bare_metal") and server.get("os", "ubuntu") is not None]
    shop["servers"] += [{**server, "name": f"{server['name']}-{copied}"} for copied in range(1, copies) for server in usable]
    shop["vaults"][0] |= {"size": 2_000_000, "servers": ["*"], "nightly": 5}
    shop["vaults"][1:] = [vault | {"nightly": 0, "servers": []} for vault in shop["vaults"][1:]]
    for network in shop["networks"]:
        wide = network["cidr"].replace(".0.0/16", ".{}.0/21")
        network["subnets"] = {name: wide.format(8 * at) for at, name in enumerate(network["subnets"])}
    shop["quota"] = {"images": 10_000}
    shop["images"] = [{"servers": ["*"], "days": [1, 2, 3]}] if history != "none" else []
    demo["accounts"][0]["projects"][0] = shop
    return demo


async def measure(history: str, images: int, folder: Path) -> Figures:
    """Make images of last night's backups, one after the other, each with a log-in and a client of its own."""
    clock = FakeClock()
    emulator = Emulator(clock=clock, seed=company(history))
    account = emulator.account()
    if history == "own":
        _mark(emulator)
    figures = Figures(history)
    journal = await Journal.at(folder / history, clock=clock).open()
    for backup in last_night(emulator, account["project_id"])[:images]:
        figures.made.append(await _one(backup["id"], emulator, account, journal))
        if history == "none":
            for image in list(emulator.cloud.walk("image", account["project_id"])):
                emulator.cloud.remove("image", image["id"])
    emulator.close()
    return figures


def _mark(emulator: Emulator) -> None:
    """The history is ours: each image says of which server it is."""
    for image in list(emulator.cloud.walk("image")):
        backup = emulator.cloud.get("backup", image.get("backup_id") or "")
        if backup is not None:
            image["tags"] = {SOURCE_TAG: backup["resource_id"]}
            emulator.cloud.save("image", image)


def last_night(emulator: Emulator, project: str) -> list[dict[str, Any]]:
    """The newest usable nightly backup of each server."""
    used = {image.get("backup_id") for image in emulator.cloud.walk("image")}
    newest: dict[str, dict[str, Any]] = {}
    for backup in emulator.cloud.walk("backup", project, status="available", auto=True):
        if not (backup["bms"] or backup["os"] is None or any(disk["encrypted"] for disk in backup["disks"])):
            newest[backup["resource_id"]] = backup
    return [backup for backup in newest.values() if backup["id"] not in used]


async def _one(backup_id: str, emulator: Emulator, account: dict[str, Any], journal: Journal) -> Made:
    clock = emulator.cloud.clock
    credentials = Credentials(
        auth_url=account["auth_url"],
        username=account["user"],
        password=SecretStr(account["password"]),
        user_domain_name=account["domain_name"],
        project_name=account["project_name"],
        region=account["region"],
    )
    before, begun, cpu = len(emulator.requests), clock.now(), time.process_time()
    async with Cloud.connect(credentials, clock=clock, transport=emulator.transport()) as cloud:
        await cloud.login()
        delivery = await image_from_backup(ImageOrder(backup_id=backup_id), Context(cloud, journal, Settings()))
    cpu, green = time.process_time() - cpu, clock.now()
    sent = list(emulator.requests)[before:]
    ordered = next(number for number, each in enumerate(sent, 1) if each["operationId"] == "createWholeImage")
    image = emulator.cloud.get("image", delivery.image_id or "") or {}
    active = datetime.fromisoformat(image["active_at"])
    return Made(
        seconds=(active - begun) / timedelta(seconds=1),
        requests=ordered,
        looks=len({each["time"] for each in sent[ordered:]}),
        delay=(green - active) / timedelta(seconds=1),
        cpu=cpu,
    )


async def memory(folder: Path, waiting: int = 31) -> float:
    """KiB of Python objects for each of so many images that are waited for at once, over one client; the cloud's not counted."""
    clock = FakeClock()
    emulator = Emulator(clock=clock, seed=company("project"))
    account = emulator.account()
    backups = last_night(emulator, account["project_id"])[:waiting]
    credentials = Credentials(
        auth_url=account["auth_url"],
        username=account["user"],
        password=SecretStr(account["password"]),
        user_domain_name=account["domain_name"],
        project_name=account["project_name"],
    )
    async with Cloud.connect(credentials, clock=clock, transport=emulator.transport()) as cloud:
        await cloud.login()
        ctx = Context(cloud, await Journal.at(folder / "memory", clock=clock).open(), Settings())
        await image_from_backup(ImageOrder(backup_id=backups.pop()["id"]), ctx)  # what is imported and cached once
        tracemalloc.start(1)
        held = tracemalloc.Filter(inclusive=False, filename_pattern="*/emulator/*")
        idle = size_of(held)
        tasks = [asyncio.create_task(image_from_backup(ImageOrder(backup_id=backup["id"]), ctx)) for backup in backups]
        while _asked_for(emulator) < len(tasks) + 1:
            await clock.sleep(1)
        grown = size_of(held) - idle
        tracemalloc.stop()
        await asyncio.gather(*tasks)
    emulator.close()
    return grown / 1024 / len(backups)


def _asked_for(emulator: Emulator) -> int:
    return sum(each["operationId"] == "createWholeImage" and each["status"] == 200 for each in emulator.requests)


def size_of(held: tracemalloc.Filter) -> int:
    return sum(each.size for each in tracemalloc.take_snapshot().filter_traces((held,)).traces)


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets these figures miss, in words; how late the news is counts only where there is a history."""
    wrong = []
    if figures["requests_max"] > MAX_REQUESTS:
        wrong.append(f"{figures['requests_max']} requests besides looking, {MAX_REQUESTS} at most")
    if figures["history"] == "none":
        return wrong
    if figures["looks_median"] > figures["looks_allowed_median"]:
        wrong.append(f"{figures['looks_median']} looks, {figures['looks_allowed_median']} at most")
    return wrong + late_news(figures)


def late_news(figures: dict[str, Any]) -> list[str]:
    """Which targets the news of finished images misses, in words."""
    wrong = []
    if figures["delay_median"] > MEDIAN_DELAY:
        wrong.append(f"news {figures['delay_median']:.1%} late in the median, {MEDIAN_DELAY:.0%} at most")
    if figures["delay_p95"] > LATE_DELAY:
        wrong.append(f"news {figures['delay_p95']:.1%} late at the 95th percentile, {LATE_DELAY:.0%} at most")
    return wrong


def _table(rows: list[dict[str, Any]], kib: float) -> str:
    lines = [
        "| history | images | image takes | requests besides looking | looks (allowed) | late: median | p95 | max | CPU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {HISTORIES[row['history']]} | {row['images']} | {row['image_seconds_median']:.0f} s | {row['requests_median']:g}, "
        f"at most {row['requests_max']} | {row['looks_median']:g}, p95 {row['looks_p95']} ({row['looks_allowed_median']}; "
        f"{row['looks_within']:.0%} within) | {row['delay_median']:.1%} | {row['delay_p95']:.1%} | {row['delay_max']:.1%} | "
        f"{row['cpu_ms_median']:.0f} ms |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"Memory: {kib:.0f} KiB for each image that is waited for."])


def main() -> int:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--images", type=int, default=200, help="how many images for each kind of history")
    words.add_argument("--json", action="store_true")
    words.add_argument("--strict", action="store_true", help="end with 1 where a target is missed")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [asyncio.run(measure(history, given.images, Path(folder))).as_dict() for history in HISTORIES]
        kib = asyncio.run(memory(Path(folder)))
    for row in rows:
        row["missed"] = missed(row)
    print(json.dumps({"histories": rows, "memory_kib": round(kib, 1)}) if given.json else _table(rows, kib))
    wrong = [f"{row['history']}: {each}" for row in rows for each in row["missed"]]
    print("\n".join(f"Missed: {each}" for each in wrong), file=sys.stderr)
    return 1 if wrong and given.strict else 0


if __name__ == "__main__":
    sys.exit(main())
