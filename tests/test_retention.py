"""Deleting is harder than making: which images stay, whatever the rules say, and which go by which rule."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image.model import Image
from backup_to_image.model.policy import RetentionRules
from backup_to_image.steps.retention.rules import Candidate, Decision, decide

NOW = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def made(days: float, *tags: str, status: str = "active", of: str = "web", protected: bool = False, **more: Any) -> Candidate:
    """An image of a backup that is so many days old."""
    taken = more.pop("taken_at", NOW - timedelta(days=days))
    image = Image(
        id=f"{of}-{days:g}",
        name=f"{of} {days:g} days ago",
        status=status,
        owner="p",
        visibility="private",
        tags=dict.fromkeys(tags, "20261125"),
        protected=protected,
    )
    return Candidate(image=image, server_id=of, taken_at=taken, **more)


def decided(*images: Candidate, zone: ZoneInfo = BERLIN, gone: bool = False, **rules: Any) -> dict[str, Decision]:
    told = decide(images, RetentionRules.model_validate(rules), zone=zone, now=NOW, vanished={"web"} if gone else ())
    return {one.image_id: one for one in told}


def kept(*images: Candidate, **rules: Any) -> list[str]:
    return [ident for ident, one in decided(*images, **rules).items() if one.keep]


# -- what always stays --------------------------------------------------------------------------------------------------


def test_the_newest_good_image_of_every_server_stays_however_old_it_is() -> None:
    assert kept(made(900), made(1000), made(700, of="db"), max_age="1d") == ["db-700", "web-900"]


def test_the_newest_verified_image_stays_beside_the_newest() -> None:
    assert kept(made(1), made(2), made(3, "b2i-verified"), made(4, "b2i-verified")) == ["web-1", "web-3"]


@pytest.mark.parametrize(
    ("untouchable", "rule"),
    [
        (made(90, "b2i-hold"), "held"),
        (made(90, protected=True), "protected"),
        (made(90, shared=True), "shared"),
        (made(90, in_drill=True), "in a drill"),
        (made(90, status="saving"), "not active"),
        (made(90, status="killed"), "not active"),
    ],
)
def test_what_somebody_holds_shares_or_uses_is_untouched(untouchable: Candidate, rule: str) -> None:
    found = decided(made(1), made(2), untouchable)["web-90"]
    assert (found.keep, found.rule) == (True, rule)


def test_a_doubtful_image_counts_for_no_rule_but_stays_until_a_newer_one_is_good() -> None:
    assert kept(made(1, "b2i-doubtful"), made(2), made(3)) == ["web-1", "web-2"]
    assert kept(made(1), made(2, "b2i-doubtful"), made(3), keep_newest=2) == ["web-1", "web-3"]
    assert kept(made(1, "b2i-doubtful"), made(2, "b2i-doubtful")) == ["web-1", "web-2"]


def test_a_dead_newest_image_does_not_stand_for_the_good_one_before_it() -> None:
    assert kept(made(1, status="killed"), made(2), made(3)) == ["web-1", "web-2"]


# -- the rules ----------------------------------------------------------------------------------------------------------


def test_rules_add_up_and_each_decision_names_its_own() -> None:
    images = [made(days) for days in range(20)]
    found = decided(*images, keep_newest=2, max_age="3d", daily=5)
    assert [ident for ident, one in found.items() if one.keep] == ["web-0", "web-1", "web-2", "web-3", "web-4"]
    assert [one.rule for one in found.values()][:5] == ["newest good", "keep_newest 2", "max_age", "max_age", "daily 5"]
    assert found["web-5"].rule == "no rule keeps it, and 5 newer are good"


def test_grandfathers_are_the_newest_of_their_day_week_month_and_year() -> None:
    images = [made(days) for days in range(0, 800, 3)]
    stays = kept(*images, zone=ZoneInfo("UTC"), weekly=3, monthly=3, yearly=3)
    taken = [NOW - timedelta(days=int(ident.removeprefix("web-"))) for ident in stays]
    assert [f"{one:%Y-%m-%d}" for one in taken] == [
        "2026-11-25",  # the newest of all, of its week, month and year
        "2026-11-22",  # Sunday: the newest of the week before
        "2026-11-13",
        "2026-10-29",
        "2026-09-29",
        "2025-12-30",
        "2024-12-29",
    ]


def test_only_days_that_hold_an_image_count() -> None:
    assert kept(made(0), made(10), made(20), made(30), daily=3) == ["web-0", "web-10", "web-20"]


@pytest.mark.parametrize(("zone", "stays"), [("UTC", ["web-1"]), ("Europe/Berlin", ["web-1", "web-2"])])
def test_a_day_is_one_of_the_policys_time_zone(zone: str, stays: list[str]) -> None:
    late, early = datetime(2026, 11, 20, 23, 30, tzinfo=UTC), datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert kept(made(1, taken_at=late), made(2, taken_at=early), zone=ZoneInfo(zone), daily=2) == stays


@pytest.mark.parametrize("switch", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_the_days_on_which_clocks_are_put_forward_and_back_are_one_day_each(switch: datetime) -> None:
    hours = [made(hour, taken_at=switch + timedelta(hours=hour)) for hour in range(-26, 50)]
    stays = kept(*hours, daily=3)
    taken = {one.image.id: one.taken_at.astimezone(BERLIN) for one in hours}
    assert len({taken[ident].date() for ident in stays}) == 3
    assert {(taken[ident] + timedelta(hours=1)).date() - taken[ident].date() for ident in stays[1:]} == {timedelta(days=1)}


# -- servers that are gone ----------------------------------------------------------------------------------------------


def test_images_of_a_vanished_server_go_only_by_a_rule_that_names_them_and_the_newest_never() -> None:
    images = (made(100), made(130), made(160))
    assert len(kept(*images, gone=True, max_age="1d")) == 3
    assert len(kept(*images, gone=True, vanished={"keep_for": "200d"})) == 3
    assert kept(*images, gone=True, vanished={"keep_for": "90d"}) == ["web-100"]
    assert kept(*images, gone=False, vanished={"keep_for": "200d"}) == ["web-100"]


# -- whatever comes -----------------------------------------------------------------------------------------------------

_IMAGES = st.lists(
    st.builds(
        lambda days, tags, status, protected, shared, of: made(
            days / 4, *tags, status=status, of=of, protected=protected, shared=shared
        ),
        st.integers(0, 3000),
        st.sets(st.sampled_from(["b2i-verified", "b2i-doubtful", "b2i-hold"]), max_size=1),
        st.sampled_from(["active", "active", "active", "saving", "killed"]),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["web", "db"]),
    ),
    max_size=30,
    unique_by=lambda one: one.image.id,
)
_RULES = st.fixed_dictionaries(
    {"keep_newest": st.integers(1, 4)} | {rule: st.integers(0, 4) for rule in ("daily", "weekly", "monthly", "yearly")}
)


@given(_IMAGES, _RULES)
def test_nothing_that_must_stay_goes_and_every_image_has_a_decision(images: list[Candidate], rules: dict[str, int]) -> None:
    found = decided(*images, **rules)
    assert set(found) == {one.image.id for one in images}
    for one in images:
        if one.shared or one.image.protected or one.image.status != "active" or "b2i-hold" in one.image.tags:
            assert found[one.image.id].keep
    for server in ("web", "db"):
        for which in ("good", "verified"):
            those = [one for one in images if one.server_id == server and getattr(one, which)]
            if those:
                assert found[max(those, key=lambda one: (one.taken_at, one.image.id)).image.id].keep


@given(_IMAGES, _RULES)
def test_deciding_again_after_the_deletions_deletes_nothing_more(images: list[Candidate], rules: dict[str, int]) -> None:
    stays = set(kept(*images, **rules))
    assert set(kept(*(one for one in images if one.image.id in stays), **rules)) == stays


@given(_IMAGES, _RULES, st.sampled_from(["daily", "weekly", "monthly", "yearly", "keep_newest"]))
def test_one_more_of_any_rule_never_deletes_more(images: list[Candidate], rules: dict[str, int], rule: str) -> None:
    assert set(kept(*images, **rules)) <= set(kept(*images, **rules | {rule: rules[rule] + 1}))
