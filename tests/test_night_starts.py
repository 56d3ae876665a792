"""Which night a start belongs to, through both switches of the clocks: each local night begins once, whatever the zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time

from backup_to_image.model.policy import Policy
from backup_to_image.steps.fleet.night import night_of
from deployments.nights import start_mistake
from tasks.nights import newest_start, starts

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["Europe/Berlin", "Europe/Lisbon", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"]


def policy(schedule: str | None = "30 22 * * *", timezone: str = "Europe/Berlin") -> Policy:
    return Policy.model_validate(
        {"name": "nightly", "schedule": schedule, "timezone": timezone, "servers": {"names": ["shop-*"]}}
    )


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["30 22 * * *", "0 0 * * *", "30 0 * * *", "0 4 * * *", "15 18 * * *"])
async def test_through_two_years_of_switched_clocks_each_local_night_begins_once_and_at_its_hour(zone: str, cron: str) -> None:
    begun = await starts(cron, zone, datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2028, 1, 1, 12, tzinfo=UTC))
    local = [one.astimezone(ZoneInfo(zone)) for one in begun]
    nights = [night_of(one, policy(cron, zone)) for one in begun]
    assert nights == [nights[0] + timedelta(days=number) for number in range(len(nights))]
    assert len(nights) in {730, 731}
    minute, hour = map(int, cron.split()[:2])
    assert {(one.hour, one.minute) for one in local} == {(hour, minute)}


@pytest.mark.parametrize(
    ("start", "night"),
    [
        ("2027-03-27T21:30:00+00:00", "2027-03-27"),  # 22:30 before the clocks go forward
        ("2027-03-28T20:30:00+00:00", "2027-03-28"),  # 22:30 after it
        ("2026-10-24T20:30:00+00:00", "2026-10-24"),
        ("2026-10-25T21:30:00+00:00", "2026-10-25"),  # after the clocks went back
        ("2026-10-24T22:30:00+00:00", "2026-10-25"),  # 00:30 of the long day
    ],
)
def test_a_start_belongs_to_the_local_date_on_which_it_was_to_begin(start: str, night: str) -> None:
    assert night_of(datetime.fromisoformat(start), policy()) == date.fromisoformat(night)


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-10-25T22:29:00+01:00", "2026-10-24"),
        ("2026-10-25T22:31:00+01:00", "2026-10-25"),
        ("2026-10-28T09:00:00+01:00", "2026-10-27"),
    ],
)
async def test_of_several_missed_nights_the_newest_is_done_across_the_switch_to_winter(now: str, newest: str) -> None:
    with freeze_time(now, real_asyncio=True):
        begun = await newest_start(policy(), datetime(2026, 10, 24, 22, 30, tzinfo=BERLIN), datetime.now(UTC))
    assert night_of(begun, policy()) == date.fromisoformat(newest)


async def test_across_the_switch_to_summer_a_night_that_begins_late_is_still_the_same() -> None:
    with freeze_time("2027-03-28T09:00:00+02:00", real_asyncio=True):
        begun = await newest_start(policy(), datetime(2027, 3, 27, 22, 30, tzinfo=BERLIN), datetime.now(UTC))
    assert night_of(begun, policy()) == date(2027, 3, 27)


async def test_without_a_schedule_and_for_a_run_by_hand_the_night_is_that_of_its_own_start() -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=BERLIN)
    assert await newest_start(policy(None), noon, noon + timedelta(days=3)) == noon
    assert await newest_start(policy(), noon, noon + timedelta(minutes=5)) == noon


@pytest.mark.parametrize(
    ("cron", "zone", "word"),
    [
        ("30 2 * * *", "Europe/Berlin", "02:30"),
        ("0 1 * * *", "UTC", "01:00"),
        ("59 3 * * 1-5", "Europe/Berlin", "03:59"),
        ("*/10 * * * *", "Europe/Berlin", "01:00"),
        ("0 22,3 * * *", "Europe/Berlin", "03:00"),
        ("0 0 * * *", "America/Santiago", "00:00"),  # where the clocks are switched at midnight
        ("10 o'clock", "UTC", "cron"),
    ],
)
async def test_a_schedule_in_hours_that_a_switch_of_the_clocks_skips_or_doubles_is_refused(
    cron: str, zone: str, word: str
) -> None:
    told = await start_mistake(policy(cron, zone), now=datetime(2026, 11, 25, tzinfo=UTC))
    assert word in told


@pytest.mark.parametrize(
    ("cron", "zone"), [("30 22 * * *", "Europe/Berlin"), ("0 4 * * *", "UTC"), ("59 0 1 * *", "UTC"), (None, "UTC")]
)
async def test_other_schedules_are_taken(cron: str | None, zone: str) -> None:
    assert await start_mistake(policy(cron, zone), now=datetime(2026, 11, 25, tzinfo=UTC)) == ""
