"""Several processes for one order: by double click, by two workers, one of them asleep. One image, one server, made by one."""

import signal
import time
from datetime import UTC, datetime

import pytest

from tests.kills.child import Point
from tests.kills.conftest import Company
from tests.kills.errands import Create, Launch
from tests.kills.matrix import see_through


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "errand_of"),
    [(2, Create), pytest.param(10, Create, marks=pytest.mark.slow), pytest.param(10, Launch, marks=pytest.mark.slow)],
)
def test_of_several_processes_at_once_one_makes_and_the_others_adopt(
    company: Company, number: int, errand_of: type[Create | Launch]
) -> None:
    errand = errand_of(company.people[0])
    runs = [errand.person.start(*errand.words) for _ in range(number)]
    codes = [run.end() for run in runs]
    assert set(codes) <= {0, 4}, codes
    ended_well = [run for run, code in zip(runs, codes, strict=True) if code == 0]
    assert [run.told["outcome"] for run in ended_well].count("made") == 1, [run.told["outcome"] for run in ended_well]
    if len(ended_well) < number:
        ended_well.append(see_through(errand, runs))
    errand.person.catch_up()
    for run in ended_well:
        errand.check(run, [])


SPEED = 20
LEASE = 60 / SPEED
"""Seconds that a lease lasts at this speed."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "stopped_at",
    [
        Point("claim launch", "lease launch", "after"),
        Point("claim launch", "record launch", "before"),
        Point("claim launch", "record launch", "after"),
    ],
    ids=str,
)
def test_a_process_that_sleeps_for_longer_than_its_lease_launches_nothing_when_it_wakes_up(
    company: Company, stopped_at: Point
) -> None:
    errand = Launch(company.people[1])
    quick = {"speed": SPEED, "quick_since": datetime.now(UTC)}
    sleeper = errand.person.start(*errand.words, end_at=stopped_at, number=signal.SIGSTOP, **quick)
    sleeper.await_standstill()
    asleep = time.monotonic()
    code, other = errand.person.run(*errand.words, **quick)
    assert code == 0, other.told
    assert time.monotonic() - asleep > LEASE, "the other one did not wait for the lease"
    sleeper.send(signal.SIGCONT)
    code = sleeper.end()
    assert (code, sleeper.told["outcome"]) in {(4, "still_running"), (0, "adopted")}, sleeper.told
    assert Point("record launch intent", "createServers", "before") not in {one.point for one in sleeper.seen}
    last = see_through(errand, [])
    errand.person.catch_up()
    errand.check(last, [])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order_with_its_own_exit_code_and_the_next_run_goes_on(
    company: Company, number: signal.Signals, code: int
) -> None:
    errand = Create(company.people[2])
    run = errand.person.start(*errand.words, end_at=Point("", "getImsJob", "before"), number=number)
    ended, told = run.end(), run.told
    assert (ended, told["outcome"], told["error"]["code"]) == (code, "still_running", "b2i.interrupted")
    last = see_through(errand, [run])
    errand.person.catch_up()
    errand.check(last, [run])
