"""Sharing: each recipient once, proven by the member list, at most ten, and never the reason for a second image."""

from typing import Any

import pytest

from tests.support.doors import Door
from tests.support.region import Asked, Region


def members(region: Region, backup: str) -> set[str]:
    """The projects that have the image, as the cloud keeps it."""
    (image,) = region.images_of(backup)
    return {member["project"] for member in region.things("image-member", image_id=image["id"])}


def dr(region: Region) -> str:
    found: str = region.account["second_project"]
    return found


def partner(region: Region) -> str:
    found: str = region.account["recipient"]["project_id"]
    return found


def test_aliases_and_ids_mean_projects_and_each_is_shared_with_once(door: Door, region: Region, backup: str) -> None:
    ended = door.create(backup, share_with=["dr", dr(region), dr(region).upper(), "partner"])
    assert ended.code == 0
    assert ended.told["shared_with"] == [dr(region), partner(region)]
    assert members(region, backup) == {dr(region), partner(region)}
    (asked,) = region.sent("batchAddImageMembers")
    (image,) = region.images_of(backup)
    assert asked.body == {"images": [image["id"]], "projects": [dr(region), partner(region)]}


def test_the_second_run_shares_with_nobody_again(door: Door, region: Region, backup: str) -> None:
    door.create(backup, share_with=["dr"])
    region.forget()
    ended = door.create(backup, share_with=["dr"])
    assert (ended.code, ended.told["shared_with"]) == (0, [dr(region)])
    assert region.writes == []


def test_a_later_run_adds_only_whom_it_names_anew(door: Door, region: Region, backup: str) -> None:
    door.create(backup, share_with=["dr"])
    ended = door.create(backup, share_with=["dr", "partner"])
    assert ended.told["shared_with"] == [dr(region), partner(region)]
    assert [asked.body["projects"] for asked in region.sent("batchAddImageMembers")] == [[dr(region)], [partner(region)]]


def test_an_adopted_foreign_image_is_shared_too(door: Door, region: Region) -> None:
    used = region.account["backups"]["already_used"]
    ended = door.create(used, share_with=["dr"])
    assert (ended.code, ended.told["adopted"], members(region, used)) == (0, "foreign", {dr(region)})


def test_members_that_are_there_already_count_towards_the_ten(door: Door, region: Region, backup: str) -> None:
    door.create(backup)
    (image,) = region.images_of(backup)
    for number in range(9):
        project = f"{number:032x}"
        member = {"id": f"{image['id']}/{project}", "project": project, "image_id": image["id"], "status": "pending"}
        stamp = region.emulator.cloud.stamp()
        region.emulator.cloud.new(
            "image-member", member | {"vault_id": None, "stored_mb": 0, "created_at": stamp, "updated_at": stamp}
        )
    region.forget()
    ended = door.create(backup, share_with=["dr", "partner"])
    assert ended.code in {3, 5}
    assert "10 are the most" in ended.error["message"]
    assert len(members(region, backup)) == 9
    assert region.writes == []
    assert door.create(backup, share_with=["dr"]).code == 0
    assert len(members(region, backup)) == 10


AFTER: dict[str, tuple[str, dict[str, Any]]] = {
    "connection cut after it": ("lost-answer", {}),
    "502 after it": ("html-502", {"effect": True}),
    "503 after it": ("error-503", {"effect": True}),
    "half an answer": ("truncated-json", {}),
    "connection cut before it": ("reset-before", {}),
    "502 before it": ("html-502", {}),
    "throttled": ("throttled-429", {}),
    "job stuck for a while": ("job-stuck", {"seconds": 60}),
}


@pytest.mark.parametrize(("fault", "how"), AFTER.values(), ids=AFTER)
def test_trouble_while_sharing_ends_with_every_member_listed(
    door: Door, region: Region, backup: str, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="batchAddImageMembers", **how)
    ended = door.create(backup, share_with=["dr", "partner"])
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert members(region, backup) == {dr(region), partner(region)}


@pytest.mark.parametrize("operation", ["listImageMembers", "getImsJob"])
@pytest.mark.parametrize("fault", ["throttled-429", "error-500", "html-502", "lost-answer", "truncated-json", "token-expired"])
def test_trouble_while_looking_at_the_members_passes(door: Door, region: Region, backup: str, operation: str, fault: str) -> None:
    door.create(backup)
    region.arm(fault, operation=operation)
    ended = door.create(backup, share_with=["dr"])
    assert (ended.code, members(region, backup)) == (0, {dr(region)})


def test_a_batch_call_in_trouble_is_replaced_by_single_ones(door: Door, region: Region, backup: str) -> None:
    region.arm("job-fails", operation="batchAddImageMembers", code="IMG.0112", reason="adding a member failed")
    ended = door.create(backup, share_with=["dr", "partner"])
    assert (ended.code, members(region, backup)) == (0, {dr(region), partner(region)})
    assert len(region.sent("addImageMember")) == 2


@pytest.mark.parametrize("switch", ["hidden", "at_once"])
def test_a_single_failure_among_several_is_found_and_told_with_its_own_reason(
    door: Door, region: Region, backup: str, switch: str
) -> None:
    """A job's SUCCESS may hide it; the project is none of this region."""
    region.emulator.switches["member_failures"] = switch
    region.write_settings(projects={"dr": dr(region), "far": "ab" * 16})
    ended = door.create(backup, share_with=["far", "dr"])
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "IMG.0108")
    assert ended.told["image_id"] == region.images_of(backup)[0]["id"]
    assert "share" in ended.error["message"]


def test_what_was_shared_before_the_failure_is_named(door: Door, region: Region, backup: str) -> None:
    region.write_settings(projects={"dr": dr(region), "far": "ab" * 16})
    ended = door.create(backup, share_with=["dr", "far"])
    assert (ended.code, members(region, backup)) == (5, {dr(region)})
    assert ended.told["shared_with"] == [dr(region)]


def test_sharing_that_fails_keeps_the_image_and_the_next_run_does_the_rest(door: Door, region: Region, backup: str) -> None:
    region.arm("forbidden", operation=["batchAddImageMembers", "addImageMember"], times=None)
    ended = door.create(backup, share_with=["dr"])
    assert (ended.code, ended.told["outcome"], ended.told["status"]) == (5, "partly", "active")
    assert ended.told["image_id"] == region.images_of(backup)[0]["id"]
    region.emulator.faults.disarm()
    again = door.create(backup, share_with=["dr"])
    assert (again.code, again.told["outcome"], members(region, backup)) == (0, "adopted", {dr(region)})
    assert len(region.sent("createWholeImage")) == 1


def test_a_share_job_that_never_ends_is_still_running_and_the_next_run_finishes_it(
    door: Door, region: Region, backup: str
) -> None:
    region.arm("job-stuck", operation="batchAddImageMembers", times=None)
    ended = door.create(backup, share_with=["dr"])
    assert ended.code in {4, 5}
    assert ended.told["image_id"] == region.images_of(backup)[0]["id"]
    assert ended.error["retryable"] is True


def test_an_image_that_a_recipient_rejected_is_not_pressed_upon_him_again(door: Door, region: Region, backup: str) -> None:
    door.create(backup, share_with=["dr"])
    (image,) = region.images_of(backup)
    (member,) = region.things("image-member", image_id=image["id"])
    region.change("image-member", member, status="rejected")
    region.forget()
    assert door.create(backup, share_with=["dr"]).code == 0
    assert region.writes == []


def test_two_who_share_at_once_share_once_each(door: Door, region: Region, backup: str) -> None:
    """The other one's request comes between our look and ours: a member that is there already is no failure."""
    door.create(backup)
    (image,) = region.images_of(backup)

    def other(asked: Asked) -> None:
        if asked.operation == "batchAddImageMembers":
            project, stamp = dr(region), region.emulator.cloud.stamp()
            member = {"id": f"{image['id']}/{project}", "project": project, "image_id": image["id"], "status": "pending"}
            region.emulator.cloud.new(
                "image-member", member | {"vault_id": None, "stored_mb": 0, "created_at": stamp, "updated_at": stamp}
            )

    region.watchers.append(other)
    ended = door.create(backup, share_with=["dr"])
    assert (ended.code, members(region, backup)) == (0, {dr(region)})


def test_a_member_list_that_is_late_is_not_taken_for_a_sharing_that_failed(door: Door, region: Region, backup: str) -> None:
    door.create(backup)
    region.arm("late-listing", seconds=60, times=None)
    ended = door.create(backup, share_with=["dr"])
    assert (ended.code, ended.told["shared_with"]) == (0, [dr(region)])
    assert region.sent("addImageMember") == []
