"""A night that several workers share keeps what a night of one run promises: once each, nothing lost, never over a limit."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_to_image.model.night import NightReport
from backup_to_image.steps.fleet.shards import Share
from backup_to_image.steps.policy_file import read_policy
from tests.support.crew import Crew
from tests.support.region import Asked, Killed, Region

SERVERS = {"names": ["shop-web-0?", "office-ad-0?", "office-wiki-01", "ledger-0?"]}
"""Nine servers of three vaults."""
DRILL: dict[str, Any] = {
    "name": "drill",
    "flavor": "same-as-source",
    "network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]},
    "probes": [{"tcp": 2222}],
}
KEEP_ONE = {"apply": True, "keep_newest": 1, "max_deletions": "100%"}


def crew(region: Region, *, shards: int = 2, at_once: int = 4, how: dict[str, Any] | None = None, **keys: Any) -> Crew:
    told = {"name": "nightly", "servers": SERVERS, "limits": {"shards": shards, "images_at_once": at_once}} | keys
    file: Path = region.folder / "nightly.yaml"
    file.write_text(yaml.safe_dump(told))
    return Crew(region, read_policy(file), **(how or {}))


async def night(one: Crew) -> NightReport:
    async with one.at_work():
        return await one.night()


async def nights(region: Region, count: int, **keys: Any) -> list[NightReport]:
    """So many nights, a day apart."""
    ended = []
    for _ in range(count):
        ended.append(await night(crew(region, **keys)))
        region.clock.advance(24 * 3600)
    return ended


def outcomes(report: NightReport) -> Counter[str]:
    return Counter(one.outcome for one in report.servers)


def ours(region: Region) -> Counter[str]:
    """How many images of ours each server has."""
    return Counter(image["tags"]["b2i-source"] for image in region.things("image") if "b2i-source" in image["tags"])


def backup_runs(region: Region) -> list[tuple[str, int]]:
    """The backup runs that were asked for and granted: vault, and how many servers."""
    asked = [one for one in region.sent("createCheckpoint") if one.status == 200]
    return [(one.body["checkpoint"]["vault_id"], len(one.body["checkpoint"]["parameters"]["resources"])) for one in asked]


def most_at_once(region: Region, operation: str, counted: Callable[[], int]) -> list[int]:
    """How many things there were whenever one more was asked for; grows while the night runs."""
    counts: list[int] = []

    def count(asked: Asked) -> None:
        if asked.operation == operation and asked.writes:
            counts.append(counted())

    region.answered.append(count)
    return counts


# -- who does which servers ---------------------------------------------------------------------------------------------


async def test_every_server_is_done_by_one_shard_and_all_are_in_one_report(region: Region) -> None:
    counts = most_at_once(
        region, "createWholeImage", lambda: sum(one["status"] in {"queued", "saving"} for one in region.things("image"))
    )
    one = crew(region)
    report = await night(one)
    assert (report.outcome, outcomes(report), one.started) == ("made", {"made": 9}, [1, 2])
    assert set(ours(region).values()) == {1}
    assert max(counts) <= 4, "the places of all shards are those of the night"


async def test_servers_of_one_vault_are_backed_up_by_one_run_although_the_night_is_shared(region: Region) -> None:
    report = await night(crew(region, shards=3, backup={"make_one": "always"}))
    assert (report.outcome, outcomes(report)) == ("made", {"made": 9})
    runs = backup_runs(region)
    assert len({vault for vault, _ in runs}) == len(runs) == 3
    assert sum(servers for _, servers in runs) == 9


async def test_where_one_vault_holds_all_servers_the_report_says_that_shards_make_no_difference(region: Region) -> None:
    one = crew(region, servers={"names": ["shop-web-0?"]}, backup={"make_one": "if_missing"})
    report = await night(one)
    assert (outcomes(report), one.started) == ({"made": 4}, [1])
    (note,) = report.notes
    assert "shards make no difference" in note
    assert f"warning: {note}" in one.lines


def kill_once(region: Region, operation: str, *, skip: int) -> None:
    """Whoever sends this request after so many others dies of it."""
    left = skip

    def kill(asked: Asked) -> None:
        nonlocal left
        if asked.operation == operation:
            left -= 1
            if left == -1:
                raise Killed(operation)

    region.watchers.append(kill)


@pytest.mark.parametrize(("operation", "skip"), [("createWholeImage", 1), ("listBackups", 6), ("createCheckpoint", 1)])
async def test_a_shard_that_is_killed_and_brought_back_backs_nobody_up_twice(region: Region, operation: str, skip: int) -> None:
    one = crew(region, backup={"make_one": "always"})
    one.instead = dict.fromkeys((1, 2), one.do_again_when_killed)
    kill_once(region, operation, skip=skip)
    report = await night(one)
    assert one.killed == 1
    assert outcomes(report)["made"] + outcomes(report)["adopted"] == len(report.servers) == 9
    assert sum(servers for _, servers in backup_runs(region)) == 9
    assert set(ours(region).values()) == {1}


async def test_a_night_whose_own_run_dies_goes_on_with_the_shards_as_they_were_shared_out(region: Region) -> None:
    """Meanwhile the lists have changed: what was to be backed up has its backup and its image."""
    one = crew(region, backup={"make_one": "if_missing", "newest_within": "10m"})
    async with one.at_work():
        first = asyncio.ensure_future(one.night())
        await until(
            lambda: any(image["status"] == "active" and "b2i-source" in image["tags"] for image in region.things("image"))
        )
        first.cancel()
        await asyncio.wait([first])
        report = await one.night()
    assert one.started == [1, 2], "none is started twice"
    assert outcomes(report)["made"] == len(report.servers) == 9
    assert sum(servers for _, servers in backup_runs(region)) == 9


async def until(there: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if there():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


# -- a shard that ends, or is never begun -------------------------------------------------------------------------------


async def refuses(share: Share) -> None:
    raise ValueError("the vault of this shard has gone to the seaside")


async def test_a_shard_that_ends_without_a_report_is_told_at_once_with_its_own_reason(region: Region) -> None:
    one = crew(region, how={"instead": {2: refuses}}, failed_when={"more_than": 9})
    began = region.clock.now()
    report = await night(one)
    assert region.clock.now() - began < timedelta(hours=1), "not at the deadline, hours later"
    failed = report.with_outcome("failed")
    assert (report.outcome, len(failed) + len(report.with_outcome("made"))) == ("partly", 9)
    assert 0 < len(failed) < 9
    assert {told.code for told in failed} == {"b2i.shard-ended"}
    assert all("gone to the seaside" in told.reason and "The same night again" in told.action for told in failed)
    (line,) = [line for line in one.lines if "seaside" in line]
    assert line.startswith("warning: nightly: shard 2 of 2 has ended without a report")


async def test_a_shard_that_nobody_begins_is_told_once_after_some_minutes_and_in_the_report_at_the_deadline(
    region: Region,
) -> None:
    one = crew(region, how={"idle": [2]}, failed_when={"more_than": 9})
    began = region.clock.now()
    report = await night(one)
    (line,) = [line for line in one.lines if "shard 2 of 2" in line]
    assert "has not begun for 3 min" in line
    assert "Start a worker." in line
    assert region.clock.now() - began >= timedelta(hours=6)
    failed = report.with_outcome("failed")
    assert {told.code for told in failed} == {"b2i.shard-silent"}
    assert all("no worker has begun it" in told.reason and "Start a worker." in told.action for told in failed)


async def test_a_shard_that_is_begun_again_while_its_night_waits_for_others_is_waited_for(region: Region) -> None:
    one = crew(region, how={"instead": {2: refuses}})
    async with one.at_work():
        whole = asyncio.ensure_future(one.night())
        await until(lambda: any("seaside" in line for line in one.lines))
        one.instead = {}
        one.runs[2] = asyncio.ensure_future(one.do(one.shares[2]))
        report = await whole
    assert outcomes(report) == {"made": 9}


async def test_a_worker_with_a_journal_of_its_own_is_noticed_at_once(region: Region) -> None:
    one = crew(region, how={"journals": {2: "elsewhere"}}, failed_when={"more_than": 9})
    report = await night(one)
    failed = report.with_outcome("failed")
    assert 0 < len(failed) < 9
    assert all("the same journal" in told.reason for told in failed)


async def test_a_night_that_was_stopped_with_its_shards_goes_on_when_it_is_begun_again(region: Region) -> None:
    one = crew(region)
    async with one.at_work():
        first = asyncio.ensure_future(one.night())
        await until(lambda: len(region.sent("createWholeImage")) >= 3)
        for run in [first, *one.runs.values()]:
            run.cancel()
        await asyncio.wait([first, *one.runs.values()])
        report = await one.night()
    assert one.started == [1, 2, 1, 2]
    assert (report.outcome, outcomes(report)["made"] + outcomes(report)["adopted"]) == ("made", 9)
    assert set(ours(region).values()) == {1}


async def test_of_a_shard_that_alone_is_stopped_the_report_says_what_the_cloud_works_on(region: Region) -> None:
    one = crew(region, at_once=2, failed_when={"more_than": 9})
    async with one.at_work():
        whole = asyncio.ensure_future(one.night())
        await until(lambda: len(region.sent("createWholeImage")) >= 2)
        one.runs[1].cancel()
        report = await whole
    assert outcomes(report)["late"] == 1
    (late,) = report.with_outcome("late")
    assert (late.code, late.image_id is None or bool(late.image_id)) == ("b2i.interrupted", True)
    assert {told.code for told in report.with_outcome("failed")} == {"b2i.shard-ended"}
    assert all("it was cancelled" in told.reason for told in report.with_outcome("failed"))


# -- retention ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("when", ["rolling", "after_night"])
async def test_old_images_go_although_the_night_is_shared(region: Region, when: str) -> None:
    keys = {"backup": {"make_one": "always"}, "retention": KEEP_ONE | {"when": when}}
    first, second = await nights(region, 2, **keys)
    assert (len(first.retired), len(second.retired)) == (0, 9)
    assert set(ours(region).values()) == {1}
    assert all(bool(told.retired) == (when == "rolling") for told in second.servers)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["rolling", "after_night"])
async def test_all_shards_together_delete_no_more_than_the_policy_allows(region: Region, when: str) -> None:
    """As many as were made tonight, though eighteen are expendable: however many shards there are."""
    await nights(region, 3, backup={"make_one": "always"})
    keys = {"backup": {"make_one": "always"}, "retention": KEEP_ONE | {"when": when, "max_deletions": 3}}
    report = await night(crew(region, shards=3, **keys))
    assert (outcomes(report), len(report.retired)) == ({"made": 9}, 9)
    assert sum(ours(region).values()) == 4 * 9 - 9


async def test_where_nothing_is_made_all_shards_together_delete_no_more_than_the_policy_allows(region: Region) -> None:
    await nights(region, 3, backup={"make_one": "always"})
    report = await night(crew(region, shards=3, backup={"newest_within": "5d"}, retention=KEEP_ONE | {"max_deletions": 2}))
    assert (outcomes(report), len(report.retired)) == ({"adopted": 9}, 2)
    assert sum(ours(region).values()) == 3 * 9 - 2


@pytest.mark.slow
async def test_a_shared_night_that_is_killed_while_it_deletes_deletes_no_more_the_second_time(region: Region) -> None:
    await nights(region, 3, backup={"make_one": "always"})
    keys: dict[str, Any] = {
        "backup": {"newest_within": "5d"},
        "retention": KEEP_ONE | {"when": "after_night", "max_deletions": 4},
    }
    one = crew(region, **keys)
    kill_once(region, "deleteImage", skip=2)
    with pytest.raises(BaseException):  # noqa: B017 - whatever a death in the middle looks like
        await night(one)
    region.clock.advance(90)
    report = await night(one)
    assert outcomes(report) == {"adopted": 9}
    assert sum(ours(region).values()) == 3 * 9 - 4


@pytest.mark.slow
async def test_a_shard_that_is_killed_while_images_roll_keeps_the_night_within_its_cap(region: Region) -> None:
    await nights(region, 3, backup={"make_one": "always"})
    keys = {"backup": {"make_one": "always"}, "retention": KEEP_ONE | {"max_deletions": 3}}
    one = crew(region, **keys)
    one.instead = dict.fromkeys((1, 2), one.do_again_when_killed)
    kill_once(region, "createWholeImage", skip=6)
    report = await night(one)
    assert one.killed == 1
    assert outcomes(report)["made"] + outcomes(report)["adopted"] == 9
    assert 4 * 9 - sum(ours(region).values()) <= 9


async def test_a_rolling_shared_night_needs_room_for_the_images_in_flight_and_no_more(region: Region) -> None:
    keys = {"backup": {"make_one": "always"}, "retention": KEEP_ONE}
    await nights(region, 1, **keys)
    async with region.context() as ctx:
        used = (await ctx.cloud.images.quota())["image"].used
    quota = region.emulator.cloud.get("quota", region.account["project_id"]) or {}
    region.change("quota", quota, images=used + 4)
    report = await night(crew(region, at_once=4, **keys))
    assert (outcomes(report), len(report.retired)) == ({"made": 9}, 9)


@pytest.mark.slow
async def test_an_image_of_a_server_that_is_gone_goes_at_the_end_of_a_shared_night(region: Region) -> None:
    rules = KEEP_ONE | {"vanished": {"keep_for": "1h"}}
    await nights(region, 2, backup={"make_one": "always"})
    gone = region.named("server", "shop-web-02")["id"]
    region.emulator.cloud.remove("server", gone)
    report = await night(crew(region, backup={"make_one": "always"}, retention=rules))
    assert (ours(region)[gone], len(report.servers)) == (1, 8)


# -- drills -------------------------------------------------------------------------------------------------------------


def drills(region: Region, **rule: Any) -> dict[str, Any]:
    region.listens = True
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL))
    return {
        "servers": {"names": ["shop-web-0?", "office-wiki-01", "office-chat-01"]},
        "backup": {"make_one": "always"},
        "verify": {"launch": "drill.yaml"} | rule,
    }


@pytest.mark.slow
async def test_all_shards_together_verify_the_nights_sample_and_each_night_others(region: Region) -> None:
    verified = [
        {told.server_name for told in report.servers if told.verified and told.verified.ok}
        for report in await nights(region, 2, **drills(region, sample=3))
    ]
    assert [len(found) for found in verified] == [3, 3]
    assert len(verified[0] | verified[1]) == 6
    assert region.launched() == []


@pytest.mark.slow
async def test_no_more_drill_servers_than_the_policy_allows_are_there_at_once_in_all_shards(region: Region) -> None:
    counts = most_at_once(region, "createServers", lambda: len(region.launched()))
    report = await night(crew(region, **drills(region, sample=4, at_once=1)))
    assert sum(bool(told.verified and told.verified.ok) for told in report.servers) == 4
    assert (len(counts), max(counts)) == (4, 1)


@pytest.mark.slow
async def test_an_older_image_stays_where_the_new_one_was_not_verified_by_its_shard(region: Region) -> None:
    keys = drills(region, sample=2) | {"retention": KEEP_ONE}
    (first,) = await nights(region, 1, **keys)
    verified = {told.server_id for told in first.servers if told.verified}
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL | {"probes": [{"tcp": 2223, "timeout": "20s"}]}))
    report = await night(crew(region, failed_when={"more_than": 3}, **keys))
    assert {ours(region)[told.server_id] for told in report.with_outcome("partly")} == {2}
    rolled = {told.server_id for told in report.with_outcome("made")} - verified  # a verified image stays in any case
    assert {ours(region)[server_id] for server_id in rolled} == {1}
