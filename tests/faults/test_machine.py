"""Whatever goes wrong, in whatever order: Hypothesis arms faults, kills, restarts, loses and meddles; the judge looks on.

`make test` runs the same few stories every time, `make check-all` more of them; `make prove` runs others each time and prints the
seed with which it does (PROVE_SEED=n for the same again, PROVE_STORIES=n for so many).
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backup_to_image.emulator.faults import CATALOGUE
from backup_to_image.emulator.routing import operations
from backup_to_image.emulator.switches import SWITCHES
from tests.faults.conftest import IN_MEMORY
from tests.faults.judge import DEAD, Judge, Order
from tests.faults.recovery import follow
from tests.faults.scenarios import SCENARIOS, launch_file, steps
from tests.faults.variants import NEVER_ASKED, VARIANTS
from tests.support.region import Asked, Ended, Region

HOUR = timedelta(hours=1)
NO_WAY_TO_A_GOOD_END = {
    ("whole_image_sharing", "refused"),  # the cloud refuses what is ordered here
    ("killed_image", "blocks"),  # and here somebody has to delete the killed image first
}
ANSWERS = [(one.name, value) for one in SWITCHES for value in one.values if (one.name, value) not in NO_WAY_TO_A_GOOD_END]
ASKED = sorted({step.operation for name in SCENARIOS for step in steps(name)})
FAULTS = sorted(set(CATALOGUE) - set(NEVER_ASKED))


class Night(RuleBasedStateMachine):
    """One backup of a running server, one of a stopped one, one launch order; and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        random.seed(0)
        self.folder = Path(tempfile.mkdtemp(prefix="b2i-night-", dir=IN_MEMORY))
        self.region = Region(self.folder, state=self.folder / "region.sqlite")
        self.judge = Judge(self.region)
        self.judge.excused.add(self.region.named("server", "shop-report-01")["id"])
        self.spec = launch_file(self.region, data_disks=None)
        self.quotas = [dict(one) for one in self.region.things("quota")]
        backups = self.region.account["backups"]
        self.backups = (backups["available"][0], backups["server_stopped"])
        self.ordered: dict[str, Order] = {}
        """What has to be there in the end: the last order for each backup."""

    def teardown(self) -> None:
        try:
            self.morning()
        finally:
            self.region.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- what goes wrong ----------------------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(FAULTS), data=st.data(), skip=st.integers(0, 4), times=st.sampled_from([1, 2, 4, None]))
    def arm(self, fault: str, data: st.DataObject, skip: int, times: int | None) -> None:
        kind = CATALOGUE[fault]
        where = sorted(set(kind.operations) & set(ASKED)) if kind.operations else ASKED
        struck = (
            {} if kind.stage == "standing" else {"operation": data.draw(st.sampled_from(where)), "skip": skip, "times": times}
        )
        more = data.draw(st.sampled_from(VARIANTS.get(fault, ({},))))
        if "effect" in kind.parameters and operations()[struck["operation"]].writes:
            more = {"effect": data.draw(st.booleans())}
        self.region.arm(fault, **({"times": None} | struck), **more)

    @rule()
    def disarm(self) -> None:
        self.region.emulator.faults.disarm()

    @rule(answer=st.sampled_from(ANSWERS))
    def the_cloud_is_otherwise(self, answer: tuple[str, str]) -> None:
        self.region.emulator.switches[answer[0]] = answer[1]

    @rule(seconds=st.sampled_from([5, 45, 130, 700, 4000]))
    def time_passes(self, seconds: float) -> None:
        self.region.clock.advance(seconds)

    @rule()
    def the_region_restarts(self) -> None:
        switches = {one.name: self.region.emulator.switches[one.name] for one in SWITCHES}
        self.region.restart()
        self.region.emulator.switches.update(**switches)

    @precondition(lambda self: not self.anything_under_way())
    @rule(how=st.sampled_from(["lost", "damaged"]))
    def the_journal_is(self, how: str) -> None:
        """Not while a launch is on its way: then a second server cannot be ruled out, and the README says so."""
        self.judge.journal_lost()
        for path in self.folder.glob("journal/*.json"):
            if how == "lost":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:40])

    @rule(which=st.sampled_from([0, 1]))
    def somebody_makes_the_image_by_hand(self, which: int) -> None:
        backup = self.backups[which]
        if not any(image["status"] not in DEAD for image in self.region.images_of(backup)):
            self.region.make_image_by_hand(backup)

    @rule(kind=st.sampled_from(["image", "server"]))
    def somebody_deletes_by_hand(self, kind: str) -> None:
        for (found, ident), thing in self.judge.left_over().items():
            if found == kind and thing["status"] in {"active", "ACTIVE"}:
                self.region.emulator.cloud.remove(kind, ident)
                for disk in thing.get("volumes", ()):
                    self.region.emulator.cloud.remove("volume", disk)
                return

    # -- what is ordered ----------------------------------------------------------------------------------------------------

    @rule(
        which=st.sampled_from([0, 1]),
        share=st.booleans(),
        launch=st.booleans(),
        timeout=st.sampled_from(["30s", "20m", "2h"]),
        after_failure=st.booleans(),
        stop=st.one_of(st.none(), st.tuples(st.integers(0, 40), st.booleans(), st.booleans())),
    )
    def create(
        self, which: int, share: bool, launch: bool, timeout: str, after_failure: bool, stop: tuple[int, bool, bool] | None
    ) -> None:
        order = self.order(which, share=share, launch=launch, timeout=timeout)
        self.run(order.plus("--after-failure") if after_failure else order, stop)
        self.ordered[order.backup or ""] = order

    @precondition(lambda self: self.judge.launched())
    @rule(stop=st.one_of(st.none(), st.tuples(st.integers(0, 30), st.booleans(), st.booleans())), another=st.booleans())
    def launch(self, stop: tuple[int, bool, bool] | None, another: bool) -> None:
        image = self.judge.launched()[0]["image_id"]
        order = Order(("launch", image, "--spec", self.spec), called="shop-restored", probes=1, within=HOUR)
        if another:
            self.judge.servers_ordered += 1
            order = order.plus("--another")
        self.run(order, stop)

    @precondition(lambda self: self.judge.launched())
    @rule(stop=st.one_of(st.none(), st.tuples(st.integers(0, 20), st.booleans(), st.booleans())))
    def tear_down(self, stop: tuple[int, bool, bool] | None) -> None:
        mark = self.judge.launched()[0]["tags"].get("b2i-launch")
        if mark:
            self.run(Order(("teardown", mark, "--yes-i-mean", "shop-restored"), launch_id=mark), stop)

    # -- how ------------------------------------------------------------------------------------------------------------------

    def order(self, which: int, *, share: bool, launch: bool, timeout: str = "2h") -> Order:
        backup = self.backups[which]
        return Order(
            (
                *("create", backup, "--timeout", timeout),
                *(("--share-with", "dr") if share else ()),
                *(("--launch", self.spec) if launch else ()),
            ),
            backup=backup,
            share=(self.region.account["second_project"],) if share else (),
            called="shop-restored" if launch else None,
            probes=1 if launch else 0,
            within=timedelta(hours=3, minutes=12),
        )

    def run(self, order: Order, stop: tuple[int, bool, bool] | None = None) -> Ended | None:
        if stop is None:
            return self.judge.run(order)
        number, after, gently = stop
        return self.judge.stop(order, number, after=after, gently=gently)

    def anything_under_way(self) -> bool:
        cut = [one for one in self.region.asked if one.operation == "createServers" and one.writes and not answered(one)]
        recent = [one for one in cut if one.at > self.region.clock.now().timestamp() - 3600]
        return bool(recent) or any(job["status"] in {"INIT", "RUNNING"} for job in self.region.things("ecs-job"))

    @invariant()
    def nothing_is_there_twice(self) -> None:
        self.judge.once()

    def morning(self) -> None:
        """Everything is mended, and whoever does what the reports say has what was ordered."""
        self.region.emulator.faults.disarm()
        for quota in self.quotas:
            self.region.emulator.cloud.save("quota", quota)
        self.region.clock.advance(900)
        for hasty in self.ordered.values():
            order = replace(hasty, arguments=tuple("2h" if one in {"30s", "20m"} else one for one in hasty.arguments))
            ended = self.judge.run(order)
            for _ in range(6):
                if ended.code == 0:
                    break
                ended = self.judge.run(order.plus(*follow(self.judge, order, ended)))
            assert ended.code == 0, (ended.told, ended.err)
            living = [image for image in self.region.images_of(order.backup or "") if image["status"] not in DEAD]
            assert [image["status"] for image in living] == ["active"], living
        self.judge.once()


def answered(one: Asked) -> bool:
    return one.over is not None and one.status is not None and one.status < 500


STORIES = {
    "few": settings(derandomize=True, max_examples=12, stateful_step_count=8),
    "more": settings(derandomize=True, max_examples=80, stateful_step_count=14),
    "any": settings(max_examples=int(os.environ.get("PROVE_STORIES", "5000")), stateful_step_count=25),
}
NO_HURRY = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.generate, Phase.shrink),
}


def test_a_few_bad_nights_end_well() -> None:
    run_state_machine_as_test(Night, settings=settings(STORIES["few"], **NO_HURRY))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_bad_nights_end_well() -> None:
    run_state_machine_as_test(Night, settings=settings(STORIES["more"], **NO_HURRY))


@pytest.mark.prove
@pytest.mark.timeout(0)
def test_bad_nights_that_nobody_thought_of_end_well(tell: Callable[[object], None]) -> None:
    number = int(os.environ.get("PROVE_SEED") or random.SystemRandom().randrange(10**6))
    tell(f"{STORIES['any'].max_examples} bad nights (PROVE_SEED={number})")
    machine: Any = seed(number)(Night)
    run_state_machine_as_test(machine, settings=settings(STORIES["any"], **NO_HURRY))
