"""One backup, at most one image, and none lost: after a lost answer, a second command, two at once, an early end."""

import asyncio
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backup_to_image.errors import B2iError
from backup_to_image.steps.pipeline import image_from_backup
from tests.support.doors import Door
from tests.support.lost import answer_lost, request_lost
from tests.support.region import Region, image_order


def posts(region: Region) -> int:
    return len(region.sent("createWholeImage"))


def good(region: Region, backup: str) -> dict[str, Any]:
    """The one image of this backup, active."""
    (image,) = region.images_of(backup)
    assert image["status"] == "active"
    return image


# -- the same order again -----------------------------------------------------------------------------------------------


def test_the_same_command_again_adopts_its_image_and_asks_for_nothing(door: Door, region: Region, backup: str) -> None:
    first = door.create(backup).told
    region.forget()
    again = door.create(backup)
    assert (again.code, again.told["outcome"], again.told["adopted"]) == (0, "adopted", True)
    assert (again.told["image_id"], again.told["job_id"]) == (first["image_id"], first["job_id"])
    assert region.writes == []
    assert again.told["seconds"] < 1


def test_a_lost_journal_costs_nothing(door: Door, region: Region, backup: str) -> None:
    first = door.create(backup).told
    for record in region.journal.iterdir():
        record.unlink()
    again = door.create(backup).told
    assert (again["image_id"], again["outcome"], posts(region)) == (first["image_id"], "adopted", 1)


def test_an_image_that_somebody_else_made_is_adopted_as_foreign_and_never_marked(door: Door, region: Region) -> None:
    used = region.account["backups"]["already_used"]
    ended = door.create(used)
    assert (ended.code, ended.told["outcome"], ended.told["adopted"]) == (0, "adopted", "foreign")
    assert good(region, used)["tags"] == {}
    assert region.writes == []


def test_an_image_that_somebody_else_is_making_is_awaited(door: Door, region: Region, backup: str) -> None:
    """The console was quicker: no tags, no record of ours."""
    first = door.create(backup, timeout="20s")
    assert first.code == 4
    for record in region.journal.iterdir():
        record.unlink()
    (image,) = region.images_of(backup)
    region.change("image", image, tags={})
    ended = door.create(backup)
    assert (ended.code, ended.told["adopted"], posts(region)) == (0, "foreign", 1)
    assert good(region, backup)


def test_the_image_of_another_backup_is_never_taken_for_this_ones(door: Door, region: Region, backup: str) -> None:
    """Same server, same name: only the backup's id counts."""
    name = door.create(backup).told["image_name"]
    other = next(
        one for one in region.things("backup", resource_name="shop-web-01", status="available") if not region.images_of(one["id"])
    )
    ended = door.create(other["id"], name=name)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert good(region, other["id"])["id"] != good(region, backup)["id"]


def test_a_deleted_image_frees_its_backup_for_the_next(door: Door, region: Region, backup: str) -> None:
    first = door.create(backup).told["image_id"]
    region.emulator.cloud.remove("image", first)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert good(region, backup)["id"] != first


# -- two at once --------------------------------------------------------------------------------------------------------


async def both(region: Region, backup: str, journals: tuple[str, str]) -> list[Any]:
    async def one(journal: str) -> Any:
        async with region.context(journal) as ctx:
            return await image_from_backup(image_order(backup), ctx)

    return await asyncio.gather(*(one(journal) for journal in journals), return_exceptions=True)


@pytest.mark.parametrize("journals", [("journal", "journal"), ("here", "there")], ids=["one journal", "two journals"])
def test_two_at_once_make_one_image_and_both_deliver_it(region: Region, backup: str, journals: tuple[str, str]) -> None:
    ended = asyncio.run(both(region, backup, journals))
    assert [one for one in ended if isinstance(one, BaseException)] == []
    image = good(region, backup)
    assert {one.image_id for one in ended} == {image["id"]}
    assert {one.status for one in ended} == {"active"}
    assert len({one.job_id for one in ended if one.outcome == "made"}) == 1


@pytest.mark.parametrize(
    "switches", [{"refusals": "in_job"}, {"refusals": "in_job", "code_family": "cbr"}, {"used_code": "IMG.0134"}]
)
def test_two_hosts_at_once_make_one_image_wherever_the_refusal_surfaces(
    region: Region, backup: str, switches: dict[str, str]
) -> None:
    region.emulator.switches.update(**switches)
    ended = asyncio.run(both(region, backup, ("here", "there")))
    assert [one for one in ended if isinstance(one, BaseException)] == []
    assert {one.image_id for one in ended} == {good(region, backup)["id"]}


# -- answers that never came --------------------------------------------------------------------------------------------


@answer_lost
def test_a_lost_answer_after_the_effect_is_looked_for_not_asked_for_again(
    door: Door, region: Region, backup: str, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="createWholeImage", **how)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], posts(region)) == (0, "made", 1)
    assert ended.told["image_id"] == good(region, backup)["id"]


@request_lost
def test_a_lost_request_is_sent_again_only_after_the_settle_time(
    door: Door, region: Region, backup: str, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="createWholeImage", **how)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert good(region, backup)
    first, second = region.sent("createWholeImage")
    assert second.at - first.at >= 120


def test_a_settle_time_of_the_settings_is_kept(door: Door, region: Region, backup: str) -> None:
    region.write_settings(settle={"image": "7m"})
    region.arm("reset-before", operation="createWholeImage")
    assert door.create(backup).code == 0
    first, second = region.sent("createWholeImage")
    assert second.at - first.at >= 420


def test_a_lost_answer_and_a_late_listing_make_no_second_image(door: Door, region: Region, backup: str) -> None:
    region.arm("late-listing", seconds=90, times=None)
    region.arm("lost-answer", operation="createWholeImage")
    ended = door.create(backup)
    assert (ended.code, posts(region)) == (0, 1)
    assert good(region, backup)


def test_a_listing_later_than_the_settle_time_makes_no_second_image_either(door: Door, region: Region, backup: str) -> None:
    """The cloud itself refuses the second, and that refusal is taken for what it is."""
    region.arm("late-listing", seconds=200, times=None)
    region.arm("lost-answer", operation="createWholeImage")
    ended = door.create(backup)
    assert ended.code == 0
    assert ended.told["image_id"] == good(region, backup)["id"]


def test_a_run_that_ends_while_it_looks_for_its_effect_is_taken_up_by_the_next(door: Door, region: Region, backup: str) -> None:
    region.arm("reset-before", operation="createWholeImage")
    first = door.create(backup, timeout="30s")
    assert (first.code, first.told["outcome"]) == (4, "still_running")
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    asked = region.sent("createWholeImage")
    assert asked[-1].at - asked[0].at >= 120
    assert good(region, backup)


# -- already used -------------------------------------------------------------------------------------------------------

SWITCHES = [
    {"used_code": "IMG.0029"},
    {"used_code": "IMG.0134"},
    {"code_family": "cbr"},
    {"refusals": "in_job"},
    {"refusals": "in_job", "code_family": "cbr"},
    {"refusals": "in_job", "used_code": "IMG.0134", "fail_entities": "details"},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda one: " ".join(one.values()))
def test_already_used_means_look_again_and_adopt_wherever_the_cloud_says_it(
    door: Door, region: Region, backup: str, switches: dict[str, str]
) -> None:
    """Somebody makes the image between our look and our request."""
    region.emulator.switches.update(**switches)

    def console(asked: Any) -> None:
        if asked.operation == "createWholeImage" and posts(region) == 1:
            region.make_image_by_hand(backup)

    region.watchers.append(console)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], ended.told["adopted"]) == (0, "adopted", "foreign")
    assert (ended.told["image_id"], ended.told["image_name"]) == (good(region, backup)["id"], "by hand")
    assert posts(region) == 1


@pytest.mark.parametrize("refusals", ["at_once", "in_job"])
def test_already_used_by_an_image_that_nobody_can_see_is_told_with_the_clouds_code_instead_of_waited_for(
    door: Door, region: Region, backup: str, refusals: str
) -> None:
    region.emulator.switches["refusals"] = refusals

    def elsewhere(asked: Any) -> None:
        if asked.operation == "createWholeImage":
            region.make_image_by_hand(backup)
        else:
            for image in region.images_of(backup):
                region.change("image", image, project="ff" * 16)

    region.watchers.append(elsewhere)
    ended = door.create(backup)
    assert (ended.code, ended.error["code"]) == (1, "IMG.0029")
    assert ended.told["outcome"] == "failed"
    assert posts(region) == 1


# -- the journal --------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(region: Region, *, since: str) -> Iterator[None]:
    """From this request on no file of this process takes another byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(asked: Any) -> None:
        if asked.operation == since:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))

    region.watchers.append(fill)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        region.watchers.remove(fill)


def records(region: Region, kind: str = "image") -> list[Any]:
    return [path for path in region.journal.glob("*.json") if json.loads(path.read_text())["kind"] == kind]


def test_a_damaged_record_is_set_aside_and_nothing_is_made_twice(door: Door, region: Region, backup: str) -> None:
    assert door.create(backup, timeout="20s").code == 4
    (record,) = records(region)
    record.write_text('{"kind": "image", "project')
    ended = door.create(backup)
    assert (ended.code, posts(region)) == (0, 1)
    assert good(region, backup)
    assert record.with_suffix(".damaged").exists()


def test_a_journal_that_cannot_be_written_stops_the_work_before_anything_is_made(door: Door, region: Region, backup: str) -> None:
    region.journal.write_text("a file where a folder should be")
    ended = door.create(backup)
    assert (ended.code, ended.error["code"]) == (2, "b2i.journal")
    assert "Nothing was made" in ended.error["action"]
    assert region.writes == []


def test_a_disk_that_is_full_stops_the_work_before_the_request(door: Door, region: Region, backup: str) -> None:
    with full_disk(region, since="getImageQuota"):
        ended = door.create(backup)
    assert (ended.code, ended.error["code"]) == (2, "b2i.journal")
    assert "Nothing was made" in ended.error["action"]
    assert region.writes == []


def test_a_disk_that_is_full_after_the_request_loses_nothing(door: Door, region: Region, backup: str) -> None:
    with full_disk(region, since="createWholeImage"):
        ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert ended.told["image_id"] == good(region, backup)["id"]


def test_a_disk_that_is_full_while_a_lost_answer_is_looked_for_is_not_taken_for_nothing_made(
    door: Door, region: Region, backup: str
) -> None:
    region.arm("late-listing", seconds=60, times=None)
    region.arm("lost-answer", operation="createWholeImage")
    with full_disk(region, since="createWholeImage"):
        ended = door.create(backup)
    assert (ended.code, ended.error["code"]) == (2, "b2i.journal")
    assert "may have taken effect" in ended.error["action"]
    ended = door.create(backup)
    assert (ended.code, ended.told["image_id"], posts(region)) == (0, good(region, backup)["id"], 1)


def test_a_journal_that_is_gone_after_the_request_loses_nothing(door: Door, region: Region, backup: str) -> None:
    def swap(asked: Any) -> None:
        if asked.operation == "createWholeImage":
            shutil.rmtree(region.journal)
            region.journal.write_text("the disk was swapped")

    region.watchers.append(swap)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert ended.told["image_id"] == good(region, backup)["id"]


@pytest.mark.parametrize(
    "planted",
    [
        {"state": "sent", "job_id": "ff" * 16},
        {"state": "done", "image_id": "11111111-2222-4333-8444-555555555555", "job_id": None},
        {"state": "intent"},
        {"state": "future-state", "job_id": "not a job", "unheard_of": {"by": ["this", "version"]}},
    ],
    ids=lambda one: one["state"],
)
def test_a_record_that_is_stale_or_planted_changes_nothing(
    door: Door, region: Region, backup: str, planted: dict[str, Any]
) -> None:
    """The journal is a hint: the cloud decides."""
    assert door.create(backup).code == 0
    (record,) = records(region)
    told = json.loads(record.read_text()) | planted
    region.emulator.cloud.remove("image", good(region, backup)["id"])
    region.clock.advance(3600)
    record.write_text(json.dumps(told))
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert ended.told["image_id"] == good(region, backup)["id"]


def test_the_job_of_another_backup_in_the_record_leads_nowhere(door: Door, region: Region, backup: str) -> None:
    other = region.account["backups"]["available"][1]
    foreign = door.create(other).told
    assert door.create(backup, timeout="20s").code == 4
    record = next(path for path in records(region) if json.loads(path.read_text())["name"] == backup)
    told = json.loads(record.read_text()) | {"job_id": foreign["job_id"]}
    record.write_text(json.dumps(told))
    ended = door.create(backup)
    assert ended.told["image_id"] == good(region, backup)["id"] != foreign["image_id"]


def test_the_journal_holds_no_secret_and_nobody_else_can_read_it(door: Door, region: Region, backup: str) -> None:
    door.create(backup, share_with=["dr"])
    files = list(region.journal.iterdir())
    assert files
    for file in files:
        assert file.stat().st_mode & 0o077 == 0
        assert region.account["password"] not in file.read_text()
    assert region.journal.stat().st_mode & 0o077 == 0


# -- time runs out ------------------------------------------------------------------------------------------------------


def test_a_deadline_that_passes_means_still_running_and_the_same_command_ends_green(
    door: Door, region: Region, backup: str
) -> None:
    first = door.create(backup, timeout="60s")
    assert (first.code, first.told["outcome"]) == (4, "still_running")
    (job,) = region.things("ims-job", job_type="imsCreateWholeImageByBackupJob")
    assert first.told["job_id"] == job["id"]
    assert first.error["retryable"] is True
    assert job["id"] in first.error["message"]
    region.forget()
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], ended.told["job_id"]) == (0, "adopted", job["id"])
    assert good(region, backup)["id"] == ended.told["image_id"]
    assert region.writes == []


def test_a_late_finisher_is_green_at_the_next_look(door: Door, region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", seconds=20000)
    assert door.create(backup, timeout="2h").code == 4
    assert door.create(backup, timeout="2h").code == 4
    region.clock.advance(20000)
    ended = door.create(backup)
    assert (ended.code, posts(region)) == (0, 1)
    assert good(region, backup)


def test_the_deadline_counts_for_two_at_once_as_well(region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", times=None)
    ended = asyncio.run(both(region, backup, ("journal", "journal")))
    assert [type(one).__name__ for one in ended] == ["StillRunning", "StillRunning"]
    assert all(isinstance(one, B2iError) and one.exit_code == 4 for one in ended)
    assert posts(region) == 1
