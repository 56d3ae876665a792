"""Servers that are there: found, started, stopped, tagged, deleted, given another OS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .region import Region, region, small_company

_EIP = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def _named(cloud: Region, name: str) -> dict[str, Any]:
    return (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name=name))["servers"][0]


async def test_offset_is_a_page_number_and_a_page_has_25_servers(cloud: Region) -> None:
    path = "/v1/{p}/cloudservers/detail"
    pages = [(await cloud.get("ecs", path, **query))["servers"] for query in ({}, {"offset": 0}, {"offset": 1}, {"offset": 2})]
    assert pages[0] == pages[1] == pages[2]
    assert (len(pages[0]), len(pages[3])) == (25, 10)
    assert not {server["id"] for server in pages[0]} & {server["id"] for server in pages[3]}
    assert (await cloud.get("ecs", path, limit=10, offset=5))["servers"] == []


async def test_the_name_filter_is_fuzzy_and_a_dot_is_any_character(cloud: Region) -> None:
    async def names(**query: str) -> list[str]:
        return sorted(server["name"] for server in (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", **query))["servers"])

    assert await names(name="db-0") == ["shop-db-01", "shop-db-02"]
    assert await names(name="db.0.$") == []
    assert await names(name="lb.0.") == ["shop-lb-01", "shop-lb-02"]
    assert await names(tags="tier=db") == ["shop-db-01", "shop-db-02"]
    assert await names(tags="tier=db", name="02") == ["shop-db-02"]
    assert "shop-db-01" not in await names(**{"not-tags": "backup-to-image"})
    assert await names(status="SHUTOFF") == ["shop-report-01"]
    assert await names(flavor="m3.2xlarge.8") == ["build-iron-01"]
    assert await names(ip="127.10.2.1", name="db-01") == ["shop-db-01"]


async def test_a_wrong_filter_is_refused(cloud: Region) -> None:
    assert await cloud.refused("GET", "ecs", "/v1/{p}/cloudservers/detail", limit="many") == (400, "Ecs.0005")
    assert await cloud.refused("GET", "ecs", "/v1/{p}/cloudservers/detail", limit=1001) == (400, "Ecs.0005")
    assert await cloud.refused("GET", "ecs", "/v1/{p}/cloudservers/detail", nmae="x") == (400, "Ecs.0005")


async def test_start_stop_and_reboot_pass_through_their_states(cloud: Region) -> None:
    server = await cloud.launched()
    job = await cloud.act("os-stop", server)
    seen = await cloud.server(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", "powering-off")
    await cloud.pass_time(15)
    seen = await cloud.server(server)
    assert (seen["status"], seen["OS-EXT-STS:power_state"], (await cloud.job(job["job_id"]))["status"]) == (
        "SHUTOFF",
        4,
        "SUCCESS",
    )
    await cloud.act("os-start", server)
    seen = await cloud.server(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("SHUTOFF", "powering-on")
    await cloud.pass_time(10)
    assert (await cloud.server(server))["status"] == "ACTIVE"
    await cloud.act("reboot", server, type="HARD")
    assert (await cloud.server(server))["status"] == "HARD_REBOOT"
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01", status="ACTIVE"))["count"] == 1
    await cloud.pass_time(10)
    assert (await cloud.server(server))["status"] == "ACTIVE"


async def test_a_reboot_must_say_its_type(cloud: Region) -> None:
    server = (await _named(cloud, "shop-web-01"))["id"]
    body = {"reboot": {"servers": [{"id": server}]}}
    assert await cloud.refused("POST", "ecs", "/v1/{p}/cloudservers/action", body) == (400, "Ecs.0005")


async def test_a_server_in_the_wrong_state_or_busy_or_unknown_is_refused_and_nothing_of_the_batch_is_touched(
    cloud: Region,
) -> None:
    running, stopped = (await _named(cloud, "shop-web-01"))["id"], (await _named(cloud, "shop-report-01"))["id"]
    path = "/v1/{p}/cloudservers/action"
    both = {"os-start": {"servers": [{"id": stopped}, {"id": running}]}}
    assert await cloud.refused("POST", "ecs", path, both) == (400, "Ecs.0100")
    assert (await cloud.server(stopped))["OS-EXT-STS:task_state"] is None
    cloud.emulator.switches["wrong_power_state"] = "taken"
    job = await cloud.post("ecs", path, both)
    await cloud.pass_time(10)
    assert (await cloud.job(job["job_id"]))["status"] == "SUCCESS"
    assert [(await cloud.server(server))["status"] for server in (running, stopped)] == ["ACTIVE", "ACTIVE"]
    await cloud.act("os-stop", running)
    assert await cloud.refused("POST", "ecs", path, {"os-stop": {"servers": [{"id": running}]}}) == (501, "Ecs.0603")
    nobody = "00000000-0000-4000-8000-000000000000"
    assert await cloud.refused("POST", "ecs", path, {"os-stop": {"servers": [{"id": nobody}]}}) == (404, "Ecs.0114")


async def test_a_start_that_fails_leaves_the_server_stopped(cloud: Region) -> None:
    stopped = (await _named(cloud, "shop-report-01"))["id"]
    cloud.emulator.faults.arm("job-fails", operation="serversAction", reason="no host")
    job = await cloud.act("os-start", stopped)
    await cloud.pass_time(10)
    told = await cloud.job(job["job_id"])
    assert (told["status"], told["error_code"], told["entities"]["sub_jobs"][0]["fail_reason"]) == ("FAIL", "Ecs.0226", "no host")
    assert (await cloud.server(stopped))["status"] == "SHUTOFF"


async def test_deleting_without_flags_keeps_data_disks_and_address_and_takes_the_system_disk(cloud: Region) -> None:
    server = await cloud.launched(publicip=_EIP, data_volumes=[{"volumetype": "SAS", "size": 10}])
    job = await cloud.delete_server(server)
    assert (await cloud.server(server))["OS-EXT-STS:task_state"] == "deleting"
    await cloud.pass_time(20)
    assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/cloudservers/{server}") == (404, "Ecs.0114")
    assert (await cloud.job(job["job_id"]))["status"] == "SUCCESS"
    left = await cloud.volumes(name="drill")
    assert [(disk["name"], disk["status"], disk["attachments"]) for disk in left] == [
        ("drill-web01-volume-0001", "available", [])
    ]
    assert [publicip["status"] for publicip in await cloud.publicips()] == ["DOWN"]


async def test_deleting_with_both_flags_leaves_nothing(cloud: Region) -> None:
    server = await cloud.launched(publicip=_EIP, data_volumes=[{"volumetype": "SAS", "size": 10}])
    await cloud.delete_server(server, delete_volume=True, delete_publicip=True)
    await cloud.pass_time(20)
    assert (await cloud.volumes(name="drill"), await cloud.publicips()) == ([], [])


@pytest.mark.parametrize(
    ("own", "asked", "answer", "left"),
    [
        (True, {}, "eip_decides", 0),
        (True, {}, "kept", 1),
        (True, {"delete_publicip": False}, "eip_decides", 1),
        (False, {}, "eip_decides", 1),
    ],
)
async def test_without_delete_publicip_the_address_decides_or_is_kept(
    cloud: Region, own: bool, asked: dict[str, Any], answer: str, left: int
) -> None:
    cloud.emulator.switches["delete_publicip_default"] = answer
    server = await cloud.launched(publicip=_EIP | {"delete_on_termination": own})
    await cloud.delete_server(server, **asked)
    await cloud.pass_time(20)
    assert len(await cloud.publicips()) == left


async def test_the_fate_of_the_system_disk_is_a_switch(cloud: Region) -> None:
    cloud.emulator.switches["system_disk_on_delete"] = "kept"
    await cloud.delete_server(await cloud.launched(), delete_volume=True)
    await cloud.pass_time(20)
    assert [(disk["bootable"], disk["status"]) for disk in await cloud.volumes(name="drill")] == [("true", "available")]


async def test_a_server_under_backup_or_being_made_or_being_deleted_is_not_deleted(cloud: Region) -> None:
    path = "/v1/{p}/cloudservers/delete"
    web = (await _named(cloud, "shop-web-01"))["id"]
    await cloud.post("cbr", "/v3/{p}/checkpoints", {"checkpoint": _checkpoint(cloud, web)})
    assert await cloud.refused("POST", "ecs", path, {"servers": [{"id": web}]}) == (400, "Ecs.0073")
    young = (await cloud.launch())["serverIds"][0]
    assert await cloud.refused("POST", "ecs", path, {"servers": [{"id": young}]}) == (404, "Ecs.0114")
    await cloud.pass_time(30)
    assert await cloud.refused("POST", "ecs", path, {"servers": [{"id": young}]}) == (400, "Ecs.0100")
    await cloud.pass_time(45)
    await cloud.delete_server(young)
    assert await cloud.refused("POST", "ecs", path, {"servers": [{"id": young}]}) == (501, "Ecs.0603")


def _checkpoint(cloud: Region, server: str) -> dict[str, Any]:
    resources = [{"id": server, "type": "OS::Nova::Server"}]
    return {"vault_id": cloud.account["vault"], "parameters": {"name": "now", "resource_details": resources}}


async def test_changing_the_os_makes_a_new_system_disk_and_leaves_data_disks_alone(cloud: Region) -> None:
    image = await cloud.whole_image()
    server = await cloud.launched(imageRef=image, key_name="ops")
    other = cloud.account["image_public"]
    path, order = f"/v2/{{p}}/cloudservers/{server}/changeos", {"os-change": {"imageid": other, "keyname": "ops"}}
    before = [disk["volumeId"] for disk in (await _disks(cloud, server))]
    address = (await cloud.server(server))["addresses"]
    assert await cloud.refused("POST", "ecs", path, order) == (400, "Ecs.0100")
    await cloud.act("os-stop", server)
    await cloud.pass_time(15)
    job = await cloud.post("ecs", path, order)
    assert (await cloud.server(server))["status"] == "REBUILD"
    await cloud.pass_time(90)
    after = [disk["volumeId"] for disk in (await _disks(cloud, server))]
    seen = await cloud.server(server)
    assert (await cloud.job(job["job_id"]))["status"] == "SUCCESS"
    assert (after[0] != before[0], after[1:]) == (True, before[1:])
    assert (seen["status"], seen["metadata"]["metering.image_id"], seen["addresses"]) == ("ACTIVE", other, address)
    assert before[0] not in {disk["id"] for disk in await cloud.volumes()}


async def _disks(cloud: Region, server: str) -> list[dict[str, Any]]:
    return (await cloud.get("ecs", f"/v1/{{p}}/cloudservers/{server}/block_device"))["volumeAttachments"]


async def test_a_change_of_os_that_failed_can_be_tried_again(cloud: Region) -> None:
    server = (await _named(cloud, "shop-report-01"))["id"]
    path, order = f"/v2/{{p}}/cloudservers/{server}/changeos", {"os-change": {"imageid": cloud.account["image_public"]}}
    cloud.emulator.faults.arm("job-fails", operation="changeOs")
    await cloud.post("ecs", path, order)
    await cloud.pass_time(90)
    assert (await cloud.server(server))["status"] == "ERROR"
    await cloud.post("ecs", path, order)
    await cloud.pass_time(90)
    assert (await cloud.server(server))["status"] == "ACTIVE"


async def test_changing_the_os_refuses_what_it_cannot_do(cloud: Region) -> None:
    server = (await _named(cloud, "shop-report-01"))["id"]
    path = f"/v2/{{p}}/cloudservers/{server}/changeos"
    nobody = "00000000-0000-4000-8000-000000000000"
    assert await cloud.refused("POST", "ecs", path, {"os-change": {"imageid": nobody}}) == (400, "Ecs.0031")
    with_key = {"os-change": {"imageid": cloud.account["image_public"], "keyname": "nobody"}}
    assert await cloud.refused("POST", "ecs", path, with_key) == (400, "Ecs.0314")
    cloud.emulator.switches["change_os_keyname"] = "required"
    assert await cloud.refused("POST", "ecs", path, {"os-change": {"imageid": cloud.account["image_public"]}}) == (
        400,
        "Ecs.0005",
    )


async def test_changing_the_os_needs_room_in_the_disk_quota() -> None:
    servers = [{"name": "one", "flavor": "s3.large.2", "disks": [20], "network": "subnet", "status": "SHUTOFF"}]
    async with region(seed=small_company(servers=servers, quota={"volumes": 1})) as cloud:
        server = (await _named(cloud, "one"))["id"]
        order = {"os-change": {"imageid": cloud.account["image_public"]}}
        assert await cloud.refused("POST", "ecs", f"/v2/{{p}}/cloudservers/{server}/changeos", order) == (400, "Ecs.0021")


async def test_flavors_of_a_zone_are_those_sold_there(cloud: Region) -> None:
    async def ids(**query: str) -> set[str]:
        return {flavor["id"] for flavor in (await cloud.get("ecs", "/v1/{p}/cloudservers/flavors", **query))["flavors"]}

    everything = await ids()
    assert everything - await ids(availability_zone="eu-de-01") == {"c4.large.2"}
    assert everything - await ids(availability_zone="eu-de-03") == {"c4.large.2", "m3.xlarge.8"}
    assert await ids(availability_zone="eu-de-09") == set()
    flavors = {flavor["id"]: flavor for flavor in (await cloud.get("ecs", "/v1/{p}/cloudservers/flavors"))["flavors"]}
    assert flavors["m3.xlarge.8"]["os_extra_specs"]["cond:operation:az"] == "eu-de-03(sellout)"
    assert (flavors["s3.large.2"]["vcpus"], flavors["s3.large.2"]["ram"]) == ("2", 4096)


async def test_tags_are_added_and_removed_and_doing_it_twice_changes_nothing(cloud: Region) -> None:
    server = (await _named(cloud, "shop-cache-01"))["id"]
    path = f"/v1/{{p}}/cloudservers/{server}/tags"
    create = {"action": "create", "tags": [{"key": "tier", "value": "old"}, {"key": "drill", "value": "2026-01-02"}]}
    for _ in range(2):
        assert (await cloud.ask("POST", "ecs", f"{path}/action", create)).status_code == 204
    assert (await cloud.get("ecs", path))["tags"] == [{"key": "tier", "value": "old"}, {"key": "drill", "value": "2026-01-02"}]
    assert (await cloud.server(server))["tags"] == ["tier=old", "drill=2026-01-02"]
    delete = {"action": "delete", "tags": [{"key": "drill"}]}
    cloud.emulator.switches["tags_status"] = "200"
    for _ in range(2):
        assert (await cloud.ask("POST", "ecs", f"{path}/action", delete)).status_code == 200
    assert (await cloud.get("ecs", path))["tags"] == [{"key": "tier", "value": "old"}]


async def test_a_server_has_ten_tags_at_most_and_each_key_once(cloud: Region) -> None:
    server = (await _named(cloud, "shop-cache-01"))["id"]
    path = f"/v1/{{p}}/cloudservers/{server}/tags/action"
    ten = [{"key": f"k{number}", "value": "v"} for number in range(10)]
    assert await cloud.refused("POST", "ecs", path, {"action": "create", "tags": ten}) == (400, "Ecs.0905")
    assert await cloud.refused("POST", "ecs", path, {"action": "create", "tags": ten[:1] * 2}) == (400, "Ecs.0908")
    assert await cloud.refused("POST", "ecs", path, {"action": "create", "tags": [{"key": "k k", "value": "v"}]}) == (
        400,
        "Ecs.0907",
    )


async def test_limits_count_servers_from_the_order_on(cloud: Region) -> None:
    async def used() -> tuple[int, int, int]:
        absolute = (await cloud.get("ecs", "/v1/{p}/cloudservers/limits"))["absolute"]
        return absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]

    before = await used()
    await cloud.launch(count=2)
    assert await used() == (before[0] + 2, before[1] + 4, before[2] + 8192)


async def test_zones_and_key_pairs_are_told_and_key_pairs_belong_to_the_user(cloud: Region) -> None:
    zones = (await cloud.get("ecs", "/v2.1/{p}/os-availability-zone"))["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in zones] == ["eu-de-01", "eu-de-02", "eu-de-03"]
    assert {pair["keypair"]["name"] for pair in (await cloud.get("ecs", "/v2.1/{p}/os-keypairs"))["keypairs"]} == {"ops"}
    await cloud.log_in(cloud.account["recipient"])
    assert {pair["keypair"]["name"] for pair in (await cloud.get("ecs", "/v2.1/{p}/os-keypairs"))["keypairs"]} == {"partner"}


async def test_jobs_of_others_and_of_other_services_mean_nothing(cloud: Region) -> None:
    job = (await cloud.launch())["job_id"]
    assert (await cloud.job(job))["job_id"] == job
    assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/jobs/{'0' * 32}") == (400, "Common.0011")
    assert await cloud.refused("GET", "evs", f"/v1/{{p}}/jobs/{job}") == (400, "Common.0011")
    await cloud.log_in(cloud.account["recipient"])
    assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/jobs/{job}") == (400, "Common.0011")


async def test_the_servers_of_another_project_are_not_there(cloud: Region) -> None:
    server = (await _named(cloud, "shop-web-01"))["id"]
    await cloud.log_in(cloud.account["recipient"])
    for path in ("", "/tags", "/block_device"):
        assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/cloudservers/{server}{path}") == (404, "Ecs.0114")
    console = {"os-getConsoleOutput": {"length": 5}}
    assert await cloud.refused("POST", "ecs", f"/v2.1/{{p}}/servers/{server}/action", console) == (404, "Ecs.0114")


async def test_the_project_of_the_url_must_be_the_tokens_and_the_token_must_be_good(cloud: Region) -> None:
    foreign = cloud.account["second_project"]
    assert await cloud.refused("GET", "ecs", f"/v1/{foreign}/cloudservers/limits") == (400, "Ecs.0023")
    assert await cloud.refused("GET", "vpc", f"/v1/{foreign}/vpcs") == (400, "VPC.0007")
    assert await cloud.refused("GET", "evs", f"/v2/{foreign}/cloudvolumes/detail") == (400, "EVS.0001")
    cloud.token = "made-up"
    assert await cloud.refused("GET", "ecs", "/v1/{p}/cloudservers/limits") == (401, "Common.0013")
    assert await cloud.refused("GET", "eip", "/v1/{p}/publicips") == (401, "VPC.0008")
    assert await cloud.refused("GET", "evs", "/v2/{p}/cloudvolumes/detail") == (400, "EVS.0002")


async def test_an_order_may_be_taken_with_202(cloud: Region) -> None:
    cloud.emulator.switches["taken_status"] = "202"
    answer = await cloud.ask("POST", "ecs", "/v1/{p}/cloudservers", cloud.order())
    assert answer.status_code == 202
    await cloud.pass_time(60)
    assert (await cloud.job(answer.json()["job_id"]))["status"] == "SUCCESS"


async def test_openstacks_own_client_finds_the_version_and_the_same_servers(cloud: Region) -> None:
    base, headers = cloud.account["endpoints"]["ecs"], {"X-Auth-Token": cloud.token}
    versions = await cloud.client.get(base + "/")
    assert (versions.status_code, versions.json()["versions"][0]["id"]) == (300, "v2.1")
    assert (await cloud.client.get(base + "/v2.1/")).json()["version"]["status"] == "CURRENT"
    native = await cloud.client.get(f"{base}/v2.1/{cloud.project}/servers/detail", headers=headers)
    told = await cloud.get("ecs", "/v1/{p}/cloudservers/detail", limit=1000)
    assert [server["id"] for server in native.json()["servers"]] == [server["id"] for server in told["servers"]]
    assert (await cloud.client.get(f"{base}/v2.1/{cloud.project}/servers/detail")).status_code == 401
