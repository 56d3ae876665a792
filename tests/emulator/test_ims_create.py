"""From backup to image: the job, the states, every refusal of BEHAVIOUR.md 4.2, and what the other calls see of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backup_to_image.emulator.making import image_seconds

from .conftest import Client, Region

NOWHERE = "00000000-0000-4000-8000-000000000000"


async def made(region: Region, client: Client, backup: str, name: str = "web01-kept", **more: Any) -> dict[str, Any]:
    """An active image of that backup."""
    answer = await client.create_image(backup, name, **more)
    assert answer.status_code == 200, answer.text
    region.clock.advance(200)
    job = await client.job(answer.json()["job_id"])
    assert job["status"] == "SUCCESS", job
    return await client.image(job["entities"]["image_id"])


async def refused(client: Client, backup: str, **more: Any) -> str:
    answer = await client.create_image(backup, **more)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["code"]


async def test_an_image_takes_about_two_minutes_and_passes_through_its_states(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    backup = backups["available"][0]
    began = region.clock.now()
    job_id = (
        await shop.create_image(backup, image_tags=[{"key": "team", "value": "shop"}], description="kept for audit")
    ).json()["job_id"]
    seen: list[tuple[str, str]] = []
    for _ in range(200):
        job = await shop.job(job_id)
        listed = (await shop.get("ims/v2/cloudimages", owner=shop.project, limit=1)).json()["images"][0]
        if not seen or seen[-1] != (job["status"], listed["status"]):
            seen.append((job["status"], listed["status"]))
        if job["status"] == "SUCCESS":
            break
        region.clock.advance(1)
    assert seen == [("INIT", "queued"), ("RUNNING", "saving"), ("SUCCESS", "active")]
    assert 90 <= (region.clock.now() - began).total_seconds() <= 150
    image = await shop.image(job["entities"]["image_id"])
    assert image["__backup_id"] == backup
    assert image["tags"] == ["team=shop"]
    assert image["__description"] == "kept for audit"
    assert image["min_disk"] == 40
    assert image["max_ram"] == "0"
    assert image["active_at"] == image["updated_at"]
    assert "100" not in str([value for key, value in image.items() if "disk" in key])  # data disks do not show
    assert (await shop.backup(backup))["extend_info"]["os_images_data"] == [{"image_id": image["id"]}]


async def test_the_time_belongs_to_the_backup_and_grows_with_its_size(region: Region) -> None:
    times = [image_seconds(backup) for backup in region.emulator.cloud.walk("backup")]
    assert min(times) >= 90
    assert max(times) <= 150
    small, large = (
        next(backup for backup in region.emulator.cloud.walk("backup", resource_name=name))
        for name in ("shop-lb-01", "shop-db-01")
    )
    assert image_seconds(small) < image_seconds(large)


async def test_a_second_image_of_a_backup_is_refused_even_at_the_same_moment(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    answers = await asyncio.gather(*(shop.create_image(backups["available"][0], f"n{number}") for number in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 400} == {"IMG.0029"}
    region.emulator.switches["used_code"] = "IMG.0134"
    assert await refused(shop, backups["available"][0]) == "IMG.0134"


async def test_a_backup_that_cannot_become_an_image_is_refused_with_its_reason(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    find, switches = region.find, region.emulator.switches
    assert await refused(shop, NOWHERE) == "IMG.0020"
    assert await refused(shop, backups["volume"]) == "IMG.0198"
    assert await refused(shop, (await shop.backup(backups["available"][0]))["children"][0]["id"]) == "IMG.0198"
    assert await refused(shop, find("backup", "manualbk_iron01")) == "IMG.0180"
    assert await refused(shop, backups["error"]) == "IMG.0032"
    assert await refused(shop, find("backup", "manualbk_web04_data")) == "IMG.0033"
    assert await refused(shop, backups["already_used"]) == "IMG.0029"
    assert await refused(shop, find("backup", "manualbk_partner_tools")) == "IMG.0196"  # shared, not accepted
    assert await refused(shop, find("backup", "manualbk_app02_instant")) == "IMG.0032"
    vault = region.emulator.cloud.get("vault", region.account["vault"])
    assert vault is not None
    vault["status"] = "frozen"
    assert await refused(shop, backups["available"][0]) == "IMG.0188"
    vault["status"] = "lock"
    assert (await shop.create_image(backups["available"][0])).status_code == 200
    switches.update(
        unknown_backup_code="IMG.0198", disk_backup_code="IMG.0180", state_code="IMG.0132", no_system_disk_code="IMG.0195"
    )
    assert await refused(shop, NOWHERE) == "IMG.0198"
    assert await refused(shop, backups["volume"]) == "IMG.0180"
    assert await refused(shop, backups["error"]) == "IMG.0132"
    assert await refused(shop, find("backup", "manualbk_web04_data")) == "IMG.0195"


async def test_refusals_may_come_in_the_job_and_in_cbrs_numbers(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.switches.update(refusals="in_job", code_family="cbr")
    for backup, expected in (
        (backups["error"], "BackupService.6208"),
        (backups["volume"], "BackupService.6207"),
        (backups["already_used"], "BackupService.6210"),
    ):
        job_id = (await shop.create_image(backup)).json()["job_id"]
        region.clock.advance(20)
        job = await shop.job(job_id)
        assert (job["status"], job["error_code"]) == ("FAIL", expected)
        assert job["fail_reason"]


async def test_a_source_without_os_metadata_fails_the_job_and_leaves_no_image(region: Region, shop: Client) -> None:
    backup = region.find("backup", "manualbk_legacy01")
    job_id = (await shop.create_image(backup)).json()["job_id"]
    region.clock.advance(20)
    assert (await shop.job(job_id))["error_code"] == "IMG.0195"
    assert (await shop.backup(backup))["extend_info"].get("os_images_data", []) == []
    region.emulator.switches["os_metadata_refusal"] = "at_once"
    assert await refused(shop, backup) == "IMG.0195"


async def test_a_marked_backup_in_the_making_may_be_taken_where_the_switch_allows_it(region: Region, shop: Client) -> None:
    region.emulator.switches["while_protecting"] = "allowed"
    assert (await shop.create_image(region.find("backup", "manualbk_app02_instant"))).status_code == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": " leading"}, "IMG.0003"),
        ({"name": "n" * 129}, "IMG.0002"),
        ({"name": None}, "IMG.0013"),
        ({"description": "a<b"}, "IMG.0054"),
        ({"description": "x" * 1025}, "IMG.0004"),
        ({"tags": ["a.b"], "image_tags": []}, "IMG.0001"),
        ({"tags": ["nodot"]}, "IMG.0115"),
        ({"image_tags": [{"key": "k" * 37, "value": ""}]}, "IMG.0115"),
        ({"image_tags": [{"key": f"k{n}", "value": ""} for n in range(11)]}, "IMG.0116"),
        ({"backup_id": None}, "IMG.0019"),
        ({"whole_image_type": None}, "IMG.0127"),
        ({"whole_image_type": "CSBS"}, "IMG.0127"),
        ({"vault_id": NOWHERE}, "IMG.0001"),
        ({"min_ram": -1}, "IMG.0055"),
        ({"colour": "red"}, "IMG.0001"),
    ],
)
async def test_a_malformed_order_gets_the_code_of_its_mistake(
    shop: Client, backups: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    body = {"name": "web01", "backup_id": backups["available"][0], "whole_image_type": "CBR", **change}
    answer = await shop.post(
        "ims/v1/cloudimages/wholeimages/action", {key: value for key, value in body.items() if value is not None}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, expected)


async def test_disputed_forms_go_by_their_switches(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.switches.update(no_type_code="IMG.0198", description_spaces="refused", names="unique")
    body = {"name": "web01", "backup_id": backups["available"][0]}
    assert (await shop.post("ims/v1/cloudimages/wholeimages/action", body)).json()["error"]["code"] == "IMG.0198"
    assert await refused(shop, backups["available"][0], description="two words") == "IMG.0054"
    assert (await shop.create_image(backups["available"][0], "same")).status_code == 200
    assert await refused(shop, backups["available"][1], name="same") == "IMG.0009"


async def test_at_most_forty_images_are_under_way_at_once(region: Region, shop: Client) -> None:
    free = [
        doc["id"]
        for doc in region.emulator.cloud.walk("backup", shop.project)
        if doc["status"] == "available" and doc["resource_type"].endswith("Server") and doc["os"] and not doc["bms"]
    ]
    codes: list[str] = []
    for backup in free:
        answer = await shop.create_image(backup)
        codes.append("made" if answer.status_code == 200 else answer.json()["error"]["code"])
    assert codes.count("made") == 40
    assert codes[-1] == "IMG.0060"
    region.clock.advance(200)
    assert (await shop.create_image(free[-1])).status_code == 200


async def test_the_quota_counts_own_images(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    before = (await shop.get("ims/v1/cloudimages/quota")).json()["quotas"]["resources"][0]
    await made(region, shop, backups["available"][0])
    after = (await shop.get("ims/v1/cloudimages/quota")).json()["quotas"]["resources"][0]
    assert after["used"] == before["used"] + 1
    region.emulator.faults.arm("quota-gone")
    assert await refused(shop, backups["available"][1]) == "IMG.0015"
    full = (await shop.get("ims/v1/cloudimages/quota")).json()["quotas"]["resources"][0]
    assert full["used"] == full["quota"]


async def test_the_job_shows_as_much_as_the_switches_say(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    job_id = (await shop.create_image(backups["available"][0])).json()["job_id"]
    region.clock.advance(60)
    job = await shop.job(job_id)
    assert (job["end_time"], job["error_code"], job["entities"]) == ("", None, {"image_name": "web01-kept"})
    region.emulator.switches.update(image_id_in_job="early", job_progress="shown", running_end_time="null")
    job = await shop.job(job_id)
    assert job["end_time"] is None
    assert 0.3 < job["entities"]["process_percent"] < 0.8
    assert (await shop.image(job["entities"]["image_id"]))["status"] == "saving"


async def test_a_job_belongs_to_its_project_and_its_service(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    job_id = (await shop.create_image(backups["available"][0])).json()["job_id"]
    other = await region.login(region.account["second_project"])
    assert (await other.get(f"ims/v1/{{p}}/jobs/{job_id}")).json()["error"]["code"] == "IMG.0023"
    assert (await shop.get(f"evs/v1/{{p}}/jobs/{job_id}")).status_code == 400


async def test_a_killed_image_stays_to_be_seen(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("image-killed")
    backup = backups["available"][0]
    job_id = (await shop.create_image(backup)).json()["job_id"]
    region.clock.advance(200)
    assert (await shop.job(job_id))["status"] == "FAIL"
    image = (await shop.get("ims/v2/cloudimages", owner=shop.project, limit=1)).json()["images"][0]
    assert (image["status"], image["__backup_id"]) == ("killed", backup)
    region.emulator.switches["killed_image"] = "blocks"
    assert await refused(shop, backup) == "IMG.0029"
    assert (await shop.backup(backup))["extend_info"]["os_images_data"] == [{"image_id": image["id"]}]
    region.emulator.switches["killed_image"] = "frees"
    assert (await shop.create_image(backup)).status_code == 200


async def test_a_failed_job_frees_the_backup_again(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("job-fails", code="IMG.0014", reason="no space")
    job_id = (await shop.create_image(backups["available"][0])).json()["job_id"]
    region.clock.advance(200)
    job = await shop.job(job_id)
    assert (job["status"], job["error_code"], job["fail_reason"]) == ("FAIL", "IMG.0014", "no space")
    await made(region, shop, backups["available"][0])


async def test_success_can_come_before_active(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("success-before-active", seconds=30)
    job_id = (await shop.create_image(backups["available"][0])).json()["job_id"]
    while (job := await shop.job(job_id))["status"] != "SUCCESS":
        region.clock.advance(1)
    assert (await shop.image(job["entities"]["image_id"]))["status"] == "saving"
    region.clock.advance(31)
    assert (await shop.image(job["entities"]["image_id"]))["status"] == "active"


async def test_a_stuck_job_goes_on_for_ever_or_as_long_as_asked(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("job-stuck")
    region.emulator.faults.arm("job-stuck", seconds=600, skip=1)
    forever = (await shop.create_image(backups["available"][0], "a")).json()["job_id"]
    longer = (await shop.create_image(backups["available"][1], "b")).json()["job_id"]
    region.clock.advance(300)
    assert {(await shop.job(job))["status"] for job in (forever, longer)} == {"RUNNING"}
    region.clock.advance(600)
    assert [(await shop.job(job))["status"] for job in (forever, longer)] == ["RUNNING", "SUCCESS"]


async def test_the_stopped_source_can_be_started_meanwhile(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("source-started")
    server = region.emulator.cloud.get("server", region.find("server", "shop-report-01"))
    assert server is not None
    await shop.create_image(backups["server_stopped"])
    region.emulator.tick()
    assert server["status"] == "SHUTOFF"
    region.clock.advance(100)
    region.emulator.tick()
    assert server["status"] == "ACTIVE"


# -- from a server ----------------------------------------------------------------------------------------------------


async def from_server(client: Client, server: str, vault: str | None, name: str = "golden") -> Any:
    body = {"name": name, "instance_id": server, **({"vault_id": vault} if vault else {})}
    return await client.post("ims/v1/cloudimages/wholeimages/action", body)


async def test_an_image_of_a_server_makes_a_backup_of_its_own_first(region: Region, shop: Client) -> None:
    server = region.find("server", "shop-web-04")
    job_id = (await from_server(shop, server, region.account["vault"])).json()["job_id"]
    newest = (await shop.get("cbr/v3/{p}/backups", resource_id=server, limit=1)).json()["backups"][0]
    assert newest["status"] == "protecting"
    region.clock.advance(300)
    job = await shop.job(job_id)
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsCreateWholeImageByInstanceJob")
    image = await shop.image(job["entities"]["image_id"])
    assert image["__backup_id"] == newest["id"]
    assert (await shop.backup(newest["id"]))["status"] == "available"


async def test_an_image_of_a_server_is_refused_where_it_cannot_be(region: Region, shop: Client) -> None:
    async def no(server: str, vault: str | None) -> str:
        answer = await from_server(shop, server, vault)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["code"]

    web, vault = region.find("server", "shop-web-04"), region.account["vault"]
    assert await no(NOWHERE, vault) == "IMG.0005"
    assert await no(region.find("server", "build-iron-01"), vault) == "IMG.0063"
    assert await no(web, None) == "IMG.0184"
    assert await no(web, NOWHERE) == "IMG.0184"
    assert await no(web, region.find("vault", "disk-vault")) == "IMG.0193"
    assert await no(web, region.find("vault", "far-vault")) == "IMG.0188"
    assert await no(web, region.find("vault", "office-vault")) == "IMG.0183"
    assert await no(region.find("server", "office-vpn-01"), region.find("vault", "full-vault")) == "IMG.0182"
    assert await no(web, region.find("vault", "frozen-vault")) == "IMG.0188"
    await from_server(shop, web, vault)
    assert await no(web, vault) == "IMG.0136"
    region.emulator.switches["vault_with_instance"] = "optional"
    assert (await from_server(shop, region.find("server", "shop-web-03"), None)).status_code == 200
