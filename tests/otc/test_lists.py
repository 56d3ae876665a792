import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from backup_to_image.errors import BadAnswer, NotFound
from backup_to_image.otc import Cloud
from tests.otc.stage import Stage, answer, example, reply

IMAGE = example("ims/getImage.active")["response"]["body"]
SERVER = example("ecs/getServer.active")["response"]["body"]["server"]
BACKUP = example("cbr/getBackup.usable")["response"]["body"]["backup"]


def ident(number: int) -> str:
    return str(UUID(int=number))


def images(*numbers: int) -> httpx.Response:
    return reply(200, {"images": [{**IMAGE, "id": ident(number)} for number in numbers]})


async def seen(rows: Any) -> list[int]:
    return [UUID(row.id).int async for row in rows]


async def test_a_list_is_followed_by_its_last_id_until_a_page_is_not_full(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1, 2), images(3, 4), images(5))
    assert await seen(cloud.images.list(page_size=2)) == [1, 2, 3, 4, 5]
    assert [request.url.params.get("marker") for request in stage.requests("listCloudImages")] == [None, ident(2), ident(4)]


async def test_doubled_pages_and_shifting_pages_give_each_image_once(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1, 2), images(1, 2), images(2, 3), images(3, 4), images())
    assert await seen(cloud.images.list(page_size=2)) == [1, 2, 3, 4]


async def test_a_list_that_does_not_get_on_is_an_error_and_not_a_short_list(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1, 2))
    with pytest.raises(BadAnswer, match="again and again"):
        await seen(cloud.images.list(page_size=2))
    assert len(stage.requests("listCloudImages")) < 10


async def test_a_marker_that_was_deleted_meanwhile_starts_the_list_again(stage: Stage, cloud: Cloud) -> None:
    gone = reply(400, {"error": {"code": "IMG.0027", "message": "marker"}})
    stage.says("listCloudImages", images(1, 2), gone, images(1, 3), images(4))
    assert await seen(cloud.images.list(page_size=2)) == [1, 2, 3, 4]


async def test_who_stops_reading_early_has_asked_for_one_page(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1, 2))
    async for _ in cloud.images.list(page_size=2, newest_first=True):
        break
    (asked,) = stage.requests("listCloudImages")
    assert asked.url.params["sort_dir"] == "desc"


async def test_a_few_ids_are_asked_for_singly_and_many_by_list(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1), images(2))
    assert await seen(cloud.images.list(ids=[ident(1), ident(2)])) == [1, 2]
    assert len(stage.requests("listCloudImages")) == 2
    stage.says("listCloudImages", images(*range(1, 10)))
    assert await seen(cloud.images.list(ids=[ident(number) for number in (2, 4, 6, 8)])) == [2, 4, 6, 8]
    assert len(stage.requests("listCloudImages")) == 3
    assert await seen(cloud.images.list(ids=[])) == []


async def test_offers_to_this_project_are_asked_for_as_the_page_says(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", images(1))
    await seen(cloud.images.list(visibility="shared", member_status="pending"))
    told = dict(stage.requests("listCloudImages")[0].url.params)
    assert example("ims/listCloudImages.pending-shares")["request"]["query"].items() <= told.items()


async def test_servers_are_read_by_page_numbers(stage: Stage, cloud: Cloud) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        first = (int(request.url.params["offset"]) - 1) * 200
        return reply(
            200, {"servers": [{**SERVER, "id": ident(number)} for number in range(first, min(first + 200, 450))], "count": 450}
        )

    stage.says("listServersDetail", page)
    assert len(await seen(cloud.servers.list())) == 450
    assert [request.url.params["offset"] for request in stage.requests("listServersDetail")] == ["1", "2", "3"]


async def test_a_server_that_goes_while_pages_are_read_hides_no_other(stage: Stage, cloud: Cloud) -> None:
    there = list(range(300))

    def page(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["offset"])
        body = reply(
            200, {"servers": [{**SERVER, "id": ident(one)} for one in there[(number - 1) * 200 : number * 200]], "count": 300}
        )
        if number == 1 and len(there) == 300:
            there.remove(0)  # everything behind moves up by one
        return body

    stage.says("listServersDetail", page)
    assert set(await seen(cloud.servers.list())) == set(range(300))


async def test_backups_come_newest_first_and_no_more_than_asked_for(stage: Stage, cloud: Cloud) -> None:
    stage.says("listBackups", reply(200, {"backups": [{**BACKUP, "id": ident(number)} for number in range(3)]}))
    assert await seen(cloud.backups.list(server_id=BACKUP["resource_id"], status=["available", "error"], limit=2)) == [0, 1]
    told = stage.requests("listBackups")[0].url.params
    assert told.get_list("status") == ["available", "error"]
    assert (told["sort"], told["limit"], told["own_type"]) == ("created_at:desc", "2", "private")


async def test_disks_are_asked_for_sixty_ids_at_a_time(stage: Stage, cloud: Cloud) -> None:
    stage.says("listVolumesDetail", reply(200, {"volumes": []}))
    assert await seen(cloud.disks.list(ids=[ident(number) for number in range(100)])) == []
    asked = [request.url.params["ids"] for request in stage.requests("listVolumesDetail")]
    assert [ids.count(",") + 1 for ids in asked] == [60, 40]
    assert asked[0].startswith(f"['{ident(0)}','{ident(1)}'")
    assert await seen(cloud.disks.list(ids=[])) == []


async def test_a_replace_that_the_image_lacks_becomes_an_add(stage: Stage, cloud: Cloud) -> None:
    stage.says("updateCloudImage", answer("ims/updateCloudImage.absent-attribute"), answer("ims/updateCloudImage.rename"))
    await cloud.images.patch(IMAGE["id"], [{"op": "replace", "path": "/max_ram", "value": "4096"}])
    assert [json.loads(request.content)[0]["op"] for request in stage.requests("updateCloudImage")] == ["replace", "add"]


async def test_a_server_that_is_not_there_is_none_and_not_an_error(stage: Stage, cloud: Cloud) -> None:
    stage.says("getServer", answer("ecs/getServer.not-yet-or-gone"))
    assert await cloud.servers.find(SERVER["id"]) is None
    with pytest.raises(NotFound):
        await cloud.servers.get(SERVER["id"])


async def test_an_image_is_always_asked_for_as_one_of_cbr(stage: Stage, cloud: Cloud) -> None:
    stage.says("createWholeImage", answer("ims/createWholeImage.from-backup"))
    await cloud.images.start_from_backup(backup_id=BACKUP["id"], name="web01", min_ram_mb=0, max_ram_mb=4096)
    assert json.loads(stage.requests("createWholeImage")[0].content) == {
        "name": "web01",
        "backup_id": BACKUP["id"],
        "whole_image_type": "CBR",
        "min_ram": 0,
        "max_ram": 4096,
    }


async def test_whether_the_backup_goes_too_is_always_said(stage: Stage, cloud: Cloud) -> None:
    stage.says("deleteImage", answer("ims/deleteImage.with-backup"))
    for choice in (True, False):
        await cloud.images.delete(IMAGE["id"], delete_backup=choice)
    assert [json.loads(request.content) for request in stage.requests("deleteImage")] == [
        {"delete_backup": True},
        {"delete_backup": False},
    ]


async def test_disks_and_addresses_of_a_server_go_with_it_unless_told_otherwise(stage: Stage, cloud: Cloud) -> None:
    stage.says("deleteServers", answer("ecs/deleteServers.ok"))
    await cloud.servers.delete([SERVER["id"]])
    assert json.loads(stage.requests("deleteServers")[0].content) == example("ecs/deleteServers.ok")["request"]["body"]


async def test_an_incremental_backup_may_be_turned_down(stage: Stage, cloud: Cloud) -> None:
    stage.says("createCheckpoint", answer("cbr/createCheckpoint.ok"))
    await cloud.restore_points.create(BACKUP["vault_id"], [BACKUP["resource_id"]], name="now", incremental=False)
    told = json.loads(stage.requests("createCheckpoint")[0].content)["checkpoint"]["parameters"]
    assert told["incremental"] is False
