"""`b2i hand-over`: shared, accepted and proven by whoever has both log-ins; every reason first, nothing twice, nothing lost."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import yaml

from backup_to_image.cli.hand_over import BLANK
from tests.support.region import Asked, Ended, Killed, Region


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """An image with disks of 40 and 100 GB that nobody has but its owner."""
    made: str = region.make_image_by_hand(backup, "shop-web")["id"]
    return made


def hand_over(region: Region, image: str, *words: str, json: bool = True) -> Ended:
    return region.b2i("hand-over", image, "--to", "partner", *words, json=json)


def guest(region: Region) -> str:
    found: str = region.account["recipient"]["project_id"]
    return found


def member(region: Region, image: str) -> dict[str, Any]:
    (found,) = region.things("image-member", image_id=image)
    return found


def open_orders(region: Region) -> list[str]:
    return sorted(json.loads(path.read_text())["name"] for path in region.journal.glob("order-*.json"))


NETWORK = {"vpc": "partner-vpc", "subnet": "partner-net", "security_groups": ["partner-sg"]}


# -- both sides ---------------------------------------------------------------------------------------------------------


def test_it_is_shared_accepted_and_proven_in_one_command(region: Region, image: str) -> None:
    ended = hand_over(region, image)
    told = ended.told
    assert (ended.code, told["outcome"], told["error"], set(told)) == (0, "made", None, set(BLANK))
    assert (told["image_id"], told["image_name"], told["status"], told["state"]) == (image, "shop-web", "active", "accepted")
    assert (told["recipient"], told["alias"], told["ends_at"]) == (guest(region), "partner", None)
    vault = region.named("vault", "partner-vault")["id"]
    assert (told["vault_id"], member(region, image)["vault_id"], member(region, image)["status"]) == (vault, vault, "accepted")
    proof = {check["rule"]: check["verdict"] for check in told["proof"]}
    assert (proof["listed"], proof["active"], proof["could be launched"]) == ("passed", "passed", "passed")
    rules = {check["rule"] for check in told["report"]["checks"]}
    assert {"own image", "origin", "not encrypted", "recipients", "vault partner-vault"} <= rules
    assert open_orders(region) == []
    words = hand_over(region, image, json=False).out
    for word in ("shop-web", "partner", "Handed over before", "could be launched"):
        assert word in words


def test_the_room_that_it_takes_is_what_its_owner_sees(region: Region, image: str) -> None:
    """The recipient sees the system disk of 40 GB alone."""
    for one in region.things("vault", project=guest(region)):
        if one["name"] != "partner-small-vault":
            region.emulator.cloud.remove("vault", one["id"])
    region.change("vault", region.named("vault", "partner-small-vault"), size=100)
    ended = hand_over(region, image)
    assert (ended.code, list(ended.refusals), region.writes) == (3, ["vault partner-small-vault"], [])
    assert "its disks have 140 GB" in ended.error["message"]


def test_again_it_is_adopted_and_the_cloud_is_asked_for_nothing(region: Region, image: str) -> None:
    hand_over(region, image)
    region.forget()
    ended = hand_over(region, "shop-web", "--vault", "no such vault")
    assert (ended.code, ended.told["outcome"], region.writes) == (0, "adopted", [])


def test_what_either_side_has_done_by_itself_is_adopted(region: Region, image: str) -> None:
    region.b2i("share", image, "partner")
    region.forget()
    ended = hand_over(region, image)
    assert (ended.code, ended.told["outcome"], region.sent("batchAddImageMembers")) == (0, "made", [])
    region.b2i("reject", image, cloud="partner")
    region.forget()
    again = hand_over(region, image)
    assert (again.code, member(region, image)["status"], region.sent("batchAddImageMembers")) == (0, "accepted", [])
    assert "had rejected shop-web" in again.err
    assert any("rejected it before" in check["why"] for check in again.told["report"]["checks"])


def test_its_end_is_written_down_and_the_sweep_ends_it(region: Region, image: str) -> None:
    ended = hand_over(region, image, "--share-for", "2d")
    assert (ended.code, ended.told["ends_at"][-1]) == (0, "Z")
    region.clock.advance(timedelta(days=4).total_seconds())
    assert region.b2i("sweep", "--apply").code == 0
    assert region.things("image-member", image_id=image) == []


def test_a_launch_order_is_planned_in_the_recipients_project_and_part_of_the_proof(region: Region, image: str) -> None:
    ended = hand_over(region, image, "--spec", region.write_launch(network=NETWORK))
    proof = {check["rule"]: check for check in ended.told["proof"]}
    assert (ended.code, proof["could be launched"]["verdict"]) == (0, "passed")
    assert "partner-net" in proof["launch: network"]["why"]
    assert [one.body["dry_run"] for one in region.sent("createServers")] == [True]


# -- what speaks against it ---------------------------------------------------------------------------------------------


def test_every_reason_on_both_sides_is_told_before_anything_is_shared(region: Region, image: str) -> None:
    region.write_settings(projects={})
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, cmk_id="11111111-2222-4333-8444-555555555555")
    spec = region.write_launch(network={"vpc": "partner-vpc", "subnet": "shop-net"})
    ended = hand_over(region, image, "--vault", "partner-disk-vault", "--spec", spec)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    refused = ended.refusals
    assert {"recipients", "not encrypted", "vault partner-disk-vault", "launch: subnet"} <= set(refused)
    assert refused["recipients"]["code"] == "b2i.not-allowed"
    assert all(check["page"] and check["action"] for check in refused.values())
    assert open_orders(region) == []


def test_ones_own_project_and_a_strangers_image_are_refused(region: Region, image: str) -> None:
    ended = region.b2i("hand-over", image, "--to", "shop")
    assert (ended.code, ended.refusals["recipients"]["code"], region.writes) == (3, "IMG.0076", [])
    hand_over(region, image)
    region.forget()
    back = region.b2i("hand-over", image, "--to", "dr", cloud="partner")
    assert (back.code, back.refusals["own image"]["code"], region.writes) == (3, "IMG.0106", [])


def test_a_recipient_in_another_region_is_refused(region: Region, image: str) -> None:
    place = region.folder / "clouds.yaml"
    told = yaml.safe_load(place.read_text())
    told["clouds"]["partner"]["region_name"] = "eu-nl"
    place.write_text(yaml.safe_dump(told))
    ended = hand_over(region, image)
    assert (ended.code, list(ended.refusals), region.writes) == (3, ["same region"], [])
    assert ended.refusals["same region"]["code"] == "IMG.0108"
    assert "Copy the backup" in ended.error["action"]


@pytest.mark.parametrize("words", [("--to", "nobody"), (), ("--to", "partner", "--share-for", "0s")])
def test_a_recipient_without_a_log_in_is_a_mistake_and_nothing_happens(
    region: Region, image: str, words: tuple[str, ...]
) -> None:
    ended = region.b2i("hand-over", image, *words)
    assert (ended.code, ended.error["code"], region.writes) == (2, "b2i.usage", [])


def test_what_goes_wrong_once_it_is_shared_names_that(region: Region, image: str) -> None:
    region.arm("vault-full", operation="batchUpdateImageMembers")
    ended = hand_over(region, image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "IMG.0182")
    assert f"It is shared with {guest(region)}" in ended.error["message"]
    assert (ended.told["state"], member(region, image)["status"], open_orders(region)) == ("pending", "pending", [])
    assert "b2i" in ended.error["action"]
    assert hand_over(region, image).code == 0


def test_a_proof_that_is_refused_is_no_green(region: Region, image: str) -> None:
    region.emulator.switches["dry_run_checks"] = "everything"
    for subnet in region.things("subnet", project=guest(region)):
        region.change("subnet", subnet, cidr="127.250.0.0/30", gateway="127.250.0.1")
    ended = hand_over(region, image)
    assert (ended.code, ended.told["outcome"], ended.told["state"]) == (5, "partly", "accepted")
    assert "Ecs.0012" in ended.error["message"]


def test_a_vault_that_fills_up_once_it_is_shared_is_told_with_what_to_do(region: Region, image: str) -> None:
    def fill(asked: Asked) -> None:
        if asked.operation == "batchAddImageMembers":
            for one in region.things("vault", project=guest(region)):
                region.change("vault", one, size=1)

    region.answered.append(fill)
    ended = hand_over(region, image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "b2i.refused")
    assert "Nothing was made" not in ended.error["message"]
    assert (member(region, image)["status"], open_orders(region)) == ("pending", [])
    words = hand_over(region, image, json=False)
    assert (words.code, "vault partner-vault" in words.out) == (3, True)


def test_an_accept_that_is_under_way_needs_no_vault_with_room(region: Region, image: str) -> None:
    """It goes where it was begun, whatever has come into the vaults since."""

    def kill(asked: Asked) -> None:
        if asked.operation == "getImsJob" and region.sent("batchUpdateImageMembers"):
            raise Killed

    region.watchers.append(kill)
    with pytest.raises(Killed):
        hand_over(region, image)
    region.watchers.remove(kill)
    for one in region.things("vault", project=guest(region)):
        region.change("vault", one, size=1)
    ended = hand_over(region, image)
    assert (ended.code, ended.told["state"]) == (0, "accepted"), ended.err


def test_where_the_cloud_does_not_share_it_nothing_is_accepted(region: Region, image: str) -> None:
    region.emulator.switches["whole_image_sharing"] = "refused"
    ended = hand_over(region, image)
    assert (ended.code, ended.error["code"], open_orders(region)) == (1, "IMG.0135", [])
    assert region.sent("batchUpdateImageMembers", "updateImageMember") == []


# -- late, killed, stopped ----------------------------------------------------------------------------------------------


def test_an_offer_that_the_recipient_does_not_see_yet_is_waited_for(region: Region, image: str) -> None:
    cloud, away = region.emulator.cloud, list[dict[str, Any]]()

    def looks(asked: Asked) -> bool:
        """The recipient, after it was shared, for the image itself."""
        return asked.operation == "getImage" and bool(region.sent("batchAddImageMembers"))

    def hide(asked: Asked) -> None:
        if looks(asked) and len(away) < 3:
            away.append(member(region, image))
            cloud.remove("image-member", away[-1]["id"])

    def show(asked: Asked) -> None:
        if looks(asked) and not region.things("image-member", image_id=image):
            assert asked.status == 404
            cloud.new("image-member", away[-1])

    region.watchers.append(hide)
    region.answered.append(show)
    ended = hand_over(region, image)
    assert (ended.code, ended.told["state"], len(away)) == (0, "accepted", 3), ended.err


def test_an_offer_that_never_shows_is_still_running_and_told_as_shared(region: Region, image: str) -> None:
    cloud = region.emulator.cloud

    def withdraw(asked: Asked) -> None:
        """Somebody else takes it back at once."""
        if asked.operation == "getImage" and region.sent("batchAddImageMembers"):
            for one in region.things("image-member", image_id=image):
                cloud.remove("image-member", one["id"])

    region.watchers.append(withdraw)
    ended = hand_over(region, image, "--timeout", "5m")
    assert (ended.code, ended.told["outcome"], region.sent("batchUpdateImageMembers")) == (4, "still_running", [])
    assert f"The offer of shop-web to {guest(region)}" in ended.error["message"]


def test_at_the_deadline_it_is_still_running_and_the_same_command_resumes(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="batchUpdateImageMembers", seconds=1800)
    ended = hand_over(region, image, "--timeout", "10m")
    assert (ended.code, ended.told["outcome"], ended.told["image_id"]) == (4, "still_running", image)
    assert [one["status"] for one in ended.told["members"]] == ["pending"]
    again = hand_over(region, image)
    assert (again.code, again.told["state"], len(region.sent("batchUpdateImageMembers"))) == (0, "accepted", 1)
    assert open_orders(region) == []


KILLED_AT = {"batchAddImageMembers": 0, "getImage": 1, "batchUpdateImageMembers": 0, "listSubnets": 0}


def by_command(region: Region, image: str) -> None:
    ended = hand_over(region, image)
    assert ended.code == 0, ended.err


def by_reconciling_both_sides(region: Region, image: str) -> None:
    first = region.b2i("reconcile").told["orders"]
    assert [one["verb"] for one in first] == ["hand-over"]
    if first[0]["outcome"] == "not_begun":
        assert f"b2i accept {image}" in first[0]["action"]
        assert f"b2i hand-over {image} --to partner" in first[0]["action"]
    region.b2i("reconcile", cloud="partner")
    if member(region, image)["status"] == "pending":
        assert region.b2i("accept", image, cloud="partner").code == 0
    assert [one["outcome"] for one in region.b2i("reconcile").told["orders"]] in ([], ["finished"])


@pytest.mark.parametrize("finish", [by_command, by_reconciling_both_sides])
@pytest.mark.parametrize(("operation", "skip"), KILLED_AT.items(), ids=KILLED_AT)
def test_a_killed_hand_over_is_gone_on_with(
    region: Region, image: str, operation: str, skip: int, finish: Callable[[Region, str], None]
) -> None:
    with region.killing(operation, skip=skip):
        hand_over(region, image, "--share-for", "30d")
    assert f"member {image} {guest(region)}" in open_orders(region)
    finish(region, image)
    assert (member(region, image)["status"], open_orders(region)) == ("accepted", [])
    assert len(region.sent("batchAddImageMembers")) <= 2


def test_the_later_word_counts_whoever_reconciles_then(region: Region, image: str) -> None:
    with region.killing("batchUpdateImageMembers"):
        hand_over(region, image)
    assert region.b2i("unshare", image, "partner").code == 0
    assert region.b2i("reconcile").told["orders"] == []
    assert region.things("image-member", image_id=image) == []


def test_an_order_that_nobody_goes_on_with_is_told_once_after_its_time_and_forgotten(region: Region, image: str) -> None:
    with region.killing("batchUpdateImageMembers"):
        hand_over(region, image, "--timeout", "10m")
    region.clock.advance(1200)
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["verb"], told["outcome"], told["overdue"]) == ("hand-over", "not_begun", True)
    assert "has not answered" in told["words"]
    assert region.b2i("reconcile").told["orders"] == []
