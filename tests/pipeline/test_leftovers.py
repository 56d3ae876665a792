"""What an order has in the cloud right now, for whoever stopped it: asked of the cloud, nothing made, nothing raised."""

import asyncio
from datetime import timedelta

import pytest

from backup_to_image.steps.leftovers import Leftovers, look_for_leftovers
from tests.support.region import Asked, Region, image_order, launch_order


async def left(region: Region, backup: str, **order: object) -> Leftovers:
    region.forget()
    async with region.context() as ctx:
        found = await look_for_leftovers(image_order(backup, **order), ctx)
    assert region.writes == []
    return found


def by_kind(found: Leftovers) -> dict[str, str]:
    return {one.kind: one.status for one in found.things}


def stop_at(region: Region, operation: str) -> None:
    """The process ends while this request is on its way: it is never taken up."""

    def watch(asked: Asked) -> None:
        if asked.operation == operation:
            region.watchers.clear()
            raise asyncio.CancelledError

    region.watchers.append(watch)


async def test_an_order_that_asked_for_nothing_has_only_its_backup(region: Region, backup: str) -> None:
    found = await left(region, backup, share_with=("dr",), launch=launch_order(region))
    assert (by_kind(found), found.made, found.unread) == ({"backup": "available"}, (), {})


def test_an_image_that_is_being_made_is_named_with_its_job(region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage", seconds=None)
    ended = region.b2i("create", backup, "--timeout", "5m")
    assert ended.code == 4

    found = asyncio.run(left(region, backup))
    (image,) = region.images_of(backup)
    assert found.handle == {"backup": backup, "job": ended.told["job_id"], "image": image["id"]}
    assert by_kind(found)["image"] == "saving"
    assert by_kind(found)["job"].startswith("RUNNING")
    assert found.things[-1].made_at is not None


def test_an_image_that_was_asked_for_and_cannot_be_seen_is_told_as_that(region: Region, backup: str) -> None:
    stop_at(region, "createWholeImage")
    assert region.b2i("create", backup).code == 130

    found = asyncio.run(left(region, backup))
    (asked,) = found.made
    assert (asked.kind, asked.id) == ("image", "")
    assert "asked for at" in asked.status
    assert region.images_of(backup) == []


def test_members_and_servers_are_named_with_the_mark_that_removes_them(region: Region, backup: str) -> None:
    spec = region.write_launch()
    ended = region.b2i("create", backup, "--share-with", "dr", "--launch", spec)
    assert ended.code == 0

    found = asyncio.run(left(region, backup, share_with=("dr",), launch=launch_order(region)))
    assert {one.kind: one.id for one in found.things} == {
        "backup": backup,
        "job": ended.told["job_id"],
        "image": ended.told["image_id"],
        "member": region.account["second_project"],
        "launch": ended.told["launch_id"],
        "server": ended.told["server_id"],
    }
    assert by_kind(found)["server"] == "ACTIVE"


def test_a_server_that_was_asked_for_and_cannot_be_seen_is_told_as_that(region: Region, backup: str) -> None:
    spec = region.write_launch()

    def watch(asked: Asked) -> None:
        if asked.operation == "createServers" and asked.writes:
            region.watchers.clear()
            raise asyncio.CancelledError

    region.watchers.append(watch)
    assert region.b2i("create", backup, "--launch", spec).code == 130

    found = asyncio.run(left(region, backup, launch=launch_order(region)))
    server = found.things[-1]
    assert (server.kind, server.id, server.name) == ("server", "", "shop-restored")
    assert "asked for at" in server.status
    assert "launch" in found.handle


def test_what_cannot_be_read_is_named_and_the_rest_is_told(region: Region, backup: str) -> None:
    assert region.b2i("create", backup, "--share-with", "dr").code == 0
    region.arm("forbidden", operation="listImageMembers", times=None)

    found = asyncio.run(left(region, backup, share_with=("dr",)))
    assert set(found.unread) == {"members"}
    assert found.unread["members"]
    assert by_kind(found)["image"] == "active"


@pytest.mark.parametrize("name", ["no-such-backup", "00000000-0000-4000-8000-000000000000"])
async def test_a_backup_that_is_not_there_is_no_mistake(region: Region, name: str) -> None:
    found = await left(region, name, timeout=timedelta(minutes=5))
    assert found.made == ()
    assert name in found.unread["backup"]
