"""Images verified by drill: everybody has its turn, only what answered is marked, and nothing of a drill stays."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image.errors import StillRunning
from backup_to_image.model import Image
from backup_to_image.model.night import FleetMember, Verified
from backup_to_image.model.policy import VerifyRule
from backup_to_image.steps.fleet.verify import choose_sample, last_turns, verify_image
from tests.support.region import Asked, Killed, Region, launch_order

NIGHT = date(2026, 11, 25)
PROBES: list[dict[str, Any]] = [{"tcp": 2222}, {"console": "login:"}]
DRILL: dict[str, Any] = {
    "name": "shop-drill",
    "network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]},
    "public_ip": {},
}


# -- whose turn it is ---------------------------------------------------------------------------------------------------


def members(names: Iterable[str], action: Any = "make") -> list[FleetMember]:
    return [FleetMember(server_id=name, server_name=name, action=action, reason="") for name in names]


def verified_on(days: Mapping[str, date]) -> list[Image]:
    return [
        Image(
            id=f"of {server}",
            name=server,
            status="active",
            owner="p",
            visibility="private",
            tags={"b2i-source": server, "b2i-verified": f"{day:%Y%m%d}"},
        )
        for server, day in days.items()
    ]


def sample(names: Iterable[str], size: int, *, night: date = NIGHT, **known: Any) -> tuple[str, ...]:
    rule = VerifyRule(sample=size, launch="drill.yaml")
    return choose_sample(members(names), verified_on(known.get("verified", {})), rule, night, turns=known.get("turns"))


def days_ago(days: int) -> date:
    return NIGHT - timedelta(days=days)


def test_those_that_were_never_verified_go_first_then_those_whose_last_time_is_longest_ago() -> None:
    verified = {"a": days_ago(1), "b": days_ago(9), "c": days_ago(4)}
    assert sample("abcd", 4, verified=verified) == ("d", "b", "c", "a")
    assert sample("abcd", 2, verified=verified) == ("d", "b")


def test_the_newest_verified_image_of_a_server_counts() -> None:
    images = [*verified_on({"a": days_ago(9), "b": days_ago(5)}), *verified_on({"a": days_ago(1)})]
    rule = VerifyRule(sample=1, launch="drill.yaml")
    assert choose_sample(members("ab"), images, rule, NIGHT) == ("b",)


@given(
    st.sets(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=20), st.integers(1, 6), st.sets(st.integers(0, 19))
)
def test_every_server_has_its_turn_though_some_never_come_up(names: set[str], size: int, broken: set[int]) -> None:
    """Night after night, where the drills of some fail each time."""
    servers = sorted(names)
    failing = {servers[number] for number in broken if number < len(servers)}
    verified: dict[str, date] = {}
    turns: dict[str, date] = {}
    nights = -(-len(servers) // size)
    for number in range(nights):
        night = NIGHT + timedelta(days=number)
        chosen = sample(servers, size, night=night, verified=verified, turns=turns)
        assert chosen == sample(reversed(servers), size, night=night, verified=verified, turns=turns)
        assert len(set(chosen)) == len(chosen) == min(size, len(servers))
        turns |= dict.fromkeys(chosen, night)
        verified |= {one: night for one in chosen if one not in failing}
    assert set(turns) == set(servers)


@given(st.integers(1, 12), st.integers(1, 12))
def test_without_anything_known_the_nights_still_take_turns(servers: int, size: int) -> None:
    names = [f"{number:02}" for number in range(servers)]
    nights = [
        set(sample(names, size, night=NIGHT + timedelta(days=number))) for number in range(-(-servers // min(size, servers)))
    ]
    assert set.union(*nights) == set(names) or size >= servers


def test_the_same_night_again_takes_what_is_left_of_its_sample() -> None:
    first = sample("abcdef", 3)
    done, begun = first[0], first[1]
    again = sample("abcdef", 3, verified={done: NIGHT}, turns={done: NIGHT, begun: NIGHT})
    assert (len(again), again[0], done in again) == (2, begun, False)
    assert sample("abcdef", 3, verified=dict.fromkeys(first, NIGHT)) == ()


def test_servers_that_get_no_image_this_night_have_no_turn() -> None:
    rule = VerifyRule(sample=3, launch="drill.yaml")
    fleet = [*members("a", "skip"), *members("b", "refuse"), *members("c", "adopt"), *members("d", "back_up")]
    assert set(choose_sample(fleet, [], rule, NIGHT)) == {"c", "d"}
    assert choose_sample(members("a", "skip"), [], rule, NIGHT) == ()


# -- a drill ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """An image of ours, of shop-web-01."""
    region.listens = True
    found: str = region.make_image_by_hand(backup)["id"]
    mine = region.emulator.cloud.get("image", found) or {}
    region.change("image", mine, tags={"b2i-source": region.named("server", "shop-web-01")["id"]})
    region.forget()
    return found


async def drill(region: Region, image: str, *, minutes: float = 60, night: date | None = NIGHT, **changes: Any) -> Verified:
    async with region.context() as ctx:
        order = launch_order(region, **(DRILL | {"probes": PROBES} | changes))
        found = await ctx.cloud.images.get(image)
        return await verify_image(found, order, ctx, deadline=ctx.deadline(timedelta(minutes=minutes)), night=night)


def tags(region: Region, image: str) -> dict[str, str]:
    return (region.emulator.cloud.get("image", image) or {})["tags"]


def left(region: Region) -> list[str]:
    """What is there of drills: servers, their disks, addresses."""
    servers = [one["id"] for one in region.launched()]
    disks = [one["id"] for one in region.things("volume") if one["name"].startswith("shop-drill")]
    return [*servers, *disks, *(one["id"] for one in region.things("publicip"))]


def orders(region: Region) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in region.journal.glob("order-*.json")]


def launches(region: Region) -> int:
    return len([one for one in region.sent("createServers") if one.writes])


def test_an_image_whose_drill_answers_is_marked_and_nothing_is_left(region: Region, image: str) -> None:
    told = asyncio.run(drill(region, image))
    assert (told.ok, told.reason, [probe.ok for probe in told.probes]) == (True, "", [True, True])
    assert tags(region, image)["b2i-verified"] == "20261125"
    assert (left(region), orders(region), launches(region)) == ([], [], 1)


def test_a_drills_server_is_known_as_one_by_its_name_and_its_mark(region: Region, image: str) -> None:
    told = asyncio.run(drill(region, image))
    (asked,) = [one.body["server"] for one in region.sent("createServers") if one.writes]
    assert asked["name"] == f"shop-drill-drill-{told.launch_id}"
    assert f"b2i-drill.{told.launch_id}" in asked["tags"]
    assert not [tag for tag in asked["tags"] if tag.startswith("b2i-launch")]


SILENT: list[dict[str, Any]] = [{"tcp": 2223, "timeout": "20s"}, {"console": "login:"}]


def test_a_silent_probe_makes_the_image_doubtful_and_leaves_nothing(region: Region, image: str) -> None:
    told = asyncio.run(drill(region, image, probes=SILENT))
    assert (told.ok, [probe.ok for probe in told.probes]) == (False, [False, True])
    assert "2223" in told.reason
    assert "marked as doubtful" in told.reason
    marks = {key: value for key, value in tags(region, image).items() if key != "b2i-source"}
    assert (marks, left(region), orders(region)) == ({"b2i-doubtful": "drill-20261125"}, [], [])


def test_a_later_drill_that_is_answered_clears_the_doubt_of_an_earlier_one(region: Region, image: str) -> None:
    assert not asyncio.run(drill(region, image, probes=SILENT)).ok
    assert asyncio.run(drill(region, image, night=NIGHT + timedelta(days=7))).ok
    marks = {key: value for key, value in tags(region, image).items() if key != "b2i-source"}
    assert marks == {"b2i-verified": "20261202"}


def test_an_image_that_was_verified_once_is_not_doubted(region: Region, image: str) -> None:
    assert asyncio.run(drill(region, image)).ok
    assert not asyncio.run(drill(region, image, probes=SILENT, night=NIGHT + timedelta(days=7))).ok
    marks = {key: value for key, value in tags(region, image).items() if key != "b2i-source"}
    assert marks == {"b2i-verified": "20261125"}


def test_a_doubt_that_cannot_be_marked_is_told(region: Region, image: str) -> None:
    region.arm("forbidden", operation="putImageTag", times=None)
    told = asyncio.run(drill(region, image, probes=SILENT))
    assert "could not be marked as doubtful" in told.reason


def test_a_drill_without_probes_is_told_as_not_probed_and_marks_nothing(region: Region, image: str) -> None:
    told = asyncio.run(drill(region, image, probes=[]))
    assert (told.ok, told.reason.partition(":")[0]) == (False, "not probed")
    assert (set(tags(region, image)), left(region)) == ({"b2i-source"}, [])


def test_an_image_that_somebody_else_made_is_never_marked(region: Region, image: str) -> None:
    region.change("image", region.emulator.cloud.get("image", image) or {}, tags={})
    told = asyncio.run(drill(region, image))
    assert (told.ok, tags(region, image)) == (True, {})
    assert "somebody else" in told.reason


def test_a_doubtful_image_stays_doubtful(region: Region, image: str) -> None:
    mine = region.emulator.cloud.get("image", image) or {}
    region.change("image", mine, tags=mine["tags"] | {"b2i-doubtful": "20261125"})
    told = asyncio.run(drill(region, image))
    assert (told.ok, "b2i-verified" in tags(region, image)) == (False, False)
    assert "doubtful" in told.reason


def test_a_mark_that_cannot_be_set_is_told(region: Region, image: str) -> None:
    region.arm("forbidden", operation="putImageTag", times=None)
    told = asyncio.run(drill(region, image))
    assert (told.ok, left(region)) == (False, [])
    assert "could not be marked" in told.reason


@pytest.mark.parametrize(
    ("network", "seen"),
    [
        ({"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["drill-sg"]}, "subnet shop-net"),
        ({"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["shop-sg"]}, "security group shop-sg"),
    ],
    ids=["subnet", "security group"],
)
def test_no_drill_begins_where_its_source_is(region: Region, image: str, network: dict[str, Any], seen: str) -> None:
    told = asyncio.run(drill(region, image, network=network))
    assert (told.ok, launches(region), left(region), orders(region)) == (False, 0, [], [])
    assert f"shop-web-01 itself, which the drill is a copy of, is in {seen}" in told.reason


def test_a_source_that_is_gone_is_in_nobodys_way(region: Region, image: str) -> None:
    region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])
    assert asyncio.run(drill(region, image, flavor=region.account["flavor"])).ok


@pytest.mark.parametrize(
    ("fault", "how", "said"),
    [
        ("job-fails", {"code": "Ecs.0319", "reason": "no capacity"}, "no capacity"),
        ("quota-gone", {}, "Ecs.0001"),
        ("leftovers", {"leave": ["data_disks"]}, "Left behind by it, as it seems: disk shop-drill"),
    ],
)
def test_a_launch_that_fails_is_told_in_the_clouds_words(
    region: Region, image: str, fault: str, how: dict[str, Any], said: str
) -> None:
    region.arm(fault, operation="createServers", skip=1, **how)  # after the cloud's dry run
    told = asyncio.run(drill(region, image))
    assert (told.ok, region.launched(), orders(region)) == (False, [], [])
    assert said in told.reason


def test_a_lost_answer_to_the_launch_leaves_nothing_either(region: Region, image: str) -> None:
    region.arm("lost-answer", operation="createServers", skip=1)
    assert asyncio.run(drill(region, image)).ok
    assert (left(region), launches(region)) == ([], 1)


def test_a_launch_that_is_not_there_at_the_deadline_is_taken_down_when_it_comes(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="createServers", skip=1, seconds=600)
    told = asyncio.run(drill(region, image, minutes=2))
    assert (told.ok, left(region), launches(region), orders(region)) == (False, [], 1, [])


def test_what_a_teardown_leaves_is_told_and_kept_for_the_reconciler(region: Region, image: str) -> None:
    region.arm("forbidden", operation="deleteServers", times=None)
    told = asyncio.run(drill(region, image))
    assert told.ok, "the image itself is proven"
    assert "left behind by its drill" in told.reason
    assert f"b2i teardown {told.launch_id}" in told.reason
    assert len(region.launched()) == 1
    region.emulator.faults.disarm()
    ended = region.b2i("reconcile")
    assert {one["outcome"] for one in ended.told["orders"]} == {"finished"}
    assert (left(region), orders(region)) == ([], [])


@pytest.mark.parametrize("operation", ["createServers", "getEcsJob", "getConsoleOutput", "putImageTag", "deleteServers"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_drill_that_is_killed_is_gone_on_with_by_the_next_run(region: Region, image: str, operation: str, after: bool) -> None:
    def kill(asked: Asked) -> None:
        if asked.operation == operation and (asked.writes or operation in {"getEcsJob", "getConsoleOutput"}):
            raise Killed(operation)

    watchers = region.answered if after else region.watchers
    watchers.append(kill)
    with pytest.raises(Killed):
        asyncio.run(drill(region, image))
    watchers.remove(kill)
    told = asyncio.run(drill(region, image))
    assert (told.ok, left(region), orders(region)) == (True, [], [])
    assert launches(region) <= 2


def test_a_killed_drill_that_nobody_goes_on_with_is_taken_down_by_the_reconciler_after_its_deadline(
    region: Region, image: str
) -> None:
    with region.killing("getConsoleOutput"):
        asyncio.run(drill(region, image))
    (server,) = region.launched()
    early = region.b2i("reconcile")
    assert [(one["verb"], one["outcome"]) for one in early.told["orders"]] == [("drill", "running")]
    assert [one["id"] for one in region.launched()] == [server["id"]]
    region.clock.advance(3600)
    ended = region.b2i("reconcile")
    assert [(one["verb"], one["outcome"]) for one in ended.told["orders"]] == [("drill", "finished")]
    assert (left(region), orders(region)) == ([], [])


@pytest.mark.parametrize("when", ["while it is launched", "while it is probed", "while it is taken down"])
def test_whoever_stops_a_drill_gets_its_server_taken_down_first(region: Region, image: str, when: str) -> None:
    probe = {"console": "login:"} if when == "while it is taken down" else {"tcp": 2223, "timeout": "10m"}
    sign = {"while it is launched": "getEcsJob", "while it is taken down": "deleteServers"}.get(when)

    async def stopped() -> None:
        async with region.context() as ctx:
            found = await ctx.cloud.images.get(image)
            order = launch_order(region, **(DRILL | {"probes": [probe]}))
            work = asyncio.create_task(verify_image(found, order, ctx, deadline=ctx.deadline(timedelta(hours=1))))
            while not (region.sent(sign) if sign else [one for one in region.launched() if one["status"] == "ACTIVE"]):
                await ctx.clock.sleep(1)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    asyncio.run(stopped())
    assert (left(region), "b2i-verified" in tags(region, image)) == ([], when == "while it is taken down")


def test_two_drills_of_one_image_at_once_take_turns(region: Region, image: str) -> None:
    async def both() -> tuple[Verified, Verified]:
        return await asyncio.gather(drill(region, image), drill(region, image))

    assert [one.ok for one in asyncio.run(both())] == [True, True]
    assert left(region) == []


def test_drills_of_several_images_at_once_do_not_meet(region: Region, image: str) -> None:
    other = region.make_image_by_hand(region.account["backups"]["available"][1])["id"]

    async def both() -> tuple[Verified, Verified]:
        return await asyncio.gather(drill(region, image), drill(region, other))

    first, second = asyncio.run(both())
    assert (first.ok, second.ok, first.launch_id != second.launch_id, left(region)) == (True, True, True, [])


def test_a_drill_that_another_run_is_at_is_waited_for_until_the_deadline(region: Region, image: str) -> None:
    async def both() -> tuple[Any, Any]:
        slow = drill(region, image, probes=[{"tcp": 2223, "timeout": "10m"}])
        return await asyncio.gather(slow, drill(region, image, minutes=2), return_exceptions=True)

    first, second = asyncio.run(both())
    assert (first.ok, type(second)) == (False, StillRunning)


def test_each_drill_notes_whose_turn_it_was_though_it_failed(region: Region, image: str) -> None:
    asyncio.run(drill(region, image, probes=[{"tcp": 2223, "timeout": "20s"}]))

    async def turns() -> dict[str, date]:
        async with region.context() as ctx:
            return await last_turns(ctx)

    assert asyncio.run(turns()) == {region.named("server", "shop-web-01")["id"]: NIGHT}


def test_an_image_is_drilled_anew_each_time(region: Region, image: str) -> None:
    first, second = asyncio.run(drill(region, image)), asyncio.run(drill(region, image, night=NIGHT + timedelta(days=1)))
    assert (first.ok, second.ok, launches(region)) == (True, True, 2)
    assert first.launch_id != second.launch_id
    assert tags(region, image)["b2i-verified"] == "20261126"
