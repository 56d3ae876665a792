"""Each fault of the catalogue does what its line says, and no more often than asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from backup_to_image.emulator.faults import CATALOGUE

from .conftest import Client, Region
from .test_ims_create import made


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_fault_of_the_catalogue_is_shown_at_work_by_a_test(name: str) -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    assert any(f'"{name}"' in text for text in texts)


async def images(client: Client) -> int:
    return len((await client.get("ims/v2/cloudimages", owner=client.project, limit=1000)).json()["images"])


async def test_a_lost_answer_has_had_its_effect_and_a_reset_has_not(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    before = await images(shop)
    region.emulator.faults.arm("reset-before", operation="createWholeImage")
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.create_image(backups["available"][0])
    assert await images(shop) == before
    region.emulator.faults.arm("lost-answer", operation="createWholeImage")
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.create_image(backups["available"][0])
    assert await images(shop) == before + 1
    assert [entry["status"] for entry in region.emulator.requests if entry["operationId"] == "createWholeImage"] == [None, None]
    assert [entry["faults"] for entry in region.emulator.requests if entry["operationId"] == "createWholeImage"] == [
        ["reset-before"],
        ["lost-answer"],
    ]


async def test_skip_times_operation_and_project_say_whom_it_strikes(region: Region, shop: Client) -> None:
    other = await region.login(region.account["second_project"])
    faults = region.emulator.faults
    faults.arm("error-503", operation=["listVaults", "ims"], skip=1, times=2, project=shop.project)
    assert (await other.get("cbr/v3/{p}/vaults")).status_code == 200
    answers = [(await shop.get("cbr/v3/{p}/vaults")).status_code, (await shop.get("cbr/v3/{p}/backups")).status_code]
    answers += [(await shop.get("ims/v2/cloudimages")).status_code, (await shop.get("cbr/v3/{p}/vaults")).status_code]
    answers += [(await shop.get("cbr/v3/{p}/vaults")).status_code]
    assert answers == [200, 200, 503, 503, 200]
    assert faults.list() == []
    fault = faults.arm("error-503", times=None)
    assert [(await shop.get("cbr/v3/{p}/vaults")).status_code for _ in range(3)] == [503] * 3
    assert faults.disarm(fault) == 1
    assert (await shop.get("cbr/v3/{p}/vaults")).status_code == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "los-answer"}, "no fault"),
        ({"name": "slow", "minutes": 3}, "has no minutes"),
        ({"name": "slow", "times": 0}, "times"),
        ({"name": "slow", "operation": "listCats"}, "listCats"),
    ],
)
async def test_a_misspelt_fault_is_refused(region: Region, given: dict[str, Any], words: str) -> None:
    answer = await region.http.post(f"{region.endpoints['iam']}/_emulator/faults", json=given)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


async def test_faults_are_armed_listed_and_disarmed_over_http(region: Region, shop: Client) -> None:
    door = f"{region.endpoints['iam']}/_emulator/faults"
    made_id = (
        await region.http.post(
            door, json={"name": "throttled-429", "operation": "listVaults", "times": 1, "skip": 0, "retry_after": 7}
        )
    ).json()["id"]
    shown = (await region.http.get(door)).json()
    assert {fault["name"] for fault in shown["catalogue"]} == set(CATALOGUE)
    assert [fault["id"] for fault in shown["armed"]] == [made_id]
    answer = await shop.get("cbr/v3/{p}/vaults")
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["error_code"]) == (429, "7", "APIGW.0308")
    await region.http.post(door, json={"name": "slow"})
    assert (await region.http.request("DELETE", door)).json() == {"disarmed": 1}


@pytest.mark.parametrize(
    ("name", "where", "status", "code"),
    [
        ("throttled-429", "iam/v3/auth/projects", 429, "IAM.0012"),
        ("throttled-429", "ecs/v1/{p}/cloudservers/detail", 429, "Common.1503"),
        ("error-500", "ims/v2/cloudimages", 500, "IMG.0014"),
        ("error-500", "cbr/v3/{p}/vaults", 500, "BackupService.9910"),
    ],
)
async def test_trouble_is_told_in_the_services_own_words(
    region: Region, shop: Client, name: str, where: str, status: int, code: str
) -> None:
    region.emulator.faults.arm(name)
    answer = await shop.get(where)
    body = answer.json()
    assert (answer.status_code, body.get("error_code") or body["error"]["code"]) == (status, code)
    assert "Retry-After" not in answer.headers


async def test_a_502_is_a_page_of_html_and_may_come_after_the_effect(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    region.transport.lenient = True
    before = await images(shop)
    region.emulator.faults.arm("html-502", operation="createWholeImage", effect=True)
    answer = await shop.create_image(backups["available"][0])
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert await images(shop) == before + 1


async def test_flow_control_comes_in_two_disguises(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("img-0060")
    assert (await shop.create_image(backups["available"][0])).json()["error"]["code"] == "IMG.0060"
    region.emulator.faults.arm("flow-202")
    order = {
        "server": {
            "name": "x",
            "imageRef": region.account["image_public"],
            "flavorRef": "s3.large.2",
            "vpcid": region.account["vpc"],
            "nics": [{"subnet_id": region.account["subnet"]}],
            "root_volume": {"volumetype": "SSD"},
        }
    }
    answer = await shop.post("ecs/v1/{p}/cloudservers", order)
    assert (answer.status_code, answer.json()["error"]["code"]) == (202, "Common.0024")


@pytest.mark.parametrize("name", ["slow", "hold"])
async def test_an_answer_can_be_late_by_the_clock(region: Region, shop: Client, name: str) -> None:
    region.emulator.faults.arm(name, operation="listVaults", seconds=45)
    before = region.clock.now()
    assert (await shop.get("cbr/v3/{p}/vaults")).status_code == 200
    assert (region.clock.now() - before).total_seconds() == 45


async def test_json_can_end_in_the_middle(region: Region, shop: Client) -> None:
    region.transport.lenient = True
    region.emulator.faults.arm("truncated-json", operation="listVaults")
    answer = await shop.get("cbr/v3/{p}/vaults")
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_answers_can_hold_what_no_page_names(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("unknown-fields", operation="getBackup")
    strange = await shop.backup(backups["available"][0])
    assert {"x_new_in_this_release"} <= set(strange) & set(strange["children"][0])
    region.transport.lenient = True
    region.emulator.faults.arm("unknown-enum", operation="getBackup", field="status", value="archiving")
    strange = await shop.backup(backups["available"][0])
    assert {strange["status"], strange["children"][0]["status"]} == {"archiving"}


async def test_a_token_can_end_in_the_middle(region: Region, shop: Client) -> None:
    other = await region.login()
    region.emulator.faults.arm("token-expired", operation="listVaults")
    assert (await shop.get("cbr/v3/{p}/vaults")).json()["error_code"] == "BackupService.9998"
    assert (await shop.get("ims/v2/cloudimages")).json()["error"]["code"] == "IMG.0087"
    assert (await other.get("cbr/v3/{p}/vaults")).status_code == 200


async def test_lists_can_lag_behind(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("late-listing", seconds=60)
    before = await images(shop)
    await shop.create_image(backups["available"][0])
    assert await images(shop) == before
    assert (await shop.backup(backups["available"][0]))["extend_info"].get("os_images_data", []) == []
    region.clock.advance(61)
    assert await images(shop) == before + 1


async def test_a_late_list_does_not_let_a_second_image_be_made(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    region.emulator.faults.arm("late-listing", seconds=60)
    assert (await shop.create_image(backups["available"][0], "a")).status_code == 200
    assert (await shop.create_image(backups["available"][0], "b")).json()["error"]["code"] == "IMG.0029"


async def test_pages_can_double_and_shift(region: Region, shop: Client) -> None:
    async def page(**query: Any) -> list[str]:
        return [entry["id"] for entry in (await shop.get("cbr/v3/{p}/backups", limit=5, **query)).json()["backups"]]

    honest = await page() + await page(offset=5)
    region.emulator.faults.arm("doubled-page", operation="listBackups")
    assert await page() == [*honest[:5], honest[4]]
    region.emulator.faults.arm("shifting-page", operation="listBackups", times=2)
    first = await page()
    second = await page(marker=first[-1])
    assert second == [honest[4], *honest[5:]]


async def test_a_vault_can_be_full_for_one_call(region: Region, shop: Client) -> None:
    region.emulator.faults.arm("vault-full")
    body = {"checkpoint": {"vault_id": region.account["vault"]}}
    assert (await shop.post("cbr/v3/{p}/checkpoints", body)).json()["error_code"] == "BackupService.6114"
    assert (await shop.post("cbr/v3/{p}/checkpoints", body)).status_code == 200


async def test_the_clouds_clock_can_be_wrong(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = await made(region, shop, backups["available"][0])
    region.emulator.faults.arm("clock-skew", seconds=-3600)
    later = await made(region, shop, backups["available"][1], "later")
    assert later["created_at"] < image["created_at"]
    assert later["created_at"] < later["active_at"] < image["created_at"]
    job = (await shop.create_image(backups["available"][2], "over the change")).json()["job_id"]
    region.emulator.faults.disarm("clock-skew")
    region.clock.advance(200)
    assert (await shop.job(job))["status"] == "SUCCESS"
    assert (await shop.get("cbr/v3/{p}/vaults")).status_code == 200


async def test_switches_are_shown_and_set_over_http_and_unknown_ones_refused(region: Region) -> None:
    door = f"{region.endpoints['iam']}/_emulator/switches"
    shown = (await region.http.get(door)).json()
    assert {row["name"]: row["values"][0] for row in shown["table"]} == shown["switches"]
    assert (await region.http.put(door, json={"refusals": "in_job"})).json()["switches"]["refusals"] == "in_job"
    assert (await region.http.put(door, json={"refusals": "never"})).status_code == 400
    assert (await region.http.put(door, json={"refusal": "in_job"})).status_code == 400
    assert region.emulator.switches["refusals"] == "in_job"
