"""When the cloud throttles, stumbles, lies late or fails: who waits, who gives up, and what people are told."""

from typing import Any

import pytest

from tests.support.doors import Door
from tests.support.region import Region


def posts(region: Region) -> int:
    return len(region.sent("createWholeImage"))


# -- not now ------------------------------------------------------------------------------------------------------------


def test_too_many_tasks_is_waited_out_because_nothing_was_made(door: Door, region: Region, backup: str) -> None:
    region.arm("img-0060", times=5)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert posts(region) == 6
    assert len(region.images_of(backup)) == 1


def test_throttling_until_the_deadline_is_told_with_the_clouds_code_and_that_waiting_helps(
    door: Door, region: Region, backup: str
) -> None:
    region.arm("img-0060", times=None)
    ended = door.create(backup, timeout="10m")
    assert (ended.code, ended.error["code"], ended.error["retryable"]) == (1, "IMG.0060", True)
    assert posts(region) <= 25


def test_a_retry_after_of_the_cloud_is_honoured(door: Door, region: Region, backup: str) -> None:
    region.arm("throttled-429", operation="createWholeImage", retry_after=77)
    assert door.create(backup).code == 0
    first, second = region.sent("createWholeImage")
    assert 77 <= second.at - first.at < 90


@pytest.mark.parametrize(
    "operation", ["getBackup", "getVault", "getServer", "listCloudImages", "getImageQuota", "listVolumesDetail"]
)
@pytest.mark.parametrize("fault", ["throttled-429", "error-500", "html-502", "error-503", "reset-before", "lost-answer"])
def test_trouble_while_looking_passes_by_itself(door: Door, region: Region, backup: str, operation: str, fault: str) -> None:
    region.arm(fault, operation=operation)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], posts(region)) == (0, "made", 1)


@pytest.mark.parametrize("operation", ["getImsJob", "getImage", "listCloudImages"])
@pytest.mark.parametrize(
    "fault", ["throttled-429", "error-500", "html-502", "error-503", "reset-before", "truncated-json", "unknown-fields"]
)
def test_trouble_in_the_middle_of_the_wait_ends_nothing(
    door: Door, region: Region, backup: str, operation: str, fault: str
) -> None:
    region.arm(fault, operation=operation, skip=1 if operation != "getImage" else 0, times=2)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], posts(region)) == (0, "made", 1)


def test_an_outage_of_half_an_hour_in_the_middle_is_sat_out(door: Door, region: Region, backup: str) -> None:
    region.arm("error-503", operation=["getImsJob", "getImage", "listCloudImages"], skip=2, times=60)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], posts(region)) == (0, "made", 1)


def test_a_token_that_expires_in_the_middle_of_the_wait_is_renewed_once(door: Door, region: Region, backup: str) -> None:
    region.arm("token-expired", operation="getImsJob", skip=1)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert len(region.sent("createToken")) == 2


def test_a_token_that_ends_with_the_very_request_makes_one_image(door: Door, region: Region, backup: str) -> None:
    region.arm("token-expired", operation="createWholeImage")
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert len(region.images_of(backup)) == 1


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 90000.0])
def test_a_clock_that_is_wrong_makes_no_second_image_and_no_early_end(
    door: Door, region: Region, backup: str, seconds: float
) -> None:
    region.arm("clock-skew", seconds=seconds, times=None)
    region.arm("lost-answer", operation="createWholeImage")
    ended = door.create(backup)
    assert (ended.code, ended.told["status"], posts(region)) == (0, "active", 1)
    assert door.create(backup).told["outcome"] == "adopted"


def test_a_description_that_may_hold_no_spaces_is_sent_without_them(door: Door, region: Region, backup: str) -> None:
    region.emulator.switches["description_spaces"] = "refused"
    ended = door.create(backup, description="before the upgrade")
    assert ended.code == 0
    assert region.images_of(backup)[0]["description"] == "before_the_upgrade"


# -- never --------------------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_with_the_clouds_code_and_never_repeated(door: Door, region: Region, backup: str) -> None:
    region.emulator.switches["names"] = "unique"
    taken = next(image for image in region.things("image") if image["project"] == region.account["project_id"])["name"]
    ended = door.create(backup, name=taken)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "IMG.0009")
    assert ended.error["retryable"] is False
    assert posts(region) == 1


def test_missing_rights_are_told_with_what_to_do(door: Door, region: Region, backup: str) -> None:
    region.arm("forbidden", operation="createWholeImage", times=None)
    ended = door.create(backup)
    assert (ended.code, ended.error["retryable"], posts(region)) == (1, False, 1)
    assert ended.error["action"]
    region.emulator.faults.disarm()
    assert door.create(backup).code == 0


def test_a_quota_that_others_used_up_meanwhile_is_told(door: Door, region: Region, backup: str) -> None:
    region.arm("quota-gone", operation="createWholeImage")
    ended = door.create(backup)
    assert (ended.code, ended.error["code"], ended.error["retryable"]) == (1, "IMG.0015", False)
    assert posts(region) == 1


def test_a_state_that_no_table_knows_shows_itself(door: Door, region: Region, backup: str) -> None:
    region.arm("unknown-enum", operation="getImsJob", times=None)
    ended = door.create(backup)
    assert (ended.code, ended.error["code"]) == (1, "b2i.unknown-state")
    assert "RETICULATING" in ended.error["message"]
    region.emulator.faults.disarm()
    assert door.create(backup).told["outcome"] == "adopted"


# -- failed -------------------------------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "job fails": ("job-fails", {"code": "IMG.0195", "reason": "no OS version"}, "no OS version"),
    "image killed": ("image-killed", {"code": "IMG.0061", "reason": "internal trouble"}, "internal trouble"),
}


@pytest.mark.parametrize("switch", ["name", "details"])
@pytest.mark.parametrize(("fault", "how", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failed_job_ends_with_the_clouds_code_and_words(
    door: Door, region: Region, backup: str, fault: str, how: dict[str, Any], words: str, switch: str
) -> None:
    region.emulator.switches["fail_entities"] = switch
    region.arm(fault, operation="createWholeImage", **how)
    ended = door.create(backup)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", how["code"])
    assert words in ended.error["message"]
    assert ended.error["action"]
    assert ended.told["backup_id"] == backup


@pytest.mark.parametrize("killed", ["frees", "blocks"])
@pytest.mark.parametrize(("fault", "how", "words"), FAILURES.values(), ids=FAILURES)
def test_after_a_failure_only_a_person_orders_the_next_attempt(
    door: Door, region: Region, backup: str, fault: str, how: dict[str, Any], words: str, killed: str
) -> None:
    region.emulator.switches["killed_image"] = killed
    region.arm(fault, operation="createWholeImage", **how)
    first = door.create(backup)
    again = door.create(backup)
    assert (again.code, again.told["outcome"], posts(region)) == (1, "failed", 1)
    assert "--after-failure" in again.error["action"]
    assert first.error["action"]
    if fault == "image-killed" and killed == "blocks":
        return  # the cloud itself wants that image deleted first
    ended = door.create(backup, after_failure=True)
    assert (ended.code, ended.told["outcome"], posts(region)) == (0, "made", 2)
    assert [image["status"] for image in region.images_of(backup)].count("active") == 1
    assert door.create(backup).told["outcome"] == "adopted"


@pytest.mark.parametrize("fault", ["lost-answer", "reset-before", None])
def test_the_next_attempt_is_not_taken_for_the_dead_one_before_it(
    door: Door, region: Region, backup: str, fault: str | None
) -> None:
    """Neither when the answer is lost, nor while lists show the dead image alone, nor by the run after this one."""
    region.arm("image-killed")
    door.create(backup)
    (dead,) = region.images_of(backup)
    region.clock.advance(600)
    region.arm("late-listing", seconds=50, times=None)
    if fault:
        region.arm(fault, operation="createWholeImage")
    first = door.create(backup, after_failure=True, timeout="20s")
    assert (first.code, first.told["outcome"]) == (4, "still_running")
    ended = door.create(backup)
    assert (ended.code, ended.told["status"]) == (0, "active")
    assert ended.told["image_id"] != dead["id"]
    assert len(region.images_of(backup)) == 2


@pytest.mark.parametrize("told", ["told of the failure", "killed before it heard"])
def test_an_image_that_somebody_makes_after_our_attempt_failed_is_adopted_and_not_blamed_for_it(
    door: Door, region: Region, backup: str, told: str
) -> None:
    region.arm("job-fails", operation="createWholeImage", code="IMG.0061", reason="internal trouble")
    if told == "told of the failure":
        assert door.create(backup).code == 1
    else:
        with region.killing("getImsJob"):
            door.create(backup)
        region.clock.advance(600)
    by_hand = region.make_image_by_hand(backup)
    ended = door.create(backup)
    assert (ended.code, ended.told["image_id"], ended.told["adopted"]) == (0, by_hand["id"], "foreign"), ended.told
    assert ended.told["job_id"] is None, "the job of our own attempt did not make it"


def test_an_ordered_attempt_that_made_nothing_is_no_standing_order_for_more(door: Door, region: Region, backup: str) -> None:
    region.arm("image-killed")
    door.create(backup)
    region.arm("forbidden", operation="createWholeImage")
    assert door.create(backup, after_failure=True).code == 1
    again = door.create(backup)
    assert (again.code, posts(region)) == (1, 2)
    assert "killed" in again.error["message"]


def test_a_killed_image_that_blocks_its_backup_is_named_so_that_it_can_be_deleted(
    door: Door, region: Region, backup: str
) -> None:
    region.emulator.switches["killed_image"] = "blocks"
    region.arm("image-killed")
    door.create(backup)
    (image,) = region.images_of(backup)
    ended = door.create(backup, after_failure=True)
    assert ended.code == 1
    assert image["id"] in ended.error["message"] + ended.error["action"]


def test_an_old_failure_of_class_wait_is_tried_again_without_a_person(door: Door, region: Region, backup: str) -> None:
    """A coded "not now" inside the job proves that nothing was made."""
    region.arm("job-fails", operation="createWholeImage", code="IMG.0060", reason="too many tasks")
    first = door.create(backup)
    assert (first.code, first.error["retryable"]) == (1, True)
    assert door.create(backup).told["outcome"] == "made"


def test_a_killed_image_of_somebody_else_is_reported_not_repeated(door: Door, region: Region) -> None:
    ended = door.create(region.named("backup", "manualbk_chat01")["id"])
    assert (ended.code, posts(region)) == (1, 0)
    assert "killed" in ended.error["message"]


def test_a_job_that_the_cloud_has_forgotten_is_no_verdict_on_the_image(door: Door, region: Region, backup: str) -> None:
    assert door.create(backup, timeout="20s").code == 4
    for job in region.things("ims-job"):
        due = job["due"]
        region.clock.advance(200)
        region.emulator.tick()
        assert due
        region.emulator.cloud.remove("ims-job", job["id"])
    ended = door.create(backup)
    assert (ended.code, posts(region), ended.told["status"]) == (0, 1, "active")


def test_people_read_the_cause_and_whether_waiting_helps(region: Region, backup: str) -> None:
    region.arm("job-fails", operation="createWholeImage", code="IMG.0195", reason="no OS version")
    ended = region.b2i("create", backup, json=False)
    assert ended.code == 1
    for words in ("IMG.0195", "no OS version", "What to do:", "Waiting helps: no"):
        assert words in ended.err


# -- the region itself --------------------------------------------------------------------------------------------------


def test_a_region_that_goes_down_in_the_middle_is_waited_for_and_comes_back_with_the_image(tmp_path: Any) -> None:
    region = Region(tmp_path, state=tmp_path / "region.sqlite")
    backup = region.account["backups"]["available"][0]
    assert region.b2i("create", backup, "--timeout", "40s").code == 4
    region.restart()
    ended = region.b2i("create", backup)
    assert (ended.code, ended.told["outcome"]) == (0, "adopted")
    assert [image["status"] for image in region.images_of(backup)] == ["active"]
    region.close()
