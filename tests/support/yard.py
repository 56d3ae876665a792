"""Where runs are killed: deployment, worker and cloud of their own, so that nothing else is hit and nobody brings them back."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, product
from typing import Any, Literal

import pytest

from tests.support.house import DEPLOYMENT, House, Site, kill_family, patience

__all__ = ["DOZEN", "POINTS", "Came", "Point", "Yard", "kill_at"]

Who = Literal["run", "host", "stopped run"]
Again = Literal["new run", "Retry"]
_BACKUPS = 40
"""Points for which one emulated cloud has backups."""
_CRASH_IS_REPORTED_TWICE = timedelta(seconds=20)


@dataclass(frozen=True)
class Point:
    """While which request, before or after it takes effect, who is killed, and how the order is given again."""

    operation: str
    skip: int
    when: Literal["before", "after"]
    who: Who
    again: Again

    def __str__(self) -> str:
        return f"{self.when} {self.operation} {self.skip}, {self.who}, {self.again}".replace(" 0,", ",")

    @property
    def fault(self) -> dict[str, Any]:
        """`before`: it is taken up only after the kill. `after`: it has taken effect, and the answer is on its way."""
        how = {"name": "slow", "seconds": 1.5} if self.when == "before" else {"name": "hold", "seconds": 3}
        return how | {"operation": self.operation, "skip": self.skip}


# One row each: the places at which an order with everything in it may stop for ever.
DOZEN = [
    Point("createToken", 0, "after", "run", "Retry"),
    Point("getBackup", 0, "after", "host", "new run"),
    Point("createWholeImage", 0, "before", "run", "new run"),
    Point("createWholeImage", 0, "after", "host", "new run"),
    Point("getImsJob", 0, "after", "run", "Retry"),
    Point("getImsJob", 1, "after", "stopped run", "Retry"),
    Point("getImage", 0, "after", "run", "new run"),
    Point("batchAddImageMembers", 0, "before", "run", "Retry"),
    Point("batchAddImageMembers", 0, "after", "run", "new run"),
    Point("listImageMembers", 1, "after", "run", "Retry"),
    Point("createServers", 1, "before", "run", "Retry"),
    Point("createServers", 1, "after", "host", "new run"),
    Point("getEcsJob", 0, "after", "run", "new run"),
    Point("getServer", 1, "after", "run", "Retry"),
]
_REQUESTS = [
    ("createToken", 0),
    ("getBackup", 0),
    ("listCloudImages", 0),
    ("getImageQuota", 0),
    ("createWholeImage", 0),
    ("getImsJob", 0),
    ("getImage", 0),
    ("listImageMembers", 0),
    ("batchAddImageMembers", 0),
    ("getImsJob", 3),
    ("listImageMembers", 1),
    ("listServersDetail", 0),
    ("getBackup", 1),
    ("createServers", 0),
    ("getServerLimits", 2),
    ("createServers", 1),
    ("getEcsJob", 0),
    ("getServer", 1),
]


def _all() -> list[Point]:
    again: cycle[Again] = cycle(("new run", "Retry"))
    whens: tuple[Literal["before", "after"], ...] = ("before", "after")
    every = [
        Point(*request, when, who, "new run" if who == "host" else next(again))
        for request, when, who in product(_REQUESTS, whens, ("run", "host", "stopped run"))
    ]
    return list(dict.fromkeys([*DOZEN, *every]))


POINTS = _all()
"""Every request before and after it takes effect, whoever is killed; the dozen first."""


@dataclass
class Came:
    """What came of one order: killed at its point, given again."""

    point: Point
    yard: Yard
    backup: str
    server: str
    runs: list[str] = field(default_factory=list[str])
    ended: dict[str, Any] = field(default_factory=dict[str, Any])
    trouble: BaseException | None = None


class Yard:
    """The same deployment once more, in a pool of its own and in none of our automations."""

    def __init__(self, house: House, name: str, processes: ExitStack) -> None:
        self.house = house
        self.name = name
        self.site = Site(house.folder / name, processes)
        self.deployment = f"image-from-backup/{name}"
        house.new_pool(name)
        like = house.ask("GET", f"/deployments/name/{DEPLOYMENT}")
        project = {"$ref": {"block_document_id": house.new_block(name, self.site)}}
        same = ("flow_id", "entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema", "job_variables")
        house.ask(
            "POST",
            "/deployments/",
            name=name,
            work_pool_name=name,
            parameters={"project": project},
            **{one: like[one] for one in same},
        )
        self.worker = self._new_worker()
        processes.callback(lambda: kill_family(self.worker.pid))

    def kill_all(self, points: list[Point]) -> dict[Point, Came]:
        """Kill an order at each point, one after the other; then give all of them again, as they would be given again."""
        came = {point: self._killed(point, number) for number, point in enumerate(points)}
        for one in sorted(came.values(), key=lambda one: one.point.again == "Retry"):
            self._attempt(one, self._again)
        for one in came.values():
            self._attempt(one, self._end)
        return came

    def _killed(self, point: Point, number: int) -> Came:
        one = Came(point, self, self.site.backup(), f"killed-{number}")
        self._attempt(one, self._kill)
        self.site.cloud.disarm()
        return one

    def _attempt(self, one: Came, what: Any) -> None:
        """Trouble at one point is told by that point's test."""
        try:
            if one.trouble is None:
                what(one)
        except (AssertionError, pytest.fail.Exception) as trouble:
            one.trouble = trouble

    def _kill(self, one: Came) -> None:
        armed = self.site.cloud.arm(**one.point.fault)
        run = self._order(one)
        self.site.await_strike(armed)
        if one.point.who == "host":
            kill_family(self.worker.pid)
            self.worker = self._new_worker()
            return
        stopped = one.point.who == "stopped run"
        self.house.signal_run(run, signal.SIGTERM if stopped else signal.SIGKILL)
        self.house.await_state(run, "Crashed")

    def _again(self, one: Came) -> None:
        if one.point.again == "new run":
            self._order(one)
            return
        crashed = datetime.fromisoformat(self.house.run(one.runs[-1])["state"]["timestamp"])
        with patience(60, "time since the crash") as beats:
            for _ in beats:
                if datetime.now(UTC) - crashed > _CRASH_IS_REPORTED_TWICE:
                    break
        self.house.retry(one.runs[-1])

    def _end(self, one: Came) -> None:
        one.ended = self.house.await_state(one.runs[-1], "Completed", "PartlyDone", within=180)
        if one.ended["state_name"] == "PartlyDone":  # the server that came after the kill was counted before it could be seen
            assert self.house.result(one.runs[-1])["outcome"] == "partly"
            self.house.retry(one.runs[-1])
            one.ended = self.house.await_state(one.runs[-1], "Completed", within=180)

    def _order(self, one: Came) -> str:
        launch = self.site.launch_order(one.server)
        run = self.house.order(one.backup, deployment=self.deployment, share_with=["dr"], launch=launch)
        one.runs.append(run)
        return run

    def _new_worker(self) -> subprocess.Popen[bytes]:
        return self.house.new_worker(self.name, "--limit", "4")


def kill_at(points: list[Point], house: House, processes: ExitStack) -> dict[Point, Came]:
    """Every one of these points, in as many yards as they need."""
    came: dict[Point, Came] = {}
    for first in range(0, len(points), _BACKUPS):
        yard = Yard(house, f"yard-{first // _BACKUPS + 1}", processes)
        came |= yard.kill_all(points[first : first + _BACKUPS])
    return came
