"""A night over a fleet, through `b2i nightly`: every server has its image in the morning, or the report says why not."""

from collections import Counter
from typing import Any

import pytest
import yaml

from tests.support.region import Ended, Region

SHOP = {"tags": {"backup-to-image": "yes"}}


def write_policy(region: Region, **keys: Any) -> str:
    told: dict[str, Any] = {"name": "nightly-shop", "servers": SHOP} | keys
    (region.folder / "policy.yaml").write_text(yaml.safe_dump(told))
    return "policy.yaml"


def night(region: Region, *words: str, **keys: Any) -> Ended:
    return region.b2i("nightly", write_policy(region, **keys), *words)


def servers(told: dict[str, Any], outcome: str) -> set[str]:
    return {one["name"] for one in told[outcome]}


def asked_for(region: Region) -> Counter[str]:
    """How often an image of each backup was asked for and granted."""
    return Counter(asked.body["backup_id"] for asked in region.sent("createWholeImage") if asked.status == 200)


def at_work(region: Region) -> list[int]:
    """How many images were being made whenever one was asked for; grows while the night runs."""
    counts: list[int] = []

    def count(asked: Any) -> None:
        if asked.operation == "createWholeImage":
            counts.append(sum(image["status"] in {"queued", "saving"} for image in region.things("image")))

    region.answered.append(count)
    return counts


def test_every_server_of_the_policy_has_its_image_shared_and_marked(region: Region) -> None:
    ended = night(region, share_with=["dr"], image={"tags": {"team": "shop"}})
    told = ended.told
    assert (ended.code, told["outcome"], told["servers"]) == (0, "made", 17)
    assert len(told["made"]) == 17
    assert not any(told[key] for key in ("adopted", "skipped", "failed", "late", "error"))
    for one in told["made"]:
        (image,) = region.images_of(one["backup_id"])
        assert (image["id"], image["status"]) == (one["image_id"], "active")
        tags = image["tags"]
        assert (tags["b2i-source"], tags["b2i-policy"], tags["team"]) == (one["server"], "nightly-shop", "shop")
        assert one["shared_with"] == [region.account["second_project"]]


def test_the_newest_backup_that_is_young_enough_is_taken(region: Region) -> None:
    told = night(region, servers={"names": ["shop-web-01"]}).told
    (one,) = told["made"]
    newest = max(
        (
            backup
            for backup in region.things("backup")
            if backup["resource_id"] == one["server"] and backup["status"] == "available"
        ),
        key=lambda backup: backup["created_at"],
    )
    assert one["backup_id"] == newest["id"]


def test_no_more_images_are_made_at_a_time_than_the_policy_allows(region: Region) -> None:
    counts = at_work(region)
    assert night(region, limits={"images_at_once": 3}).code == 0
    assert max(counts) == 3
    assert len(counts) == 17


def test_the_same_night_again_adopts_everything_and_makes_nothing(region: Region) -> None:
    night(region)
    region.forget()
    ended = night(region)
    assert (ended.code, ended.told["outcome"], len(ended.told["adopted"])) == (0, "adopted", 17)
    assert region.writes == []
    assert region.sent("getImsJob") == [], "the journal knows that it said SUCCESS"
    assert len(region.asked) < 17 * 3


def test_what_is_there_waits_for_no_place_and_holds_none_up(region: Region) -> None:
    """Four images are there; of the others one is made at a time, and what is there is adopted meanwhile."""
    night(region, servers={"names": ["shop-web-0?"]})
    lines: list[str] = []
    region.answered.append(lambda asked: lines.append(asked.body["backup_id"]) if asked.operation == "createWholeImage" else None)
    ended = night(region, limits={"images_at_once": 1})
    assert (ended.code, len(ended.told["adopted"]), len(lines)) == (0, 4, 13)


def test_a_night_that_was_killed_is_gone_on_with_and_nothing_is_asked_for_twice(region: Region) -> None:
    policy = write_policy(region, limits={"images_at_once": 4, "deadline": "3h"})
    with region.killing("createWholeImage", skip=9):
        region.b2i("nightly", policy)
    region.clock.advance(90)
    ended = region.b2i("nightly", policy)
    assert (ended.code, ended.told["servers"]) == (0, 17)
    assert len(ended.told["adopted"]) >= 9
    assert set(asked_for(region).values()) == {1}
    assert len(asked_for(region)) == 17


def test_the_same_night_keeps_its_deadline_when_it_is_killed_and_another_night_has_its_own(region: Region) -> None:
    policy = write_policy(region, limits={"deadline": "2h"})
    began = region.clock.now()
    with region.killing("createWholeImage", skip=3):
        region.b2i("nightly", policy)
    region.clock.advance(600)
    told = region.b2i("nightly", policy).told
    assert (region.clock.now() - began).total_seconds() > 600
    first = told["deadline"]
    assert region.b2i("nightly", policy).told["deadline"] > first, "a night that has ended does not bind the next"


def test_one_servers_failure_is_its_own_and_is_told_with_the_clouds_words(region: Region) -> None:
    ended = night(region, servers={"names": ["shop-*"], "exclude": ["*-scratch", "shop-payment-*"]}, failed_when={"more_than": 2})
    told = ended.told
    assert (ended.code, told["outcome"]) == (5, "partly")
    (failed,) = told["failed"]
    assert (failed["name"], failed["code"]) == ("shop-legacy-01", "IMG.0195")
    assert failed["reason"]
    assert f"`b2i create {failed['backup_id']} --after-failure`" in failed["action"]
    assert len(told["made"]) == told["servers"] - 1


def test_a_night_counts_as_failed_when_more_went_wrong_than_the_policy_allows(region: Region) -> None:
    ended = night(region, servers={"names": ["shop-legacy-01", "shop-web-0?"]}, failed_when={"more_than": 0})
    assert (ended.code, ended.told["outcome"]) == (5, "failed")


def test_a_server_without_a_young_backup_is_skipped_with_the_reason(region: Region) -> None:
    ended = night(region, servers={"names": ["shop-web-0?", "office-vpn-01"]})
    assert (ended.code, ended.told["outcome"], len(ended.told["made"])) == (0, "made", 4)
    (skipped,) = ended.told["skipped"]
    assert (skipped["name"], skipped["image_id"]) == ("office-vpn-01", None)
    assert "no backup" in skipped["reason"]


def test_a_night_in_which_no_server_has_an_image_is_never_green(region: Region) -> None:
    ended = night(region, backup={"newest_within": "1m"}, servers={"names": ["shop-web-0?"]})
    assert (ended.code, ended.told["outcome"], len(ended.told["skipped"])) == (5, "failed", 4)


def test_a_backup_that_is_still_being_made_is_waited_for_and_holds_up_nobody(region: Region) -> None:
    told = night(region, limits={"images_at_once": 1}).told
    assert "shop-app-02" in servers(told, "made")
    first = [asked.body["backup_id"] for asked in region.sent("createWholeImage")]
    late = next(one["backup_id"] for one in told["made"] if one["name"] == "shop-app-02")
    assert first.index(late) > 0


def test_where_the_cloud_has_no_room_the_window_shrinks_and_grows_again(region: Region) -> None:
    region.arm("img-0060", times=6)
    ended = night(region, limits={"images_at_once": 8})
    assert (ended.code, len(ended.told["made"])) == (0, 17)
    assert "IMG.0060" in ended.err
    assert set(asked_for(region).values()) == {1}


def test_the_cloud_that_refuses_every_image_task_ends_the_night_at_its_deadline_and_not_before(region: Region) -> None:
    region.arm("img-0060", times=None)
    began = region.clock.now()
    ended = night(region, limits={"deadline": "30m"}, servers={"names": ["shop-web-0?"]})
    assert (ended.code, ended.told["outcome"], len(ended.told["failed"])) == (5, "failed", 4)
    assert {one["code"] for one in ended.told["failed"]} <= {"IMG.0060", "b2i.no-place"}
    assert 1700 < (region.clock.now() - began).total_seconds() < 2000
    # One of them asks again every half minute, not each of them.
    assert len(region.sent("createWholeImage")) < 80


def test_at_the_deadline_what_is_under_way_is_late_and_what_was_never_asked_for_has_failed(region: Region) -> None:
    region.arm("job-stuck", times=None)
    ended = night(region, limits={"deadline": "20m", "images_at_once": 2}, servers={"names": ["shop-web-0?"]})
    told = ended.told
    assert (ended.code, told["outcome"]) == (5, "failed")
    assert (len(told["late"]), len(told["failed"])) == (2, 2)
    assert {one["code"] for one in told["failed"]} == {"b2i.no-place"}
    assert len(asked_for(region)) == 2


def test_what_is_only_late_ends_with_still_running_and_the_reconciler_finishes_it(region: Region) -> None:
    keys: dict[str, Any] = {"limits": {"deadline": "1m"}, "servers": {"names": ["shop-web-0?"]}, "failed_when": {"more_than": 10}}
    ended = night(region, **keys)
    assert (ended.code, ended.told["outcome"], len(ended.told["late"])) == (4, "still_running", 4)
    region.clock.advance(3600)
    assert {order["outcome"] for order in region.b2i("reconcile").told["orders"]} == {"finished"}
    again = night(region, **keys)
    assert (again.code, len(again.told["adopted"])) == (0, 4)


# -- before anything is made --------------------------------------------------------------------------------------------


def test_a_dry_run_says_for_every_server_what_would_happen_and_makes_nothing(region: Region) -> None:
    region.make_image_by_hand(region.account["backups"]["available"][2])
    names = ["shop-db-0?", "shop-legacy-01", "shop-payment-01", "office-vpn-01"]
    ended = night(region, "--dry-run", servers={"names": names}, share_with=["dr"])
    plan = ended.told["plan"]
    assert (ended.code, region.writes) == (0, [])
    told = {one["server_name"]: one for one in plan["members"]}
    assert set(told) == {"shop-db-01", "shop-db-02", "shop-legacy-01", "shop-payment-01", "office-vpn-01"}
    assert told["shop-payment-01"]["action"] == "refuse"
    assert "encrypted" in told["shop-payment-01"]["reason"]
    assert told["office-vpn-01"]["action"] == "skip"
    assert told["shop-db-02"]["action"] == "make"
    assert all(one["reason"] for one in told.values())
    assert plan["needed"] > 0
    assert plan["quota"]["free"] > 0


def test_a_quota_that_is_too_small_refuses_the_night_with_the_number_to_ask_for(region: Region) -> None:
    used = night(region, "--dry-run").told["plan"]["quota"]["used"]
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, images=used + 5)
    region.forget()
    ended = night(region)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    assert f"at least {used + 17}" in ended.error["action"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"servers": {"names": ["nobody-*"]}}, "no server fits"),
        ({"servers": {"vaults": ["no-such-vault"]}}, "no-such-vault"),
        ({"share_with": ["nobody"]}, "'nobody'"),
        ({"image": {"name": "{colour}"}}, "placeholder"),
        ({"image": {"tags": dict.fromkeys("abcdef", "x")}}, "6 tags"),
        ({"image": {"description": "<b>"}}, "line break"),
    ],
)
def test_what_the_policy_itself_gets_wrong_is_told_once_and_nothing_is_made(
    region: Region, keys: dict[str, Any], words: str
) -> None:
    ended = night(region, **keys)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    assert words in ended.error["message"]
    assert len(ended.refusals) == 1


def test_a_list_that_cannot_be_read_refuses_the_night_rather_than_guess(region: Region) -> None:
    region.arm("error-500", operation=["listBackups"], times=None)
    ended = night(region)
    assert (ended.code, region.writes) == (3, [])
    assert "the list of backups cannot be read" in ended.error["message"]


def test_an_outage_when_the_night_begins_is_waited_out(region: Region) -> None:
    region.arm("error-503", operation=["listBackups", "listServersDetail"], times=40)
    began = region.clock.now()
    ended = night(region, servers={"names": ["shop-web-0?"]})
    assert (ended.code, len(ended.told["made"])) == (0, 4)
    assert "looking again every minute" in ended.err
    assert 90 < (region.clock.now() - began).total_seconds() < 2400


def test_what_may_never_be_read_is_told_at_once(region: Region) -> None:
    region.arm("forbidden", operation=["listBackups"], times=None)
    began = region.clock.now()
    assert night(region).code == 3
    assert (region.clock.now() - began).total_seconds() < 10


def test_mistakes_of_the_policy_file_are_told_by_line_before_anything_is_asked(region: Region) -> None:
    (region.folder / "policy.yaml").write_text(
        "name: nightly\nservers: {names: [x]}\ncolour: red\nlimits: {images_at_once: 99}\n"
    )
    ended = region.b2i("nightly", "policy.yaml")
    assert (ended.code, region.asked) == (2, [])
    assert "policy.yaml:3: colour" in ended.error["message"]
    assert "policy.yaml:4: limits.images_at_once" in ended.error["message"]


# -- what it costs ------------------------------------------------------------------------------------------------------


def test_an_image_costs_no_more_than_five_requests(region: Region) -> None:
    ended = night(region, servers={"names": ["shop-*", "office-*"], "exclude": ["shop-app-02", "*-scratch"]})
    made = len(ended.told["made"])
    assert made > 20
    assert len(region.asked) / made <= 5, Counter(asked.operation for asked in region.asked)


# -- with a backup made first -------------------------------------------------------------------------------------------


def backed_up(region: Region) -> list[str]:
    """The servers that a backup run was asked for, and granted, as often as they were."""
    runs = [asked for asked in region.sent("createCheckpoint") if asked.status is not None and asked.status < 300]
    return sorted(ident for asked in runs for ident in asked.body["checkpoint"]["parameters"]["resources"])


def test_servers_without_a_young_backup_are_backed_up_first_where_the_policy_says_so(region: Region) -> None:
    ended = night(
        region, servers={"names": ["shop-web-0?", "office-wiki-01"]}, backup={"newest_within": "1m", "make_one": "if_missing"}
    )
    told = ended.told
    assert (ended.code, len(told["made"])) == (0, 5)
    assert backed_up(region) == sorted(one["server"] for one in told["made"])
    assert len(region.sent("createCheckpoint")) == 2, "one run for each vault"
    for one in told["made"]:
        (image,) = region.images_of(one["backup_id"])
        assert image["id"] == one["image_id"]


def test_only_what_has_no_young_backup_is_backed_up(region: Region) -> None:
    # Those of the office are an hour and a half younger than the shop's.
    ended = night(
        region, servers={"names": ["shop-web-0?", "shop-lb-01"]}, backup={"newest_within": "59m", "make_one": "if_missing"}
    )
    assert ended.code == 0
    old = {one["server"] for one in ended.told["made"] if one["name"] in {"shop-lb-01", "shop-web-01", "shop-web-02"}}
    assert set(backed_up(region)) == old


def test_a_policy_that_always_makes_a_backup_makes_one_a_night_however_often_it_runs(region: Region) -> None:
    keys: dict[str, Any] = {"servers": {"names": ["shop-web-0?"]}, "backup": {"make_one": "always"}}
    assert len(night(region, **keys).told["made"]) == 4
    again = night(region, **keys)
    assert (again.code, len(again.told["adopted"])) == (0, 4)
    assert len(backed_up(region)) == 4
    region.clock.advance(24 * 3600)
    assert len(night(region, **keys).told["made"]) == 4
    assert len(backed_up(region)) == 8


@pytest.mark.parametrize("operation", ["getBackup", "listBackups", "createWholeImage"])
def test_a_night_that_was_killed_while_it_backed_up_asks_for_no_second_backup(region: Region, operation: str) -> None:
    policy = write_policy(region, servers={"names": ["shop-web-0?"]}, backup={"make_one": "always"})
    with region.killing(operation, skip=1):
        region.b2i("nightly", policy)
    region.clock.advance(70)
    ended = region.b2i("nightly", policy)
    assert (ended.code, len(ended.told["made"]) + len(ended.told["adopted"])) == (0, 4)
    assert len(backed_up(region)) == 4
    assert set(asked_for(region).values()) == {1}


def test_a_server_that_cannot_be_backed_up_fails_alone(region: Region) -> None:
    # One of shop-app-02 is being made by somebody else, and the cloud makes no second one beside it.
    ended = night(region, servers={"names": ["shop-app-0?"]}, backup={"make_one": "always"})
    assert (ended.code, len(ended.told["made"])) == (5, 3)
    (failed,) = ended.told["failed"]
    assert failed["name"] == "shop-app-02"
    assert "backup running" in failed["reason"]
    assert failed["action"]


def test_what_could_never_become_an_image_is_not_backed_up(region: Region) -> None:
    names = ["shop-payment-01", "shop-web-01"]
    ended = night(region, servers={"names": names}, backup={"make_one": "always"}, share_with=["dr"])
    assert ended.code == 5
    (failed,) = ended.told["failed"]
    assert failed["name"] == "shop-payment-01"
    assert "encrypted" in failed["reason"]
    assert len(backed_up(region)) == 1


# -- with retention -----------------------------------------------------------------------------------------------------

KEEP_ONE: dict[str, Any] = {
    "servers": {"names": ["shop-web-0?"]},
    "backup": {"make_one": "always"},
    "retention": {"apply": True, "keep_newest": 1, "max_deletions": "100%"},
}


def nights(region: Region, count: int, **keys: Any) -> list[Ended]:
    """So many nights, a day apart."""
    ended = []
    for _ in range(count):
        ended.append(night(region, **keys))
        region.clock.advance(24 * 3600)
    return ended


def ours(region: Region) -> Counter[str]:
    """How many images of ours each server has."""
    return Counter(image["tags"]["b2i-source"] for image in region.things("image") if "b2i-source" in image["tags"])


def test_an_older_image_goes_as_soon_as_its_servers_new_one_is_good(region: Region) -> None:
    told = [ended.told for ended in nights(region, 3, **KEEP_ONE)]
    assert [len(one["retired"]) for one in told] == [0, 4, 4]
    assert set(ours(region).values()) == {1}
    assert {image["id"] for image in region.things("image") if "b2i-source" in image["tags"]} == {
        one["image_id"] for one in told[-1]["made"]
    }
    # Rolling: the first goes while others are still being made.
    operations = [asked.operation for asked in region.asked]
    last_create = len(operations) - 1 - operations[::-1].index("createWholeImage")
    assert "deleteImage" in operations
    assert all(asked.body == {"delete_backup": False} for asked in region.sent("deleteImage")), last_create


def test_a_night_that_may_not_delete_deletes_nothing(region: Region) -> None:
    keys = KEEP_ONE | {"retention": {"apply": False, "keep_newest": 1}}
    nights(region, 2, **keys)
    assert set(ours(region).values()) == {2}
    assert not region.sent("deleteImage", "deleteBackup")


def test_retention_after_the_night_deletes_nothing_before_every_server_has_its_image(region: Region) -> None:
    keys = KEEP_ONE | {"retention": KEEP_ONE["retention"] | {"when": "after_night"}}
    nights(region, 1, **keys)
    region.forget()
    told = night(region, **keys).told
    assert len(told["retired"]) == 4
    operations = [asked.operation for asked in region.asked]
    last_create = len(operations) - 1 - operations[::-1].index("createWholeImage")
    assert operations.index("deleteImage") > last_create


def test_no_more_is_deleted_than_the_cap_allows_or_was_made_tonight(region: Region) -> None:
    keep_all = KEEP_ONE | {"retention": {"apply": False}}
    nights(region, 3, **keep_all)
    keys = KEEP_ONE | {"retention": KEEP_ONE["retention"] | {"max_deletions": 1}}
    told = night(region, **keys).told
    assert len(told["retired"]) == 4, "as many as were made tonight, though twelve are expendable"


def test_a_server_whose_new_image_failed_keeps_what_it_has(region: Region) -> None:
    nights(region, 1, **KEEP_ONE)
    unlucky = region.named("server", "shop-web-03")["id"]
    region.arm("job-fails", times=1)
    told = night(region, **KEEP_ONE).told
    (failed,) = told["failed"]
    assert len(told["retired"]) == 3
    assert ours(region)[failed["server"]] >= 1, unlucky


def test_a_rolling_night_needs_room_for_the_images_in_flight_and_no_more(region: Region) -> None:
    keys = KEEP_ONE | {"limits": {"images_at_once": 2}}
    nights(region, 1, **keys)
    plan = night(region, "--dry-run", **keys).told["plan"]
    assert (plan["needed"], plan["going"]) == (2, 4)
    quota = region.emulator.cloud.get("quota", region.account["project_id"]) or {}
    region.change("quota", quota, images=plan["quota"]["used"] + 2)
    assert night(region, **keys).code == 0


def test_what_could_not_be_deleted_is_noted_and_fails_no_server(region: Region) -> None:
    nights(region, 1, **KEEP_ONE)
    region.arm("delete-ignored", operation=["deleteImage"], times=None)
    ended = night(region, **KEEP_ONE)
    assert (ended.code, ended.told["retired"]) == (0, [])
    assert len(ended.told["notes"]) == 4


# -- the night as a file ------------------------------------------------------------------------------------------------


def test_the_night_is_written_as_one_html_file_where_somebody_names_one(region: Region) -> None:
    ended = night(region, "--report", "morning/night.html", servers={"names": ["shop-legacy-01", "shop-web-0?"]})
    page = (region.folder / "morning" / "night.html").read_text()
    assert ended.told["report"] == "morning/night.html"
    assert "IMG.0195" in page
    assert "<svg" in page


def test_without_a_file_the_night_is_kept_where_the_settings_keep_evidence(region: Region) -> None:
    region.write_settings(directories={"evidence": "evidence"})
    told = night(region, servers={"names": ["shop-web-0?"]}).told
    assert told["report"].endswith(f"night-nightly-shop-{told['night']}.html")
    assert (region.folder / "evidence").is_dir()


def test_a_page_that_cannot_be_written_costs_nobody_his_night(region: Region) -> None:
    (region.folder / "file").write_text("")
    ended = night(region, "--report", "file/night.html", servers={"names": ["shop-web-0?"]})
    assert (ended.code, ended.told["report"], len(ended.told["made"])) == (0, None, 4)
    assert "cannot be written" in ended.err


# -- with drills --------------------------------------------------------------------------------------------------------

DRILL: dict[str, Any] = {
    "name": "drill",
    "flavor": "same-as-source",
    "network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]},
    "probes": [{"tcp": 2222}, {"console": "login:"}],
}


@pytest.fixture
def drills(region: Region) -> dict[str, Any]:
    """A policy that verifies two of its four servers a night."""
    region.listens = True
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL))
    servers = {"names": ["shop-web-0?"]}
    return {"servers": servers, "backup": {"make_one": "always"}, "verify": {"sample": 2, "launch": "drill.yaml"}}


def test_each_night_others_are_verified_and_no_drill_is_left(region: Region, drills: dict[str, Any]) -> None:
    verified = []
    for ended in nights(region, 2, **drills):
        assert (ended.code, len(ended.told["made"])) == (0, 4)
        verified.append({one["name"] for one in ended.told["made"] if one["verified"] and one["verified"]["ok"]})
    assert [len(names) for names in verified] == [2, 2]
    assert verified[0] | verified[1] == {f"shop-web-0{number}" for number in (1, 2, 3, 4)}
    assert sum("b2i-verified" in image["tags"] for image in region.things("image")) == 4
    assert region.launched() == []


def test_an_image_that_does_not_answer_is_told_and_its_server_counts_as_failed(region: Region, drills: dict[str, Any]) -> None:
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL | {"probes": [{"tcp": 2223, "timeout": "20s"}]}))
    ended = night(region, failed_when={"more_than": 3}, **drills)
    assert (ended.code, ended.told["outcome"], len(ended.told["made"])) == (5, "partly", 2)
    assert {one["code"] for one in ended.told["failed"]} == {"b2i.not-verified"}
    assert all(one["image_id"] and "tcp:2223" in one["reason"] for one in ended.told["failed"])
    assert region.launched() == []


def test_an_older_image_stays_where_the_new_one_was_not_verified(region: Region, drills: dict[str, Any]) -> None:
    keys = drills | {"retention": KEEP_ONE["retention"] | {"max_deletions": 4}}
    nights(region, 1, **keys)
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL | {"probes": [{"tcp": 2223, "timeout": "20s"}]}))
    told = night(region, failed_when={"more_than": 3}, **keys).told
    silent = {one["server"] for one in told["failed"]}
    assert {ours(region)[server] for server in silent} == {2}
    # Nor is it taken for good by whoever looks later.
    region.b2i("retention", write_policy(region, **keys), "--apply")
    assert {ours(region)[server] for server in silent} == {2}
    # Until a drill is answered: then the older one goes at once.
    (region.folder / "drill.yaml").write_text(yaml.safe_dump(DRILL))
    again = night(region, **keys)
    assert (again.code, {one["server"] for one in again.told["adopted"] if (one["verified"] or {}).get("ok")}) == (0, silent)
    assert {ours(region)[server] for server in silent} == {1}


def test_a_drill_server_that_cannot_be_removed_is_no_green_and_goes_with_the_same_night_again(
    region: Region, drills: dict[str, Any]
) -> None:
    region.arm("forbidden", operation="deleteServers", times=None)
    ended = night(region, **drills)
    assert (ended.code, ended.told["outcome"], len(ended.told["made"])) == (5, "partly", 4)
    assert all("`b2i teardown" in one for one in ended.told["left_behind"])
    assert len(ended.told["left_behind"]) == len(region.launched()) == 2
    region.emulator.faults.disarm()
    again = night(region, **drills)
    assert (again.code, again.told["left_behind"], region.launched()) == (0, [], [])


def test_a_night_that_is_killed_in_the_middle_of_its_drills_leaves_no_server(region: Region, drills: dict[str, Any]) -> None:
    policy = write_policy(region, **drills)
    with region.killing("getServer", skip=3):
        region.b2i("nightly", policy)
    ended = region.b2i("nightly", policy)
    assert (ended.code, ended.told["servers"]) == (0, 4)
    region.clock.advance(8 * 3600)
    region.b2i("reconcile")
    assert region.launched() == []


@pytest.mark.parametrize("operation", ["listPublicIps", "deleteServers", "listVolumesDetail"])
def test_a_night_that_is_killed_when_an_image_is_verified_and_its_server_still_there_takes_it_down_when_it_is_repeated(
    region: Region, drills: dict[str, Any], operation: str
) -> None:
    """There is nothing left to verify, so nobody else would come back to it."""
    policy = write_policy(region, **drills | {"servers": {"names": ["shop-web-01"]}})
    skip = len(region.sent(operation))
    looked = 2 if operation == "listVolumesDetail" else 0  # at the source's disks, and at those of the drill's server
    with region.killing(operation, skip=skip + looked):
        region.b2i("nightly", policy)
    (image,) = [one for one in region.things("image") if "b2i-verified" in one["tags"]]
    ended = region.b2i("nightly", policy)
    assert (ended.code, [one["image_id"] for one in ended.told["adopted"]]) == (0, [image["id"]])
    assert region.launched() == []
    assert not list(region.journal.glob("order-*"))
    assert len([one for one in region.sent("createServers") if one.writes]) == 1
