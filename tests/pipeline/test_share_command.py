"""`b2i share` and `unshare`: refused with every reason at once, told project by project, proven, finished after a kill."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest

from backup_to_image.cli.share import BLANK
from backup_to_image.steps.orders import OrderedShare, OrderedUnshare, ordered
from backup_to_image.steps.sharing.owner import find_image, share
from tests.support.region import Ended, Killed, Region

UNKNOWN = "11111111-2222-4333-8444-555555555555"
DAY = 86400


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """An image that is there, and shared with nobody."""
    made: str = region.make_image_by_hand(backup, "shop-web")["id"]
    region.forget()
    return made


def members(region: Region, image: str) -> dict[str, str]:
    """Project and state, as the cloud keeps it."""
    return {member["project"]: member["status"] for member in region.things("image-member", image_id=image)}


def dr(region: Region) -> str:
    found: str = region.account["second_project"]
    return found


def partner(region: Region) -> str:
    found: str = region.account["recipient"]["project_id"]
    return found


def told_of(ended: Ended) -> dict[str, Any]:
    return {one["project_id"]: one for one in ended.told["members"]}


def open_orders(region: Region) -> list[str]:
    return sorted(json.loads(path.read_text())["name"] for path in region.journal.glob("order-*.json"))


def strangers(region: Region, image: str, number: int) -> None:
    """So many other projects have it already."""
    cloud = region.emulator.cloud
    for project in (f"{one:032x}" for one in range(number)):
        kept = {"id": f"{image}/{project}", "project": project, "image_id": image, "status": "pending"}
        stamps = dict.fromkeys(("created_at", "updated_at"), cloud.stamp())
        cloud.new("image-member", kept | {"vault_id": None, "stored_mb": 0} | stamps)


# -- sharing ------------------------------------------------------------------------------------------------------------


def test_an_image_that_is_there_is_shared_and_each_member_is_told(region: Region, image: str) -> None:
    ended = region.b2i("share", image, "dr", "partner")
    assert (ended.code, ended.told["outcome"], set(ended.told)) == (0, "made", set(BLANK))
    assert (ended.told["image_id"], ended.told["image_name"], ended.told["status"]) == (image, "shop-web", "active")
    assert members(region, image) == {dr(region): "pending", partner(region): "pending"}
    told = told_of(ended)[dr(region)]
    assert (told["alias"], told["status"], told["result"], told["ends_at"]) == ("dr", "pending", "made", None)
    assert open_orders(region) == []


def test_who_has_it_already_is_adopted_and_the_cloud_is_asked_for_nothing(region: Region, image: str) -> None:
    region.b2i("share", image, "dr")
    region.forget()
    ended = region.b2i("share", image, "dr", dr(region).upper())
    assert (ended.code, ended.told["outcome"], told_of(ended)[dr(region)]["result"]) == (0, "adopted", "adopted")
    assert region.writes == []


def test_an_image_is_found_by_its_unique_name(region: Region, image: str) -> None:
    ended = region.b2i("share", "shop-web", "dr")
    assert (ended.code, ended.told["image_id"]) == (0, image)


def test_a_name_that_two_images_have_is_refused_with_both_ids(region: Region, image: str) -> None:
    other = region.make_image_by_hand(region.account["backups"]["available"][1], "shop-web")["id"]
    ended = region.b2i("share", "shop-web", "dr")
    assert (ended.code, list(ended.refusals), region.writes) == (3, ["exists"], [])
    assert image in ended.error["action"]
    assert other in ended.error["action"]


def test_without_projects_the_members_are_listed_with_their_states_and_ends(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "--share-for", "30d")
    region.b2i("share", image, "partner")
    (offered,) = region.things("image-member", image_id=image, project=partner(region))
    region.change("image-member", offered, status="rejected")
    region.forget()
    ended = region.b2i("share", image)
    assert (ended.code, ended.told["outcome"], region.writes) == (0, None, [])
    told = told_of(ended)
    assert {one: told[one]["status"] for one in told} == {dr(region): "pending", partner(region): "rejected"}
    assert told[dr(region)]["ends_at"].startswith(f"{region.clock.now() + timedelta(days=30):%Y-%m-%d}")
    assert told[partner(region)]["ends_at"] is None
    assert "shared with nobody" in region.b2i("share", region.make_image_by_hand(_another(region))["id"], json=False).out


def _another(region: Region) -> str:
    found: str = region.account["backups"]["available"][2]
    return found


def test_people_read_who_has_it_and_what_comes_next(region: Region, image: str) -> None:
    words = region.b2i("share", image, "dr", "--share-for", "30d", json=False).out
    for word in (
        dr(region),
        "offered, not answered",
        f"b2i accept {image}",
        f"{region.clock.now() + timedelta(days=30):%Y-%m-%d}",
    ):
        assert word in words


def test_an_image_that_is_no_full_ecs_image_is_shared_too_and_that_is_said(region: Region) -> None:
    plain = region.named("image", "base-ubuntu-hardened")["id"]
    strangers(region, plain, 12)
    ended = region.b2i("share", plain, "dr")
    assert (ended.code, members(region, plain)[dr(region)]) == (0, "pending")
    assert any("no full-ECS image" in check["why"] for check in ended.told["report"]["checks"])
    assert "no full-ECS image" in region.b2i("share", plain, "dr", json=False).out


def test_a_share_has_the_end_that_was_said_last(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "--share-for", "30d")
    assert told_of(region.b2i("share", image))[dr(region)]["ends_at"]
    region.b2i("share", image, "dr")
    assert told_of(region.b2i("share", image))[dr(region)]["ends_at"] is None


def test_the_sweep_ends_what_was_shared_for_a_time(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "--share-for", "2d")
    region.clock.advance(4 * DAY)
    assert region.b2i("sweep", "--apply").code == 0
    assert members(region, image) == {}


# -- what speaks against it ---------------------------------------------------------------------------------------------


def refused(region: Region, image: str, *projects: str, code: str, rule: str) -> Ended:
    ended = region.b2i("share", image, *(projects or ("dr",)))
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", []), ended.err
    assert ended.refusals[rule]["code"] == code, ended.refusals
    assert all(check["page"] for check in ended.refusals.values())
    assert ended.refusals[rule]["action"]
    assert set(ended.told) == set(BLANK)
    return ended


def test_every_reason_is_told_at_once(region: Region) -> None:
    used = region.make_image_by_hand(region.account["backups"]["encrypted"])
    region.change("image", used, status="saving")
    ended = refused(
        region, used["id"], "dr", "nobody", region.account["project_id"], "ab" * 16, code="IMG.0098", rule="not encrypted"
    )
    whys = [check["why"] for check in ended.told["report"]["checks"] if check["verdict"] == "refused"]
    assert len(whys) == 5, whys
    for word in ("saving", "encrypted", "'nobody'", "this project itself", "not on the list"):
        assert any(word in why for why in whys), (word, whys)
    pages = [check["page"] for check in ended.told["report"]["checks"] if check["verdict"] == "refused" and check["code"]]
    assert all(pages[:2])


def test_an_unknown_image_is_refused_together_with_what_is_wrong_with_the_recipients(region: Region) -> None:
    ended = refused(region, UNKNOWN, "nobody", code="IMG.0027", rule="exists")
    assert "'nobody'" in ended.error["message"]


def test_the_image_of_a_shared_backup_is_not_shared(region: Region) -> None:
    kept = region.emulator.cloud.get("backup", region.account["backups"]["shared_accepted"])
    assert kept
    made = region.b2i("create", kept["id"]).told["image_id"]
    region.forget()
    refused(region, made, code="IMG.0135", rule="origin")


def test_an_image_whose_backup_cbr_does_not_know_is_not_shared(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, backup_id=UNKNOWN)
    refused(region, image, code="IMG.0135", rule="origin")


@pytest.mark.parametrize("status", ["queued", "saving", "killed"])
def test_an_image_that_is_not_active_is_refused_and_whether_waiting_helps_is_said(
    region: Region, image: str, status: str
) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, status=status)
    ended = refused(region, image, code="IMG.0046", rule="active")
    assert ended.error["retryable"] is (status != "killed")


def test_an_encrypted_image_is_refused(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, cmk_id="some-key")
    refused(region, image, code="IMG.0098", rule="not encrypted")


def test_a_public_image_is_refused(region: Region) -> None:
    refused(region, region.account["image_public"], code="IMG.0089", rule="own image")


def test_only_the_owner_shares(region: Region, image: str) -> None:
    region.b2i("share", image, "partner")
    region.forget()
    ended = region.b2i("share", image, "dr", cloud="partner")
    assert (ended.code, ended.refusals["own image"]["code"], region.writes) == (3, "IMG.0106", [])
    assert region.account["project_id"] in ended.error["message"]


def test_more_than_ten_with_those_that_have_it_are_refused(region: Region, image: str) -> None:
    strangers(region, image, 9)
    ended = refused(region, image, "dr", "partner", code="IMG.0088", rule="recipients")
    assert "9 have it already" in ended.error["message"]
    assert region.b2i("share", image, "dr").code == 0


def test_a_project_that_the_cloud_does_not_know_is_told_and_the_others_get_it(region: Region, image: str) -> None:
    region.write_settings(projects={"dr": dr(region), "far": "ab" * 16})
    ended = region.b2i("share", image, "far", "dr")
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "IMG.0108")
    told = told_of(ended)
    assert (told["ab" * 16]["result"], told["ab" * 16]["code"], told["ab" * 16]["status"]) == ("failed", "IMG.0108", None)
    assert (told[dr(region)]["result"], members(region, image)) == ("made", {dr(region): "pending"})
    alone = region.b2i("share", image, "far")
    assert (alone.code, alone.told["outcome"], alone.error["code"], open_orders(region)) == (1, "failed", "IMG.0108", [])


@pytest.mark.parametrize("consent", [False, True])
def test_in_eu_ch2_sharing_is_tried_only_with_consent(tmp_path_factory: pytest.TempPathFactory, consent: bool) -> None:
    region = Region(tmp_path_factory.mktemp("swiss"), seed=_swiss())
    try:
        region.write_settings(projects={"dr": dr(region)}, **({"share_in_eu_ch2": True} if consent else {}))
        made = region.make_image_by_hand(region.account["backups"]["available"][0])["id"]
        ended = region.b2i("share", made, "dr")
        if consent:
            assert (ended.code, ended.verdict("region")) == (0, "warned")
        else:
            assert (ended.code, ended.refusals["region"]["code"]) == (3, "IMG.0135")
            assert "share_in_eu_ch2: true" in ended.error["action"]
        checked = region.b2i("validate", region.account["backups"]["available"][1], "--share-with", "dr")
        assert (checked.code, checked.verdict("region")) == ((0, "warned") if consent else (3, "refused"))
    finally:
        region.close()


def _swiss() -> dict[str, Any]:
    disks = [{"name": "web", "flavor": "f", "disks": [40]} | {"network": "in", "security_groups": ["sg"], "os": "debian"}]
    shop = {
        "name": "eu-ch2_shop",
        "networks": [{"vpc": "net", "cidr": "127.10.0.0/16", "subnets": {"in": "127.10.1.0/24"}, "security_groups": ["sg"]}],
        "vaults": [{"name": "vault", "size": 1000, "servers": ["*"], "nightly": 2}],
        "servers": disks,
        "backups": [{"as": "available", "server": "web", "name": f"manual{one}", "age": f"{one}h"} for one in (3, 4, 5)],
    }
    guest = {"name": "eu-ch2_guest", "vaults": [{"name": "guests", "size": 1000}]}
    return {
        "region": "eu-ch2",
        "account": {"user": "robot", "project": "eu-ch2_shop", "second_project": "eu-ch2_dr"}
        | {"recipient": {"user": "guest", "project": "eu-ch2_guest", "vault": "guests"}},
        "flavors": {"f": {"vcpus": 2, "ram_gb": 4}},
        "systems": {"debian": {"type": "Linux", "platform": "Debian", "version": "Debian GNU/Linux 12 64bit"}},
        "accounts": [
            {
                "name": "OTC00000000001000000001",
                "users": [{"name": "robot", "password": "Kept-By-Nobody-1"}],
                "projects": [shop, {"name": "eu-ch2_dr"}],
            },
            {
                "name": "OTC00000000001000000002",
                "users": [{"name": "guest", "password": "Kept-By-Nobody-2"}],
                "projects": [guest],
            },
        ],
    }


NONSENSE = [
    ("share", "", "dr"),
    ("share", "x" * 300, "dr"),
    ("share", "no such image", "dr"),
    ("share", "../../v2/images", "dr"),
    ("share", "IMAGE", ""),
    ("share", "IMAGE", "d r"),
    ("share", "IMAGE", "0" * 31),
    ("unshare", "IMAGE", "nobody"),
    ("unshare", "no such image", "dr"),
]


@pytest.mark.parametrize("words", NONSENSE, ids=lambda words: " ".join(words)[:40])
def test_nonsense_is_refused_in_words_and_nothing_happens(region: Region, image: str, words: tuple[str, ...]) -> None:
    ended = region.b2i(*(image if word == "IMAGE" else word for word in words))
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    assert ended.error["action"]
    assert all(check["page"] for check in ended.refusals.values())


@pytest.mark.parametrize(
    "words", [("share",), ("unshare", "x"), ("share", "x", "--share-for", "30d"), ("share", "x", "dr", "--share-for", "0s")]
)
def test_a_command_without_its_words_is_a_mistake_before_anything_is_asked(region: Region, words: tuple[str, ...]) -> None:
    ended = region.b2i(*words)
    assert (ended.code, ended.error["code"], region.asked) == (2, "b2i.usage", [])


# -- taking it back -----------------------------------------------------------------------------------------------------


def test_taken_back_it_is_gone_for_one_and_stays_for_the_other(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "partner", "--share-for", "30d")
    ended = region.b2i("unshare", image, "dr")
    assert (ended.code, ended.told["outcome"], members(region, image)) == (0, "made", {partner(region): "pending"})
    told = told_of(ended)
    assert (told[dr(region)]["status"], told[dr(region)]["result"], told[dr(region)]["ends_at"]) == (None, "made", None)
    assert told[partner(region)]["result"] is None
    again = region.b2i("unshare", image, "dr")
    assert (again.code, again.told["outcome"], open_orders(region)) == (0, "adopted", [])
    assert len(list(region.journal.glob("share-expiry-*.json"))) == 1


def test_people_and_programs_read_what_it_means_for_those_who_had_it(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "partner")
    words = region.b2i("unshare", image, "dr", json=False).out
    notes = " ".join(region.b2i("unshare", image, "partner").told["notes"])
    for text in (words, notes):
        for word in ("gone at once", "live on", "OS cannot be reinstalled", "copy in the vault"):
            assert word in text
    assert region.b2i("unshare", image, "dr").told["notes"] == []


def test_from_a_project_that_the_settings_do_not_name_any_more_it_is_taken_back_by_its_id(region: Region, image: str) -> None:
    region.b2i("share", image, "dr")
    region.write_settings(projects={})
    assert (region.b2i("unshare", image, dr(region)).code, members(region, image)) == (0, {})


def test_only_the_owner_takes_it_back(region: Region, image: str) -> None:
    region.b2i("share", image, "partner")
    region.forget()
    ended = region.b2i("unshare", image, partner(region), cloud="partner")
    assert (ended.code, ended.refusals["own image"]["code"], region.writes) == (3, "IMG.0106", [])


def test_a_batch_call_in_trouble_is_replaced_by_single_ones_here_too(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "partner")
    region.arm("job-fails", operation="batchDeleteImageMembers", code="IMG.0113", reason="removing a member failed")
    ended = region.b2i("unshare", image, "dr", "partner")
    assert (ended.code, members(region, image), len(region.sent("deleteImageMember"))) == (0, {}, 2)


# -- cut off ------------------------------------------------------------------------------------------------------------

KILLED_AT = {"batchAddImageMembers": 0, "getImsJob": 0, "listImageMembers": 2}


@pytest.mark.parametrize(("operation", "skip"), KILLED_AT.items(), ids=KILLED_AT)
def test_a_killed_share_is_finished_by_the_same_command_or_by_whoever_reconciles(
    region: Region, image: str, operation: str, skip: int
) -> None:
    with region.killing(operation, skip=skip):
        region.b2i("share", image, "dr", "partner", "--share-for", "30d")
    assert len(open_orders(region)) == 2
    reconciled = region.b2i("reconcile")
    assert {one["outcome"] for one in reconciled.told["orders"]} == {"finished"}, reconciled.told
    assert {one["verb"] for one in reconciled.told["orders"]} == {"share"}
    assert (set(members(region, image)), open_orders(region)) == ({dr(region), partner(region)}, [])
    ended = region.b2i("share", image, "dr", "partner")
    assert (ended.code, ended.told["outcome"]) == (0, "adopted")


def test_what_was_taken_back_after_a_kill_is_not_shared_again_by_whoever_reconciles(region: Region, image: str) -> None:
    with region.killing("getImsJob"):
        region.b2i("share", image, "dr")
    assert region.b2i("unshare", image, "dr").code == 0
    assert region.b2i("reconcile").told["orders"] == []
    assert members(region, image) == {}


def test_what_was_taken_back_is_not_shared_again_by_an_image_order_that_was_cut_off(region: Region, backup: str) -> None:
    with region.killing("listImageMembers", skip=1):
        region.b2i("create", backup, "--share-with", "dr", "--share-with", "partner")
    (made,) = region.images_of(backup)
    assert region.b2i("unshare", made["id"], "dr").code == 0
    region.clock.advance(600)
    assert [one["outcome"] for one in region.b2i("reconcile").told["orders"]] == ["finished"]
    assert set(members(region, made["id"])) == {partner(region)}


def test_an_id_that_stands_in_the_settings_in_capitals_is_shared_with_and_reconciled(region: Region, image: str) -> None:
    region.write_settings(projects={"dr": dr(region).upper()})
    with region.killing("batchAddImageMembers"):
        region.b2i("share", image, "dr")
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["outcome"], members(region, image)) == ("finished", {dr(region): "pending"})


def test_a_killed_end_of_a_share_is_finished_by_whoever_reconciles(region: Region, image: str) -> None:
    region.b2i("share", image, "dr", "--share-for", "30d")
    with region.killing("batchDeleteImageMembers"):
        region.b2i("unshare", image, "dr")
    assert members(region, image) == {dr(region): "pending"}
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["verb"], told["outcome"], members(region, image)) == ("unshare", "finished", {})
    assert not list(region.journal.glob("share-expiry-*.json"))


@pytest.mark.one_door("it goes through the steps")
def test_a_share_that_ends_after_it_was_taken_back_leaves_the_later_word_in_the_journal(region: Region, image: str) -> None:
    more = {"image_id": image, "image_name": "shop-web", "recipient": dr(region)}

    async def taken_back_meanwhile() -> None:
        async with region.context() as ctx, ordered(OrderedShare(**more), ctx, patience=timedelta(minutes=10)):
            with contextlib.suppress(Killed):
                async with ordered(OrderedUnshare(**more), ctx, patience=timedelta(minutes=10)):
                    raise Killed

    region.b2i("share", image, "dr")
    asyncio.run(taken_back_meanwhile())
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["verb"], told["outcome"], members(region, image)) == ("unshare", "finished", {})


def test_whoever_reconciles_shares_with_nobody_whom_the_settings_do_not_name_any_more(region: Region, image: str) -> None:
    with region.killing("batchAddImageMembers"):
        region.b2i("share", image, "dr")
    region.write_settings(projects={})
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["outcome"], members(region, image), open_orders(region)) == ("failed", {}, [])


def test_a_share_job_that_does_not_end_is_still_running_and_the_same_command_resumes(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="batchAddImageMembers", times=None)
    ended = region.b2i("share", image, "dr", "--timeout", "5m")
    assert (ended.code, ended.told["outcome"], ended.told["image_id"]) == (4, "still_running", image)
    assert ended.error["retryable"] is True
    region.emulator.faults.disarm()
    again = region.b2i("share", image, "dr", "--timeout", "5m")
    assert (again.code, members(region, image)) == (0, {dr(region): "pending"})


@pytest.mark.one_door("it goes through the steps")
def test_two_at_once_share_once(region: Region, image: str) -> None:
    async def both() -> list[str | None]:
        async with region.context() as one, region.context() as other:
            found = await find_image(image, one)
            ended = await asyncio.gather(share(found, ("dr",), one), share(found, ("dr",), other))
            return [shares.outcome for shares in ended]

    outcomes = asyncio.run(both())
    assert set(outcomes) <= {"made", "adopted"}
    assert (members(region, image), open_orders(region)) == ({dr(region): "pending"}, [])
