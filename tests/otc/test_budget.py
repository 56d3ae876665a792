"""The request budget: what people are told while requests wait, and what they are spared."""

import asyncio
from datetime import timedelta

import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.otc import Cloud
from backup_to_image.otc.budget import Budget
from tests.otc.stage import Stage, reply

QUOTA = reply(200, {"quotas": {"resources": [{"type": "image", "used": 3, "quota": 50}]}})
THROTTLING = {"error_code": "APIGW.0308", "error_msg": "The throttling threshold\nhas been reached"}


class Told:
    """A budget and the lines that it told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.budget = Budget(self.clock)
        self.lines: list[str] = []
        self.budget.tell = self.lines.append

    async def ask(self, requests: int = 1) -> None:
        """So many requests at once, all of which go well."""

        async def one() -> None:
            await self.budget.take()
            self.budget.went_well()

        await asyncio.gather(*(one() for _ in range(requests)))


@pytest.fixture
def told() -> Told:
    return Told()


async def test_a_long_closing_is_told_once_with_its_reason_its_end_and_the_rate_afterwards(told: Told) -> None:
    told.budget.throttled(40, "ims to take requests again (IMG.9999: slowly)")
    await told.ask(30)
    why = "ims to take requests again (IMG.9999: slowly)"
    assert told.lines == [f"30 requests wait until 02:00:40 UTC for {why}, then at most 15.0 requests a second"]


async def test_the_end_of_more_than_a_minute_of_waiting_is_told_too(told: Told) -> None:
    told.budget.throttled(180, "ims to take requests again (IMG.9999)")
    await told.ask()
    assert len(told.lines) == 2
    assert told.lines[0].startswith("a request waits until 02:03:00 UTC for ims")
    assert told.lines[1].startswith("requests no longer wait, after 3 min; at most 15.")


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0])
async def test_a_few_seconds_are_not_worth_a_line(told: Told, seconds: float) -> None:
    told.budget.throttled(seconds, "ims")
    await told.ask(10)
    assert told.lines == []


async def test_a_closing_that_nobody_waits_for_is_not_told(told: Told) -> None:
    told.budget.throttled(200, "ims")
    await told.clock.sleep(201)
    await told.ask()
    assert told.lines == []


async def test_one_overload_that_many_requests_hear_of_is_one_line(told: Told) -> None:
    for _ in range(40):
        told.budget.throttled(20, "ims")
    await told.ask(40)
    assert len(told.lines) == 1


async def test_a_closing_that_grows_much_longer_is_told_anew(told: Told) -> None:
    told.budget.throttled(20, "ims, for a while")
    asking = asyncio.create_task(told.ask())
    await told.clock.sleep(10)
    told.budget.throttled(300, "ims, for long")
    await asking
    assert [line.partition(" for ")[0] for line in told.lines[:2]] == [
        "a request waits until 02:00:20 UTC",
        "a request waits until 02:05:10 UTC",
    ]
    assert "after 5 min" in told.lines[2]


async def test_each_closing_after_one_that_ended_well_is_told(told: Told) -> None:
    for _ in range(3):
        told.budget.throttled(20, "ims")
        await told.ask()
    assert len(told.lines) == 3


async def test_throttling_that_goes_on_is_told_ever_more_seldom(told: Told) -> None:
    """Nothing goes well in between, however many ask."""

    async def refused() -> None:
        while told.clock.now() < begun + timedelta(hours=2):
            await told.budget.take()
            told.budget.throttled(25, "ims")

    begun = told.clock.now()
    await asyncio.gather(*(refused() for _ in range(20)))
    assert 5 <= len(told.lines) <= 20


async def test_a_queue_that_nobody_throttled_is_told_only_where_it_is_long(told: Told) -> None:
    await told.ask(600)
    assert told.lines == []
    await told.ask(3000)
    assert 1 <= len(told.lines) <= 4
    assert "for its turn, at 30.0 requests a second" in told.lines[0]


async def test_the_clouds_code_words_and_retry_after_stand_in_the_line(stage: Stage, cloud: Cloud) -> None:
    lines: list[str] = []
    cloud.budget.tell = lines.append
    stage.says("getImageQuota", reply(429, THROTTLING, {"Retry-After": "75"}), QUOTA)
    await cloud.login()
    await cloud.images.quota()
    assert "for ims to take requests again (APIGW.0308: The throttling threshold has been reached; Retry-After 75 s)" in lines[0]


async def test_a_retry_after_of_an_hour_is_capped_and_the_line_says_so(stage: Stage, cloud: Cloud) -> None:
    lines: list[str] = []
    cloud.budget.tell = lines.append
    stage.says("getImageQuota", reply(429, THROTTLING, {"Retry-After": "3600"}), QUOTA)
    await cloud.login()
    begun = stage.clock.now()
    with pytest.raises(Exception, match=r"APIGW\.0308"):  # longer than this request has patience; the next one waits
        await cloud.images.quota()
    await cloud.images.quota()
    assert (stage.clock.now() - begun).total_seconds() == pytest.approx(300, abs=2)
    assert "Retry-After 3600 s, of which 300 s are kept" in lines[0]
    assert f"until {begun + timedelta(seconds=300):%H:%M:%S} UTC" in lines[0]
