"""An order that was cut off is known, has the time that is left of it, and is finished by whoever reconciles; none is begun."""

import json
from typing import Any

import pytest

from tests.support.doors import Door
from tests.support.region import Ended, Region


def orders(region: Region) -> list[dict[str, Any]]:
    """The open orders in the journal."""
    return [json.loads(path.read_text()) for path in region.journal.glob("order-*.json")]


def reconciled(region: Region) -> tuple[Ended, list[dict[str, Any]]]:
    ended = region.b2i("reconcile")
    return ended, ended.told["orders"]


def deadline_of(ended: Ended) -> str:
    """When it gave up, as its error says."""
    assert ended.code == 4, ended
    return ended.error["message"].partition("not finished by ")[2].partition(" UTC")[0]


# -- until when ---------------------------------------------------------------------------------------------------------


def test_an_order_that_is_killed_and_started_again_waits_no_longer_than_it_would_have(
    door: Door, region: Region, backup: str
) -> None:
    region.arm("job-stuck", operation="createWholeImage", times=None)
    begun = region.clock.now()
    with region.killing("getImsJob", skip=3):
        door.create(backup, timeout="20m")
    killed_after = region.clock.now() - begun
    late = door.create(backup, timeout="20m")
    assert deadline_of(late)
    assert 0 < killed_after.total_seconds() < 1200 <= (region.clock.now() - begun).total_seconds() < 1230


def test_an_order_that_waited_in_vain_waits_anew_when_it_is_given_again(door: Door, region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", times=None)
    first = deadline_of(door.create(backup, timeout="20m"))
    begun = region.clock.now()
    assert deadline_of(door.create(backup, timeout="20m")) > first
    assert (region.clock.now() - begun).total_seconds() >= 1200


def test_another_time_limit_than_the_killed_runs_counts_from_now(door: Door, region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", times=None)
    with region.killing("getImsJob", skip=3):
        door.create(backup, timeout="20m")
    begun = region.clock.now()
    door.create(backup, timeout="2h")
    assert (region.clock.now() - begun).total_seconds() >= 7200


def test_an_order_that_has_ended_leaves_nothing_open(door: Door, region: Region, backup: str) -> None:
    assert door.create(backup, share_with=["dr"], launch=region.write_launch()).code == 0
    assert orders(region) == []
    assert door.create(region.account["backups"]["volume"]).code == 3
    assert orders(region) == []
    region.arm("job-fails", operation="createWholeImage")
    assert door.create(region.account["backups"]["available"][1]).code == 1
    assert orders(region) == []


# -- what is left is finished -------------------------------------------------------------------------------------------


def test_nothing_open_is_said_and_nothing_is_done(region: Region) -> None:
    ended, told = reconciled(region)
    assert (ended.code, told, region.writes) == (0, [], [])


def test_an_image_whose_run_was_killed_is_shared_as_ordered_once_it_is_normal(door: Door, region: Region, backup: str) -> None:
    with region.killing("getImsJob", skip=1):
        door.create(backup, share_with=["dr"])
    region.clock.advance(3600)
    ended, (told,) = reconciled(region)
    (image,) = region.images_of(backup)
    assert (ended.code, told["verb"], told["outcome"]) == (0, "create", "finished")
    assert (told["subject"], told["ids"]["image"]) == (backup, image["id"])
    assert [member["project"] for member in region.things("image-member", image_id=image["id"])] == [
        region.account["second_project"]
    ]
    assert reconciled(region)[1] == []
    assert door.create(backup, share_with=["dr"]).told["outcome"] == "adopted"


def test_an_order_that_gave_up_waiting_is_finished_when_the_cloud_is_done(door: Door, region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", seconds=4000)
    assert door.create(backup, share_with=["dr"], timeout="10m").code == 4
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"], told["overdue"]) == (4, "running", True)
    region.clock.advance(8000)
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"]) == (0, "finished")


def test_an_image_that_has_just_become_normal_is_left_to_its_own_run(door: Door, region: Region, backup: str) -> None:
    with region.killing("batchAddImageMembers"):
        door.create(backup, share_with=["dr"])
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"]) == (0, "running")
    assert region.sent("batchAddImageMembers")[1:] == []


def test_a_project_that_is_no_longer_on_the_list_is_not_shared_with_afterwards(door: Door, region: Region, backup: str) -> None:
    with region.killing("getImsJob", skip=1):
        door.create(backup, share_with=["dr"])
    region.clock.advance(3600)
    region.write_settings(projects={})
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"]) == (0, "finished")
    assert "does not name any more" in told["words"]
    assert region.sent("batchAddImageMembers", "addImageMember") == []


def test_a_launch_whose_run_was_killed_is_waited_for_and_probed_but_never_launched_again(
    door: Door, region: Region, backup: str
) -> None:
    image = door.create(backup).told["image_id"]
    spec = region.write_launch(probes=[{"console": "login:", "timeout": "90s"}])
    with region.killing("getEcsJob"):
        region.b2i("launch", image, "--spec", spec)
    region.clock.advance(600)
    ended, (told,) = reconciled(region)
    assert "answers its probes" in told["words"]
    (server,) = region.launched()
    assert (ended.code, told["verb"], told["outcome"], told["ids"]["server"]) == (0, "launch", "finished", server["id"])
    assert len([asked for asked in region.sent("createServers") if asked.writes]) == 1
    assert orders(region) == []


@pytest.mark.parametrize("verb", ["launch", "create"])
def test_a_launch_that_failed_after_its_run_was_killed_is_told_as_failed_with_what_it_left(
    door: Door, region: Region, backup: str, verb: str
) -> None:
    image = door.create(backup).told["image_id"] if verb == "launch" else ""
    region.arm("leftovers", operation="createServers", skip=1, leave=["system_disk"])
    spec = region.write_launch()
    with region.killing("getEcsJob"):
        if verb == "launch":
            region.b2i("launch", image, "--spec", spec)
        else:
            door.create(backup, launch=spec)
    region.clock.advance(600)
    ended, both = reconciled(region)
    told = next(one for one in both if one["verb"] == verb)
    (disk,) = [one for one in region.things("volume") if one["server_id"] is None and one["name"].startswith("shop-restored")]
    assert (ended.code, told["outcome"], "Ecs.0405" in told["words"]) == (5, "failed", True), told
    assert disk["id"] in told["action"]
    assert f"b2i {verb}" in told["action"]
    assert orders(region) == []


def test_a_teardown_that_was_killed_is_finished(door: Door, region: Region, backup: str) -> None:
    told = door.create(backup, launch=region.write_launch()).told
    with region.killing("getServer"):
        region.b2i("teardown", told["launch_id"], "--yes-i-mean", "shop-restored")
    region.clock.advance(60)
    ended, (left,) = reconciled(region)
    assert (ended.code, left["verb"], left["outcome"]) == (0, "teardown", "finished")
    assert region.launched() == []
    assert reconciled(region)[1] == []


def test_a_server_that_people_use_goes_only_when_somebody_says_its_name(door: Door, region: Region, backup: str) -> None:
    """Whatever the journal says, be it left by a killed teardown, stale or planted."""
    told = door.create(backup, launch=region.write_launch()).told
    with region.killing("deleteServers"):
        region.b2i("teardown", told["launch_id"], "--yes-i-mean", "shop-restored")
    region.forget()
    ended, (left,) = reconciled(region)
    assert (ended.code, left["outcome"]) == (0, "not_begun")
    assert f"b2i teardown {told['launch_id']} --yes-i-mean shop-restored" in left["action"]
    assert region.writes == []
    assert [server["id"] for server in region.launched()] == [told["server_id"]]


# -- nothing is begun ---------------------------------------------------------------------------------------------------


def test_an_image_that_was_never_asked_for_is_told_and_not_made(door: Door, region: Region, backup: str) -> None:
    with region.killing("createWholeImage"):
        door.create(backup, share_with=["dr"])
    region.forget()
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"], told["overdue"]) == (0, "not_begun", False)
    region.clock.advance(8000)
    ended, (told,) = reconciled(region)
    assert (told["outcome"], told["overdue"]) == ("not_begun", True)
    assert f"b2i create {backup}" in told["action"]
    assert region.writes == []
    assert reconciled(region)[1] == [], "told once, then forgotten"


def test_a_server_that_was_never_asked_for_is_told_and_not_launched(door: Door, region: Region, backup: str) -> None:
    with region.killing("createServers"):
        door.create(backup, launch=region.write_launch())
    region.clock.advance(3600)
    ended, told = reconciled(region)
    assert ended.code == 0
    assert {one["outcome"] for one in told} == {"not_begun"}
    assert region.launched() == []


def test_an_image_that_failed_is_told_with_the_clouds_words_and_not_made_again(door: Door, region: Region, backup: str) -> None:
    region.arm("job-fails", operation="createWholeImage", code="IMG.0195", reason="no OS version")
    with region.killing("getImsJob"):
        door.create(backup)
    region.clock.advance(3600)
    ended, (told,) = reconciled(region)
    assert (ended.code, told["outcome"]) == (5, "failed")
    assert "IMG.0195" in told["words"]
    assert "no OS version" in told["words"]
    assert len(region.sent("createWholeImage")) == 1
    assert orders(region) == []


def test_a_cloud_that_cannot_be_asked_closes_no_order(door: Door, region: Region, backup: str) -> None:
    with region.killing("getImsJob", skip=1):
        door.create(backup)
    region.clock.advance(3600)
    region.arm("error-503", operation=["getBackup", "getImage", "listCloudImages"], times=None)
    (told,) = reconciled(region)[1]
    assert told["outcome"] == "running"
    region.emulator.faults.disarm()
    assert reconciled(region)[1][0]["outcome"] == "finished"


@pytest.mark.parametrize(
    "planted", [{}, {"ordered": None}, {"ordered": {"what": "image"}}, {"ordered": {"what": "party", "backup_id": "x"}}]
)
def test_an_order_that_cannot_be_read_is_told_and_passed_over(
    door: Door, region: Region, backup: str, planted: dict[str, Any]
) -> None:
    with region.killing("getImsJob"):
        door.create(backup)
    (path,) = region.journal.glob("order-*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"facts": planted}))
    ended, told = reconciled(region)
    assert told == []
    assert f"create {backup}" in ended.err
    assert "cannot be read" in ended.err
