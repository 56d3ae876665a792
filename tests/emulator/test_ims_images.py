"""Images once they are there: lists and pages, changes, tags, deletion. BEHAVIOUR.md 7, 10 and 13."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Client, Region
from .test_ims_create import made


async def ids(client: Client, where: str = "ims/v2/cloudimages", **query: Any) -> list[str]:
    answer = await client.get(where, **query)
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


async def test_pages_of_both_lists_add_up_to_the_whole(shop: Client) -> None:
    whole = await ids(shop, limit=1000)
    assert len(whole) > 25
    pages: list[str] = []
    while page := await ids(shop, limit=7, **({"marker": pages[-1]} if pages else {})):
        pages += page
    assert pages == whole
    native = (await shop.get("ims/v2/images")).json()
    assert len(native["images"]) == 25
    following = (await shop.ask("GET", "ims" + native["next"])).json()
    assert [image["id"] for image in native["images"] + following["images"]] == whole
    assert "next" not in following


async def test_own_images_are_paged_in_the_order_of_their_making(shop: Client) -> None:
    for direction in ("asc", "desc"):
        whole = await ids(shop, owner=shop.project, limit=1000, sort_dir=direction)
        pages: list[str] = []
        while page := await ids(
            shop, owner=shop.project, limit=4, sort_dir=direction, **({"marker": pages[-1]} if pages else {})
        ):
            pages += page
        assert pages == whole
        times = [(await shop.image(image))["created_at"] for image in whole]
        assert times == sorted(times, reverse=direction == "desc")


async def test_a_list_is_bounded_by_creation_time(shop: Client) -> None:
    everything = (await shop.get("ims/v2/cloudimages", owner=shop.project, limit=1000)).json()["images"]
    middle = everything[len(everything) // 2]["created_at"]
    for operator, passes in {
        "gt": lambda t: t > middle,
        "gte": lambda t: t >= middle,
        "lt": lambda t: t < middle,
        "lte": lambda t: t <= middle,
        "eq": lambda t: t == middle,
        "neq": lambda t: t != middle,
    }.items():
        wanted = [image["id"] for image in everything if passes(image["created_at"])]
        assert await ids(shop, owner=shop.project, limit=1000, created_at=f"{operator}:{middle}") == wanted, operator


async def test_filters_find_what_they_name(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = await made(
        region,
        shop,
        backups["available"][0],
        "web01-only",
        image_tags=[{"key": "team", "value": "web"}, {"key": "keep", "value": ""}],
    )
    found = image["id"]
    assert await ids(shop, name="web01-only") == [found]
    assert await ids(shop, name="web01") == []  # exactly, or not at all
    assert await ids(shop, tag="team=web") == [found]
    assert await ids(shop, tag="team.web") == [found]
    assert found in await ids(shop, tag="keep")
    assert found in await ids(shop, whole="true", owner=shop.project, limit=1000)
    assert region.account["image_public"] not in await ids(shop, whole="true", limit=1000)
    assert region.account["image_public"] in await ids(shop, __imagetype="gold", visibility="public", protected="true")
    assert found not in await ids(shop, __imagetype="gold")
    assert {(await shop.image(one))["__os_type"] for one in await ids(shop, __os_type="Windows", limit=1000)} == {"Windows"}
    assert await ids(shop, id=found) == [found]


async def test_the_whole_image_mark_shows_where_the_switch_says_so(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = await made(region, shop, backups["available"][0])
    assert "__whole_image" not in image
    region.emulator.switches["whole_image_field"] = "shown"
    assert (await shop.image(image["id"]))["__whole_image"] == "true"


# -- changes ------------------------------------------------------------------------------------------------------------


async def test_a_patch_changes_what_it_names(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = await made(region, shop, backups["available"][0])
    where = f"ims/v2/cloudimages/{image['id']}"
    answer = await shop.patch(
        where,
        [
            {"op": "replace", "path": "/name", "value": "renamed"},
            {"op": "add", "path": "/__description", "value": "kept for audit"},
            {"op": "add", "path": "/max_ram", "value": "8192"},
        ],
    )
    assert answer.status_code == 200
    seen = await shop.image(image["id"])
    assert (seen["name"], seen["__description"], seen["max_ram"]) == ("renamed", "kept for audit", "8192")
    assert await ids(shop, name="renamed") == [image["id"]]
    assert (await shop.patch(where, [{"op": "replace", "path": "/max_ram", "value": "4096"}])).json()["max_ram"] == "4096"


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"op": "replace", "path": "/max_ram", "value": "4096"}, "IMG.0035"),
        ({"op": "remove", "path": "/__description"}, "IMG.0035"),
        ({"op": "replace", "path": "/hw_firmware_type", "value": "uefi"}, "IMG.0035"),
        ({"op": "replace", "path": "/__backup_id", "value": "x"}, "IMG.0035"),
        ({"op": "replace", "path": "/name", "value": " x"}, "IMG.0003"),
        ({"op": "add", "path": "/__description", "value": "a<b"}, "IMG.0054"),
        ({"op": "add", "path": "/Name", "value": "x"}, "IMG.0001"),
        ({"op": "add", "path": "/min_ram", "value": "many"}, "IMG.0055"),
    ],
)
async def test_a_patch_is_refused_where_it_cannot_be(
    region: Region, shop: Client, backups: dict[str, Any], patch: dict[str, Any], code: str
) -> None:
    image = await made(region, shop, backups["available"][0])
    answer = await shop.patch(f"ims/v2/cloudimages/{image['id']}", [patch])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_only_the_owner_changes_an_active_image(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    job = (await shop.create_image(backups["available"][0])).json()["job_id"]
    young = (await ids(shop, owner=shop.project, limit=1))[0]
    rename = [{"op": "replace", "path": "/name", "value": "x"}]
    assert (await shop.patch(f"ims/v2/cloudimages/{young}", rename)).json()["error"]["code"] == "IMG.0046"
    region.clock.advance(200)
    assert (await shop.job(job))["status"] == "SUCCESS"
    assert (await partner.patch(f"ims/v2/cloudimages/{young}", rename)).json()["error"]["code"] == "IMG.0027"
    await shop.post(f"ims/v2/images/{young}/members", {"member": partner.project})
    assert (await partner.patch(f"ims/v2/cloudimages/{young}", rename)).json()["error"]["code"] == "IMG.0047"


# -- tags ---------------------------------------------------------------------------------------------------------------


async def test_tags_are_set_seen_and_removed_through_every_call(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    base = f"ims/v2/{{p}}/images/{image}/tags"
    assert (await shop.post(base, {"tag": {"key": "keep", "value": "true"}})).status_code == 204
    assert (await shop.post(base, {"tag": {"key": "keep", "value": "no"}})).status_code == 204  # the key gets the new value
    assert (await shop.put("ims/v1/cloudimages/tags", {"image_id": image, "tag": "drill.2026-01"})).status_code == 204
    assert (
        await shop.post(f"{base}/action", {"action": "create", "tags": [{"key": "a", "value": ""}, {"key": "b", "value": "1"}]})
    ).status_code == 204
    assert (await shop.post(f"{base}/action", {"action": "delete", "tags": [{"key": "b"}, {"key": "never"}]})).status_code == 204
    wanted = {"keep": "no", "drill": "2026-01", "a": ""}
    assert {tag["key"]: tag["value"] for tag in (await shop.get(base)).json()["tags"]} == wanted
    assert (await shop.image(image))["tags"] == ["keep=no", "drill=2026-01", "a="]
    assert {"key": "drill", "values": ["2026-01"]} in (await shop.get("ims/v2/{p}/images/tags")).json()["tags"]
    query = {"action": "filter", "tags": [{"key": "drill", "values": ["2026-01", "2026-02"]}], "limit": "10", "offset": "0"}
    found = (await shop.post("ims/v2/{p}/images/resource_instances/action", query)).json()
    assert ([one["resource_id"] for one in found["resources"]], found["total_count"]) == ([image], 1)
    assert (await shop.delete(f"{base}/keep")).status_code == 204
    assert (await shop.delete(f"{base}/keep")).status_code == 404


async def test_ten_tags_are_enough(region: Region, shop: Client, partner: Client, backups: dict[str, Any]) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    base = f"ims/v2/{{p}}/images/{image}/tags"
    assert (
        await shop.post(f"{base}/action", {"action": "create", "tags": [{"key": f"k{n}", "value": ""} for n in range(10)]})
    ).status_code == 204
    assert (await shop.post(base, {"tag": {"key": "eleventh", "value": ""}})).json()["error"]["code"] == "IMG.0116"
    assert (await shop.post(base, {"tag": {"key": "k3", "value": "new"}})).status_code == 204
    await shop.post(f"ims/v2/images/{image}/members", {"member": partner.project})
    assert (await partner.post(base, {"tag": {"key": "k3", "value": "theirs"}})).json()["error"]["code"] == "IMG.0047"


# -- deletion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_backup", [True, False])
async def test_a_deleted_image_goes_in_a_while_and_its_backup_as_asked(
    region: Region, shop: Client, backups: dict[str, Any], with_backup: bool
) -> None:
    backup = backups["available"][0]
    image = (await made(region, shop, backup))["id"]
    assert (await shop.delete(f"cbr/v3/{{p}}/backups/{backup}")).json()["error_code"] == "BackupService.6204"
    assert (await shop.delete(f"ims/v2/images/{image}", {"delete_backup": with_backup})).status_code == 204
    assert await ids(shop, id=image) == [image]  # 204 proves nothing
    region.clock.advance(10)
    assert await ids(shop, id=image) == []
    assert (await shop.get(f"ims/v2/images/{image}")).status_code == 404
    assert (await shop.delete(f"ims/v2/images/{image}")).status_code == 404
    region.clock.advance(30)
    assert (await shop.get(f"cbr/v3/{{p}}/backups/{backup}")).status_code == (404 if with_backup else 200)
    if not with_backup:
        assert (await shop.backup(backup))["extend_info"].get("os_images_data", []) == []
        await made(region, shop, backup, "again")


@pytest.mark.parametrize("default", ["false", "true"])
async def test_without_a_word_about_the_backup_the_switch_decides(
    region: Region, shop: Client, backups: dict[str, Any], default: str
) -> None:
    region.emulator.switches["delete_backup_default"] = default
    image = (await made(region, shop, backups["available"][0]))["id"]
    assert (await shop.delete(f"ims/v2/images/{image}")).status_code == 204
    region.clock.advance(60)
    assert (await shop.get(f"cbr/v3/{{p}}/backups/{backups['available'][0]}")).status_code == {"false": 200, "true": 404}[default]


async def test_a_backup_in_a_locked_vault_survives_its_image(region: Region, shop: Client) -> None:
    backup = next(doc["id"] for doc in region.emulator.cloud.walk("backup", vault_id=region.find("vault", "worm-vault")))
    image = (await made(region, shop, backup))["id"]
    assert (await shop.delete(f"ims/v2/images/{image}", {"delete_backup": True})).status_code == 204
    region.clock.advance(60)
    assert await ids(shop, id=image) == []
    assert (await shop.backup(backup))["status"] == "available"


@pytest.mark.parametrize(("form", "statuses"), [("ims", (400, 400, 400, 400)), ("glance", (409, 403, 403, 403))])
async def test_deletion_is_refused_in_either_form(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any], form: str, statuses: tuple[int, ...]
) -> None:
    region.emulator.switches["native_refusals"] = form
    await shop.create_image(backups["available"][0])
    image = (await ids(shop, owner=shop.project, limit=1))[0]
    answers = [await shop.delete(f"ims/v2/images/{image}")]  # still being made
    region.clock.advance(200)
    await shop.post(f"ims/v2/images/{image}/members", {"member": partner.project})
    answers.append(await partner.delete(f"ims/v2/images/{image}"))
    answers.append(await shop.delete(f"ims/v2/images/{region.account['image_public']}"))
    await shop.patch(f"ims/v2/cloudimages/{image}", [{"op": "replace", "path": "/protected", "value": True}])
    answers.append(await shop.delete(f"ims/v2/images/{image}"))
    assert tuple(answer.status_code for answer in answers) == statuses
    if form == "ims":
        assert [answer.json()["error"]["code"] for answer in answers] == ["IMG.0090", "IMG.0092", "IMG.0094", "IMG.0028"]
    else:
        assert answers[0].json()["title"] == "Conflict"


async def test_a_deletion_can_be_answered_and_ignored(region: Region, shop: Client, backups: dict[str, Any]) -> None:
    image = (await made(region, shop, backups["available"][0]))["id"]
    region.emulator.faults.arm("delete-ignored")
    assert (await shop.delete(f"ims/v2/images/{image}", {"delete_backup": True})).status_code == 204
    region.clock.advance(600)
    assert await ids(shop, id=image) == [image]


async def test_an_image_of_ones_own_without_a_backup_is_no_full_ecs_image(region: Region, shop: Client, partner: Client) -> None:
    plain = await shop.image(region.find("image", "base-ubuntu-hardened"))
    assert (plain["__backup_id"], plain["__data_origin"], plain["__imagetype"]) == ("", "", "private")
    assert plain["id"] not in await ids(shop, whole="true", owner=shop.project, limit=1000)
    where = f"ims/v2/images/{plain['id']}/members"
    assert (await shop.post(where, {"member": partner.project})).status_code == 200
    accepted = await partner.put(f"{where}/{{p}}", {"status": "accepted"})  # without a vault: there is nothing to keep in one
    assert accepted.json()["status"] == "accepted"


async def test_an_image_that_takes_no_password_carries_the_inverted_mark(region: Region, shop: Client) -> None:
    server = region.find("server", "office-print-01")
    backup = (await shop.get("cbr/v3/{p}/backups", resource_id=server, limit=1)).json()["backups"][0]["id"]
    assert (await made(region, shop, backup))["__support_fc_inject"] == "true"
