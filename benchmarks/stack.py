"""A night on a whole production stack, while a worker, an API server, both Valkeys and PostgreSQL are killed and come back.

The stack are real processes (tests/support/stack.py): Prefect's server on PostgreSQL and Valkey as two API servers behind their
proxy and one of services, two workers with homes of their own, one of them by TLS, and the journal on a Valkey of its own. 300
servers in 4 shards, against an emulated region. The same night runs undisturbed, in a second region on the same stack, while the
first one waits until its killed runs are found out and brought back; then the databases go away. Prints what was disturbed when,
and both nights side by side. Ends with 1 where an image is missing or was asked for twice, where a night is not green, or where a
part did not come back.

    python -m benchmarks.stack                         about six minutes on two idle cores
    python -m benchmarks.stack --early                 the databases go away first, while the killed runs are still silent
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from backup_to_image.run_results import NIGHT_RESULT_KEY, NightResult
from benchmarks.meter import Meter
from benchmarks.night import TOO_MANY, Night, told_by_the_region
from benchmarks.night_region import AT_ONCE, Fleet
from tests.support.stack import APIS, Stack, open_stack

SHARDS = 4
WORKERS = (1, 2)
DISTURBED, QUIET = "disturbed", "quiet"
AWAY = 2.0
"""Seconds that a database is away."""
BACK_WITHIN = 120.0
BROUGHT_BACK_WITHIN = 900.0
NIGHT_WITHIN = 900.0


@dataclass
class Disturbance:
    """One part that was taken away: when, seconds after the night had been ordered, and how soon it was back."""

    what: str
    at: float
    asked: int
    """Images that had been asked for by then."""
    back: float | None = None


@dataclass
class Desk:
    """The files of whoever runs these nights: two clouds, two policies, one b2i.yaml for all workers."""

    folder: Path
    fleets: dict[str, Fleet]
    stack: Stack
    runs: dict[str, str] = field(default_factory=dict)
    ordered: dict[str, float] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        policies = self.folder / "policies"
        policies.mkdir(parents=True)
        for name in self.fleets:
            limits = {"images_at_once": AT_ONCE, "shards": SHARDS}
            policy = {"name": name, "cloud": name, "servers": {"names": ["*"]}, "limits": limits}
            (policies / f"{name}.yaml").write_text(yaml.safe_dump(policy))
        settings = {"journal": self.stack.journal_address, "directories": {"policies": "policies"}}
        (self.folder / "b2i.yaml").write_text(yaml.safe_dump(settings))
        clouds = {name: _entry(fleet.account.told) for name, fleet in self.fleets.items()}
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))

    @property
    def environ(self) -> dict[str, str]:
        return {
            "B2I_CONFIG": str(self.folder / "b2i.yaml"),
            "OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"),
            "OS_CLOUD": next(iter(self.fleets)),
        }

    def start_worker(self, number: int) -> None:
        self.stack.start_worker(number, B2I_CONFIG=self.environ["B2I_CONFIG"])

    def order(self, name: str) -> None:
        self.began[name] = datetime.now(UTC).replace(microsecond=0)
        self.ordered[name] = time.monotonic()
        self.runs[name] = self.stack.order(f"nightly/{name}")

    def asked(self, name: str) -> int:
        """How many images its region has been asked for."""
        return sum(one["operationId"] == "createWholeImage" and one["status"] == 200 for one in self.fleets[name].requests())

    def told_to_wait(self, name: str) -> int:
        """How often its region was full when it was asked for an image."""
        return sum(one["code"] == TOO_MANY for one in self.fleets[name].requests())

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.ask("GET", f"/flow_runs/{self.runs[name]}")["state"]
        return found

    def since(self, name: str) -> float:
        return time.monotonic() - self.ordered[name]


def _entry(told: dict[str, Any]) -> dict[str, Any]:
    login = {"username": told["user"], "password": told["password"], "user_domain_name": told["domain_name"]}
    return {"auth": {"auth_url": told["auth_url"], "project_name": told["project_name"], **login}, "region_name": told["region"]}


def until(true: Callable[[], Any], what: str, within: float) -> None:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {within:.0f} s")
        time.sleep(0.5)


class Troubles:
    """What is done to the stack in one night, and that each part is back afterwards."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.stack = desk.stack
        self.done: list[Disturbance] = []
        self.killed: dict[str, str] = {}
        """The runs that died with their worker, by id."""
        self.brought_back = 0.0
        """Seconds after the night was ordered until all of them were at work again."""

    def before_the_wait(self) -> None:
        """A worker, whose runs are silent from now on and found out after a minute and a half, then an API server."""
        servers = self.desk.fleets[DISTURBED].servers
        self._at(servers // 20, self.a_worker)
        self._at(servers // 8, self.an_api_server)

    def the_wait(self) -> None:
        """Until the killed runs are at work again, by automations alone."""
        until(lambda: self._back() == len(self.killed), "the killed runs brought back", BROUGHT_BACK_WITHIN)
        self.brought_back = self.desk.since(DISTURBED)

    def the_databases(self) -> None:
        """Both go away while the night's runs are at work."""
        servers, asked = self.desk.fleets[DISTURBED].servers, self.desk.asked(DISTURBED)
        self._at(asked + servers // 20, self.valkey)
        self._at(asked + servers // 10, self.postgres)

    def _at(self, asked: int, disturb: Callable[[], None]) -> None:
        """When its region has been asked for so many images."""
        until(lambda: self.desk.asked(DISTURBED) >= asked, f"{asked} images asked for", NIGHT_WITHIN)
        disturb()

    def _back(self) -> int:
        """How many of the killed runs are at work again."""
        known = {run["id"]: run for run in self.stack.runs()}
        return sum(known[one]["run_count"] > 1 and known[one]["state_type"] == "RUNNING" for one in self.killed if one in known)

    def caveat(self) -> str:
        """Whether the quiet night was one."""
        run = self.stack.ask("GET", f"/flow_runs/{self.desk.runs[QUIET]}")
        ended = datetime.fromisoformat(run["end_time"])
        valkey = self.desk.began[DISTURBED] + timedelta(seconds=next(one.at for one in self.done if "Valkey" in one.what))
        return (
            ""
            if ended < valkey or valkey < self.desk.began[QUIET]
            else f" The {QUIET} night had not ended when Valkey went away: it was disturbed as well."
        )

    def _note(self, what: str) -> Disturbance:
        noted = Disturbance(what, self.desk.since(DISTURBED), self.desk.asked(DISTURBED))
        print(f"{what}, {noted.at:.0f} s after the night was ordered ...", file=sys.stderr)
        self.done.append(noted)
        return noted

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        noted = self._note(what)
        began = time.monotonic()
        yield
        noted.back = time.monotonic() - began

    def an_api_server(self) -> None:
        """Nobody waits for it: the other one is there."""
        noted = self._note("SIGKILL of an API server, started again")
        self.stack.kill("api-1")
        self.stack.start_api(1)
        threading.Thread(target=self._see, args=(noted, lambda: self.stack.ready(1)), daemon=True).start()

    def _see(self, noted: Disturbance, back: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not back() and time.monotonic() < began + BACK_WITHIN:
            time.sleep(0.5)
        noted.back = time.monotonic() - began if back() else None

    def a_worker(self) -> None:
        """The one with the night's own run, and shards; its host comes back at once, its runs do not."""
        of = self.desk.runs[DISTURBED]
        until(lambda: all(self._runs_of(number) - {of} for number in WORKERS), "shards on both workers", 120)
        number = next(number for number in WORKERS if of in self._runs_of(number))
        dying = self._runs_of(number)
        self.killed = {run["id"]: str(run["name"]) for run in self.stack.runs() if run["id"] in dying}
        with self._noted(f"SIGKILL of a worker with its {len(dying)} runs"):
            self.stack.kill(f"worker-{number}")
            self.desk.start_worker(number)

    def valkey(self) -> None:
        with self._noted(f"both Valkeys away for {AWAY:.0f} s"):
            self.stack.broker.stop()
            self.stack.journal.stop()
            time.sleep(AWAY)
            self.stack.broker.start()
            self.stack.journal.start()

    def postgres(self) -> None:
        with self._noted(f"PostgreSQL away for {AWAY:.0f} s"):
            self.stack.database.stop()
            time.sleep(AWAY)
            self.stack.database.start()
            until(lambda: self.stack.ready(2), "an API server that reaches its database", BACK_WITHIN)

    def _runs_of(self, number: int) -> set[str]:
        return self.stack.runs_of(f"worker-{number}")


def measured(desk: Desk, name: str) -> Night:
    """Wait for a night's end; what the region saw, and whether the run is green."""
    until(lambda: desk.state(name)["type"] in {"COMPLETED", "FAILED", "CANCELLED"}, f"the end of the {name} night", NIGHT_WITHIN)
    run = desk.stack.ask("GET", f"/flow_runs/{desk.runs[name]}")
    began, ended = (datetime.fromisoformat(run[key]) for key in ("created", "end_time"))
    night = Night("flow", desk.fleets[name].servers, seconds=(ended - began).total_seconds())
    told_by_the_region(night, desk.fleets[name], desk.began[name])
    state = desk.state(name)
    if state["name"] != "Completed":
        night.note = f"(its run is {state['name']}: {state['message']})"
    return night


def wrong(desk: Desk, name: str, night: Night) -> list[str]:
    """What must never be."""
    found = [f"{name}: {what}" for what in night.wrong() if "requests" not in what]
    found += [f"{name}: {night.note}"] if night.note and not night.made < night.servers else []
    told = desk.stack.artifact(desk.runs[name], NIGHT_RESULT_KEY)
    report = NightResult.model_validate_json(told).report if told else None
    good = sum(one.outcome in {"made", "adopted"} for one in report.servers) if report else 0
    return found + ([] if good == night.servers else [f"{name}: its report has {good} of {night.servers} images"])


def table(troubles: Troubles, desk: Desk, nights: dict[str, Night]) -> str:
    lines = ["| disturbed | after | images asked for by then | back after |", "|---|---|---|---|"]
    for one in troubles.done:
        back = f"{one.back:.0f} s" if one.back is not None else "never"
        lines.append(f"| {one.what} | {one.at:.0f} s | {one.asked} | {back} |")
    lines += [
        "",
        "| night | images | wall | requests, for each image | asked for twice | told to wait |",
        "|---|---|---|---|---|---|",
    ]
    for name, night in nights.items():
        lines.append(
            f"| {name} | {night.made} of {night.servers} | {night.seconds:.0f} s | {night.requests}, {night.per_image:.2f} | "
            f"{night.asked_twice} | {desk.told_to_wait(name)} |"
        )
    return "\n".join(lines)


def starts(desk: Desk) -> str:
    """How often runs were started: those that were killed twice, the others once."""
    counted = Counter(one["run_count"] for one in desk.stack.runs())
    return ", ".join(f"{runs} runs {count} times" for count, runs in sorted(counted.items()))


def undisturbed(servers: int, speed: float, folder: Path) -> int:
    """One night on a stack that nothing happens to: whether its parts work together at all."""
    with ExitStack() as open_ones:
        began = time.monotonic()
        fleet = open_ones.enter_context(Fleet(servers, folder / QUIET, speed=speed))
        stack = open_ones.enter_context(open_stack(folder / "stack"))
        desk = Desk(folder / "desk", {QUIET: fleet}, stack)
        stack.setup(**desk.environ)
        for number in WORKERS:
            desk.start_worker(number)
        print(f"The stack is up after {time.monotonic() - began:.0f} s.", file=sys.stderr)
        desk.order(QUIET)
        until(lambda: all(stack.runs_of(f"worker-{number}") for number in WORKERS), "runs on both workers", NIGHT_WITHIN)
        night = measured(desk, QUIET)
        print(table(Troubles(desk), desk, {QUIET: night}))
        bad = [*wrong(desk, QUIET, night), *[f"{name} has ended by itself" for name in stack.gone()]]
        print(*bad, sep="\n", file=sys.stderr)
        print(f"All in all {time.monotonic() - began:.0f} s.", file=sys.stderr)
        return 1 if bad else 0


def one_stack(servers: int, speed: float, folder: Path, *, early: bool) -> int:
    with ExitStack() as open_ones:
        began = time.monotonic()
        fleets = {name: open_ones.enter_context(Fleet(servers, folder / name, speed=speed)) for name in (DISTURBED, QUIET)}
        stack = open_ones.enter_context(open_stack(folder / "stack"))
        desk = Desk(folder / "desk", fleets, stack)
        stack.setup(**desk.environ)
        for number in WORKERS:
            desk.start_worker(number)
        print(f"The stack is up after {time.monotonic() - began:.0f} s.", file=sys.stderr)
        with Meter() as meter:
            desk.order(DISTURBED)
            troubles = Troubles(desk)
            troubles.before_the_wait()
            if early:
                troubles.the_databases()
            desk.order(QUIET)
            troubles.the_wait()
            if not early:
                troubles.the_databases()
            nights = {name: measured(desk, name) for name in (QUIET, DISTURBED)}
            until(lambda: all(stack.ready(number) for number in APIS), "both API servers", BACK_WITHIN)
        print(table(troubles, desk, nights))
        print(f"\nKilled with their worker: {', '.join(sorted(troubles.killed.values()))};")
        print(f"all at work again {troubles.brought_back:.0f} s after the night was ordered. {starts(desk)}.")
        print(f"The machine was {meter.busy:.0%} busy.{troubles.caveat()}")
        bad = [what for name, night in nights.items() for what in wrong(desk, name, night)]
        bad += [f"{name} has ended by itself" for name in stack.gone()]
        runs, wanted = len(stack.runs()), len(nights) * (SHARDS + 1)
        bad += [f"{runs} runs, not {wanted}: a shard was ordered again"] if runs != wanted else []
        until(lambda: all(one.back is not None for one in troubles.done), "every part back", BACK_WITHIN)
        print(*bad, sep="\n", file=sys.stderr)
        print(f"All in all {time.monotonic() - began:.0f} s.", file=sys.stderr)
        return 1 if bad else 0


def main() -> int:
    """Run both nights, print, and judge."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--servers", type=int, default=300)
    words.add_argument("--image-seconds", type=float, default=4.0, help="how long an image takes, in the mean")
    words.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs there")
    words.add_argument(
        "--early", action="store_true", help="the databases go away while killed runs are silent; takes minutes more"
    )
    words.add_argument("--undisturbed", action="store_true", help="one night, and nothing happens to the stack: two minutes")
    given = words.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="stack-"))
    speed = 120 / given.image_seconds
    if given.undisturbed:
        ended = undisturbed(given.servers, speed, folder)
    else:
        ended = one_stack(given.servers, speed, folder, early=given.early)
    if not given.keep and not ended:
        shutil.rmtree(folder, ignore_errors=True)
    return ended


if __name__ == "__main__":
    sys.exit(main())
