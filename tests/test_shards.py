"""How a night is shared out: every server by exactly one shard, whatever the lists show later; places and time are shared too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_to_image.model.night import FleetMember, NightPlan
from backup_to_image.model.policy import Policy
from backup_to_image.steps.fleet.shards import SharedOut, attempt_of, share_out, shares_note

DEADLINE = datetime(2026, 11, 26, 4, 30, tzinfo=UTC)


def policy(shards: int, at_once: int = 40, **keys: Any) -> Policy:
    return Policy.model_validate(
        {"name": "nightly", "servers": {"names": ["*"]}, "limits": {"shards": shards, "images_at_once": at_once}} | keys
    )


def backing_up(shards: int, at_once: int = 40) -> Policy:
    return policy(shards, at_once, backup={"make_one": "if_missing"})


def fleet(vaults: Iterable[str | None], action: Any = "make") -> NightPlan:
    """A server in each of these vaults."""
    members = [
        FleetMember(server_id=f"server-{number}", server_name="", action=action, reason="", vault_id=vault)
        for number, vault in enumerate(vaults)
    ]
    return NightPlan(policy="nightly", members=tuple(members))


def doing(shared: SharedOut, plan: NightPlan) -> Counter[int]:
    """How many servers each shard does, where each server is in exactly one part."""
    parts = {share.number: shared.part_of(plan, share).members for share in shared.shares(DEADLINE)}
    assert sorted(one.server_id for part in parts.values() for one in part) == sorted(one.server_id for one in plan.members)
    return Counter({number: len(part) for number, part in parts.items()})


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 20])
def test_every_server_is_done_by_exactly_one_shard_and_they_have_about_as_many(shards: int) -> None:
    plan = fleet([None] * 1000)
    done = doing(share_out(policy(shards), plan), plan)
    assert len(done) == shards
    assert max(done.values()) < 2 * 1000 / shards


def test_servers_of_one_vault_stay_together_where_the_night_makes_backups_and_the_shards_have_about_as_many() -> None:
    plan = fleet([f"vault-{number % 12}" for number in range(1200)] + ["big"] * 300)
    shared = share_out(backing_up(5), plan)
    numbers = {(member.vault_id, shared.number_for(member)) for member in plan.members}
    assert len(numbers) == 13
    assert sorted(doing(shared, plan).values()) == [300, 300, 300, 300, 300]


def test_who_does_a_server_stays_as_it_was_decided_although_it_has_its_backup_now_and_others_have_come_and_gone() -> None:
    plan = fleet(["a", "a", "b", "c", None, None], "back_up")
    shared = share_out(backing_up(3), plan)
    later = fleet(["a", "a", "b", "c", None, None, "new", "new"], "adopt")
    before = {member.server_id: shared.number_for(member) for member in plan.members}
    after = {member.server_id: shared.number_for(member) for member in later.members}
    assert after | before == after
    doing(shared, later)


@pytest.mark.parametrize(("shards", "at_once"), [(2, 40), (3, 40), (4, 7), (20, 3)])
def test_the_places_of_all_shards_are_those_of_the_night_and_none_has_none(shards: int, at_once: int) -> None:
    wanted = policy(shards, at_once)
    shared = share_out(wanted, fleet([None] * 100))
    places = [shared.narrowed(wanted, share, DEADLINE).limits.images_at_once for share in shared.shares(DEADLINE)]
    assert sum(places) == at_once
    assert min(places) >= 1


def test_a_shard_has_places_as_its_servers_are_many() -> None:
    shared = share_out(backing_up(3), fleet(["big"] * 256 + ["small"] * 20 + ["tiny"]))
    assert shared.places == (35, 4, 1)


def test_there_are_no_more_shards_than_there_is_to_share_out_and_a_note_says_why() -> None:
    one, two = fleet(["a"] * 50), fleet(["a"] * 50 + ["b"])
    assert (share_out(backing_up(4), one).of, share_out(backing_up(4), two).of) == (1, 2)
    assert "shards make no difference" in shares_note(backing_up(4), one)
    assert "2 of 4 shards have something to do" in shares_note(backing_up(4), two)
    assert [shares_note(policy(4), one), shares_note(backing_up(2), two), shares_note(backing_up(1), one)] == ["", "", ""]


def test_a_night_that_goes_on_keeps_its_shards_and_one_that_is_given_again_has_new_ones() -> None:
    plan = fleet([None] * 9)
    first, again = (share_out(policy(2), plan, attempt=attempt_of(DEADLINE)) for _ in range(2))
    later = share_out(policy(2), plan, attempt=attempt_of(DEADLINE + timedelta(hours=1)))
    assert first.shares(DEADLINE) == again.shares(DEADLINE)
    assert first.attempt != later.attempt


def test_a_shard_ends_with_the_whole_night_however_late_it_began() -> None:
    shared = share_out(policy(2), fleet([None] * 9))
    (share, _) = shared.shares(DEADLINE)
    assert shared.narrowed(policy(2), share, DEADLINE - timedelta(minutes=9)).limits.deadline == timedelta(minutes=9)
    assert shared.narrowed(policy(2), share, DEADLINE + timedelta(minutes=9)).limits.deadline == timedelta(0)
