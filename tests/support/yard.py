"""Where runs are killed: deployment, worker and cloud of their own, so that nothing else is hit and nobody brings them back."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, product
from typing import Any, ClassVar, Literal

import pytest

from tests.support.house import DEPLOYMENT, House, Site, kill_family, patience

__all__ = ["DOZEN", "POINTS", "Came", "HandOvers", "Launches", "Point", "Yard", "kill_at", "places"]

Who = Literal["run", "host", "stopped run"]
Again = Literal["new run", "Retry"]
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
    subject: str
    """The backup or image that it is about."""
    server: str
    runs: list[str] = field(default_factory=list[str])
    ended: dict[str, Any] = field(default_factory=dict[str, Any])
    trouble: BaseException | None = None


class Yard:
    """The same deployment once more, in a pool of its own and in none of our automations."""

    like: ClassVar[str] = DEPLOYMENT
    holds: ClassVar[int] = 40
    """Points for which one emulated cloud has backups."""

    def __init__(self, house: House, name: str, processes: ExitStack) -> None:
        self.house = house
        self.name = name
        self.site = Site(house.folder / name, processes)
        self.deployment = f"{self.like.partition('/')[0]}/{name}"
        house.new_pool(name)
        like = house.ask("GET", f"/deployments/name/{self.like}")
        same = ("flow_id", "entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema", "job_variables")
        house.ask(
            "POST",
            "/deployments/",
            name=name,
            work_pool_name=name,
            parameters={which: {"$ref": {"block_document_id": block}} for which, block in self.blocks().items()},
            **{one: like[one] for one in same},
        )
        self.worker = self._new_worker()
        processes.callback(lambda: kill_family(self.worker.pid))

    def blocks(self) -> dict[str, str]:
        return {"project": self.house.new_block(self.name, self.site)}

    def subject(self) -> str:
        """What the next order is about: something that no other order is about."""
        return self.site.backup()

    def order(self, one: Came) -> str:
        launch = self.site.launch_order(one.server)
        return self.house.order(one.subject, deployment=self.deployment, share_with=["dr"], launch=launch)

    def outcome(self, run: str) -> str:
        return str(self.house.result(run)["outcome"])

    def kill_all(self, points: list[Point]) -> dict[Point, Came]:
        """Kill an order at each point, one after the other; then give all of them again, as they would be given again."""
        came = {point: self._killed(point, number) for number, point in enumerate(points)}
        for one in sorted(came.values(), key=lambda one: one.point.again == "Retry"):
            self._attempt(one, self._again)
        for one in came.values():
            self._attempt(one, self._end)
        return came

    def _killed(self, point: Point, number: int) -> Came:
        one = Came(point, self, self.subject(), f"killed-{number}")
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
            assert self.outcome(one.runs[-1]) == "partly"
            self.house.retry(one.runs[-1])
            one.ended = self.house.await_state(one.runs[-1], "Completed", within=180)

    def _order(self, one: Came) -> str:
        one.runs.append(self.order(one))
        return one.runs[-1]

    def _new_worker(self) -> subprocess.Popen[bytes]:
        return self.house.new_worker(self.name, "--limit", "4")


class Launches(Yard):
    """Servers from an image that is there."""

    like = "launch/a-server"

    def subject(self) -> str:
        return self.site.images()[0]

    def order(self, one: Came) -> str:
        launch = self.site.launch_order(one.server, flavor=self.site.account["flavor"])
        return self.house.order_action(self.deployment, order={"image": one.subject, "launch": launch})

    def outcome(self, run: str) -> str:
        return str(self.house.came_of(run)["outcome"])


class HandOvers(Launches):
    """Images that go to a partner by the log-ins of both sides."""

    like = "hand-over/an-image"
    holds = 20

    def __init__(self, house: House, name: str, processes: ExitStack) -> None:
        super().__init__(house, name, processes)
        self._spare = iter(self.site.images())

    def blocks(self) -> dict[str, str]:
        return super().blocks() | {"recipient": self.house.meet("partner", self.site)}

    def subject(self) -> str:
        return next(self._spare)

    def order(self, one: Came) -> str:
        return self.house.order_action(self.deployment, order={"image": one.subject})


def places(*requests: tuple[str, int]) -> list[Point]:
    """Each of these requests before and after it takes effect; who is killed, and how it is given again, goes round."""
    whens: tuple[Literal["before", "after"], ...] = ("before", "after")
    ways: cycle[tuple[Who, Again]] = cycle(
        (("run", "Retry"), ("host", "new run"), ("stopped run", "Retry"), ("run", "new run"), ("stopped run", "new run"))
    )
    return [Point(*request, when, *next(ways)) for request, when in product(requests, whens)]


def kill_at(points: list[Point], house: House, processes: ExitStack, kind: type[Yard] = Yard) -> dict[Point, Came]:
    """Every one of these points, in as many yards as they need."""
    came: dict[Point, Came] = {}
    for first in range(0, len(points), kind.holds):
        yard = kind(house, f"yard-of-{kind.like.partition('/')[0]}-{first // kind.holds + 1}", processes)
        came |= yard.kill_all(points[first : first + kind.holds])
    return came
