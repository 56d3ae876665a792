"""The sentences of the user guide's page "Creating a Full-ECS Image from a CBR Backup", one by one."""

from typing import Any

import pytest

from tests.support.doors import Door
from tests.support.region import Asked, Region


@pytest.fixture
def stopped(region: Region) -> str:
    """A backup of shop-report-01, which is stopped."""
    found: str = region.account["backups"]["server_stopped"]
    return found


def start_source(region: Region) -> None:
    region.change("server", region.named("server", "shop-report-01"), status="ACTIVE")


def tags(region: Region, backup: str) -> dict[str, Any]:
    (image,) = region.images_of(backup)
    found: dict[str, Any] = image["tags"]
    return found


# "If an ECS is in Stopped state, do not start it when you are using it to create a full-ECS image."


def test_a_stopped_source_that_stays_stopped_gives_a_good_image(door: Door, region: Region, stopped: str) -> None:
    ended = door.create(stopped)
    assert (ended.code, ended.told["doubtful"]) == (0, None)
    assert "b2i-doubtful" not in tags(region, stopped)
    assert ended.verdict("power state") == "warned"


def test_a_stopped_source_that_is_started_meanwhile_makes_the_image_doubtful_reported_and_tagged(
    door: Door, region: Region, stopped: str
) -> None:
    region.arm("source-started")
    ended = door.create(stopped)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert "shop-report-01 was started" in ended.told["doubtful"]
    assert tags(region, stopped)["b2i-doubtful"] == "20260310"


def test_a_doubtful_image_stays_doubtful_for_every_later_run(door: Door, region: Region, stopped: str) -> None:
    region.arm("source-started")
    door.create(stopped)
    for record in region.journal.iterdir():
        record.unlink()
    ended = door.create(stopped)
    assert ended.told["outcome"] == "adopted"
    assert ended.told["doubtful"]


def test_a_source_that_is_started_between_two_runs_of_one_order_is_noticed(door: Door, region: Region, stopped: str) -> None:
    assert door.create(stopped, timeout="20s").code == 4
    start_source(region)
    ended = door.create(stopped)
    assert "shop-report-01 was started" in ended.told["doubtful"]
    assert "b2i-doubtful" in tags(region, stopped)


def test_a_source_that_is_started_after_its_image_is_normal_harms_nothing(door: Door, region: Region, stopped: str) -> None:
    assert door.create(stopped).code == 0
    start_source(region)
    ended = door.create(stopped)
    assert (ended.told["outcome"], ended.told["doubtful"]) == ("adopted", None)
    assert "b2i-doubtful" not in tags(region, stopped)


def test_a_mark_that_cannot_be_set_now_is_told_and_set_by_the_next_run(door: Door, region: Region, stopped: str) -> None:
    region.arm("source-started")
    region.arm("forbidden", operation=["putImageTag", "addImageTag", "batchImageTags"], times=None)
    ended = door.create(stopped)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert ended.told["doubtful"]
    assert "b2i-doubtful" not in tags(region, stopped)
    region.emulator.faults.disarm()
    assert door.create(stopped).told["doubtful"]
    assert "b2i-doubtful" in tags(region, stopped)


def test_a_foreign_image_is_never_marked(door: Door, region: Region, stopped: str) -> None:
    """The console was quicker, and somebody started the server: told, but the image is not ours to mark."""

    def console(asked: Asked) -> None:
        if asked.operation == "createWholeImage":
            region.make_image_by_hand(stopped)
            start_source(region)

    region.watchers.append(console)
    ended = door.create(stopped)
    assert (ended.told["adopted"], tags(region, stopped)) == ("foreign", {})


# "A CBR backup can be used to create only one full-ECS image."


def test_a_backup_gets_one_image_however_often_it_is_ordered(door: Door, region: Region, backup: str) -> None:
    for name in (None, "another-name", None):
        assert door.create(backup, name=name).code == 0
    assert len(region.images_of(backup)) == 1
    assert region.writes == ["createWholeImage"]


# "... if it is a shared CBR backup, the full-ECS image created from it cannot be shared."


def test_the_image_of_a_shared_backup_is_not_shared_but_made(door: Door, region: Region) -> None:
    shared = region.account["backups"]["shared_accepted"]
    assert door.create(shared, share_with=["dr"]).refusals["shareable"]["code"] == "IMG.0135"
    assert region.writes == []
    assert door.create(shared).code == 0


# "A full-ECS image cannot be exported or replicated."


def test_people_are_told_that_the_image_never_leaves_its_region(region: Region, backup: str) -> None:
    assert "never exported or copied" in region.b2i("create", backup, json=False).out


# "... ensure that the source ECS of the CBR backup has been properly configured, or the image creation may fail."


def test_a_source_without_os_metadata_fails_with_the_clouds_code_and_what_to_do(door: Door, region: Region) -> None:
    ended = door.create(region.named("backup", "manualbk_legacy01")["id"])
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "IMG.0195")
    assert "OS version" in ended.error["message"]
    assert ended.error["action"]


# "When the image status changes to Normal, the image creation is complete."


def test_normal_is_demanded_from_the_image_when_the_job_says_success_too_early(door: Door, region: Region, backup: str) -> None:
    region.arm("success-before-active", seconds=300)
    ended = door.create(backup)
    assert (ended.code, ended.told["status"]) == (0, "active")
    (image,) = region.images_of(backup)
    assert image["status"] == "active"


def test_normal_is_demanded_from_the_job_when_the_image_says_active_too_early(door: Door, region: Region, backup: str) -> None:
    def early(asked: Asked) -> None:
        for image in region.images_of(backup) if asked.operation == "getImsJob" else []:
            region.change("image", image, status="active")

    region.watchers.append(early)
    ended = door.create(backup)
    assert ended.code == 0
    assert ended.told["seconds"] > 80, "it ended before the job did"


@pytest.mark.parametrize("switch", ["early", "late"])
def test_an_image_id_may_show_early_or_late_in_the_job(door: Door, region: Region, backup: str, switch: str) -> None:
    region.emulator.switches["image_id_in_job"] = switch
    ended = door.create(backup)
    assert (ended.code, ended.told["image_id"]) == (0, region.images_of(backup)[0]["id"])


# "... only the system disk data can be written into the ECS", so the data disks come back with a new server only.


def test_whoever_plans_a_launch_reads_that_a_change_of_os_does_not_restore_data_disks(region: Region) -> None:
    shown = region.b2i("launch", "--help", json=False)
    assert "change of OS writes the system disk only" in " ".join(shown.out.split())
