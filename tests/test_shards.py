"""How a night is shared out: every server by exactly one shard, the same in every night; places and time are shared too."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_to_image.errors import UsageError
from backup_to_image.model.policy import Policy
from backup_to_image.steps.shards import Share, check_shareable

DEADLINE = datetime(2026, 11, 26, 4, 30, tzinfo=UTC)


def policy(shards: int, at_once: int = 40, **keys: Any) -> Policy:
    return Policy.model_validate(
        {"name": "nightly", "servers": {"names": ["*"]}, "limits": {"shards": shards, "images_at_once": at_once}} | keys
    )


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 20])
def test_every_server_is_done_by_exactly_one_shard_and_they_have_about_as_many(shards: int) -> None:
    shares = Share.all_of(policy(shards), DEADLINE)
    done = Counter[int]()
    for number in range(1000):
        (one,) = [share.number for share in shares if share.has(f"server-{number}")]
        done[one] += 1
    assert len(done) == shards
    assert max(done.values()) < 2 * 1000 / shards


@pytest.mark.parametrize(("shards", "at_once"), [(2, 40), (3, 40), (4, 7), (20, 3)])
def test_the_places_of_all_shards_are_those_of_the_night_and_none_has_none(shards: int, at_once: int) -> None:
    shares = Share.all_of(policy(shards, at_once), DEADLINE)
    places = [share.narrowed(policy(shards, at_once), DEADLINE).limits.images_at_once for share in shares]
    assert sum(places) == at_once
    assert min(places) >= 1


def test_a_night_that_goes_on_keeps_its_shards_and_one_that_is_given_again_has_new_ones() -> None:
    first, again = Share.all_of(policy(2), DEADLINE), Share.all_of(policy(2), DEADLINE)
    later = Share.all_of(policy(2), DEADLINE + timedelta(hours=1))
    assert first == again
    assert {share.attempt for share in first}.isdisjoint(share.attempt for share in later)


def test_a_shard_ends_with_the_whole_night_however_late_it_began() -> None:
    (share, _) = Share.all_of(policy(2), DEADLINE)
    assert share.narrowed(policy(2), DEADLINE - timedelta(minutes=9)).limits.deadline == timedelta(minutes=9)
    assert share.narrowed(policy(2), DEADLINE + timedelta(minutes=9)).limits.deadline == timedelta(0)


@pytest.mark.parametrize(
    ("keys", "word"),
    [({"backup": {"make_one": "if_missing"}}, "backup.make_one"), ({"retention": {"apply": True}}, "retention.apply")],
)
def test_what_only_one_run_can_do_is_not_shared_out(keys: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        check_shareable(policy(2, **keys))
