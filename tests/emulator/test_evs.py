"""Disks: found by many filters, deleted when nothing is attached to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .region import Region, region

_NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def _leftover(cloud: Region) -> str:
    """A data disk that a deleted server has left."""
    await cloud.delete_server(await cloud.launched(data_volumes=[{"volumetype": "SAS", "size": 10}]))
    await cloud.pass_time(20)
    return (await cloud.volumes(status="available", name="drill-"))[0]["id"]


async def test_disks_are_found_by_server_id_ids_name_status_zone_and_sharing(cloud: Region) -> None:
    server = (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="shop-db-01"))["servers"][0]
    mine = {entry["id"] for entry in server["os-extended-volumes:volumes_attached"]}
    one, other = sorted(mine)[:2]
    assert {volume["id"] for volume in await cloud.volumes(server_id=server["id"])} == mine
    assert [volume["id"] for volume in await cloud.volumes(id=one)] == [one]
    assert {volume["id"] for volume in await cloud.volumes(ids=f"['{one}','{other}']")} == {one, other}
    assert {volume["id"] for volume in await cloud.volumes(name="shop-db-01-")} == mine
    assert await cloud.volumes(status="available") == []
    assert {volume["availability_zone"] for volume in await cloud.volumes(availability_zone="eu-de-02")} == {"eu-de-02"}
    assert [volume["name"] for volume in await cloud.volumes(multiattach="true")] == ["shop-files-01-data1"]
    system = next(volume for volume in await cloud.volumes(server_id=server["id"]) if volume["bootable"] == "true")
    assert system["attachments"][0]["device"] == "/dev/vda"


async def test_pages_follow_marker_or_offset_and_sort_as_asked(cloud: Region) -> None:
    everything = [volume["id"] for volume in await cloud.volumes(sort_key="id", sort_dir="asc")]
    assert everything == sorted(everything)
    paged: list[str] = []
    while page := await cloud.volumes(sort_key="id", sort_dir="asc", limit=30, **({"marker": paged[-1]} if paged else {})):
        paged += [volume["id"] for volume in page]
    assert paged == everything
    assert [volume["id"] for volume in await cloud.volumes(sort_key="id", sort_dir="asc", offset=50, limit=5)] == everything[
        50:55
    ]
    first = await cloud.get("evs", "/v2/{p}/cloudvolumes/detail", limit=5)
    assert (first["count"], first["volumes_links"][0]["rel"]) == (len(everything), "next")


async def test_wrong_filters_are_refused_each_with_its_code(cloud: Region) -> None:
    path = "/v2/{p}/cloudvolumes/detail"
    assert await cloud.refused("GET", "evs", path, limit=1001) == (400, "EVS.2142")
    assert await cloud.refused("GET", "evs", path, limit=0) == (400, "EVS.1023")
    assert await cloud.refused("GET", "evs", path, limit="many") == (400, "EVS.5400")
    assert await cloud.refused("GET", "evs", path, marker=_NOBODY) == (400, "EVS.1024")
    assert await cloud.refused("GET", "evs", path, sort_key="colour") == (400, "EVS.1039")
    assert await cloud.refused("GET", "evs", path, ids="a,b") == (400, "EVS.5400")
    assert await cloud.refused("GET", "evs", path, ids=str([_NOBODY] * 1 + [f"x{n}" for n in range(60)])) == (400, "EVS.5400")


async def test_a_leftover_disk_is_deleted_by_a_job_with_a_hyphenated_id(cloud: Region) -> None:
    volume = await _leftover(cloud)
    job = (await cloud.ask("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}")).json()["job_id"]
    assert job.count("-") == 4
    assert [disk["status"] for disk in await cloud.volumes(id=volume)] == ["deleting"]
    assert (await cloud.get("evs", f"/v1/{{p}}/jobs/{job}"))["status"] == "INIT"
    await cloud.pass_time(7)
    told = await cloud.get("evs", f"/v1/{{p}}/jobs/{job}")
    assert (told["job_type"], told["status"], told["entities"]) == ("deleteVolume", "SUCCESS", {"volume_id": volume})
    assert await cloud.volumes(id=volume) == []
    assert await cloud.refused("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}") == (404, "EVS.5404")


async def test_an_attached_disk_is_not_deleted(cloud: Region) -> None:
    volume = (await cloud.volumes(status="in-use", limit=1))[0]["id"]
    assert await cloud.refused("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}") == (400, "EVS.1046")
    assert await cloud.refused("DELETE", "evs", "/v2/{p}/cloudvolumes/no-id") == (400, "EVS.1002")


async def test_a_deletion_that_fails_leaves_the_disk_in_error_and_can_be_tried_again(cloud: Region) -> None:
    volume = await _leftover(cloud)
    cloud.emulator.faults.arm("job-fails", operation="deleteVolume")
    job = (await cloud.ask("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}")).json()["job_id"]
    await cloud.pass_time(7)
    assert (await cloud.get("evs", f"/v1/{{p}}/jobs/{job}"))["status"] == "FAIL"
    assert [disk["status"] for disk in await cloud.volumes(id=volume)] == ["error_deleting"]
    await cloud.ask("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}")
    await cloud.pass_time(7)
    assert await cloud.volumes(id=volume) == []


async def test_the_disks_of_others_are_not_there(cloud: Region) -> None:
    volume = (await cloud.volumes(limit=1))[0]["id"]
    await cloud.log_in(cloud.account["recipient"])
    assert await cloud.volumes(id=volume) == []
    assert await cloud.refused("DELETE", "evs", f"/v2/{{p}}/cloudvolumes/{volume}") == (404, "EVS.5404")
