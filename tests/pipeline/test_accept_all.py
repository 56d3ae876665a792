"""`b2i accept --all`: what trusted projects offer, each for itself; nobody else's is touched."""

from typing import Any

import pytest

from backup_to_image.cli.accept import BLANK
from backup_to_image.emulator.cbr_shape import used_mb
from tests.support.region import Asked, Ended, Region


@pytest.fixture
def images(region: Region) -> list[str]:
    """Two full-ECS images and a plain one, offered to the partner, who trusts their sender."""
    backups = region.account["backups"]["available"]
    made = [region.make_image_by_hand(backups[number], f"offer-{number}")["id"] for number in (0, 1)]
    made.append(region.named("image", "base-ubuntu-hardened")["id"])
    for one in made:
        assert region.b2i("share", one, "partner").code == 0
    trust(region)
    region.forget()
    return made


def trust(region: Region, *senders: str) -> None:
    region.write_settings(projects={"shop": region.account["project_id"]}, accept_from=list(senders or ["shop"]))


def accept_all(region: Region, *words: str, json: bool = True) -> Ended:
    return region.b2i("accept", "--all", *words, cloud="partner", json=json)


def results(ended: Ended) -> dict[str, Any]:
    return {one["image_id"]: one["result"] for one in ended.told["offers"]}


def states(region: Region) -> dict[str, str]:
    guest = region.account["recipient"]["project_id"]
    return {one["image_id"]: one["status"] for one in region.things("image-member", project=guest)}


def vaults(region: Region) -> dict[str, str | None]:
    guest = region.account["recipient"]["project_id"]
    return {one["image_id"]: one["vault_id"] for one in region.things("image-member", project=guest)}


def test_everything_unanswered_of_the_senders_on_the_list_is_accepted_and_proven(region: Region, images: list[str]) -> None:
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], ended.told["error"], set(ended.told)) == (0, "made", None, set(BLANK))
    assert results(ended) == dict.fromkeys(images, "made")
    assert states(region) == dict.fromkeys(images, "accepted")
    for one in ended.told["offers"]:
        assert (one["state"], one["alias"], bool(one["vault_id"])) == ("accepted", "shop", one["needs_vault"])
        assert {check["rule"]: check["verdict"] for check in one["proof"]}["could be launched"] == "passed"
    assert len(region.sent("listVaults")) == 1
    words = accept_all(region, json=False).out
    assert "Nothing was left to accept" in words


def test_what_is_accepted_is_left_alone_and_what_was_rejected_stays_rejected(region: Region, images: list[str]) -> None:
    region.b2i("accept", images[0], cloud="partner")
    region.b2i("reject", images[1], cloud="partner")
    region.b2i("reject", images[2], cloud="partner")
    region.forget()
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], region.writes) == (0, "adopted", [])
    assert results(ended) == dict.fromkeys(images)
    assert states(region) == {images[0]: "accepted", images[1]: "rejected", images[2]: "rejected"}


def test_what_others_offer_is_told_with_the_line_to_add_and_neither_accepted_nor_rejected(
    region: Region, images: list[str]
) -> None:
    trust(region, "0123456789abcdef0123456789abcdef")
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], region.writes) == (0, "adopted", [])
    assert results(ended) == dict.fromkeys(images, "not_listed")
    assert states(region) == dict.fromkeys(images, "pending")
    first = ended.told["offers"][0]
    assert "not on the list" in first["reason"]
    assert "accept_from: [0123456789abcdef0123456789abcdef, shop]" in first["action"]
    assert "not on the list" in accept_all(region, json=False).out


def test_where_the_list_is_empty_it_is_refused_with_the_line_to_add(region: Region, images: list[str]) -> None:
    region.write_settings(projects={"shop": region.account["project_id"]})
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], list(ended.refusals), region.writes) == (3, "refused", ["senders"], [])
    assert "accept_from: [shop]" in ended.error["action"]
    assert ended.refusals["senders"]["page"] == "docs/configuration.md"


def test_where_nothing_is_offered_there_is_nothing_to_do(region: Region) -> None:
    trust(region)
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], ended.told["offers"], region.writes) == (0, "adopted", [], [])


def test_an_offer_that_is_refused_stops_no_other(region: Region, images: list[str]) -> None:
    kept = region.emulator.cloud.get("image", images[0])
    assert kept
    region.change("image", kept, status="killed")
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "b2i.refused")
    assert results(ended) == {images[0]: "refused", images[1]: "made", images[2]: "made"}
    wrong = next(one for one in ended.told["offers"] if one["image_id"] == images[0])
    assert (wrong["code"], bool(wrong["reason"]), bool(wrong["action"])) == ("b2i.refused", True, True)
    assert "killed" in ended.error["message"]


def test_an_offer_that_the_cloud_refuses_is_told_with_the_clouds_code_beside_the_others(
    region: Region, images: list[str]
) -> None:
    region.emulator.switches["accept_refusal"] = "in_job"
    region.arm("vault-full", operation="batchUpdateImageMembers")
    ended = accept_all(region)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "IMG.0182")
    assert sorted(results(ended).values()) == ["failed", "made", "made"]


def test_where_none_fits_a_vault_all_are_refused_with_every_reason(region: Region, images: list[str]) -> None:
    region.b2i("accept", images[2], cloud="partner")
    ended = accept_all(region, "--vault", "partner-disk-vault")
    assert (ended.code, ended.told["outcome"]) == (3, "refused")
    assert results(ended) == {images[0]: "refused", images[1]: "refused", images[2]: None}


def test_what_this_run_has_put_into_a_vault_leaves_less_room_there_for_the_next(region: Region, images: list[str]) -> None:
    small, big = region.named("vault", "partner-small-vault"), region.named("vault", "partner-vault")
    free = big["size"] - used_mb(region.emulator.cloud, big) // 1024
    region.change("vault", small, size=free - 20)  # with one image of 40 GB in the big one, this has more room
    assert accept_all(region).code == 0
    assert {vaults(region)[one] for one in images[:2]} == {small["id"], big["id"]}
    assert vaults(region)[images[2]] is None


def test_where_a_vault_has_room_for_one_the_other_is_refused_with_the_room_that_is_left(
    region: Region, images: list[str]
) -> None:
    for one in region.things("vault", project=region.account["recipient"]["project_id"]):
        if one["name"] != "partner-small-vault":
            region.emulator.cloud.remove("vault", one["id"])
    region.change("vault", region.named("vault", "partner-small-vault"), size=160)
    for image in images[:2]:
        region.change("image", region.emulator.cloud.get("image", image) or {}, min_disk=140)
    ended = accept_all(region)
    assert (ended.code, sorted(results(ended).values())) == (5, ["made", "made", "refused"])
    assert "20 GB are free" in ended.error["message"]


def test_an_accept_that_was_killed_is_gone_on_with(region: Region, images: list[str]) -> None:
    with region.killing("getImsJob"):
        region.b2i("accept", images[0], cloud="partner")
    ended = accept_all(region)
    assert (ended.code, states(region)) == (0, dict.fromkeys(images, "accepted"))
    assert len([one for one in region.sent("batchUpdateImageMembers") if images[0] in one.body["images"]]) == 1
    assert list(region.journal.glob("order-*.json")) == []


def test_a_rejection_that_the_cloud_has_not_heard_yet_is_not_overruled(region: Region, images: list[str]) -> None:
    with region.killing("batchUpdateImageMembers"):
        region.b2i("reject", images[0], cloud="partner")
    ended = accept_all(region)
    assert (ended.code, results(ended)[images[0]], states(region)[images[0]]) == (0, None, "pending")
    region.b2i("reconcile", cloud="partner")
    assert states(region)[images[0]] == "rejected"


def test_at_the_deadline_what_is_not_accepted_is_still_running_and_the_same_command_resumes(
    region: Region, images: list[str]
) -> None:
    region.arm("job-stuck", operation="batchUpdateImageMembers", seconds=1800)
    ended = accept_all(region, "--timeout", "10m")
    assert (ended.code, sorted(results(ended).values())) == (5, ["made", "made", "still_running"])
    assert ended.error["retryable"] is True
    assert accept_all(region).code == 0
    assert states(region) == dict.fromkeys(images, "accepted")


def test_an_offer_that_is_withdrawn_meanwhile_stops_no_other(region: Region, images: list[str]) -> None:
    guest = region.account["recipient"]["project_id"]

    def withdraw(asked: Asked) -> None:
        if asked.operation == "batchUpdateImageMembers" and images[0] in asked.body["images"]:
            region.emulator.cloud.remove("image-member", f"{images[0]}/{guest}")

    region.watchers.append(withdraw)
    ended = accept_all(region)
    assert (ended.code, results(ended)) == (5, {images[0]: "failed", images[1]: "made", images[2]: "made"})
