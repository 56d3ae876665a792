"""How many more nights fit into the image quota, and when nobody can tell."""

from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time

from backup_to_image.model import Quota
from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.steps.forecast import forecast

NOW = datetime(2026, 11, 25, 7, 0, tzinfo=UTC)


def nights(*counts: int) -> list[datetime]:
    """So many images of each of the last nights, the last one first."""
    return [NOW - timedelta(days=night, hours=8, minutes=one) for night, count in enumerate(counts) for one in range(count)]


def report(made: int, *, retired: int = 0, hours_ago: float = 6, policy: str = "shop", adopted: int = 0) -> NightReport:
    outcomes = ["made"] * made + ["adopted"] * adopted
    servers = [ServerNight.model_validate({"server_id": str(n), "server_name": "", "outcome": o}) for n, o in enumerate(outcomes)]
    return NightReport(
        policy=policy,
        night="2026-11-24",
        project_id="p",
        outcome="made",
        began_at=NOW - timedelta(hours=hours_ago + 1),
        ended_at=NOW - timedelta(hours=hours_ago),
        deadline=NOW,
        servers=tuple(servers),
        retired=tuple(f"{policy}-{one}" for one in range(retired)),
    )


def left(free: int, *counts: int, reports: tuple[NightReport, ...] = ()) -> int | None:
    return forecast(Quota(used=200 - free, limit=200), nights(*counts), reports, now=NOW).nights_left


def words(free: int, *counts: int, reports: tuple[NightReport, ...] = ()) -> str:
    return forecast(Quota(used=200 - free, limit=200), nights(*counts), reports, now=NOW).words


def test_a_fleet_that_deletes_nothing_fills_its_quota_at_the_pace_of_its_nights() -> None:
    assert left(95, *[10] * 14) == 9
    assert words(95, *[10] * 14) == "105 of 200 images, 10 more each night: full in 9 nights"


def test_images_of_old_nights_count_and_not_those_that_retention_still_takes() -> None:
    """Ten are made each night, and of every seven one is kept for weeks."""
    told = forecast(Quota(used=100, limit=200), nights(*[10] * 7, *[0, 0, 0, 10, 0, 0, 0] * 3), (), now=NOW)
    assert (told.per_night, told.nights_left) == (1.4, 70)


def test_last_nights_reports_know_what_retention_took() -> None:
    assert "not growing" in words(50, 10, 10, 10, reports=(report(10, retired=10),))
    assert left(50, 10, 10, 10, reports=(report(10, retired=0),)) == 5
    assert left(50, 10, 10, 10, reports=(report(6, retired=5), report(4, retired=0, policy="office"))) == 10


def test_the_same_images_tell_nothing_where_no_report_says_whether_any_were_deleted() -> None:
    """Three nights old and growing, or keeping three for years beside an old one: what is there looks alike."""
    told = forecast(Quota(used=100, limit=200), nights(*[10] * 3, *[0] * 20, 1), (), now=NOW)
    assert (told.per_night, told.nights_left) == (None, None)
    assert "unknown" in told.words


def test_a_report_of_another_night_or_of_a_night_run_again_is_not_believed() -> None:
    assert "not growing" not in words(95, *[10] * 14, reports=(report(10, retired=10, hours_ago=60),))
    assert left(95, *[10] * 14, reports=(report(0, adopted=10),)) == 9
    assert left(95, 10, *[0] * 13, 3, reports=(report(0, adopted=10),)) is None


def test_fewer_than_three_nights_tell_no_pace() -> None:
    assert "unknown" in words(95, 10, 10)
    assert left(95, 10, 10) is None


def test_without_images_or_without_new_ones_nothing_grows() -> None:
    assert "not growing" in words(200)
    assert "not growing" in words(100, *[0] * 30, 5)


@pytest.mark.parametrize("free", [0, -3])
def test_a_full_quota_is_full_whatever_the_pace(free: int) -> None:
    assert left(free, 10, 10) == 0
    assert words(free, 10, 10).endswith("full")


def test_a_next_night_that_does_not_fit_is_told() -> None:
    assert (left(9, *[10] * 14), left(10, *[10] * 14)) == (0, 1)
    assert "the next night does not fit" in words(9, *[10] * 14)


def test_no_limit_and_no_answer_are_told_apart() -> None:
    assert forecast(Quota(used=3, limit=None), nights(1, 1, 1), (), now=NOW).words == "3 images, no limit"
    unread = forecast(None, nights(1, 1, 1), (), now=NOW)
    assert (unread.used, unread.nights_left, "could not be read" in unread.words) == (None, None, True)


@freeze_time("2030-01-01")
def test_the_pace_is_counted_back_from_the_given_moment_and_no_other() -> None:
    assert left(95, *[10] * 14) == 9
