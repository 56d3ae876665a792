"""Every fault of the catalogue at every step at which it can strike: the right result or an honest refusal, and the same command
again makes it good."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.emulator.faults import CATALOGUE, Fault
from tests.faults.judge import DEAD, Judge, Order
from tests.faults.recovery import follow
from tests.faults.scenarios import SCENARIOS, Step, prepared, steps
from tests.faults.variants import NEVER_ASKED, VARIANTS
from tests.support.region import Ended

LASTING = {"image-killed", "job-fails", "leftovers", "one-fails", "guest-silent", "job-stuck", "quota-gone"}
"""What these leave behind stays when they are over, so that it may take more than the same command again."""
LONG = {
    *("whole job again", "source stopped", "backup still being made", "newest of a server", "two more", "teardown of the rest"),
    *("night with a drill", "change of OS", "share", "unshare", "accept", "accept --all", "hand-over"),
}
"""Commands with many steps, most of which others take too, or with few of their own: `make test` strikes each thing once that
they make, change or remove, and `make check-all` does so with each fault; what they look at, with one fault of each kind."""
AT_LEAST_AS_BAD = {"slow", "hold", "unknown-fields", "doubled-page", "shifting-page"}
"""Harmless once, so that only a lasting one tells anything."""


@dataclass(frozen=True)
class Case:
    """One fault at one step of one command, so many times."""

    scenario: str
    step: Step | None
    fault: Fault
    parameters: dict[str, Any]
    times: int | None

    def __str__(self) -> str:
        given = "".join(f"-{value}" for value in self.parameters.values())
        times = "until-taken-back" if self.times is None else f"{self.times}-times"
        return f"{self.scenario}-{self.step or 'all-the-time'}-{self.fault.name}{given}-{times}".replace(" ", "_")


def variants(fault: Fault, step: Step) -> Iterator[dict[str, Any]]:
    if "effect" in fault.parameters:
        yield {}
        if step.writes:
            yield {"effect": True}
        return
    yield from VARIANTS.get(fault.name, ({},))


def strikes(fault: Fault, step: Step) -> bool:
    if fault.operations and step.operation not in fault.operations:
        return False
    if fault.name == "swapped-error":
        return step.refused
    return fault.name not in {"hold", "slow"} or step.writes


@cache
def cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for scenario in SCENARIOS:
        for fault in CATALOGUE.values():
            if fault.stage == "standing":
                found += [Case(scenario, None, fault, more, None) for more in VARIANTS.get(fault.name, ({},))]
                continue
            for step in steps(scenario):
                if not strikes(fault, step):
                    continue
                often = (None,) if fault.name in AT_LEAST_AS_BAD else (1, None) if fault.stage == "effect" else (1, 3, None)
                found += [Case(scenario, step, fault, more, times) for more in variants(fault, step) for times in often]
    return tuple(found)


@cache
def chosen() -> dict[int, int]:
    """How long each case is put off: 0 for `make test`, 1 for `make check-all`, 2 for `make prove`."""
    first: dict[object, Case] = {}
    second: dict[object, Case] = {}
    for case in sorted(cases(), key=lambda one: zlib.crc32(str(one).encode())):
        operation, writes = (case.step.operation, case.step.writes) if case.step else ("", False)
        if case.scenario in LONG:
            if writes and case.times == 1:
                first.setdefault((case.scenario, operation), case)
            second.setdefault((case.scenario, operation, case.fault.name if writes else case.fault.stage), case)
            continue
        if writes and case.times == 1:
            first.setdefault((case.fault.name, operation, str(case.parameters)), case)
        first.setdefault(case.fault.name, case)
        first.setdefault((case.fault.stage, case.scenario), case)
        second.setdefault(("somewhere", case.fault.name, case.scenario), case)
    single = [case for case in cases() if case.scenario not in LONG]
    # Where something is changed, each fault at each request; at each look, one fault of each stage.
    for case in sorted(single, key=str):
        step = case.step
        if step is None or step.writes:
            second[case.fault.name, case.scenario, step] = case
        else:
            second[case.fault.stage, case.scenario, step.operation] = case
    now, later = set(map(id, first.values())), set(map(id, second.values()))
    return {id(case): 0 if id(case) in now else 1 if id(case) in later else 2 for case in cases()}


PUT_OFF: tuple[tuple[pytest.MarkDecorator, ...], ...] = ((), (pytest.mark.slow,), (pytest.mark.prove,))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case with its mark; those of `make prove` only where they are not left out anyway: they are most of all tests."""
    if "case" not in metafunc.fixturenames:
        return
    latest = 1 if "not prove" in str(metafunc.config.getoption("markexpr")) else 2
    chosen_now = [(case, put_off) for case in cases() if (put_off := chosen()[id(case)]) <= latest]
    metafunc.parametrize("case", [pytest.param(case, id=str(case), marks=PUT_OFF[put_off]) for case, put_off in chosen_now])


def test_a_fault_at_a_step_ends_right_or_honestly_and_the_same_command_makes_it_good(case: Case, folder: Path) -> None:
    with prepared(case.scenario, folder) as (judge, order):
        region = judge.region
        quotas = deepcopy(list(region.things("quota")))
        first = len(region.emulator.requests)
        struck = {"operation": case.step.operation, "skip": case.step.skip} if case.step else {}
        region.arm(case.fault.name, times=case.times, **struck, **case.parameters)
        ended = judge.run(order)
        if case.step:
            assert any(case.fault.name in one["faults"] for one in list(region.emulator.requests)[first:]), "it never struck"
        region.emulator.faults.disarm()
        for quota in quotas:
            region.emulator.cloud.save("quota", quota)
        make_good(judge, order, ended, lasting=case.fault.name in LASTING)


def make_good(judge: Judge, order: Order, ended: Ended, *, lasting: bool) -> None:
    """Do what the report says until all is well; without a lasting fault the same command again is all it may say."""
    if ended.code in {0, 5}:
        order = order.without("--another")  # the one more is there; the same words would order yet another
    if not (order.backs_up and ended.code == 0):
        ended = judge.run(order)
    for _ in range(3 if lasting else 0):
        if ended.code == 0 and not (order.is_night and left_by_drills(judge)):
            break
        ended = judge.run(order.plus(*follow(judge, order, ended)))
    assert ended.code == 0, (ended.told, ended.err)
    settled(judge, order)


def settled(judge: Judge, order: Order) -> None:
    """In the end: one image, the servers that were ordered, or nothing where all was to go."""
    assert order.standing is None or judge.stands(order)
    left = judge.left_over()
    images = [thing for (kind, _), thing in left.items() if kind == "image" and thing["status"] not in DEAD]
    servers = judge.launched()
    if order.changes:
        server = judge.account()["server", order.changes]
        assert (server["status"], server["volumes"][1:]) == ("ACTIVE", list(judge.disks_of[order.changes][1:]))
        assert server["volumes"][0] != judge.disks_of[order.changes][0]
    if order.command == "teardown":
        assert (servers, [key for key in left if key[0] in {"volume", "publicip"}]) == ([], [])
        return
    assert [image["status"] for image in images] == ["active"], images
    assert [one["status"] for one in servers] == ["ACTIVE"] * (judge.servers_ordered if order.called else 0), servers
    if order.is_night:
        assert "b2i-verified" in images[0]["tags"]
        assert not left_by_drills(judge), left_by_drills(judge)


def left_by_drills(judge: Judge) -> list[dict[str, Any]]:
    """Servers, disks and addresses that are still there; what a failed launch has left is told once, for somebody to remove."""
    if any("leftovers" in one["faults"] for one in judge.region.emulator.requests):
        return judge.launched()
    return [one for (kind, _), one in judge.left_over().items() if kind in {"server", "volume", "publicip"}]


def test_every_fault_of_the_catalogue_strikes_somewhere_or_says_why_not(tell: Callable[[object], None]) -> None:
    struck = {case.fault.name for case in cases()}
    assert struck | set(NEVER_ASKED) == set(CATALOGUE)
    assert struck & set(NEVER_ASKED) == set()
    assert {case.fault.name for case in cases() if not chosen()[id(case)]} == struck
    at = sum(len(steps(scenario)) for scenario in SCENARIOS)
    tiers = Counter(chosen().values())
    tell(
        f"{len(struck)} faults at {at} steps of {len(SCENARIOS)} commands, {len(cases())} cases: "
        f"{tiers[0]} in `make test`, {tiers[1]} more in `make check-all`, the rest in `make prove`"
    )
