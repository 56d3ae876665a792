"""Waiting: what each state means, when to look next, and how a deadline ends."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image import waiting
from backup_to_image.clock import FakeClock
from backup_to_image.contract import openapi
from backup_to_image.errors import ApiError, BadAnswer, ErrorClass, NoAnswer, NotFound, StillRunning, UnknownState
from backup_to_image.waiting import LONGEST_BEAT, SHORTEST_BEAT, Pace, States, passes, quiet, wait, within

TABLES = {name: table for name, table in vars(waiting).items() if isinstance(table, States)}


def enums(node: Any, name: str) -> Iterator[set[str]]:
    """Every enumeration of a field of that name."""
    if isinstance(node, dict):
        found = node.get(name)
        if isinstance(found, dict) and "enum" in found:
            yield set(found["enum"])
        for value in node.values():
            yield from enums(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from enums(value, name)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_state_means_one_thing(table: States) -> None:
    assert not table.success & table.pending
    assert not table.success & table.failure
    assert not table.pending & table.failure
    assert table.success
    assert table.failure


@pytest.mark.parametrize("states", [*enums(openapi(), "status")], ids=lambda states: " ".join(sorted(states)))
def test_every_documented_state_of_what_is_waited_for_is_in_a_table(states: set[str]) -> None:
    """Those of members, tasks, vaults and share offers are looked at, never waited for."""
    never_waited_for = (
        {"pending", "accepted", "rejected"},
        {"success", "skipped", "failed", "running", "timeout", "waiting"},
        {"available", "lock", "frozen", "deleting", "error"},
        {"available", "error", "protecting", "restoring", "removing"},
    )
    known = [table.success | table.pending | table.failure for table in TABLES.values()]
    assert any(states <= one for one in known) or any(states <= one for one in never_waited_for)


@given(st.text())
def test_a_state_that_no_table_knows_is_an_error_that_shows_it(state: str) -> None:
    for table in TABLES.values():
        if state not in table.success | table.pending | table.failure:
            with pytest.raises(UnknownState) as shown:
                table.verdict(state)
            assert repr(state) in shown.value.message


# -- pace -----------------------------------------------------------------------------------------------------------------


def looks(pace: Pace, until: float) -> list[float]:
    """When this pace looks, up to that many seconds."""
    times, elapsed = [], 0.0
    while (elapsed := elapsed + pace.next(elapsed)) < until:
        times.append(elapsed)
    return times


def test_an_image_whose_usual_time_is_known_is_found_after_few_looks() -> None:
    usual = [118.0, 120.0, 125.0, 130.0, 119.0]
    for actual in (115.0, 120.0, 126.0, 135.0):
        before = looks(Pace(usual, jitter=lambda: 0.0), actual)
        assert len(before) + 1 <= 3 + actual / 60


def test_news_is_never_older_than_a_tenth_of_the_time_passed_nor_a_minute() -> None:
    times = looks(Pace(), 7200)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap <= max(SHORTEST_BEAT, earlier / 10, 0) * 1.05 + 1e-6 for gap, earlier in zip(gaps, times, strict=False))
    assert max(gaps) <= LONGEST_BEAT * 1.05
    assert len(times) < 200


def test_two_hours_of_waiting_cost_less_than_a_look_and_a_half_a_minute() -> None:
    assert len(looks(Pace([120.0]), 7200)) < 180


@given(
    usual=st.lists(st.floats(min_value=-10, max_value=1e6), max_size=60),
    elapsed=st.floats(min_value=0, max_value=1e6),
    jitter=st.floats(min_value=0, max_value=1),
    progress=st.none() | st.floats(min_value=-1, max_value=2),
)
def test_the_next_look_is_always_ahead_and_waiting_never_stands_still(
    usual: list[float], elapsed: float, jitter: float, progress: float | None
) -> None:
    pace = Pace(usual, jitter=lambda: jitter)
    pace.learn(elapsed, progress)
    assert pace.next(elapsed) >= SHORTEST_BEAT / 2
    assert pace.next(elapsed) < float("inf")


def test_what_the_cloud_says_of_its_progress_replaces_the_guess() -> None:
    pace = Pace([10.0], jitter=lambda: 0.0)
    pace.learn(60.0, 0.5)
    assert pace.next(60.0) == pytest.approx(60.0)


@pytest.mark.parametrize("progress", [0.0, 0.01, 1.0, 1.5, -0.5])
def test_progress_that_tells_nothing_changes_nothing(progress: float) -> None:
    plain, told = Pace(jitter=lambda: 0.0), Pace(jitter=lambda: 0.0)
    told.learn(60.0, progress)
    assert told.next(60.0) == plain.next(60.0)


# -- wait -----------------------------------------------------------------------------------------------------------------


async def wait_for(clock: FakeClock, look: Callable[[], Awaitable[str | None]], minutes: float = 10, **more: Any) -> Any:
    return await wait(
        look,
        state=lambda seen: seen,
        states=waiting.IMAGE,
        what="The image x",
        deadline=clock.now() + timedelta(minutes=minutes),
        pace=Pace(),
        clock=clock,
        handle={"image": "x"},
        **more,
    )


def states_by_time(clock: FakeClock, *states: tuple[float, str | None]) -> Callable[[], Awaitable[str | None]]:
    began = clock.now()

    async def look() -> str | None:
        await asyncio.sleep(0)
        passed = (clock.now() - began).total_seconds()
        return [state for since, state in states if since <= passed][-1]

    return look


async def test_success_and_failure_are_told_apart() -> None:
    for last, good in (("active", True), ("killed", False)):
        clock = FakeClock()
        assert await wait_for(clock, states_by_time(clock, (0, None), (5, "queued"), (30, "saving"), (100, last))) == (last, good)


async def test_a_change_is_told_once() -> None:
    clock, told = FakeClock(), []
    look = states_by_time(clock, (0, "queued"), (30, "saving"), (300, "active"))
    await wait_for(clock, look, tell=lambda seen, _: told.append(seen))
    assert told == ["queued", "saving", "active"]


async def test_a_deadline_names_what_was_seen_last_and_the_handle_and_is_looked_at_itself() -> None:
    clock = FakeClock()
    with pytest.raises(StillRunning) as late:
        await wait_for(clock, states_by_time(clock, (0, "saving")))
    assert late.value.handle == {"image": "x"}
    assert "saving" in late.value.message
    clock = FakeClock()
    assert await wait_for(clock, states_by_time(clock, (0, "saving"), (600, "active"))) == ("active", True)


async def test_a_deadline_in_the_past_still_takes_one_look() -> None:
    clock = FakeClock()
    assert await wait_for(clock, states_by_time(clock, (0, "active")), minutes=-5) == ("active", True)


async def test_a_process_that_was_asleep_beyond_the_deadline_looks_before_it_gives_up() -> None:
    clock = FakeClock()
    began = clock.now()

    async def look() -> str:
        if clock.now() == began:
            clock.advance(100_000)
            return "saving"
        return "active"

    # The first look was before the sleep: the machine was suspended while it was under way.
    with pytest.raises(StillRunning):
        await wait_for(clock, look)


async def test_a_look_that_hangs_is_given_up_a_minute_after_the_deadline() -> None:
    clock = FakeClock()
    deadline = clock.now() + timedelta(minutes=10)
    given_up: list[bool] = []

    async def hang() -> str:
        try:
            await clock.sleep(100_000)
        except asyncio.CancelledError:
            given_up.append(True)
            raise
        return "active"

    with pytest.raises(StillRunning):
        await wait_for(clock, hang)
    await asyncio.sleep(0)
    assert clock.now() == deadline + timedelta(seconds=60)
    assert given_up == [True]


async def test_a_look_that_is_answered_after_the_deadline_but_within_the_minute_counts() -> None:
    clock = FakeClock()

    async def slow() -> str:
        await clock.sleep(10 * 60 + 50)
        return "active"

    assert await wait_for(clock, slow) == ("active", True)


async def test_news_ends_a_rest_early_and_never_moves_the_deadline() -> None:
    clock, rests = FakeClock(), []

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await clock.sleep(min(seconds, 1.0))

    begun = clock.now()
    with pytest.raises(StillRunning):
        await wait_for(clock, states_by_time(clock, (0, "saving")), rest=rest, minutes=2)
    assert len(rests) > 100
    assert clock.now() - begun == timedelta(minutes=2)


async def test_what_is_given_up_after_a_while_leaves_nothing_behind() -> None:
    clock = FakeClock()
    assert await within(clock, 5, clock.sleep(3)) is None
    assert await within(clock, 5, states_by_time(clock, (0, "active"))()) == "active"
    with pytest.raises(ZeroDivisionError):
        await within(clock, 5, failing())
    asking = asyncio.create_task(within(clock, 5, asyncio.Event().wait()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ours = {task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "_drive" not in repr(task)}
    assert ours == set()


async def failing() -> None:
    raise ZeroDivisionError


async def test_an_unknown_state_ends_the_wait_at_once() -> None:
    clock = FakeClock()
    with pytest.raises(UnknownState):
        await wait_for(clock, states_by_time(clock, (0, "saving"), (60, "reticulating")))


# -- trouble while looking --------------------------------------------------------------------------------------------------


def refusal(status: int, error_class: ErrorClass, kind: type[ApiError] = ApiError) -> ApiError:
    return kind(operation="getImage", status=status, code=None, words="", error_class=error_class)


PASSING = [
    NoAnswer("getImage", "silence", sent=True),
    BadAnswer("getImage", "half of it"),
    refusal(503, ErrorClass.UNCLEAR),
    refusal(429, ErrorClass.WAIT),
    refusal(400, ErrorClass.WAIT),
]
LASTING = [refusal(403, ErrorClass.CONFIGURE), refusal(400, ErrorClass.PERMANENT)]


async def raising(error: Exception) -> str:
    raise error


@pytest.mark.parametrize("error", PASSING, ids=repr)
async def test_trouble_that_passes_is_no_news(error: ApiError) -> None:
    assert passes(error)
    assert await quiet(raising(error)) is None


@pytest.mark.parametrize("error", LASTING, ids=repr)
async def test_a_refusal_that_lasts_is_raised(error: ApiError) -> None:
    assert not passes(error)
    with pytest.raises(ApiError):
        await quiet(raising(error))


async def test_what_is_not_there_yet_is_no_news() -> None:
    assert await quiet(raising(refusal(404, ErrorClass.PERMANENT, NotFound))) is None
