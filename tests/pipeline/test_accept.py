"""`b2i accept` and `reject`, with the recipient's log-in: the right vault or every reason, proven as the recipient, once."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from backup_to_image.cli.accept import BLANK
from backup_to_image.steps.sharing.offers import accept, find_offer
from tests.support.region import Asked, Ended, Region

UNKNOWN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """An image with disks of 40 and 100 GB, offered to the partner, who has not answered."""
    made: str = region.make_image_by_hand(backup, "shop-web")["id"]
    assert region.b2i("share", made, "partner").code == 0
    region.forget()
    return made


def partner(region: Region, *words: str, json: bool = True) -> Ended:
    return region.b2i(*words, cloud="partner", json=json)


def member(region: Region, image: str) -> dict[str, Any]:
    (found,) = region.things("image-member", image_id=image)
    return found


def vault(region: Region, name: str) -> dict[str, Any]:
    return region.named("vault", name)


def open_orders(region: Region) -> list[str]:
    return [json.loads(path.read_text())["name"] for path in region.journal.glob("order-*.json")]


# -- what is offered ----------------------------------------------------------------------------------------------------


def test_without_an_image_the_offers_are_listed_those_without_an_answer_first(region: Region, image: str) -> None:
    for number, state in ((1, "accepted"), (2, "rejected")):
        other = region.make_image_by_hand(region.account["backups"]["available"][number], state)["id"]
        region.b2i("share", other, "partner")
        partner(region, "accept" if state == "accepted" else "reject", other)
    region.write_settings(projects={"shop": region.account["project_id"]})
    region.forget()
    ended = partner(region, "accept")
    assert (ended.code, region.writes, set(ended.told)) == (0, [], set(BLANK))
    offers = ended.told["offers"]
    assert [(one["image_name"], one["state"]) for one in offers] == [
        ("shop-web", "pending"),
        ("accepted", "accepted"),
        ("rejected", "rejected"),
    ]
    first = offers[0]
    assert (first["image_id"], first["sender"], first["alias"]) == (image, region.account["project_id"], "shop")
    assert (first["status"], first["needs_vault"]) == ("active", True)
    assert first["offered_at"].endswith("Z")
    words = partner(region, "accept", json=False).out
    for word in ("shop-web", image, region.account["project_id"], "not answered", "rejected", f"b2i accept {image}"):
        assert word in words


def test_where_nothing_is_offered_that_is_said(region: Region) -> None:
    ended = partner(region, "accept")
    assert (ended.code, ended.told["offers"]) == (0, [])
    assert "Nothing is shared" in partner(region, "accept", json=False).out


# -- accepting ----------------------------------------------------------------------------------------------------------


def test_an_offer_is_accepted_into_the_emptiest_vault_that_fits_and_proven_as_its_recipient(region: Region, image: str) -> None:
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], ended.told["adopted"], set(ended.told)) == (0, "made", False, set(BLANK))
    assert (ended.told["image_id"], ended.told["state"], ended.told["status"]) == (image, "accepted", "active")
    assert ended.told["sender"] == region.account["project_id"]
    big = vault(region, "partner-vault")["id"]
    assert (ended.told["vault_id"], member(region, image)["vault_id"], member(region, image)["status"]) == (big, big, "accepted")
    proof = {check["rule"]: check["verdict"] for check in ended.told["proof"]}
    assert proof == {"listed": "passed", "active": "passed", "backup behind it": "unknowable", "could be launched": "passed"}
    assert (len(region.sent("batchUpdateImageMembers")), open_orders(region)) == (1, [])


def test_what_the_backup_behind_it_shows_is_part_of_the_proof(region: Region, image: str) -> None:
    region.emulator.switches["recipient_sees_backup"] = "yes"
    ended = partner(region, "accept", image)
    assert {check["rule"]: check["verdict"] for check in ended.told["proof"]}["backup behind it"] == "passed"


def test_what_is_accepted_already_is_adopted_and_the_cloud_is_asked_for_nothing(region: Region, image: str) -> None:
    partner(region, "accept", image)
    region.forget()
    ended = partner(region, "accept", image, "--vault", "no such vault")
    assert (ended.code, ended.told["outcome"], ended.told["adopted"], region.writes) == (0, "adopted", True, [])


def test_an_offer_is_found_by_its_name_and_its_vault_by_name_or_id(region: Region, image: str) -> None:
    named = partner(region, "accept", "shop-web", "--vault", "partner-vault")
    assert (named.code, named.told["image_id"]) == (0, image)
    partner(region, "reject", image)
    by_id = partner(region, "accept", image, "--vault", vault(region, "partner-vault")["id"].upper())
    assert (by_id.code, by_id.told["vault_id"]) == (0, vault(region, "partner-vault")["id"])


def test_two_offers_of_one_name_are_told_apart_by_their_ids(region: Region, image: str) -> None:
    other = region.make_image_by_hand(region.account["backups"]["available"][1], "shop-web")["id"]
    region.b2i("share", other, "partner")
    region.forget()
    ended = partner(region, "accept", "shop-web")
    assert (ended.code, region.writes) == (3, [])
    assert image in ended.error["action"]
    assert other in ended.error["action"]


def test_an_image_that_is_no_full_ecs_image_needs_no_vault(region: Region) -> None:
    plain = region.named("image", "base-ubuntu-hardened")["id"]
    region.b2i("share", plain, "partner")
    ended = partner(region, "accept", plain)
    assert (ended.code, ended.told["vault_id"], member(region, plain)["status"]) == (0, None, "accepted")


def test_what_was_rejected_is_accepted_later(region: Region, image: str) -> None:
    assert partner(region, "reject", image).told["state"] == "rejected"
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], member(region, image)["status"]) == (0, "made", "accepted")


def test_whoever_has_accepted_can_launch_a_server_from_it(region: Region, image: str) -> None:
    partner(region, "accept", image)
    network = {"vpc": "partner-vpc", "subnet": "partner-net", "security_groups": ["partner-sg"]}
    ended = partner(region, "launch", image, "--spec", region.write_launch(network=network))
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    (server,) = region.launched()
    assert server["project"] == region.account["recipient"]["project_id"]


# -- vaults -------------------------------------------------------------------------------------------------------------


def leave_only(region: Region, *names: str) -> None:
    for kept in region.things("vault", project=region.account["recipient"]["project_id"]):
        if kept["name"] not in names:
            region.emulator.cloud.remove("vault", kept["id"])


def test_where_none_fits_every_reason_is_told_for_each_vault_and_nothing_is_asked_for(region: Region, image: str) -> None:
    region.change("vault", vault(region, "partner-vault"), status="lock")
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    codes = {rule: check["code"] for rule, check in ended.refusals.items()}
    assert codes == {
        "vault partner-vault": "IMG.0188",
        "vault partner-small-vault": "IMG.0182",
        "vault partner-disk-vault": "IMG.0193",
        "vault partner-far-vault": "IMG.0188",
        "vault partner-frozen-vault": "IMG.0188",
    }
    assert all(check["action"] and check["page"] for check in ended.refusals.values())
    assert ended.refusals["vault partner-vault"]["waiting_helps"] is True
    assert "replication" in ended.error["message"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("partner-small-vault", "IMG.0182"),
        ("partner-disk-vault", "IMG.0193"),
        ("partner-far-vault", "IMG.0188"),
        ("partner-frozen-vault", "IMG.0188"),
        ("nobodys-vault", "IMG.0184"),
        pytest.param("", "IMG.0184", marks=pytest.mark.one_door("an empty field of a form is none")),
        ("x" * 500, "IMG.0184"),
        (UNKNOWN, "IMG.0184"),
    ],
)
def test_a_vault_that_was_named_and_does_not_fit_is_refused_though_another_would(
    region: Region, image: str, name: str, code: str
) -> None:
    ended = partner(region, "accept", image, "--vault", name)
    assert (ended.code, region.writes) == (3, [])
    assert [check["code"] for check in ended.refusals.values()] == [code]
    assert all(check["page"] for check in ended.refusals.values())
    assert ended.error["action"]


def test_every_reason_against_one_vault_is_told(region: Region, image: str) -> None:
    wrong = vault(region, "partner-small-vault")
    region.change("vault", wrong, object_type="disk", protect_type="replication", status="frozen")
    ended = partner(region, "accept", image, "--vault", "partner-small-vault")
    for word in ("disk", "replication", "frozen", "10 GB are free"):
        assert word in ended.error["message"]


def test_a_project_without_a_vault_is_told_what_to_make(region: Region, image: str) -> None:
    leave_only(region)
    ended = partner(region, "accept", image)
    assert (ended.code, ended.refusals["vault"]["code"], region.writes) == (3, "IMG.0184", [])
    assert "40 GB" in ended.error["action"]


def test_data_disks_that_cannot_be_seen_are_said_to_be_unknown_and_the_cloud_decides(region: Region, image: str) -> None:
    leave_only(region, "partner-small-vault")
    region.change("vault", vault(region, "partner-small-vault"), size=100)
    ended = partner(region, "accept", image)
    assert "data disks are unknown" in ended.err
    assert (ended.code, ended.error["code"]) == (1, "IMG.0182")
    assert (ended.error["retryable"], member(region, image)["status"], open_orders(region)) == (False, "pending", [])


def test_where_the_disks_are_to_be_seen_all_of_them_count(region: Region, image: str) -> None:
    region.emulator.switches["recipient_sees_backup"] = "yes"
    partner(region, "accept", image)  # who has accepted once, may see the backup; the owner offers it anew
    region.change("image-member", member(region, image), status="rejected")
    leave_only(region, "partner-small-vault")
    region.change("vault", vault(region, "partner-small-vault"), size=100)
    region.change("image-member", member(region, image), status="accepted")
    backup = region.emulator.cloud.get("image", image)
    assert backup
    cloud = region.emulator.cloud
    stamps = dict.fromkeys(("created_at", "updated_at"), cloud.stamp())
    cloud.new(
        "backup-member",
        {"project": region.account["project_id"], "backup_id": backup["backup_id"], "status": "accepted"}
        | {"dest_project": region.account["recipient"]["project_id"], "vault_id": None, "image_id": None}
        | stamps,
    )
    region.change("image-member", member(region, image), status="pending")
    region.forget()
    ended = partner(region, "accept", image)
    assert (ended.code, region.writes) == (3, [])
    assert "its disks have 140 GB" in ended.error["message"]


def test_with_despite_size_the_cloud_decides(region: Region, image: str) -> None:
    leave_only(region, "partner-small-vault")
    ended = partner(region, "accept", image, "--despite-size")
    assert (ended.code, ended.error["code"], len(region.sent("batchUpdateImageMembers"))) == (1, "IMG.0182", 1)
    assert "--despite-size" in partner(region, "accept", image).error["action"]


@pytest.mark.parametrize("surfaces", ["in_job", "at_once"])
def test_a_vault_that_fills_up_meanwhile_is_told_in_the_clouds_words(region: Region, image: str, surfaces: str) -> None:
    region.emulator.switches["accept_refusal"] = surfaces
    region.arm("vault-full", operation="batchUpdateImageMembers")
    ended = partner(region, "accept", image)
    assert (ended.code, ended.error["code"], member(region, image)["status"]) == (1, "IMG.0182", "pending")
    assert ended.error["action"]
    assert partner(region, "accept", image).code == 0


# -- proof that it could be launched ------------------------------------------------------------------------------------


NETWORK = {"vpc": "partner-vpc", "subnet": "partner-net", "security_groups": ["partner-sg"]}


def proof_of(ended: Ended) -> dict[str, dict[str, Any]]:
    return {check["rule"]: check for check in ended.told["proof"]}


def test_the_clouds_dry_run_is_asked_for_the_smallest_flavor_that_fits_and_no_server_is_made(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, min_ram=6000)
    ended = partner(region, "accept", image)
    found = proof_of(ended)["could be launched"]
    assert (ended.code, found["verdict"]) == (0, "passed")
    assert "form of the request alone" in found["why"]
    (asked,) = region.sent("createServers")
    assert asked.body["dry_run"] is True
    server, network = asked.body["server"], region.named("subnet", "partner-net")
    assert (server["imageRef"], server["vpcid"], server["nics"]) == (image, network["vpc_id"], [{"subnet_id": network["id"]}])
    fitting = [one for one in region.things("flavor") if one["ram"] >= 6000 and "normal" in one["az"].values()]
    chosen = region.emulator.cloud.get("flavor", server["flavorRef"])
    assert chosen
    assert (int(chosen["vcpus"]), chosen["ram"]) == min((int(one["vcpus"]), one["ram"]) for one in fitting)
    assert len(region.sent("listFlavors", "listAvailabilityZones", "listSubnets", "listVpcs", "getServerLimits")) == 3
    assert region.launched() == []


def test_the_flavor_that_is_asked_for_is_of_the_images_kind_and_on_sale(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, min_ram=2048)
    for flavor, changes in (
        ("s3.large.2", {"extra": {"ecs:instance_architecture": "arm64"}}),
        ("s3.xlarge.2", {"az": dict.fromkeys(("eu-de-01", "eu-de-02", "eu-de-03"), "sellout")}),
        ("s3.xlarge.4", {"az": {"eu-de-01": "sellout", "eu-de-02": "sellout", "eu-de-03": "normal"}}),
    ):
        region.change("flavor", region.emulator.cloud.get("flavor", flavor) or {}, **changes)
    ended = partner(region, "accept", image)
    (asked,) = region.sent("createServers")  # c4.large.2 is sold nowhere
    server = asked.body["server"]
    assert (ended.code, server["flavorRef"], server["availability_zone"]) == (0, "s3.xlarge.4", "eu-de-03")


def test_a_system_of_32_bits_is_not_asked_for_with_more_memory_than_it_can_use(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, min_ram=6000, os=kept["os"] | {"bit": "32"})
    found = proof_of(partner(region, "accept", image))["could be launched"]
    assert (found["verdict"], region.sent("createServers")) == ("refused", [])
    assert "4096 at most" in found["why"]


def fill_networks(region: Region) -> None:
    """No address is free in them."""
    for subnet in region.things("subnet", project=region.account["recipient"]["project_id"]):
        region.change("subnet", subnet, cidr="127.250.0.0/30", gateway="127.250.0.1")


@pytest.mark.parametrize("spec", [False, True])
def test_what_the_dry_run_refuses_is_told_with_the_clouds_code_though_it_is_accepted(
    region: Region, image: str, spec: bool
) -> None:
    region.emulator.switches["dry_run_checks"] = "everything"
    fill_networks(region)
    words = ("--spec", region.write_launch(network=NETWORK)) if spec else ()
    ended = partner(region, "accept", image, *words)
    found = proof_of(ended)["launch: cloud's dry run" if spec else "could be launched"]
    assert (ended.code, ended.told["outcome"], found["verdict"], found["code"]) == (5, "partly", "refused", "Ecs.0012")
    assert "enough IP addresses" in ended.error["message"]
    assert found["action"]
    assert member(region, image)["status"] == "accepted"


@pytest.mark.parametrize("fault", ["forbidden", "error-500", "throttled-429", "reset-before", "flow-202"])
def test_a_dry_run_that_the_cloud_does_not_answer_says_nothing_about_the_image(region: Region, image: str, fault: str) -> None:
    region.arm(fault, operation="createServers", times=None)
    ended = partner(region, "accept", image)
    found = proof_of(ended)["could be launched"]
    assert (ended.code, found["verdict"], bool(found["why"]), bool(found["action"])) == (0, "unknowable", True, True), found


def test_a_dry_run_that_is_refused_without_a_code_says_nothing_about_the_image(region: Region, image: str) -> None:
    region.instead["createServers"] = 400
    ended = partner(region, "accept", image)
    found = proof_of(ended)["could be launched"]
    assert (ended.code, found["verdict"], bool(found["action"])) == (0, "unknowable", True)


def test_a_dry_run_that_is_put_off_for_a_while_is_asked_again(region: Region, image: str) -> None:
    region.arm("flow-202", operation="createServers", times=3)
    ended = partner(region, "accept", image)
    assert (ended.code, proof_of(ended)["could be launched"]["verdict"]) == (0, "passed")


def test_a_project_without_a_network_cannot_be_asked_about_and_that_is_said(region: Region, image: str) -> None:
    for subnet in region.things("subnet", project=region.account["recipient"]["project_id"]):
        region.emulator.cloud.remove("subnet", subnet["id"])
    ended = partner(region, "accept", image)
    found = proof_of(ended)["could be launched"]
    assert (ended.code, found["verdict"], region.sent("createServers")) == (0, "unknowable", [])
    assert "no network" in found["why"]


def test_flavors_that_cannot_be_read_leave_it_unknown(region: Region, image: str) -> None:
    region.arm("forbidden", operation="listFlavors", times=None)
    ended = partner(region, "accept", image)
    found = proof_of(ended)["could be launched"]
    assert (ended.code, found["verdict"], region.sent("createServers")) == (0, "unknowable", [])
    assert "could not be read" in found["why"]


def test_an_image_that_no_flavor_on_sale_fits_is_accepted_and_no_green(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, min_ram=4_000_000)
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], proof_of(ended)["could be launched"]["verdict"]) == (5, "partly", "refused")


def test_with_a_launch_order_its_plan_as_the_recipient_is_the_proof_and_nothing_is_launched(region: Region, image: str) -> None:
    ended = partner(region, "accept", image, "--spec", region.write_launch(network=NETWORK))
    found = proof_of(ended)
    assert (ended.code, found["could be launched"]["verdict"], found["launch: network"]["verdict"]) == (0, "passed", "passed")
    assert "partner-net" in found["launch: network"]["why"]
    assert [one.body["dry_run"] for one in region.sent("createServers")] == [True]
    assert region.launched() == []


def test_what_refuses_a_launch_order_is_told_though_the_image_is_accepted(region: Region, image: str) -> None:
    network = {"vpc": "partner-vpc", "subnet": "no-such-net"}
    ended = partner(region, "accept", image, "--spec", region.write_launch(network=network))
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "b2i.partly-done")
    assert proof_of(ended)["launch: subnet"]["verdict"] == "refused"
    assert "no-such-net" in ended.error["message"]
    again = partner(region, "accept", image, "--spec", region.write_launch(network=NETWORK))
    assert (again.code, again.told["outcome"]) == (0, "adopted")


def test_a_launch_order_with_mistakes_is_told_before_anything_is_asked(region: Region, image: str) -> None:
    ended = partner(region, "accept", image, "--spec", region.write_launch(flavour="s3.large.2"))
    assert (ended.code, ended.error["code"], region.asked) == (2, "b2i.usage", [])
    assert partner(region, "accept", image, "--spec", "no-such.yaml").code == 2


# -- what speaks against it ---------------------------------------------------------------------------------------------

EMPTY = pytest.param("", marks=pytest.mark.one_door("an empty field of a form lists what is offered"))
NOTHING_OFFERED = [UNKNOWN, "no such image", EMPTY, "x" * 300, "../../v2/images", "a" * 36]


@pytest.mark.parametrize("command", ["accept", "reject"])
@pytest.mark.parametrize("reference", NOTHING_OFFERED, ids=lambda text: str(text)[:20])
def test_what_is_not_offered_is_refused_in_words(region: Region, image: str, command: str, reference: str) -> None:
    ended = partner(region, command, reference)
    assert (ended.code, ended.told["outcome"], list(ended.refusals), region.writes) == (3, "refused", ["offered"], [])
    assert "`b2i accept`" in ended.error["action"]
    assert ended.refusals["offered"]["page"]


def test_ones_own_image_needs_no_accepting(region: Region, image: str) -> None:
    ended = region.b2i("accept", image)
    assert (ended.code, region.writes) == (3, [])
    assert "own image" in ended.error["message"]


def test_an_image_that_is_not_active_is_refused_together_with_the_vault(region: Region, image: str) -> None:
    kept = region.emulator.cloud.get("image", image)
    assert kept
    region.change("image", kept, status="killed")
    ended = partner(region, "accept", image, "--vault", "partner-disk-vault")
    assert (ended.code, set(ended.refusals), region.writes) == (3, {"active", "vault partner-disk-vault"}, [])


@pytest.mark.parametrize(
    "words",
    [
        ("accept", "--vault", "v"),
        ("accept", "--despite-size"),
        ("accept", "--spec", "launch.yaml"),
        ("accept", "--all", "--spec", "launch.yaml"),
        ("accept", "--all", UNKNOWN),
        ("reject",),
    ],
)
def test_a_command_without_its_image_is_a_mistake_before_anything_is_asked(region: Region, words: tuple[str, ...]) -> None:
    ended = partner(region, *words)
    assert (ended.code, ended.error["code"], region.asked) == (2, "b2i.usage", [])


def test_an_image_that_dies_while_it_is_accepted_is_no_green(region: Region, image: str) -> None:
    def die(asked: Asked) -> None:
        if asked.operation == "batchUpdateImageMembers":
            kept = region.emulator.cloud.get("image", image)
            assert kept
            region.change("image", kept, status="killed")

    region.answered.append(die)
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "b2i.partly-done")
    assert ended.told["state"] == "accepted"


def test_an_offer_that_is_taken_back_meanwhile_is_told(region: Region, image: str) -> None:
    def withdraw(asked: Asked) -> None:
        if asked.operation == "batchUpdateImageMembers":
            region.emulator.cloud.remove("image-member", member(region, image)["id"])

    region.watchers.append(withdraw)
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"], open_orders(region)) == (1, "failed", [])
    assert ended.error["message"]


# -- rejecting ----------------------------------------------------------------------------------------------------------


def test_a_rejected_image_leaves_the_list_and_is_adopted_when_rejected_again(region: Region, image: str) -> None:
    partner(region, "accept", image)
    ended = partner(region, "reject", image)
    assert (ended.code, ended.told["outcome"], ended.told["state"], set(ended.told)) == (0, "made", "rejected", set(BLANK))
    assert (member(region, image)["status"], [check["rule"] for check in ended.told["proof"]]) == ("rejected", ["listed"])
    region.forget()
    again = partner(region, "reject", "shop-web")
    assert (again.code, again.told["outcome"], region.writes) == (0, "adopted", [])


# -- trouble and kills --------------------------------------------------------------------------------------------------

TROUBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "connection cut after it": ("lost-answer", {}),
    "502 after it": ("html-502", {"effect": True}),
    "half an answer": ("truncated-json", {}),
    "connection cut before it": ("reset-before", {}),
    "502 before it": ("html-502", {}),
    "throttled": ("throttled-429", {}),
    "token at its end": ("token-expired", {}),
    "job stuck for a while": ("job-stuck", {"seconds": 60}),
    "the batch call in trouble": ("job-fails", {"code": "IMG.0114", "reason": "updating a member failed"}),
}


@pytest.mark.parametrize("command", ["accept", "reject"])
@pytest.mark.parametrize(("fault", "how"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_on_the_way_ends_with_the_answer_given(
    region: Region, image: str, command: str, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="batchUpdateImageMembers", **how)
    ended = partner(region, command, image)
    assert (ended.code, ended.told["outcome"]) == (0, "made"), ended.err
    assert (member(region, image)["status"], open_orders(region)) == (ended.told["state"], [])


def test_a_lost_request_is_looked_for_before_the_native_call_repeats_it(region: Region, image: str) -> None:
    region.arm("lost-answer", operation="batchUpdateImageMembers")
    assert partner(region, "accept", image).code == 0
    assert region.sent("updateImageMember") == []


def test_a_request_that_never_took_effect_is_repeated_by_the_native_call_after_the_settle_time(
    region: Region, image: str
) -> None:
    region.arm("html-502", operation="batchUpdateImageMembers")
    began = region.clock.now()
    assert partner(region, "accept", image).code == 0
    assert (region.clock.now() - began).total_seconds() >= 120
    assert len(region.sent("updateImageMember")) == 1


KILLED_AT = {"batchUpdateImageMembers": 0, "getImsJob": 0, "getImageMember": 1, "listCloudImages": 0}


def finish_by_command(region: Region, image: str) -> None:
    ended = partner(region, "accept", image)
    assert ended.code == 0, ended.err


def finish_by_reconcile(region: Region, image: str) -> None:
    (told,) = partner(region, "reconcile").told["orders"]
    assert (told["verb"], told["outcome"]) == ("accept", "finished"), told
    assert image in told["subject"]


@pytest.mark.parametrize("finish", [finish_by_command, finish_by_reconcile])
@pytest.mark.parametrize(("operation", "skip"), KILLED_AT.items(), ids=KILLED_AT)
def test_a_killed_accept_is_finished_into_the_same_vault(
    region: Region, image: str, operation: str, skip: int, finish: Callable[[Region, str], None]
) -> None:
    region.change("vault", vault(region, "partner-small-vault"), size=20_000)  # the emptiest, until somebody fills it
    with region.killing(operation, skip=skip):
        partner(region, "accept", image)
    assert len(open_orders(region)) == 1
    region.change("vault", vault(region, "partner-small-vault"), size=5_000)
    finish(region, image)
    kept = member(region, image)
    assert (kept["status"], kept["vault_id"]) == ("accepted", vault(region, "partner-small-vault")["id"])
    assert (open_orders(region), len(region.sent("batchUpdateImageMembers")) <= 2) == ([], True)


def test_a_killed_accept_whose_job_goes_on_is_waited_for_and_not_asked_for_again(region: Region, image: str) -> None:
    with region.killing("getImsJob"):
        partner(region, "accept", image)
    ended = partner(region, "accept", image)
    assert (ended.code, ended.told["outcome"]) == (0, "adopted")
    assert len(region.sent("batchUpdateImageMembers", "updateImageMember")) == 1


def test_the_later_word_counts_whoever_reconciles_then(region: Region, image: str) -> None:
    with region.killing("batchUpdateImageMembers"):
        partner(region, "accept", image)
    assert partner(region, "reject", image).code == 0
    assert partner(region, "reconcile").told["orders"] == []
    assert member(region, image)["status"] == "rejected"


def test_an_answer_that_is_still_at_work_in_the_cloud_does_not_have_the_last_word(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="batchUpdateImageMembers", seconds=300)
    with region.killing("getImsJob"):
        partner(region, "accept", image)
    assert partner(region, "reject", image).told["outcome"] == "made"
    region.clock.advance(3600)
    assert member(region, image)["status"] == "rejected"


def test_whoever_reconciles_tells_that_the_offer_is_gone(region: Region, image: str) -> None:
    with region.killing("batchUpdateImageMembers"):
        partner(region, "accept", image)
    assert region.b2i("unshare", image, "partner").code == 0
    (told,) = partner(region, "reconcile").told["orders"]
    assert (told["outcome"], open_orders(region)) == ("failed", [])


def test_an_accept_that_does_not_end_is_still_running_and_the_same_command_resumes(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="batchUpdateImageMembers", seconds=1800)
    ended = partner(region, "accept", image, "--timeout", "10m")
    assert (ended.code, ended.told["outcome"], ended.told["image_id"]) == (4, "still_running", image)
    assert ended.told["job_id"]
    again = partner(region, "accept", image)
    assert (again.code, member(region, image)["status"]) == (0, "accepted")
    assert len(region.sent("batchUpdateImageMembers")) == 1


def test_two_at_once_accept_it_into_one_vault(region: Region, image: str) -> None:
    async def both() -> list[str]:
        async with region.context(cloud="partner") as one, region.context(cloud="partner") as other:
            offer = await find_offer(image, one)
            ended = await asyncio.gather(accept(offer, one), accept(offer, other))
            return [answered.outcome for answered in ended]

    assert set(asyncio.run(both())) <= {"made", "adopted"}
    kept = member(region, image)
    assert (kept["status"], kept["vault_id"]) == ("accepted", vault(region, "partner-vault")["id"])
    assert open_orders(region) == []
