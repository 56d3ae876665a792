"""The second region's replicas: copies of backups of servers that it has never had. BEHAVIOUR.md 4.6, 14."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator

from .conftest import Client, Region


@pytest.fixture
async def second() -> AsyncIterator[Region]:
    clock = FakeClock()
    region = Region(Emulator(clock=clock, seed="second-region"), clock)
    yield region
    await region.http.aclose()


@pytest.fixture
async def shop(second: Region) -> Client:
    return await second.login()


async def test_the_copies_lie_in_a_replication_vault_and_their_servers_are_those_of_the_first_region(
    second: Region, shop: Client
) -> None:
    listed = (await shop.get("cbr/v3/{p}/backups", image_type="replication")).json()["backups"]
    assert {one["id"] for one in listed} > set(second.account["backups"]["available"])
    assert {one["vault_id"] for one in listed} == {second.account["vault"]}
    assert (await shop.get("cbr/v3/{p}/backups", image_type="backup")).json()["backups"] == []
    first = Emulator(clock=FakeClock()).cloud
    assert {one["resource_id"]: one["resource_name"] for one in listed}.items() <= {
        one["id"]: one["name"] for one in first.walk("server")
    }.items()
    assert (await shop.get("ecs/v1/{p}/cloudservers/detail")).json()["servers"] == []


@pytest.mark.parametrize(("times", "created", "protected"), [("backup_time", 3, 0), ("original", 0, 0), ("copied", 3, None)])
async def test_the_times_of_a_copy_are_those_that_the_switch_says(
    second: Region, shop: Client, times: str, created: int, protected: int | None
) -> None:
    second.emulator.switches.update(replica_times=times, cbr_times="zone")
    (kept,) = [one for one in second.emulator.cloud.walk("backup") if one["id"] == second.account["backups"]["available"][0]]
    told = await shop.backup(kept["id"])

    def hour(hours: int) -> str:
        return kept["taken_at"].replace("T01:", f"T{1 + hours:02d}:")[:13]

    for one in (told, *told["children"]):
        assert one["created_at"][:13] == hour(created)
        assert one.get("protected_at", "")[:13] == ("" if protected is None else hour(protected))
    begins = hour(created) + ":00:00Z"
    since = (await shop.get("cbr/v3/{p}/backups", start_time=begins)).json()["backups"]
    assert len(since) == 3, "lists go by the time that is told"


@pytest.mark.parametrize("project", ["own", "source"])
async def test_a_copy_names_its_own_project_or_its_sources_and_becomes_an_image_in_both(
    second: Region, shop: Client, project: str
) -> None:
    second.emulator.switches["replica_project"] = project
    told = await shop.backup(second.account["backups"]["available"][0])
    there = Emulator(clock=FakeClock()).account()["project_id"]
    assert told["project_id"] == {"own": shop.project, "source": there}[project]
    assert (await shop.create_image(told["id"])).status_code == 200


@pytest.mark.parametrize("hour", range(24))
def test_no_copy_is_of_the_future_whenever_the_region_begins(hour: int) -> None:
    clock = FakeClock()
    clock.advance(hour * 3600)
    region = Emulator(clock=clock, seed="second-region")
    newest = max(one["created_at"] for one in region.cloud.walk("backup"))
    assert newest < region.cloud.stamp()
    assert newest > region.cloud.stamp(clock.now() - timedelta(days=2))
