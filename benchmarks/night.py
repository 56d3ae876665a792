"""A night over a large fleet: how long, how many requests, what it costs, and what happens when it is killed at half time.

An emulated region in a process of its own takes 40 image tasks at a time, an image takes 20 seconds, and ten thousand older
images lie in the account. The same night through `b2i nightly`, through the flow with a Prefect server on SQLite, and through
what others would write. Prints tables; `--json FILE` keeps the figures, `--picture FILE` draws them. Ends with 1 where an image
is missing, was asked for twice, or cost more than five requests; with `--strict` also where a target of time, processor time or
memory is missed. A run in which the machine was more than 70 % busy is void.

    python -m benchmarks.night                         1,000 servers, everything: about 45 minutes
    python -m benchmarks.night --short                 two minutes: 100 servers, quicker images
    python -m benchmarks.night --servers 5000 --only b2i
    python -m benchmarks.night --add-ons               what sharing, backups, drills and retention cost on top
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.meter import Meter
from benchmarks.night_picture import Bars, picture
from benchmarks.night_region import AT_ONCE, OLDER, Fleet, bound

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WALL, REQUESTS, CPU_MS, PEAK_MB, BUSY = 1.10, 5.0, 60.0, 350.0, 0.70
ADOPTED_WITHIN = 30.0
TOO_MANY = "IMG.0060"
WAYS = {
    "b2i": "`b2i nightly`",
    "flow": "the flow `nightly`",
    "killed": "`b2i nightly`, SIGKILL at half time, started again",
    "script": "asyncio + httpx, each job asked every 10 s",
    "threads": "a thread for each server",
    "runs": "a flow run for each server",
}
DRILL = {
    "name": "drill",
    "network": {"vpc": "drill", "subnet": "drill", "security_groups": ["drill"]},
    "probes": [{"console": "login:"}],
}
ADD_ONS: dict[str, dict[str, Any]] = {
    "nothing more": {},
    "shared with one project": {"share_with": ["friend"]},
    "a backup made first": {"backup": {"make_one": "always"}},
    "every image verified by a drill": {"verify": {"sample": 1000, "at_once": 20, "launch": "drill.yaml"}},
}
RETAINED = {"backup": {"make_one": "always"}, "retention": {"apply": True, "keep_newest": 1, "max_deletions": "100%"}}
RIVALS = ("script", "threads", "runs")


@dataclass
class Night:
    """One night, measured."""

    way: str
    servers: int
    made: int = 0
    seconds: float = 0.0
    bound: float = 0.0
    requests: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    asked_twice: int = 0
    """Requests for an image that the cloud had granted before."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds, by process."""
    peak_mb: float = 0.0
    busy: float = 0.0
    adopted_after: float | None = None
    """Seconds from the second start until all that was in flight was adopted."""
    note: str = ""

    @property
    def wall(self) -> float:
        return self.seconds / self.bound if self.bound else 0.0

    @property
    def per_image(self) -> float:
        return self.requests / max(1, self.made)

    def cpu_ms(self, process: str = "night") -> float:
        """Milliseconds of processor time for each image."""
        return 1000 * self.cpu.get(process, 0.0) / max(1, self.made)

    def wrong(self) -> list[str]:
        """What must never be, on whatever machine."""
        found: list[str] = []
        if self.made < self.servers:
            found.append(f"{self.servers - self.made} of {self.servers} without an image {self.note}")
        if self.asked_twice:
            found.append(f"{self.asked_twice} images asked for twice")
        if self.per_image > REQUESTS and self.way != "killed":  # half of the images are looked at twice
            found.append(f"{self.per_image:.1f} requests for each image")
        return found

    def slow(self) -> list[str]:
        """Which targets of time, processor time and memory it misses."""
        if self.way == "killed":
            late = self.adopted_after is None or self.adopted_after > ADOPTED_WITHIN
            return [f"all adopted after {self.adopted_after} s"] if late else []
        figures = {
            f"the machine was {self.busy:.0%} busy: void": self.busy > BUSY,
            f"{self.wall:.2f} times the bound": self.wall > WALL,
            f"{self.cpu_ms():.0f} ms of processor time for each image": self.cpu_ms() > CPU_MS,
            f"{self.peak_mb:.0f} MB": self.peak_mb > PEAK_MB,
        }
        return [what for what, missed in figures.items() if missed]


class Desk:
    """A folder with what a night needs: policy, settings, journal, environment."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        folder.mkdir(parents=True)
        self.folder, self.fleet = folder, fleet
        policy = {"name": "fleet", "servers": {"names": ["*"]}, "limits": {"images_at_once": AT_ONCE}}
        (folder / "fleet.yaml").write_text(yaml.safe_dump(policy))
        friend = fleet.account.told["recipient"]["project_id"]
        settings = {"journal": "journal", "directories": {"policies": "."}, "projects": {"friend": friend}}
        (folder / "b2i.yaml").write_text(yaml.safe_dump(settings))
        (folder / "drill.yaml").write_text(yaml.safe_dump(DRILL))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_", "PREFECT_"))}
        self.environ = kept | fleet.account.environ | {"HOME": str(folder), "B2I_CONFIG": str(folder / "b2i.yaml")}

    def start(self, *command: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "night.log").open("ab") as log, (self.folder / "night.out").open("wb") as out:
            return subprocess.Popen(
                command, cwd=self.folder, env=dict(environ or self.environ), stdin=subprocess.DEVNULL, stdout=out, stderr=log
            )

    def nightly(self, **keys: Any) -> subprocess.Popen[bytes]:
        """A night of the policy, with these keys changed."""
        policy = yaml.safe_load((self.folder / "fleet.yaml").read_text()) | keys
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump(policy))
        return self.start(str(BIN / "b2i"), "nightly", "fleet.yaml", "--json")


def measured(way: str, fleet: Fleet, process: subprocess.Popen[bytes], **others: int) -> Night:
    """Wait for the process; what it, the region and the others used, and what the region saw."""
    night = Night(way, fleet.servers)
    began = datetime.now(UTC).replace(microsecond=0)
    with Meter(night=process.pid, cloud=fleet.process.pid, **others) as meter:
        code = process.wait()
    night.seconds, night.busy = meter.seconds, meter.busy
    night.cpu = {name: round(used.cpu, 2) for name, used in meter.used.items()}
    night.peak_mb = meter.used["night"].peak_mb
    if code:
        night.note = f"(it ended with {code})"
    told_by_the_region(night, fleet, began)
    return night


def told_by_the_region(night: Night, fleet: Fleet, began: datetime) -> None:
    images = [one for one in fleet.images(began - timedelta(seconds=1)) if one["status"] == "active"]
    night.made, night.bound = len({one["__backup_id"] for one in images}), bound(images)
    asked = [one for one in fleet.requests() if one["operationId"]]
    night.requests = len(asked)
    night.by_kind = dict(Counter(one["operationId"] for one in asked).most_common())
    granted = sum(one["operationId"] == "createWholeImage" and one["status"] == 200 for one in asked)
    # What a night that was killed has under way it may not know of yet, so it may be told to wait: that made nothing.
    refused = sum(one["operationId"] == "createWholeImage" and one["status"] != 200 and one["code"] != TOO_MANY for one in asked)
    night.asked_twice = granted - len(images) + refused


@contextlib.contextmanager
def region(servers: int, folder: Path, speed: float) -> Iterator[Fleet]:
    """A region that has not been asked anything yet: a log that has grown would be in the next night's figures."""
    with Fleet(servers, folder, speed=speed) as fleet:
        yield fleet


def by_b2i(fleet: Fleet, folder: Path) -> Night:
    return measured("b2i", fleet, Desk(folder / "desk", fleet).nightly())


def killed(fleet: Fleet, folder: Path, speed: float) -> Night:
    """SIGKILL at half time, the same command again: when is everything that was in flight adopted?"""
    desk = Desk(folder / "desk", fleet)
    began = datetime.now(UTC).replace(microsecond=0)
    half = fleet.servers / AT_ONCE * 120 / speed / 2
    first = desk.nightly()
    time.sleep(half)
    first.send_signal(signal.SIGKILL)
    first.wait()
    lines = (desk.folder / "night.log").stat().st_size
    again = time.monotonic()
    second = desk.start(str(BIN / "b2i"), "nightly", "fleet.yaml", "--json", "-v")
    adopted_after = None
    in_flight = {one["name"] for one in fleet.images(began) if one["status"] != "active"}
    left = set(in_flight)
    while second.poll() is None:
        said = (desk.folder / "night.log").read_bytes()[lines:].decode()
        left = {name for name in left if name not in said}
        if not left and adopted_after is None:
            adopted_after = time.monotonic() - again
        time.sleep(0.5)
    night = Night("killed", fleet.servers, adopted_after=round(adopted_after, 1) if adopted_after is not None else None)
    night.note = f"{len(in_flight)} in flight when it was killed"
    told_by_the_region(night, fleet, began)
    return night


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A Prefect server on SQLite, with a database of its own."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    api = f"http://127.0.0.1:{port}/api"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | settings,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{api}/health", trust_env=False).is_success:
                    break
            time.sleep(0.5)
        yield server, settings | {"PREFECT_API_URL": api}
    finally:
        server.terminate()
        server.wait(30)


def by_flow(fleet: Fleet, folder: Path) -> Night:
    desk = Desk(folder / "desk", fleet)
    with prefect_server(folder / "prefect") as (server, settings):
        # As the deployments of nights have it: single tasks' lines are for whoever looks for trouble.
        quieter = {"PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING"}
        environ = desk.environ | settings | quieter | {"PYTHONPATH": str(ROOT)}
        process = desk.start(sys.executable, "-m", "benchmarks.night_by_flow", "fleet.yaml", environ=environ)
        return measured("flow", fleet, process, server=server.pid)


def by_rival(way: str, fleet: Fleet, folder: Path) -> Night:
    desk = Desk(folder / "desk", fleet)
    environ = desk.environ | {"PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "benchmarks.night_rivals", way)
    if way != "runs":
        return measured(way, fleet, desk.start(*command, environ=environ))
    with prefect_server(folder / "prefect") as (server, settings):
        return measured(way, fleet, desk.start(*command, environ=environ | settings), server=server.pid)


def one_night(way: str, servers: int, folder: Path, speed: float) -> Night:
    """One night in a region of its own."""
    place = folder / f"{way}-{servers}"
    with region(servers, place / "region", speed) as fleet:
        if way == "b2i":
            return by_b2i(fleet, place)
        if way == "flow":
            return by_flow(fleet, place)
        if way == "killed":
            return killed(fleet, place, speed)
        return by_rival(way, fleet, place)


def add_ons(servers: int, folder: Path, speed: float) -> str:
    """Requests for each image with each of what a policy may ask for on top. Counts, so any machine will do."""
    lines = ["| a night with | requests per image |", "|---|---|"]
    for number, (name, keys) in enumerate(ADD_ONS.items()):
        with region(servers, folder / f"add-on-{number}", speed) as fleet:
            desk = Desk(folder / f"add-on-{number}" / "desk", fleet)
            lines.append(f"| {name} | {_requests_of(desk, **keys) / servers:.1f} |")
    with region(servers, folder / "retained", speed) as fleet:
        desk = Desk(folder / "retained" / "desk", fleet)
        _requests_of(desk, **RETAINED, timezone="UTC")
        # Where it is another day already, or still, the same policy has another night.
        elsewhere = "Pacific/Kiritimati" if datetime.now(UTC).hour >= 10 else "Etc/GMT+12"
        again = _requests_of(desk, timezone=elsewhere) / servers
        lines.append(f"| a backup made first, and last night's image and backup gone | {again:.1f} |")
    return "\n".join(lines)


def _requests_of(desk: Desk, **keys: Any) -> int:
    before = len(desk.fleet.requests())
    code = desk.nightly(**keys).wait()
    if code:
        raise SystemExit(f"the night ended with {code}; see {desk.folder}/night.log")
    return sum(bool(one["operationId"]) for one in desk.fleet.requests()[before:])


def table(nights: list[Night]) -> str:
    lines = [
        "| night | servers | wall, times the bound | requests per image | CPU per image: night, cloud, server | peak | busy |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in nights:
        each = [f"{one.cpu_ms(name):.0f}" if name in one.cpu else "-" for name in ("night", "cloud", "server")]
        wall = f"{one.seconds:.0f} s, {one.wall:.2f}" if one.seconds else "-"
        peak = f"{one.peak_mb:.0f} MB" if one.peak_mb else "-"
        lines.append(
            f"| {WAYS[one.way]} | {one.made} of {one.servers} | {wall} | {one.per_image:.2f} | {', '.join(each)} ms | {peak} | "
            f"{one.busy:.0%} |"
        )
        if one.adopted_after is not None:
            said = f"all adopted after {one.adopted_after:.0f} s; {one.note}; asked for twice: {one.asked_twice}"
            lines.append(f"| | | {said} | | | | |")
    return "\n".join(lines)


def drawn(nights: list[Night]) -> str:
    """The nights of one fleet side by side."""
    names = [WAYS[one.way].replace("`", "") for one in nights]
    ours = sum(one.way not in RIVALS for one in nights)
    figures = [
        Bars("Wall time, times what the cloud needs", "", [one.wall for one in nights]),
        Bars("Requests for each image", "", [one.per_image for one in nights]),
        Bars(
            "Processor time for each image, Prefect server included",
            "ms",
            [one.cpu_ms() + one.cpu_ms("server") for one in nights],
        ),
    ]
    return picture(f"A night of {nights[0].servers if nights else 0} servers", names, ours, figures)


def main() -> int:
    """Measure, print, and judge."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--servers", type=int, default=1000)
    words.add_argument("--image-seconds", type=float, default=20.0, help="how long an image takes, in the mean")
    words.add_argument("--rival-servers", type=int, default=200, help="the smaller fleet, of what others would write and ours")
    words.add_argument("--only", choices=WAYS, action="append", help="this way alone; may be repeated")
    words.add_argument("--short", action="store_true", help="a hundred servers, images of four seconds")
    words.add_argument("--add-ons", action="store_true", help="only what is asked for on top, in requests")
    words.add_argument("--json", type=Path, metavar="FILE")
    words.add_argument("--picture", type=Path, metavar="FILE")
    words.add_argument("--strict", action="store_true", help="end with 1 where a target is missed")
    words.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs there")
    given = words.parse_args()
    servers, speed = (100, 30.0) if given.short else (given.servers, 120 / given.image_seconds)
    rivals = min(servers, 60 if given.short else given.rival_servers)
    ways = given.only or (["b2i", "flow", "killed"] if given.short else list(WAYS))
    folder = given.keep or Path(tempfile.mkdtemp(prefix="night-"))
    if given.add_ons:
        print(add_ons(40, folder, 40.0))
        return 0
    print(f"{AT_ONCE} image tasks at a time, {OLDER} older images, an image takes {120 / speed:.0f} s", file=sys.stderr)
    beside = bool(set(ways) & set(RIVALS))
    nights: list[Night] = []
    for way in ways:
        sizes = {rivals} if way in RIVALS else {servers, rivals} if beside and way != "killed" else {servers}
        for size in sorted(sizes, reverse=True):
            print(f"{WAYS[way]}, {size} servers ...", file=sys.stderr)
            nights.append(one_night(way, size, folder, speed))
            print(table(nights[-1:]).splitlines()[2], file=sys.stderr)
    print(table(nights))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in nights], indent=1) + "\n")
    if given.picture:
        given.picture.write_text(drawn([one for one in nights if one.servers == rivals and one.seconds]))
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    ours = [one for one in nights if one.way not in RIVALS and one.servers == servers]
    wrong = [f"{WAYS[one.way]}, {one.servers} servers: {what}" for one in ours for what in one.wrong()]
    slow = [f"{WAYS[one.way]}, {one.servers} servers: {what}" for one in ours for what in one.slow()]
    print(*wrong, *slow, sep="\n", file=sys.stderr)
    return 1 if wrong or (slow and given.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
