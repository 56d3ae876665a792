"""Deleting is harder than making: what a policy's retention deletes, what it never touches, and how each end is proven."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_to_image.model.policy import Policy
from backup_to_image.steps.names import backup_run_name
from backup_to_image.steps.retention.retire import Retirement
from backup_to_image.steps.survey import Survey
from tests.support.region import Asked, Ended, Region

SERVER = "shop-lb-01"
"""It has five nightly backups in shop-vault, a day apart, of 20 GB each; and ledger-01 three in worm-vault, which is locked."""


def policy(region: Region, *, servers: Any = None, name: str = "nightly-shop", **retention: Any) -> str:
    told = {
        "name": name,
        "servers": servers or {"names": [SERVER]},
        "retention": {"max_deletions": 100} | retention,
    }
    (region.folder / f"{name}.yaml").write_text(yaml.safe_dump(told))
    return f"{name}.yaml"


def backups(region: Region, server: str = SERVER) -> list[dict[str, Any]]:
    """The nightly backups of a server, the newest first."""
    ident = region.named("server", server)["id"]
    found = [one for one in region.things("backup", resource_id=ident) if one["auto"]]
    return sorted(found, key=lambda one: str(one["created_at"]), reverse=True)


def image(region: Region, backup: dict[str, Any], made_by: str | None = "nightly-shop", **changes: Any) -> dict[str, Any]:
    """One that a night has made of this backup."""
    tags = {"b2i-source": backup["resource_id"]} | ({"b2i-policy": made_by} if made_by else {})
    found = region.make_image_by_hand(backup["id"], f"{backup['resource_name']}-{backup['created_at'][:10]}-{backup['id'][:8]}")
    region.change("image", found, **{"tags": tags | changes.pop("tags", {}), **changes})
    return found


def images(region: Region, count: int = 3, server: str = SERVER, **changes: Any) -> list[str]:
    """A server's images of its newest nights, the newest first."""
    return [image(region, backup, **changes)["id"] for backup in backups(region, server)[:count]]


def ours(backup: dict[str, Any], region: Region) -> None:
    """As if a run of ours had made that backup."""
    name = backup_run_name(backup["project"], backup["vault_id"], [backup["resource_id"]], region.clock.now())
    region.change("backup", backup, auto=False, name=name, expired_at=None)


def change(region: Region, image_id: str, **changes: Any) -> None:
    found = region.emulator.cloud.get("image", image_id)
    assert found
    if "tags" in changes:
        changes["tags"] = found["tags"] | changes["tags"]
    region.change("image", found, **changes)


def retention(region: Region, file: str, *arguments: str, **how: Any) -> Ended:
    return region.b2i("retention", file, *arguments, **how)


def applied(region: Region, file: str) -> Ended:
    return retention(region, file, "--apply")


def ids(told: Sequence[dict[str, Any]]) -> list[str]:
    return [one["image_id"] for one in told]


def rules(ended: Ended) -> dict[str, str]:
    return {one["image_id"]: one["rule"] for key in ("keep", "delete", "waiting") for one in ended.told[key]}


def there(region: Region, *image_ids: str) -> list[bool]:
    region.clock.advance(60)
    region.emulator.tick()
    return [region.emulator.cloud.get("image", ident) is not None for ident in image_ids]


def deletions(region: Region) -> list[str | None]:
    return [one.operation for one in region.asked if one.operation in {"deleteImage", "deleteBackup"}]


# -- plan first ---------------------------------------------------------------------------------------------------------


def test_without_apply_every_decision_is_told_with_its_rule_and_nothing_is_deleted(region: Region) -> None:
    newest, *older = images(region, 4)
    ended = retention(region, policy(region, keep_newest=2))
    assert ended.code == 0
    assert [(one["image_id"], one["rule"]) for one in ended.told["keep"]] == [
        (newest, "newest good"),
        (older[0], "keep_newest 2"),
    ]
    assert ids(ended.told["delete"]) == [older[2], older[1]], "the oldest first"
    assert {one["rule"] for one in ended.told["delete"]} == {
        "no rule keeps it, and 2 newer are good",
        "no rule keeps it, and 3 newer are good",
    }
    assert (ended.told["deleted"], region.writes) == ([], [])
    assert {"image_id", "backup_id", "rule", "gb"} <= set(ended.told["delete"][0])


def test_what_is_to_go_or_waits_is_a_finding_for_whoever_asks(region: Region) -> None:
    images(region, 2)
    file = policy(region)
    assert retention(region, file, "--fail-on-findings").code == 5
    assert applied(region, file).code == 0
    assert retention(region, file, "--fail-on-findings").code == 0


def test_the_plan_says_which_automatic_backups_go_back_to_their_own_policy_and_how_many_gb(region: Region) -> None:
    newest, old = images(region, 2)
    ours(backups(region)[2], region)
    (theirs, mine) = (
        backups(region)[1],
        image(region, next(one for one in region.things("backup") if one["name"].startswith("b2i-"))),
    )
    ended = retention(region, policy(region), json=False)
    assert ended.code == 0
    told = retention(region, policy(region)).told
    fates = {one["image_id"]: (one["backup"], one["gb"]) for one in told["delete"]}
    assert fates == {old: ("returns", 20), mine["id"]: ("goes", 20)}
    assert told["frees_gb"] == 20
    assert "Back to its own CBR policy goes each of 1 automatic backup (20 GB)" in ended.out
    assert theirs["id"] in ended.out
    assert "To go: 2 images, and with them 1 backup: 20 GB" in ended.out
    assert "Nothing was deleted" in ended.out
    assert newest not in fates


# -- what goes, proven --------------------------------------------------------------------------------------------------


def test_with_apply_what_no_rule_keeps_is_gone_and_the_newest_is_there(region: Region) -> None:
    newest, *older = images(region, 4)
    ended = applied(region, policy(region))
    assert (ended.code, sorted(ended.told["deleted"])) == (0, sorted(older))
    assert there(region, newest, *older) == [True, False, False, False]
    assert ended.told["left"] == []
    proofs = [one for one in region.asked if one.operation == "listCloudImages" and "id=" in one.query]
    assert len(proofs) >= len(older), "each end is proven by the list"


def test_whether_the_backup_goes_too_is_said_in_every_request(region: Region) -> None:
    images(region, 5)
    applied(region, policy(region, delete_backup="always"))
    asked = region.sent("deleteImage")
    assert len(asked) == 4
    assert all(one.body == {"delete_backup": False} for one in asked)


@pytest.mark.parametrize(("rule", "left"), [("never", [True, True]), ("made_by_us", [True, False]), ("always", [False, False])])
def test_the_backup_goes_as_the_policy_says(region: Region, rule: str, left: list[bool]) -> None:
    automatic, mine = backups(region)[1], backups(region)[2]
    ours(mine, region)
    image(region, backups(region)[0])
    gone = {image(region, one)["id"] for one in (automatic, mine)}
    ended = applied(region, policy(region, delete_backup=rule))
    assert (ended.code, set(ended.told["deleted"])) == (0, gone)
    region.clock.advance(60)
    region.emulator.tick()
    assert [region.emulator.cloud.get("backup", one["id"]) is not None for one in (automatic, mine)] == left
    assert len(ended.told["deleted_backups"]) == left.count(False)


def test_a_backup_is_asked_for_only_when_its_image_is_proven_to_be_gone(region: Region) -> None:
    images(region, 2)
    applied(region, policy(region, delete_backup="always"))
    order = [one.operation for one in region.asked if one.operation in {"deleteImage", "deleteBackup"} or "id=" in one.query]
    assert order[0] == "deleteImage"
    assert order[-1] == "deleteBackup"
    assert "listCloudImages" in order[1:-1]


def test_the_image_is_told_as_deleted_where_a_locked_vault_keeps_its_backup(region: Region) -> None:
    newest, old = images(region, 2, server="ledger-01")
    file = policy(region, servers={"names": ["ledger-01"]}, delete_backup="always")
    ended = applied(region, file)
    assert (ended.code, ended.told["deleted"]) == (5, [old])
    (left,) = ended.told["left"]
    assert (left["what"], left["code"], left["reason"]) == ("backup", "BackupService.6220", "locked vault, automatic backup")
    assert there(region, newest, old) == [True, False]
    region.forget()
    assert (applied(region, file).code, region.writes) == (0, []), "it is told once, and not tried every night"


def test_a_backup_that_cannot_go_now_goes_with_the_next_run(region: Region) -> None:
    newest, old = images(region, 2)
    backup = next(one for one in region.things("backup") if one["id"] == backups(region)[1]["id"])
    file = policy(region, delete_backup="always")

    def restore(asked: Asked) -> None:
        if asked.operation == "deleteBackup":
            region.change("backup", backup, status="restoring", due=None)

    region.watchers.append(restore)
    ended = applied(region, file)
    assert (ended.code, ended.told["deleted"]) == (4, [old])
    assert (ended.told["left"][0]["code"], ended.told["left"][0]["late"]) == ("BackupService.6201", True)
    region.watchers.clear()
    region.change("backup", backup, status="available")
    again = applied(region, file)
    assert (again.code, again.told["deleted"], again.told["deleted_backups"]) == (0, [], [backup["id"]])
    assert there(region, newest) == [True]
    assert list(region.journal.glob("retire-*")) == []


# -- what is never touched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"tags": {"b2i-hold": "20261125"}}, "held"),
        ({"protected": True}, "protected"),
        ({"status": "killed"}, "not active"),
        ({"tags": {"b2i-policy": "weekly"}}, "made by policy weekly, and left to it"),
    ],
)
def test_what_somebody_holds_or_another_policy_has_made_stays(region: Region, changes: dict[str, Any], rule: str) -> None:
    newest, old = images(region, 2)
    change(region, old, **changes)
    ended = applied(region, policy(region))
    assert (ended.code, rules(ended)) == (0, {newest: "newest good", old: rule})
    assert deletions(region) == []


def share(region: Region, image_id: str, partner: str | None = None) -> None:
    partner = partner or region.account["recipient"]["project_id"]
    stamp = region.emulator.cloud.stamp()
    member = {"id": f"{image_id}/{partner}", "project": partner, "image_id": image_id, "status": "pending", "vault_id": None}
    region.emulator.cloud.new("image-member", member | {"stored_mb": 0, "created_at": stamp, "updated_at": stamp})


def test_a_shared_image_stays_even_if_its_recipient_has_not_answered(region: Region) -> None:
    newest, old = images(region, 2)
    share(region, old)
    ended = applied(region, policy(region))
    assert rules(ended) == {newest: "newest good", old: "shared"}
    assert deletions(region) == []


def test_an_image_that_was_shared_after_the_list_was_read_stays_by_its_members(region: Region) -> None:
    newest, old = images(region, 2)

    def offer(asked: Asked) -> None:
        if asked.operation == "listCloudImages" and not region.things("image-member", image_id=old):
            share(region, old)

    region.answered.append(offer)
    ended = retention(region, policy(region))
    assert rules(ended) == {newest: "newest good", old: "shared"}


def test_an_image_that_is_shared_in_the_last_moment_stays_by_its_members(region: Region) -> None:
    _, old = images(region, 2)

    def offer(asked: Asked) -> None:
        if asked.operation == "getImage" and not region.things("image-member", image_id=old):
            share(region, old)

    region.answered.append(offer)
    ended = applied(region, policy(region))
    assert (ended.told["kept_after_all"], deletions(region)) == ([{"image_id": old, "reason": "it is shared"}], [])


def test_members_are_asked_for_of_those_alone_that_would_go(region: Region) -> None:
    newest, middle, old = images(region, 3)
    ended = retention(region, policy(region, keep_newest=2))
    assert ended.code == 0
    assert [one.path.split("/")[-2] for one in region.sent("listImageMembers")] == [old]
    assert {newest, middle} <= set(ids(ended.told["keep"]))


def test_an_image_without_our_mark_is_not_even_told(region: Region) -> None:
    images(region, 2)
    foreign = region.make_image_by_hand(backups(region)[3]["id"])
    ended = applied(region, policy(region))
    assert foreign["id"] not in rules(ended)
    assert there(region, foreign["id"]) == [True]


def test_an_image_of_another_project_that_carries_our_mark_is_left_alone(region: Region) -> None:
    """The list of the project does not show it; one that the cloud shows all the same is not ours either."""
    newest, old = images(region, 2)
    change(region, old, project=region.account["second_project"])
    ended = applied(region, policy(region))
    assert rules(ended) == {newest: "newest good"}
    assert deletions(region) == []


def test_an_image_that_a_drill_runs_on_stays(region: Region) -> None:
    newest, old = images(region, 2)
    region.change("server", region.named("server", "shop-web-scratch"), image_id=old, tags={"b2i-drill": "3f9a1c22b7d0"})
    ended = applied(region, policy(region))
    assert rules(ended) == {newest: "newest good", old: "in a drill"}
    assert deletions(region) == []


def test_an_image_whose_launch_has_not_ended_stays(region: Region) -> None:
    newest, old = images(region, 2)
    with region.killing("createServers", skip=1):
        region.b2i("launch", old, "--spec", region.write_launch())
    ended = applied(region, policy(region))
    assert ended.told["deleted"] == []
    assert ended.told["kept_after_all"][0]["reason"].startswith("`b2i launch` of shop-restored")
    assert there(region, newest, old) == [True, True]


def test_an_image_to_which_a_servers_os_is_being_changed_stays(region: Region) -> None:
    newest, old = images(region, 2)
    with region.killing("changeOs"):
        region.b2i("change-os", "shop-report-01", old, "--accept-data-disks-unchanged", "--yes-i-mean", "shop-report-01")
    ended = applied(region, policy(region))
    assert ended.told["deleted"] == []
    assert ended.told["kept_after_all"][0]["reason"].startswith("`b2i change-os` of shop-report-01")
    assert there(region, newest, old) == [True, True]


def test_the_newest_good_image_stays_though_a_newer_one_is_doubtful(region: Region) -> None:
    doubtful, good, old = images(region, 3)
    change(region, doubtful, tags={"b2i-doubtful": "20261125"})
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], rules(ended)[good]) == ([old], "newest good")


def test_the_newest_verified_image_stays_beside_the_newest(region: Region) -> None:
    newest, middle, verified, old = images(region, 4)
    for ident in (verified, old):
        change(region, ident, tags={"b2i-verified": "20261120"})
    ended = applied(region, policy(region))
    assert sorted(ended.told["deleted"]) == sorted([middle, old])
    assert there(region, newest, verified) == [True, True]


def test_images_of_servers_that_left_the_policy_stay_and_are_told(region: Region) -> None:
    left, _ = images(region, 2, server="shop-lb-02")
    ended = applied(region, policy(region))
    assert rules(ended)[left] == "its server is not one of the policy's any more"
    assert deletions(region) == []


def test_images_that_somebody_made_by_hand_of_the_policys_servers_count_like_its_own(region: Region) -> None:
    newest, old = images(region, 2, made_by=None)
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], rules(ended)[newest]) == ([old], "newest good")


def test_an_image_whose_backup_is_not_to_be_seen_stays_and_stands_for_none(region: Region) -> None:
    """Nobody knows how old it is: made today of a backup of last year, it would stand in the place of yesterday's."""
    newest, old, unknown = images(region, 3)
    change(region, unknown, backup_id="11111111-2222-4333-8444-555555555555")
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], rules(ended)[newest]) == ([old], "newest good")
    assert rules(ended)[unknown] == "its backup is not to be seen, so nobody knows how old it is"


# -- what changes between the plan and the deletion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "changes", "reason"),
    [
        ("old", {"tags": {"b2i-hold": "20261125"}}, "it is held"),
        ("old", {"protected": True}, "it is protected"),
        ("old", {"tags": {"b2i-source": "somebody-else"}}, "it does not carry our mark b2i-source of its server"),
        ("old", {"tags": {"b2i-policy": "weekly"}}, "it carries the mark of another policy"),
        ("old", {"tags": {"b2i-verified": "20261125"}}, "it was verified meanwhile"),
        ("old", {"status": "queued"}, "it is queued"),
        ("old", {"backup_id": "11111111-2222-4333-8444-555555555555"}, "it names another backup"),
        ("given away", {}, "it lies in another project"),
        ("newest", {"tags": {"b2i-doubtful": "20261125"}}, "is not good any more"),
        ("newest", {"status": "killed"}, "is not good any more"),
        ("newest", {"project": "f" * 32}, "is not good any more"),
        ("shared", {}, "it is shared"),
        ("drill", {}, "a drill runs on it"),
        ("unseen", {}, "whether a drill runs on it cannot be seen: "),
    ],
)
def test_whatever_speaks_against_it_right_before_keeps_it(
    region: Region, which: str, changes: dict[str, Any], reason: str
) -> None:
    newest, old = images(region, 2)
    looks = 0

    def meddle(asked: Asked) -> None:
        """After the plan, when the image is looked at by its id for the first time."""
        nonlocal looks
        if asked.operation != "getImage" or looks:
            return
        looks += 1
        if which == "shared":
            share(region, old)
        elif which == "given away":
            share(region, old, region.account["project_id"])
            change(region, old, project=region.account["second_project"])
        elif which == "unseen":
            region.clock.advance(301)
            region.arm("forbidden", operation="listServersDetail", times=None)
        elif which == "drill":
            region.clock.advance(301)  # the list of servers has grown old meanwhile
            region.change("server", region.named("server", "shop-web-scratch"), image_id=old, tags={"b2i-drill": "3f9a1c22b7d0"})
        else:
            change(region, {"old": old, "newest": newest}[which], **changes)

    region.watchers.append(meddle)
    ended = applied(region, policy(region))
    assert (ended.code, ended.told["deleted"], deletions(region)) == (0, [], [])
    (kept,) = ended.told["kept_after_all"]
    assert kept["image_id"] == old
    assert reason in kept["reason"]


def test_the_newest_verified_image_has_to_be_there_when_an_older_verified_one_goes(region: Region) -> None:
    newest, verified, old = images(region, 3)
    for ident in (verified, old):
        change(region, ident, tags={"b2i-verified": "20261120"})

    def lose_it(asked: Asked) -> None:
        found = region.emulator.cloud.get("image", verified)
        if asked.operation == "getImage" and found:
            region.emulator.cloud.remove("image", verified)

    region.watchers.append(lose_it)
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], ended.told["kept_after_all"][0]["image_id"]) == ([], old)
    assert there(region, newest, old) == [True, True]


def test_an_older_verified_image_stays_where_the_newest_is_not_verified_any_more(region: Region) -> None:
    newest, verified, old = images(region, 3)
    for ident in (verified, old):
        change(region, ident, tags={"b2i-verified": "20261120"})

    def doubt(asked: Asked) -> None:
        found = region.emulator.cloud.get("image", verified)
        if asked.operation == "getImage" and found:
            region.change("image", found, tags={key: tag for key, tag in found["tags"].items() if key != "b2i-verified"})

    region.watchers.append(doubt)
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], ended.told["kept_after_all"][0]["image_id"]) == ([], old)
    assert "is not verified any more" in ended.told["kept_after_all"][0]["reason"]
    assert there(region, newest, verified, old) == [True, True, True]


@pytest.mark.parametrize("whose", ["another image needs it", "it lies in another project"])
def test_a_backup_that_is_not_ours_alone_any_more_stays(region: Region, whose: str) -> None:
    _, old = images(region, 2)
    backup = backups(region)[1]
    me = region.account["project_id"]

    def meddle(asked: Asked) -> None:
        if asked.operation == "getBackup" and "needs" in whose and len(region.images_of(backup["id"])) == 0:
            region.make_image_by_hand(backup["id"])
        if asked.operation == "getBackup" and "lies" in whose and backup["project"] == me:
            region.change("backup", backup, project=region.account["second_project"])
            member = {
                "id": "m",
                "project": backup["project"],
                "backup_id": backup["id"],
                "dest_project": me,
                "status": "accepted",
            }
            region.emulator.cloud.new(
                "backup-member", member | {"vault_id": None, "image_id": None, "created_at": "", "updated_at": ""}
            )

    region.watchers.append(meddle)
    ended = applied(region, policy(region, delete_backup="always"))
    assert (ended.code, ended.told["deleted"], ended.told["deleted_backups"]) == (0, [old], [])
    assert region.sent("deleteBackup") == []


def test_an_image_that_somebody_deletes_meanwhile_is_not_told_as_deleted_by_us(region: Region) -> None:
    _, old = images(region, 2)

    def delete(asked: Asked) -> None:
        if asked.operation == "listImageMembers":
            region.emulator.cloud.remove("image", old)

    region.answered.append(delete)
    ended = applied(region, policy(region, delete_backup="never"))
    assert (ended.code, ended.told["deleted"], ended.told["gone"]) == (0, [], [old])
    assert deletions(region) == []


# -- servers that are gone ----------------------------------------------------------------------------------------------


def vanish(region: Region, server: str = SERVER) -> None:
    region.emulator.cloud.remove("server", region.named("server", server)["id"])


def test_images_of_a_vanished_server_stay_without_a_rule_that_names_them(region: Region) -> None:
    images(region, 3)
    vanish(region)
    region.clock.advance(timedelta(days=400).total_seconds())
    ended = applied(region, policy(region, max_age="1d"))
    assert (ended.code, ended.told["deleted"], len(ended.told["keep"])) == (0, [], 3)
    assert set(rules(ended).values()) == {"newest good", "its server is gone, and no rule names such images"}


def test_with_a_rule_they_go_when_it_is_over_and_the_newest_never(region: Region) -> None:
    newest, *older = images(region, 3)
    vanish(region)
    file = policy(region, vanished={"keep_for": "90d"})
    assert applied(region, file).told["deleted"] == []
    region.clock.advance(timedelta(days=91).total_seconds())
    ended = applied(region, file)
    assert sorted(ended.told["deleted"]) == sorted(older)
    assert there(region, newest) == [True]


def test_a_server_that_only_the_list_does_not_show_has_not_vanished(region: Region) -> None:
    images(region, 3)
    server = region.named("server", SERVER)
    file = policy(region, vanished={"keep_for": "1d"})
    region.clock.advance(timedelta(days=91).total_seconds())

    def hide(asked: Asked) -> None:
        if asked.operation == "listServersDetail":
            region.emulator.cloud.remove("server", server["id"])

    def show(asked: Asked) -> None:
        if asked.operation == "listServersDetail":
            region.emulator.cloud.new("server", server)

    region.watchers.append(hide)
    region.answered.append(show)
    ended = applied(region, file)
    assert (ended.told["deleted"], len(ended.told["keep"])) == ([], 3)
    assert set(rules(ended).values()) == {
        "whether its server is gone cannot be seen: no list shows it, and it is ACTIVE by its id"
    }


def test_where_nobody_can_see_whether_a_server_is_gone_its_images_stay(region: Region) -> None:
    images(region, 3)
    vanish(region)
    region.clock.advance(timedelta(days=91).total_seconds())
    region.arm("forbidden", operation="getServer", times=None)
    ended = applied(region, policy(region, vanished={"keep_for": "1d"}))
    assert (ended.told["deleted"], deletions(region)) == ([], [])
    assert all("whether its server is gone cannot be seen" in rule for rule in rules(ended).values())


def test_images_of_a_vanished_server_that_no_night_of_this_policy_made_are_not_its_business(region: Region) -> None:
    images(region, 3, made_by=None)
    vanish(region)
    ended = applied(region, policy(region, vanished={"keep_for": "1d"}))
    assert (rules(ended), ended.told["deleted"]) == ({}, [])


# -- the cap ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "goes"), [(2, 2), ("5%", 1), (0, 1), ("50%", 2), (100, 4)])
def test_no_more_than_the_cap_go_at_a_time_and_the_rest_waits(region: Region, most: Any, goes: int) -> None:
    newest, *older = images(region, 5)
    file = policy(region, max_deletions=most)
    ended = applied(region, file)
    oldest_first = older[::-1]
    assert (ended.code, sorted(ended.told["deleted"])) == (0, sorted(oldest_first[:goes]))
    assert ids(ended.told["waiting"]) == oldest_first[goes:]
    again = applied(region, file)
    assert again.code == 0
    assert set(again.told["deleted"]) <= set(oldest_first[goes:])
    assert there(region, newest) == [True]


def test_a_shared_image_does_not_use_up_the_cap(region: Region) -> None:
    _, middle, old = images(region, 3)
    share(region, old)
    ended = applied(region, policy(region, max_deletions=1))
    assert ended.told["deleted"] == [middle]


# -- what cannot be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["listServersDetail", "listCloudImages", "listBackups", "listVaults"])
@pytest.mark.parametrize("arguments", [(), ("--apply",)])
def test_nothing_is_decided_or_deleted_from_a_list_that_could_not_be_read(
    region: Region, operation: str, arguments: tuple[str, ...]
) -> None:
    images(region, 3)
    region.arm("forbidden", operation=operation, times=None)
    ended = retention(region, policy(region, servers={"vaults": ["shop-vault"], "names": [SERVER]}), *arguments)
    assert (ended.code, ended.told["deleted"], deletions(region)) == (1, [], [])
    assert "could not be read" in ended.error["message"]
    assert "Nothing was deleted" in ended.error["message"]


def test_lists_that_the_policy_does_not_need_need_not_be_readable(region: Region) -> None:
    _, old = images(region, 2)
    region.arm("forbidden", operation=["listVaults", "listVolumesDetail", "getImageQuota"], times=None)
    assert applied(region, policy(region)).told["deleted"] == [old]


def test_an_image_whose_members_cannot_be_seen_stays(region: Region) -> None:
    _, old = images(region, 2)
    region.arm("forbidden", operation="listImageMembers", times=None)
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], deletions(region)) == ([], [])
    assert rules(ended)[old].startswith("whether it is shared cannot be seen: ")


def test_a_vault_that_does_not_exist_is_told_and_chooses_nothing(region: Region) -> None:
    images(region, 3)
    ended = applied(region, policy(region, servers={"vaults": ["shop-vualt"]}))
    assert (ended.told["deleted"], deletions(region)) == ([], [])
    assert "shop-vualt" in ended.told["notes"][0]


def test_a_mistake_in_the_file_is_told_with_its_line(region: Region) -> None:
    (region.folder / "wrong.yaml").write_text("name: x\nservers: {names: ['*']}\nretention: {keep: 3}\n")
    ended = retention(region, "wrong.yaml", "--apply")
    assert (ended.code, region.asked) == (2, [])
    assert "wrong.yaml:3" in ended.error["message"]


# -- trouble on the way -------------------------------------------------------------------------------------------------


def test_a_granted_deletion_that_does_nothing_is_never_told_as_done(region: Region) -> None:
    _, old = images(region, 2)
    file = policy(region)
    region.arm("delete-ignored", times=1)
    ended = applied(region, file)
    assert (ended.code, ended.told["deleted"]) == (4, [])
    assert ended.told["left"][0]["late"]
    assert len(region.sent("deleteImage")) == 1, "granted is not asked for again in the same breath"
    again = applied(region, file)
    assert (again.code, again.told["deleted"]) == (0, [old])


@pytest.mark.parametrize("fault", ["lost-answer", "reset-before", "error-500", "html-502"])
@pytest.mark.parametrize("operation", ["deleteImage", "deleteBackup", "getImage", "getBackup", "listImageMembers"])
def test_trouble_on_the_way_neither_loses_nor_doubles_a_deletion(region: Region, operation: str, fault: str) -> None:
    newest, old = images(region, 2)
    region.arm(fault, operation=operation)
    ended = applied(region, policy(region, delete_backup="always"))
    assert (ended.code, ended.told["deleted"], len(ended.told["deleted_backups"])) == (0, [old], 1), ended.err
    assert there(region, newest, old) == [True, False]


@pytest.mark.parametrize("operation", ["deleteImage", "deleteBackup"])
def test_after_a_lost_answer_it_is_looked_for_before_anything_is_sent_again(region: Region, operation: str) -> None:
    _, old = images(region, 2)
    region.arm("lost-answer", operation=operation)
    ended = applied(region, policy(region, delete_backup="always"))
    assert (ended.told["deleted"], len(region.sent(operation))) == ([old], 1)


@pytest.mark.parametrize("witness", ["getImage", "listCloudImages"])
def test_what_one_witness_alone_does_not_know_any_more_is_not_proven_to_be_gone(region: Region, witness: str) -> None:
    _, old = images(region, 2)
    found = region.emulator.cloud.get("image", old)
    assert found
    region.arm("delete-ignored")

    def hide(asked: Asked) -> None:
        if asked.operation == witness and region.sent("deleteImage"):
            region.emulator.cloud.remove("image", old)

    def show(asked: Asked) -> None:
        if asked.operation == witness and region.sent("deleteImage"):
            region.emulator.cloud.new("image", found)

    region.watchers.append(hide)
    region.answered.append(show)
    ended = applied(region, policy(region, delete_backup="always"))
    assert (ended.code, ended.told["deleted"], region.sent("deleteBackup")) == (4, [], [])
    assert ended.told["left"][0]["what"] == "image"


@pytest.mark.parametrize("fault", ["reset-before", "error-500", "html-502", "throttled-429"])
def test_a_deletion_is_sent_again_only_after_all_has_been_looked_at_again(region: Region, fault: str) -> None:
    _, old = images(region, 2)
    region.arm(fault, operation="deleteImage")

    def hold(asked: Asked) -> None:
        if asked.operation == "deleteImage":
            change(region, old, tags={"b2i-hold": "20261125"})

    region.watchers.append(hold)
    ended = applied(region, policy(region))
    assert (ended.told["deleted"], len(region.sent("deleteImage"))) == ([], 1), ended.err
    assert ended.told["kept_after_all"] == [{"image_id": old, "reason": "it is held"}]


@pytest.mark.parametrize("native", ["ims", "glance"])
def test_a_refusal_is_told_with_the_clouds_code_and_words(region: Region, native: str) -> None:
    region.emulator.switches["native_refusals"] = native
    newest, middle, old = images(region, 3)
    region.arm("forbidden", operation="deleteImage")
    ended = applied(region, policy(region))
    assert (ended.code, len(ended.told["deleted"]), len(ended.told["left"])) == (5, 1, 1)
    (left,) = ended.told["left"]
    assert (left["what"], left["late"]) == ("image", False)
    assert left["code"]
    assert left["reason"]
    assert there(region, newest) == [True]
    assert {left["image_id"], *ended.told["deleted"]} == {middle, old}
    assert list(region.journal.glob("retire-*")) == []


def test_a_proxy_that_drops_the_body_costs_one_backup_at_most(region: Region) -> None:
    """Where the cloud then takes the backup along against what was sent, nothing more is deleted."""
    images(region, 5)
    region.emulator.switches.update(delete_bodies="dropped", delete_backup_default="true")
    ended = applied(region, policy(region, delete_backup="never"))
    assert ended.code == 5
    assert "although delete_backup: false was sent" in ended.told["stopped"]
    assert len(ended.told["deleted"]) <= 4
    assert {one["what"] for one in ended.told["left"]} == {"backup"}


# -- two at once, and runs that are killed ------------------------------------------------------------------------------


def rules_of(file: Path) -> Policy:
    return Policy.model_validate(yaml.safe_load(file.read_text()))


async def test_two_runs_at_once_delete_nothing_twice_and_each_deletion_is_told_once(region: Region) -> None:
    newest, *older = images(region, 4)
    read = rules_of(region.folder / policy(region, delete_backup="always"))
    async with region.context() as one, region.context() as other:
        first, second = Retirement(read, one, Survey(one)), Retirement(read, other, Survey(other))
        plans = await asyncio.gather(first.plan(), second.plan())
        assert [len(plan.delete) for plan in plans] == [3, 3]
        done = await asyncio.gather(first.apply(plans[0]), second.apply(plans[1]))
    assert sorted((*done[0].deleted, *done[1].deleted)) == sorted(older)
    assert len(region.sent("deleteImage")) == len(older)
    assert len(region.sent("deleteBackup")) == len(older)
    assert not done[0].failed
    assert not done[1].failed
    assert there(region, newest) == [True]


def test_a_run_that_was_held_up_until_another_took_over_sends_nothing_more(region: Region) -> None:
    """Its token ends just then, so that the deletion is to be sent again after the log-in; by then it has lost its lease."""
    _, old = images(region, 2)
    region.arm("token-expired", operation="deleteImage")

    def overtake(asked: Asked) -> None:
        if asked.operation == "createToken" and region.sent("deleteImage"):
            (lease,) = region.journal.glob("lease-image-*.lease")
            until = (region.clock.now() + timedelta(seconds=3600)).isoformat()
            lease.write_text(json.dumps({"host": "elsewhere", "nonce": "somebody", "fence": 99, "until": until}))
            region.clock.advance(61)

    region.watchers.append(overtake)
    ended = applied(region, policy(region))
    assert (ended.code, ended.told["deleted"], len(region.sent("deleteImage"))) == (4, [], 1)
    assert "taken over" in ended.told["left"][0]["reason"]
    assert there(region, old) == [True]


@pytest.mark.parametrize(
    ("operation", "skip"),
    [("deleteImage", 0), ("getImage", 3), ("listCloudImages", 1), ("getBackup", 0), ("deleteBackup", 0), ("getBackup", 1)],
)
def test_killed_at_any_point_the_next_run_ends_it_and_tells_the_truth(region: Region, operation: str, skip: int) -> None:
    newest, old = images(region, 2)
    backup = backups(region)[1]
    file = policy(region, delete_backup="always")
    with region.killing(operation, skip=skip):
        applied(region, file)
    region.clock.advance(61)
    ended = applied(region, file)
    assert (ended.code, ended.told["left"]) == (0, []), ended.err
    assert (ended.told["deleted"], ended.told["deleted_backups"]) == ([old], [backup["id"]])
    assert there(region, newest, old) == [True, False]
    assert region.emulator.cloud.get("backup", backup["id"]) is None
    assert list(region.journal.glob("retire-*")) == []


def test_killed_with_the_answer_on_its_way_it_is_not_sent_again(region: Region) -> None:
    _, old = images(region, 2)
    file = policy(region)

    def die(asked: Asked) -> None:
        if asked.operation == "deleteImage":
            raise KeyboardInterrupt

    region.answered.append(die)
    region.b2i("retention", file, "--apply")
    region.answered.clear()
    ended = applied(region, file)
    assert (ended.code, ended.told["deleted"], len(region.sent("deleteImage"))) == (0, [old], 1)


def test_a_run_that_is_stopped_tells_what_is_deleted_by_then(region: Region) -> None:
    images(region, 5)

    def stop(asked: Asked) -> None:
        if asked.operation == "deleteImage" and len(region.sent("deleteImage")) == 4:
            raise KeyboardInterrupt

    region.watchers.append(stop)
    ended = applied(region, policy(region, max_deletions=100))
    assert ended.code == 130
    assert len(ended.told["delete"]) == 4
    gone = [one for one in ended.told["delete"] if not there(region, one["image_id"])[0]]
    assert set(ended.told["deleted"]) <= {one["image_id"] for one in gone}


def test_a_lost_journal_hinders_no_deletion(region: Region) -> None:
    _, old = images(region, 2)
    file = policy(region)
    with region.killing("getImage", skip=3):
        applied(region, file)
    for record in region.journal.iterdir():
        record.unlink()
    ended = applied(region, file)
    assert (ended.code, ended.told["left"]) == (0, [])
    assert there(region, old) == [False]


# -- what is left in the journal ----------------------------------------------------------------------------------------


def records(region: Region, *kinds: str) -> int:
    return sum(1 for kind in kinds for _ in region.journal.glob(f"{kind}-*"))


def made(region: Region, *backup_ids: str) -> list[str]:
    """Images that b2i itself makes, with all that it writes down."""
    found: list[str] = []
    for ident in backup_ids:
        ended = region.b2i("create", ident)
        assert ended.code == 0, ended.err
        found.append(ended.told["image_id"])
    return found


def test_nothing_of_an_image_that_is_gone_stays_in_the_journal_and_the_others_keep_their_facts(region: Region) -> None:
    new, old = backups(region)[:2]
    kept, gone = made(region, new["id"], old["id"])
    assert (records(region, "image"), records(region, "facts"), records(region, "lease-image")) == (2, 2, 2)
    ended = applied(region, policy(region))
    assert ended.told["deleted"] == [gone]
    assert (records(region, "image"), records(region, "facts"), records(region, "lease-image")) == (1, 1, 1)
    assert records(region, "retire") == 0
    vanish(region)
    order = region.write_launch(flavor="same-as-source")
    assert region.b2i("launch", kept, "--spec", order, "--dry-run").code == 0


def test_the_facts_of_a_vanished_server_stay_as_long_as_the_backup_does(region: Region) -> None:
    """The backup may become an image again, and nothing else tells what its server was."""
    new, old = backups(region)[:2]
    _, gone = made(region, new["id"], old["id"])
    for found in region.images_of(old["id"]) + region.images_of(new["id"]):
        region.change("image", found, tags=found["tags"] | {"b2i-policy": "nightly-shop"})
    vanish(region)
    region.clock.advance(timedelta(days=91).total_seconds())
    ended = applied(region, policy(region, vanished={"keep_for": "90d"}))
    assert ended.told["deleted"] == [gone]
    assert records(region, "facts") == 2
    (again,) = made(region, old["id"])
    assert region.b2i("launch", again, "--spec", region.write_launch(flavor="same-as-source"), "--dry-run").code == 0


def test_the_backup_of_a_deleted_image_can_become_an_image_again(region: Region) -> None:
    new, old = backups(region)[:2]
    _, gone = made(region, new["id"], old["id"])
    assert applied(region, policy(region)).told["deleted"] == [gone]
    again = region.b2i("create", old["id"])
    assert (again.code, again.told["outcome"]) == (0, "made")
    assert again.told["image_id"] != gone


# -- rolling: as soon as a server's new image is good -------------------------------------------------------------------


async def test_rolling_a_servers_old_image_goes_as_soon_as_its_new_one_is_good(region: Region) -> None:
    _, *older = images(region, 3)
    others = images(region, 3, server="shop-lb-02")
    read = rules_of(region.folder / policy(region, servers={"names": ["shop-lb-*"]}))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        new = await ctx.cloud.images.get(images_of(region)[0])
        done = await retirement.after(new.tags["b2i-source"], new, made=1)
    assert sorted(done.deleted) == sorted(older)
    assert there(region, *others) == [True, True, True]


def images_of(region: Region, server: str = SERVER) -> list[str]:
    """A server's images, the newest first."""
    in_order = [one for backup in backups(region, server) for one in region.images_of(backup["id"])]
    return [one["id"] for one in in_order]


async def test_rolling_an_image_newer_than_the_lists_stands_for_the_one_before_it(region: Region) -> None:
    newest, before = images(region, 3)[1:]
    region.emulator.cloud.remove("image", images_of(region)[0])
    read = rules_of(region.folder / policy(region))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        assert [one.decision.image_id for one in (await retirement.plan()).delete] == [before]
        new = await ctx.cloud.images.get(image(region, backups(region)[0])["id"])
        done = await retirement.after(new.tags["b2i-source"], new, made=1)
    assert sorted(done.deleted) == sorted([newest, before])


async def test_rolling_a_new_image_of_an_older_backup_does_not_push_out_the_newest(region: Region) -> None:
    """As with a recovery set: the night takes an older backup than the one of which somebody has made an image by hand."""
    newest = image(region, backups(region)[0], made_by=None)["id"]
    read = rules_of(region.folder / policy(region))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        assert (await retirement.plan()).delete == ()
        region.clock.advance(600)
        new = await ctx.cloud.images.get(image(region, backups(region)[2])["id"])
        done = await retirement.after(new.tags["b2i-source"], new, made=1)
    assert done.removals == ()
    assert there(region, newest, new.id) == [True, True]


async def test_rolling_an_image_of_a_backup_that_the_night_had_made_stands_for_the_one_before_it(region: Region) -> None:
    newest, before = images(region, 2)
    region.emulator.cloud.remove("image", newest)
    made_tonight = backups(region)[0]
    region.emulator.cloud.remove("backup", made_tonight["id"])
    read = rules_of(region.folder / policy(region))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        assert (await retirement.plan()).delete == ()
        region.emulator.cloud.new("backup", made_tonight)
        new = await ctx.cloud.images.get(image(region, made_tonight)["id"])
        done = await retirement.after(new.tags["b2i-source"], new, made=1)
    assert done.deleted == (before,)


async def test_rolling_a_new_image_that_is_doubtful_or_foreign_lets_nothing_go(region: Region) -> None:
    images(region, 1)
    old = image(region, backups(region)[2])["id"]
    fresh = image(region, backups(region)[1])
    read = rules_of(region.folder / policy(region))
    region.emulator.cloud.remove("image", images_of(region)[0])
    region.change("image", fresh, tags=fresh["tags"] | {"b2i-doubtful": "20261125"})
    async with region.context() as ctx:
        new = await ctx.cloud.images.get(fresh["id"])
        done = await Retirement(read, ctx, Survey(ctx)).after(new.tags["b2i-source"], new, made=1)
        assert done.removals == ()
        region.change("image", fresh, tags={})
        new = await ctx.cloud.images.get(fresh["id"])
        done = await Retirement(read, ctx, Survey(ctx)).after(region.named("server", SERVER)["id"], new, made=1)
        assert done.removals == ()
    assert there(region, old) == [True]


async def test_rolling_a_night_deletes_no_more_than_its_cap_and_at_least_what_it_has_made(region: Region) -> None:
    servers = ["shop-lb-01", "shop-lb-02", "shop-mail-01", "shop-queue-01"]
    for server in servers:
        images(region, 3, server=server)
    read = rules_of(region.folder / policy(region, servers={"names": servers}, max_deletions="5%"))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        counts: list[int] = []
        for number, server in enumerate(servers, start=1):
            new = await ctx.cloud.images.get(images_of(region, server)[0])
            done = await retirement.after(new.tags["b2i-source"], new, made=number)
            counts.append(len(done.deleted))
        assert counts == [1, 1, 1, 1], "one for each that was made, though five per cent of twelve are none"
        assert len((await retirement.plan(made=4)).delete) == 0
        plan = await retirement.plan(made=6)
    assert len(plan.delete) == 2
    told = [one.image_id for one in plan.keep] + [one.decision.image_id for one in (*plan.delete, *plan.waiting)]
    assert all(there(region, *told)), "what is gone is not told again"


async def test_rolling_an_image_that_is_kept_at_the_last_moment_leaves_its_place_to_another(region: Region) -> None:
    servers = ["shop-lb-01", "shop-lb-02"]
    held, goes = (images(region, 2, server=server)[1] for server in servers)
    read = rules_of(region.folder / policy(region, servers={"names": servers}, max_deletions=1))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        assert len((await retirement.plan()).delete) == 1
        change(region, held, tags={"b2i-hold": "20261125"})
        for server in servers:
            new = await ctx.cloud.images.get(images_of(region, server)[0])
            done = await retirement.after(new.tags["b2i-source"], new, made=1)
    assert done.deleted == (goes,)


async def test_rolling_a_night_in_which_a_list_cannot_be_read_goes_on_and_deletes_nothing(region: Region) -> None:
    images(region, 3)
    read = rules_of(region.folder / policy(region))
    region.arm("forbidden", operation="listBackups", times=None)
    async with region.context() as ctx:
        new = await ctx.cloud.images.get(images_of(region)[0])
        done = await Retirement(read, ctx, Survey(ctx)).after(new.tags["b2i-source"], new, made=1)
    assert done.removals == ()
    assert "could not be read" in done.stopped
    assert deletions(region) == []


async def test_rolling_many_servers_read_each_list_once(region: Region) -> None:
    servers = ["shop-lb-01", "shop-lb-02", "shop-mail-01", "shop-queue-01"]
    for server in servers:
        images(region, 2, server=server)
    read = rules_of(region.folder / policy(region, servers={"names": servers}))
    async with region.context() as ctx:
        retirement = Retirement(read, ctx, Survey(ctx))
        new = [await ctx.cloud.images.get(images_of(region, server)[0]) for server in servers]
        region.forget()
        done = await asyncio.gather(*(retirement.after(one.tags["b2i-source"], one, made=4) for one in new))
    assert [len(one.deleted) for one in done] == [1, 1, 1, 1]
    assert len(region.sent("listServersDetail")) == 1
    assert len(region.sent("listBackups")) == 1
    assert len([one for one in region.sent("listCloudImages") if "id=" not in one.query]) == 1


# -- for people ---------------------------------------------------------------------------------------------------------


def test_people_read_every_image_with_its_age_rule_and_backup_and_what_became_of_them(region: Region) -> None:
    newest, old = images(region, 2)
    ended = retention(region, policy(region, delete_backup="always"), "--apply", json=False)
    assert ended.code == 0
    for word in (SERVER, "newest good", "no rule keeps it, and 1 newer is good", "is deleted too", "goes", "stays"):
        assert word in ended.out
    assert "To go: 1 image, and with them 1 backup: 20 GB" in ended.out
    assert "Deleted, and proven to be gone: 1 image, 1 backup: 20 GB" in ended.out
    assert there(region, newest, old) == [True, False]


def test_a_policy_without_images_has_nothing_to_do(region: Region) -> None:
    ended = applied(region, policy(region))
    assert (ended.code, ended.told["keep"], ended.told["delete"], region.writes) == (0, [], [], [])
    assert "no images yet" in retention(region, policy(region), json=False).out


def test_the_journal_never_holds_more_than_facts(region: Region) -> None:
    images(region, 2)
    with region.killing("getImage", skip=3):
        applied(region, policy(region))
    (record,) = region.journal.glob("retire-*.json")
    assert set(json.loads(record.read_text())["facts"]) == {"doomed", "policy"}


def test_an_image_that_is_being_handed_over_stays(region: Region) -> None:
    _, _, oldest = images(region, 3)
    with region.killing("batchAddImageMembers"):
        region.b2i("hand-over", oldest, "--to", "partner")
    ended = region.b2i("retention", policy(region, keep_newest=1), "--apply")
    (kept,) = ended.told["kept_after_all"]
    assert (kept["image_id"], "`b2i hand-over`" in kept["reason"]) == (oldest, True)
