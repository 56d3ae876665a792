"""Sharing of images, seen from both sides: BEHAVIOUR.md 9."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Client, Region
from .test_ims_create import made

PENDING = {"member_status": "pending", "visibility": "shared", "__imagetype": "shared"}


async def listed(client: Client, **query: Any) -> list[str]:
    return [image["id"] for image in (await client.get("ims/v2/cloudimages", limit=1000, **query)).json()["images"]]


async def offer(region: Region, owner: Client, images: list[str], projects: list[str]) -> dict[str, Any]:
    answer = await owner.post("ims/v1/cloudimages/members", {"images": images, "projects": projects})
    assert answer.status_code == 200, answer.text
    region.clock.advance(10)
    return await owner.job(answer.json()["job_id"])


async def reply(region: Region, guest: Client, images: list[str], status: str, vault: str | None = None) -> dict[str, Any]:
    body = {"images": images, "project_id": guest.project, "status": status, **({"vault_id": vault} if vault else {})}
    answer = await guest.put("ims/v1/cloudimages/members", body)
    assert answer.status_code == 200, answer.text
    region.clock.advance(30)
    return await guest.job(answer.json()["job_id"])


def projects(region: Region, number: int) -> list[str]:
    """Further projects of the region."""
    made_up = [f"{n:032x}" for n in range(number)]
    for project in made_up:
        region.emulator.cloud.new("project", {"id": project, "name": project, "domain_id": "x", "region": "eu-de"})
    return made_up


async def test_an_offer_is_seen_answered_and_ended_on_both_sides(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    job = await offer(region, shop, [image], [partner.project])
    assert job["entities"]["results"] == [{"image_id": image, "project_id": partner.project, "status": "success"}]
    assert (await shop.image(image))["visibility"] == "shared"
    assert image not in await listed(shop, visibility="private")
    assert image in await listed(shop, owner=shop.project)
    assert image in await listed(partner, **PENDING)
    assert image not in await listed(partner)
    vault = region.account["recipient"]["vault"]
    before = (await partner.get(f"cbr/v3/{{p}}/vaults/{vault}")).json()["vault"]["billing"]["used"]
    accepted = await reply(region, partner, [image], "accepted", vault)
    assert (accepted["status"], accepted["job_type"]) == ("SUCCESS", "imsUpdateImageMembersJob")
    assert image in await listed(partner)
    assert image not in await listed(partner, **PENDING)
    assert (await partner.image(image))["owner"] == shop.project
    assert (await partner.get(f"cbr/v3/{{p}}/vaults/{vault}")).json()["vault"]["billing"]["used"] > before
    assert [member["status"] for member in (await shop.get(f"ims/v2/images/{image}/members")).json()["members"]] == ["accepted"]
    await reply(region, partner, [image], "rejected")
    assert image not in await listed(partner)
    assert image in await listed(partner, **{**PENDING, "member_status": "rejected"})
    ended = await shop.delete("ims/v1/cloudimages/members", {"images": [image], "projects": [partner.project]})
    region.clock.advance(10)
    assert (await shop.job(ended.json()["job_id"]))["entities"] == {"results": []}
    assert (await partner.get(f"ims/v2/images/{image}")).status_code == 404
    assert (await shop.image(image))["visibility"] == "private"


async def test_the_native_calls_do_the_same_at_once(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    where = f"ims/v2/images/{image}/members"
    assert (await shop.post(where, {"member": partner.project})).json()["status"] == "pending"
    assert (await shop.post(where, {"member": partner.project})).status_code == 409
    assert (await partner.put(f"{where}/{{p}}", {"status": "accepted"})).json()["error"]["code"] == "IMG.0184"
    accepted = await partner.put(f"{where}/{{p}}", {"status": "accepted", "vault_id": region.account["recipient"]["vault"]})
    assert accepted.json()["status"] == "accepted"
    assert (await partner.get(f"{where}/{{p}}")).json()["status"] == "accepted"
    assert (await partner.delete(f"{where}/{{p}}")).status_code == 403
    assert (await shop.delete(f"{where}/{partner.project}")).status_code == 204
    assert (await shop.delete(f"{where}/{partner.project}")).status_code == 404


async def test_what_may_not_be_shared_is_refused_with_its_reason(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    async def no(client: Client, image: str, project: str) -> str:
        answer = await client.post("ims/v1/cloudimages/members", {"images": [image], "projects": [project]})
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["code"]

    guest = partner.project
    good = (await made(region, shop, backups["available"][0], "good"))["id"]
    of_shared = (await made(region, shop, backups["shared_accepted"], "of-shared"))["id"]
    encrypted = await made(region, shop, backups["encrypted"], "encrypted")
    assert encrypted["__system__cmkid"]
    assert await no(shop, of_shared, guest) == "IMG.0135"
    assert await no(shop, encrypted["id"], guest) == "IMG.0098"
    assert await no(shop, region.account["image_public"], guest) == "IMG.0089"
    assert await no(shop, good, shop.project) == "IMG.0076"
    assert await no(shop, good, "e" * 32) == "IMG.0108"
    assert await no(shop, "00000000-0000-4000-8000-000000000000", guest) == "IMG.0027"
    await offer(region, shop, [good], [guest])
    assert await no(partner, good, region.account["second_project"]) == "IMG.0047"
    await shop.create_image(backups["available"][1], "young")
    young = (await shop.get("ims/v2/cloudimages", owner=shop.project, limit=1)).json()["images"][0]["id"]
    assert await no(shop, young, guest) == "IMG.0046"


async def test_a_backup_shared_to_the_caller_gives_an_image_that_cannot_be_shared_even_later(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["shared_accepted"]))["id"]
    assert (await partner.delete(f"cbr/v3/{{p}}/backups/{backups['shared_accepted']}/members/{shop.project}")).status_code == 204
    answer = await shop.post(f"ims/v2/images/{image}/members", {"member": region.account["second_project"]})
    assert answer.json()["error"]["code"] == "IMG.0135"


@pytest.mark.parametrize(("counted", "expected"), [("all", 400), ("answered", 200)])
async def test_ten_recipients_are_enough(
    region: Region, shop: Client, backups: dict[str, Any], counted: str, expected: int
) -> None:
    region.emulator.switches["members_counted"] = counted
    image = (await made(region, shop, backups["available"][0]))["id"]
    many = projects(region, 11)
    await offer(region, shop, [image], many[:10])
    answer = await shop.post("ims/v1/cloudimages/members", {"images": [image], "projects": many[10:]})
    assert answer.status_code == expected
    if expected == 400:
        assert answer.json()["error"]["code"] == "IMG.0088"


async def test_eleven_in_one_call_leave_one_out_and_the_job_says_success(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    job = await offer(region, shop, [image], projects(region, 11))
    assert job["status"] == "SUCCESS"
    assert [result["status"] for result in job["entities"]["results"]] == ["success"] * 10 + ["failed"]
    assert len((await shop.get(f"ims/v2/images/{image}/members")).json()["members"]) == 10


async def test_one_bad_recipient_hides_in_a_successful_job_or_refuses_the_call(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    job = await offer(region, shop, [image], [partner.project, "e" * 32])
    assert [result["status"] for result in job["entities"]["results"]] == ["success", "failed"]
    region.emulator.switches["member_failures"] = "at_once"
    answer = await shop.post("ims/v1/cloudimages/members", {"images": [image], "projects": [partner.project, "e" * 32]})
    assert answer.json()["error"]["code"] == "IMG.0108"


async def test_the_recipients_vault_is_looked_at_when_he_accepts(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    await offer(region, shop, [image], [partner.project])

    async def no(vault: str | None) -> str:
        body = {"images": [image], "project_id": partner.project, "status": "accepted", **({"vault_id": vault} if vault else {})}
        answer = await partner.put("ims/v1/cloudimages/members", body)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["code"]

    assert await no(None) == "IMG.0184"
    assert await no(region.account["vault"]) == "IMG.0184"
    assert await no(region.find("vault", "partner-disk-vault")) == "IMG.0193"
    assert await no(region.find("vault", "partner-far-vault")) == "IMG.0188"
    assert await no(region.find("vault", "partner-frozen-vault")) == "IMG.0188"
    small = region.find("vault", "partner-small-vault")
    failed = await reply(region, partner, [image], "accepted", small)
    assert (failed["status"], failed["error_code"], failed["entities"]["results"][0]["status"]) == ("FAIL", "IMG.0182", "FAIL")
    assert (await partner.get(f"ims/v2/images/{image}/members/{{p}}")).json()["status"] == "pending"
    region.emulator.switches["accept_refusal"] = "at_once"
    assert await no(small) == "IMG.0182"
    region.emulator.faults.arm("vault-full")
    assert await no(region.account["recipient"]["vault"]) == "IMG.0182"
    not_mine = {"images": [image], "project_id": shop.project, "status": "rejected"}
    assert (await partner.put("ims/v1/cloudimages/members", not_mine)).json()["error"]["code"] == "IMG.0030"


async def test_deleting_the_image_takes_it_from_everybody(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    await offer(region, shop, [image], [partner.project])
    await reply(region, partner, [image], "accepted", region.account["recipient"]["vault"])
    await shop.delete(f"ims/v2/images/{image}", {"delete_backup": False})
    region.clock.advance(10)
    assert image not in await listed(partner)


@pytest.mark.parametrize(("switch", "status"), [("no", 404), ("yes", 200)])
async def test_whether_the_recipient_sees_the_backup_is_a_switch(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any], switch: str, status: int
) -> None:
    region.emulator.switches["recipient_sees_backup"] = switch
    image = (await made(region, shop, backups["available"][0]))["id"]
    await offer(region, shop, [image], [partner.project])
    await reply(region, partner, [image], "accepted", region.account["recipient"]["vault"])
    backup = (await partner.image(image))["__backup_id"]
    assert (await partner.get(f"cbr/v3/{{p}}/backups/{backup}")).status_code == status


@pytest.mark.parametrize("switch", ["lower", "upper"])
async def test_results_are_written_in_either_case(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any], switch: str
) -> None:
    region.emulator.switches["member_results"] = switch
    image = (await made(region, shop, backups["available"][0]))["id"]
    job = await offer(region, shop, [image], [partner.project, "e" * 32])
    words = ["success", "failed"] if switch == "lower" else ["SUCCESS", "FAIL"]
    assert [result["status"] for result in job["entities"]["results"]] == words


async def test_sharing_goes_by_the_switches_where_the_pages_differ(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    encrypted = (await made(region, shop, backups["encrypted"], "encrypted"))["id"]
    region.emulator.switches.update(encrypted_images="shareable", disk_backup_sharing="allowed")
    assert (await shop.post(f"ims/v2/images/{encrypted}/members", {"member": partner.project})).status_code == 200
    for backup in (backups["encrypted"], backups["volume"]):
        answer = await shop.post(f"cbr/v3/{{p}}/backups/{backup}/members", {"members": [partner.project]})
        assert answer.status_code == 200, answer.text
    region.emulator.switches["whole_image_sharing"] = "refused"
    plain = (await made(region, shop, backups["available"][0], "plain"))["id"]
    answer = await shop.post(f"ims/v2/images/{plain}/members", {"member": partner.project})
    assert answer.json()["error"]["code"] == "IMG.0135"


async def test_a_proxy_can_drop_the_body_of_a_delete(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    await offer(region, shop, [image], [partner.project])
    region.emulator.switches["delete_bodies"] = "dropped"
    ended = await shop.delete("ims/v1/cloudimages/members", {"images": [image], "projects": [partner.project]})
    assert ended.json()["error"]["code"] == "IMG.0007"
    assert (await shop.delete(f"ims/v2/images/{image}", {"delete_backup": True})).status_code == 204
    region.clock.advance(60)
    assert (await shop.backup(backups["available"][0]))["status"] == "available"
