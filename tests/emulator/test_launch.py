"""Launching servers: what is made, when it shows, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .region import Region, region, small_company


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def test_a_full_ecs_image_brings_its_data_disks_back_without_being_asked(cloud: Region) -> None:
    server = await cloud.launched(imageRef=await cloud.whole_image())
    disks = (await cloud.get("ecs", f"/v1/{{p}}/cloudservers/{server}/block_device"))["volumeAttachments"]
    assert [(disk["bootIndex"], disk["size"], disk["device"]) for disk in disks] == [(0, 40, "/dev/vda"), (1, 100, "/dev/vdb")]


async def test_an_entry_with_snapshot_id_retunes_that_disk_and_an_entry_without_adds_an_empty_one(cloud: Region) -> None:
    backup = await cloud.get("cbr", f"/v3/{{p}}/backups/{cloud.account['backups']['available'][0]}")
    data = next(child for child in backup["backup"]["children"] if child["resource_size"] == 100)
    image = await cloud.whole_image()
    for number, snapshot in enumerate((data["extend_info"]["snapshot_id"], data["resource_id"])):
        tuned = {"volumetype": "SSD", "size": 150, "extendparam": {"snapshotId": snapshot}}
        server = await cloud.launched(
            imageRef=image, name=f"tuned-{number}", data_volumes=[tuned, {"volumetype": "SAS", "size": 10}]
        )
        made = sorted((volume["size"], volume["volume_type"]) for volume in await cloud.volumes(server_id=server))
        assert made == [(10, "SAS"), (40, "SSD"), (150, "SSD")]
        restored = next(volume for volume in await cloud.volumes(server_id=server) if volume["size"] == 150)
        assert restored["snapshot_id"] == data["extend_info"]["snapshot_id"]


async def test_disks_never_shrink_and_a_snapshot_id_must_be_one_of_the_images_data_disks(cloud: Region) -> None:
    backup = (await cloud.get("cbr", f"/v3/{{p}}/backups/{cloud.account['backups']['available'][0]}"))["backup"]
    system, data = sorted(backup["children"], key=lambda child: child["resource_size"])
    image = await cloud.whole_image()

    def entry(snapshot: str, size: int) -> dict[str, object]:
        return {"volumetype": "SSD", "size": size, "extendparam": {"snapshotId": snapshot}}

    assert await cloud.launch_refused(imageRef=image, data_volumes=[entry(data["resource_id"], 99)]) == (400, "Ecs.0005")
    assert await cloud.launch_refused(imageRef=image, data_volumes=[entry(system["resource_id"], 200)]) == (400, "Ecs.0005")
    assert await cloud.launch_refused(imageRef=image, data_volumes=[entry(data["resource_id"], 100)] * 2) == (400, "Ecs.0005")
    assert await cloud.launch_refused(imageRef=image, root_volume={"volumetype": "SSD", "size": 39}) == (400, "Ecs.0005")
    assert await cloud.volumes(name="drill-web01") == []


async def test_the_id_comes_at_once_and_the_server_later(cloud: Region) -> None:
    taken = await cloud.launch()
    path = f"/v1/{{p}}/cloudservers/{taken['serverIds'][0]}"
    assert await cloud.refused("GET", "ecs", path) == (404, "Ecs.0114")
    assert (await cloud.job(taken["job_id"]))["status"] == "INIT"
    await cloud.pass_time(30)
    assert (await cloud.server(taken["serverIds"][0]))["status"] == "BUILD"
    running = await cloud.job(taken["job_id"])
    assert (running["status"], running["entities"]["sub_jobs"][0]["entities"]) == ("RUNNING", {})
    await cloud.pass_time(30)
    server, job = await cloud.server(taken["serverIds"][0]), await cloud.job(taken["job_id"])
    assert (server["status"], job["status"], job["job_type"]) == ("ACTIVE", "SUCCESS", "createServer")
    assert [sub["entities"]["server_id"] for sub in job["entities"]["sub_jobs"]] == taken["serverIds"]


@pytest.mark.parametrize(("answer", "after_30", "listed"), [("absent", 404, 0), ("shown", 200, 1), ("hidden_first", 200, 1)])
async def test_how_a_server_that_is_being_made_shows_is_a_switch(cloud: Region, answer: str, after_30: int, listed: int) -> None:
    cloud.emulator.switches["building_server"] = answer
    taken = await cloud.launch()
    await cloud.pass_time(30)
    assert (await cloud.ask("GET", "ecs", f"/v1/{{p}}/cloudservers/{taken['serverIds'][0]}")).status_code == after_30
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01"))["count"] == listed
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/limits"))["absolute"]["totalInstancesUsed"] == 36


async def test_the_server_tells_where_it_came_from_and_what_it_was_given(cloud: Region) -> None:
    image = await cloud.whole_image(name="web01 of today")
    group = cloud.account["security_group"]
    server = await cloud.server(
        await cloud.launched(
            imageRef=image,
            key_name="ops",
            tags=["b2i-launch.0123456789ab", "purpose.drill"],
            security_groups=[{"id": group}],
            metadata={"owner": "ops"},
            description="a drill",
            availability_zone="eu-de-02",
        )
    )
    assert server["metadata"]["metering.image_id"] == image
    assert server["metadata"]["metering.imagetype"] == "private"
    assert server["metadata"]["image_name"] == "web01 of today"
    assert server["metadata"]["owner"] == "ops"
    assert server["tags"] == ["b2i-launch=0123456789ab", "purpose=drill"]
    assert server["security_groups"] == [{"id": group, "name": "shop-sg"}]
    assert (server["key_name"], server["description"], server["OS-EXT-AZ:availability_zone"]) == ("ops", "a drill", "eu-de-02")
    assert server["flavor"] == {"id": "s3.large.2", "name": "s3.large.2", "vcpus": "2", "ram": "4096", "disk": "0"}


async def test_without_security_groups_the_server_gets_the_default_group(cloud: Region) -> None:
    assert [group["name"] for group in (await cloud.server(await cloud.launched()))["security_groups"]] == ["default"]


async def test_several_servers_get_numbered_names_and_a_sub_job_each(cloud: Region) -> None:
    taken = await cloud.launch(name="drill", count=3)
    await cloud.pass_time(75)
    names = [(await cloud.server(server))["name"] for server in taken["serverIds"]]
    job = await cloud.job(taken["job_id"])
    assert names == ["drill-0001", "drill-0002", "drill-0003"]
    assert job["entities"]["sub_jobs_total"] == 3
    assert {sub["entities"]["server_id"] for sub in job["entities"]["sub_jobs"]} == set(taken["serverIds"])
    assert await cloud.launch_refused(name="n" * 60, count=2) == (400, "Ecs.0914")


async def test_a_dry_run_checks_the_form_alone_and_makes_nothing(cloud: Region) -> None:
    body = cloud.order(flavorRef="no.such.flavor") | {"dry_run": True}
    answer = await cloud.ask("POST", "ecs", "/v1/{p}/cloudservers", body)
    assert (answer.status_code, answer.json()) == (202, {})
    broken = cloud.order(root_volume=None) | {"dry_run": True}
    assert await cloud.refused("POST", "ecs", "/v1/{p}/cloudservers", broken) == (400, "Ecs.0005")
    await cloud.pass_time(100)
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01"))["count"] == 0


async def test_an_order_that_does_not_fit_the_contract_is_refused_with_the_code_for_that_part(cloud: Region) -> None:
    refused = cloud.launch_refused
    assert await refused(name="n" * 129) == (400, "Ecs.0914")
    assert await refused(name="naïve") == (400, "Ecs.0915")
    assert await refused(description="d" * 86) == (400, "Ecs.0041")
    assert await refused(tags=[f"k{number}.v" for number in range(11)]) == (400, "Ecs.0905")
    assert await refused(tags=["no value"]) == (400, "Ecs.0906")
    assert await refused(tags=["k.v", "k.w"]) == (400, "Ecs.0908")
    assert await refused(adminPass="Short1!") == (400, "Ecs.0011")
    assert await refused(adminPass="onlylowercase") == (400, "Ecs.0011")
    assert await refused(root_volume={"volumetype": "FLOPPY"}) == (400, "Ecs.0043")
    assert await refused(unknown_field=1) == (400, "Ecs.0005")
    assert await refused(user_data="not base64!") == (400, "Ecs.0005")


async def test_what_an_order_names_must_be_there(cloud: Region) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    refused = cloud.launch_refused
    assert await refused(imageRef=nowhere) == (400, "Ecs.0031")
    assert await refused(flavorRef="s9.huge.1") == (400, "Ecs.0029")
    assert await refused(vpcid=nowhere) == (400, "Ecs.0014")
    assert await refused(nics=[{"subnet_id": nowhere}]) == (400, "Ecs.0038")
    assert await refused(security_groups=[{"id": nowhere}]) == (400, "Ecs.0014")
    assert await refused(key_name="nobody") == (400, "Ecs.0314")
    assert await refused(availability_zone="eu-de-09") == (400, "Ecs.0005")
    assert await refused(publicip={"id": nowhere}) == (400, "Ecs.0005")


async def test_subnet_and_vpc_must_fit_and_a_fixed_address_must_be_free_and_inside(cloud: Region) -> None:
    subnets = {subnet["name"]: subnet for subnet in (await cloud.get("vpc", "/v1/{p}/subnets"))["subnets"]}
    ours, theirs = cloud.account["subnet"], subnets["drill-net"]["id"]
    refused = cloud.launch_refused
    assert await refused(nics=[{"subnet_id": theirs}]) == (400, "Ecs.0064")
    assert await refused(nics=[{"subnet_id": ours}, {"subnet_id": theirs}]) == (400, "Ecs.0014")
    assert await refused(nics=[{"subnet_id": ours, "ip_address": "127.99.0.9"}]) == (400, "Ecs.0039")
    assert await refused(nics=[{"subnet_id": ours, "ip_address": "127.10.1.1"}]) == (400, "Ecs.0010")
    server = await cloud.server(await cloud.launched(nics=[{"subnet_id": ours, "ip_address": "127.10.1.201"}]))
    assert cloud.private_address(server) == "127.10.1.201"
    assert await refused(nics=[{"subnet_id": ours, "ip_address": "127.10.1.201"}]) == (400, "Ecs.0010")


async def test_a_flavor_is_sold_per_zone_and_refused_where_it_is_not(cloud: Region) -> None:
    assert await cloud.launch_refused(flavorRef="m3.xlarge.8", availability_zone="eu-de-03") == (400, "Ecs.0319")
    assert await cloud.launch_refused(flavorRef="c4.large.2") == (400, "Ecs.0029")
    server = await cloud.server(await cloud.launched(flavorRef="m3.xlarge.8"))
    assert server["OS-EXT-AZ:availability_zone"] == "eu-de-01"


async def test_disk_types_are_checked_against_zone_flavor_and_source(cloud: Region) -> None:
    assert await cloud.launch_refused(root_volume={"volumetype": "GPSSD2"}) == (400, "Ecs.0043")
    assert await cloud.launch_refused(root_volume={"volumetype": "SATA"}) == (400, "Ecs.0044")
    assert await cloud.launch_refused(root_volume={"volumetype": "co-p1"}) == (400, "Ecs.0909")
    image = await cloud.whole_image()
    assert await cloud.launch_refused(imageRef=image, root_volume={"volumetype": "co-p1"}) == (400, "Ecs.0046")
    half = {"volumetype": "SSD", "size": 10, "metadata": {"__system__encrypted": "1"}}
    assert await cloud.launch_refused(data_volumes=[half]) == (400, "Ecs.0912")


async def test_memory_must_suit_the_image(cloud: Region) -> None:
    windows = (await cloud.get("ims", "/v2/cloudimages", name="Standard_Windows_2022_KVM_en_latest"))["images"][0]
    assert windows["min_ram"] == 2048
    assert await cloud.launch_refused(imageRef=windows["id"], flavorRef="s3.medium.1") == (400, "Ecs.0007")
    image = await cloud.whole_image()
    limit = [{"op": "add", "path": "/max_ram", "value": 8192}]
    assert (await cloud.ask("PATCH", "ims", f"/v2/cloudimages/{image}", limit)).status_code == 200
    assert await cloud.launch_refused(imageRef=image, flavorRef="s3.xlarge.4") == (400, "Ecs.0007")


async def test_an_image_that_is_not_ready_or_has_lost_its_backup_launches_nothing(cloud: Region) -> None:
    backups = cloud.account["backups"]["available"]
    order = {"name": "young", "backup_id": backups[0], "whole_image_type": "CBR"}
    await cloud.post("ims", "/v1/cloudimages/wholeimages/action", order)
    young = (await cloud.get("ims", "/v2/cloudimages", name="young"))["images"][0]["id"]
    assert await cloud.launch_refused(imageRef=young) == (400, "Ecs.0032")


async def test_an_image_whose_backup_is_gone_or_busy_is_refused() -> None:
    async with region(seed=small_company(older_images=1)) as cloud:
        orphan = (await cloud.get("ims", "/v2/cloudimages", __imagetype="private"))["images"][0]["id"]
        assert await cloud.launch_refused(imageRef=orphan) == (400, "Ecs.0034")
    busy = [{"server": "one", "status": "restoring", "image": "active"}]
    async with region(seed=small_company(backups=busy)) as cloud:
        image = (await cloud.get("ims", "/v2/cloudimages", __imagetype="private"))["images"][0]["id"]
        assert await cloud.launch_refused(imageRef=image) == (400, "Ecs.0048")


async def test_quotas_of_servers_cores_memory_disks_and_addresses_are_kept() -> None:
    eip = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}
    for quota, change, code in (
        ({"instances": 3}, {"count": 3}, "Ecs.0001"),
        ({"cores": 5}, {"count": 2}, "Ecs.0001"),
        ({"ram": 8000}, {"count": 2}, "Ecs.0001"),
        ({"volumes": 2}, {"data_volumes": [{"volumetype": "SAS", "size": 10}]}, "Ecs.0021"),
        ({"gigabytes": 30}, {"root_volume": {"volumetype": "SAS", "size": 40}}, "Ecs.0021"),
        ({"eips": 0}, {"publicip": eip}, "Ecs.0013"),
    ):
        async with region(seed=small_company(quota=quota)) as cloud:
            assert await cloud.launch_refused(**change) == (400, code), quota
            assert (await cloud.publicips(), await cloud.volumes(name="drill")) == ([], [])


async def test_an_eip_is_bound_to_the_server_and_shows_as_floating_address(cloud: Region) -> None:
    eip = {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}
    server = await cloud.server(await cloud.launched(publicip={"eip": eip, "delete_on_termination": True}))
    (publicip,) = await cloud.publicips()
    addresses = next(iter(server["addresses"].values()))
    assert [entry["addr"] for entry in addresses if entry["OS-EXT-IPS:type"] == "floating"] == [publicip["public_ip_address"]]
    assert (publicip["status"], publicip["private_ip_address"]) == ("ACTIVE", cloud.private_address(server))
    assert await cloud.refused("DELETE", "eip", f"/v1/{{p}}/publicips/{publicip['id']}") == (409, "VPC.0517")
    assert await cloud.launch_refused(publicip={"id": publicip["id"]}) == (400, "Ecs.0005")


async def test_refusals_may_come_in_the_job_instead(cloud: Region) -> None:
    cloud.emulator.switches["launch_refusals"] = "in_job"
    taken = await cloud.launch(flavorRef="m3.xlarge.8", availability_zone="eu-de-03")
    await cloud.pass_time(60)
    job = await cloud.job(taken["job_id"])
    sub = job["entities"]["sub_jobs"][0]
    assert (job["status"], job["error_code"], sub["error_code"]) == ("FAIL", "Ecs.0204", "Ecs.0319")
    assert sub["entities"]["errorcode_message"]
    assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/cloudservers/{taken['serverIds'][0]}") == (404, "Ecs.0114")
    assert await cloud.launch_refused(flavorRef="no.such.flavor") == (400, "Ecs.0029")


async def test_a_creation_that_fails_leaves_nothing_and_says_why_in_the_sub_job(cloud: Region) -> None:
    eip = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}
    cloud.emulator.faults.arm("job-fails", operation="createServers", code="Ecs.0203", reason="data disk not created")
    taken = await cloud.launch(publicip=eip, data_volumes=[{"volumetype": "SAS", "size": 10}])
    await cloud.pass_time(60)
    job = await cloud.job(taken["job_id"])
    sub = job["entities"]["sub_jobs"][0]
    assert (job["status"], sub["error_code"], sub["fail_reason"]) == ("FAIL", "Ecs.0203", "data disk not created")
    assert await cloud.refused("GET", "ecs", f"/v1/{{p}}/cloudservers/{taken['serverIds'][0]}") == (404, "Ecs.0114")
    assert (await cloud.volumes(name="drill-web01"), await cloud.publicips()) == ([], [])


async def test_a_rollback_that_fails_too_leaves_disks_and_address_behind(cloud: Region) -> None:
    eip = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}
    cloud.emulator.faults.arm("leftovers", code="Ecs.0405", leave=["data_disks", "eip"])
    taken = await cloud.launch(publicip=eip, data_volumes=[{"volumetype": "SAS", "size": 10}])
    await cloud.pass_time(60)
    assert (await cloud.job(taken["job_id"]))["entities"]["sub_jobs"][0]["error_code"] == "Ecs.0405"
    assert [(disk["name"], disk["status"]) for disk in await cloud.volumes(name="drill")] == [
        ("drill-web01-volume-0001", "available")
    ]
    assert [publicip["status"] for publicip in await cloud.publicips()] == ["DOWN"]


async def test_a_server_can_be_left_in_error(cloud: Region) -> None:
    cloud.emulator.faults.arm("leftovers", code="Ecs.0403", leave=["server"])
    taken = await cloud.launch()
    await cloud.pass_time(60)
    server = await cloud.server(taken["serverIds"][0])
    assert server["status"] == "ERROR"
    assert server["fault"]["message"]


async def test_of_several_servers_one_may_fail_alone(cloud: Region) -> None:
    cloud.emulator.faults.arm("one-fails")
    taken = await cloud.launch(count=3)
    await cloud.pass_time(60)
    job = await cloud.job(taken["job_id"])
    assert job["status"] == "FAIL"
    assert [sub["status"] for sub in job["entities"]["sub_jobs"]] == ["SUCCESS", "SUCCESS", "FAIL"]
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01", status="ACTIVE"))["count"] == 2


async def test_flow_limit_and_throttling_start_nothing_and_a_used_up_quota_is_told(cloud: Region) -> None:
    path, body = "/v1/{p}/cloudservers", cloud.order()
    cloud.emulator.faults.arm("flow-202")
    assert await cloud.refused("POST", "ecs", path, body) == (202, "Common.0024")
    cloud.emulator.faults.arm("throttled-429", operation="createServers")
    assert await cloud.refused("POST", "ecs", path, body) == (429, "Common.1503")
    cloud.emulator.faults.arm("quota-gone", operation="createServers")
    assert await cloud.refused("POST", "ecs", path, body) == (400, "Ecs.0001")
    await cloud.pass_time(100)
    assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01"))["count"] == 0


async def test_an_order_whose_answer_was_lost_is_found_by_its_tag(cloud: Region) -> None:
    import httpx

    cloud.emulator.faults.arm("lost-answer", operation="createServers")
    with pytest.raises(httpx.RemoteProtocolError):
        await cloud.launch(tags=["b2i-launch.abc123"])
    await cloud.pass_time(60)
    found = (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", tags="b2i-launch=abc123"))["servers"]
    assert [server["status"] for server in found] == ["ACTIVE"]


async def test_a_recipient_launches_from_an_image_that_he_accepted(cloud: Region) -> None:
    image, recipient = await cloud.whole_image(), cloud.account["recipient"]
    await cloud.post("ims", "/v1/cloudimages/members", {"images": [image], "projects": [recipient["project_id"]]})
    cloud.clock.advance(60)
    await cloud.log_in(recipient)
    subnet = (await cloud.get("vpc", "/v1/{p}/subnets"))["subnets"][0]
    order = {"imageRef": image, "vpcid": subnet["vpc_id"], "nics": [{"subnet_id": subnet["id"]}]}
    assert await cloud.launch_refused(**order) == (400, "Ecs.0031")
    answer = {"images": [image], "project_id": recipient["project_id"], "status": "accepted", "vault_id": recipient["vault"]}
    await cloud.ask("PUT", "ims", "/v1/cloudimages/members", answer)
    cloud.clock.advance(60)
    server = await cloud.launched(**order)
    assert sorted(volume["size"] for volume in await cloud.volumes(server_id=server)) == [40, 100]


async def test_otc_has_no_v1_1_of_the_call(cloud: Region) -> None:
    assert await cloud.refused("POST", "ecs", "/v1.1/{p}/cloudservers", cloud.order()) == (404, "Ecs.0000")


async def test_a_reader_may_not_launch(cloud: Region) -> None:
    auditor = cloud.account | {"user": "shop-auditor", "password": "Only-Reads-2026"}
    await cloud.log_in(auditor)
    assert await cloud.launch_refused() == (403, "Pdp.0001")


async def test_a_creation_that_is_stuck_stays_in_build_and_its_job_runs_on(cloud: Region) -> None:
    cloud.emulator.faults.arm("job-stuck", operation="createServers")
    taken = await cloud.launch()
    await cloud.pass_time(86_000)
    assert (await cloud.job(taken["job_id"]))["status"] == "RUNNING"
    assert (await cloud.server(taken["serverIds"][0]))["status"] == "BUILD"


@pytest.mark.parametrize(("answer", "tags"), [("honoured", ["drill=yes"]), ("ignored", [])])
async def test_whether_server_tags_count_is_a_switch(cloud: Region, answer: str, tags: list[str]) -> None:
    cloud.emulator.switches["server_tags"] = answer
    server = await cloud.launched(server_tags=[{"key": "drill", "value": "yes"}])
    assert (await cloud.server(server))["tags"] == tags


@pytest.mark.parametrize(("answer", "status"), [("usable", 200), ("unknown", 400)])
async def test_whether_a_rejected_image_launches_is_a_switch(cloud: Region, answer: str, status: int) -> None:
    cloud.emulator.switches["rejected_image"] = answer
    image, recipient = await cloud.whole_image(), cloud.account["recipient"]
    await cloud.ask("POST", "ims", f"/v2/images/{image}/members", {"member": recipient["project_id"]})
    await cloud.log_in(recipient)
    await cloud.ask("PUT", "ims", f"/v2/images/{image}/members/{{p}}", {"status": "rejected"})
    subnet = (await cloud.get("vpc", "/v1/{p}/subnets"))["subnets"][0]
    order = cloud.order(imageRef=image, vpcid=subnet["vpc_id"], nics=[{"subnet_id": subnet["id"]}])
    assert (await cloud.ask("POST", "ecs", "/v1/{p}/cloudservers", order)).status_code == status


async def test_a_full_subnet_takes_no_more_servers() -> None:
    networks = [{"vpc": "net", "cidr": "127.61.0.0/16", "subnets": {"subnet": "127.61.1.0/28"}}]
    async with region(seed=small_company(networks=networks)) as cloud:
        assert await cloud.launch_refused(count=11) == (400, "Ecs.0012")
        await cloud.launch(count=10)
        assert await cloud.launch_refused() == (400, "Ecs.0012")
