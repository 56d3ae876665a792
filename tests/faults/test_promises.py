"""Promises that single faults, or faults at one moment, once broke: each in the words of whoever would have met it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.region import Ended, Region


@pytest.fixture
def region(folder: Path) -> Iterator[Region]:
    made = Region(folder)
    yield made
    made.close()


@pytest.fixture
def image(region: Region, backup: str) -> str:
    found: str = region.b2i("create", backup).told["image_id"]
    region.forget()
    return found


def launch(region: Region, image: str, *arguments: str, **order: Any) -> Ended:
    return region.b2i("launch", image, "--spec", region.write_launch(**order), *arguments)


def sent(region: Region, operation: str) -> list[float]:
    """When it was asked for, dry runs left out."""
    return [one.at for one in region.sent(operation) if one.writes]


# -- never in the dark --------------------------------------------------------------------------------------------------


def test_an_image_that_was_throttled_before_it_was_asked_for_is_looked_for_as_long_as_any_other(
    region: Region, backup: str
) -> None:
    """The settle time counts from the request that may have taken effect, not from the first one that was refused."""
    region.arm("img-0060", times=10)
    with region.killing("createWholeImage", skip=10):
        region.b2i("create", backup)
    killed = sent(region, "createWholeImage")[-1]
    assert region.b2i("create", backup).code == 0
    assert sent(region, "createWholeImage")[-1] >= killed + 120


def test_a_server_that_was_throttled_before_it_was_asked_for_is_looked_for_as_long_as_any_other(
    region: Region, image: str
) -> None:
    region.arm("flow-202", skip=1, times=25)
    with region.killing("createServers", skip=26):
        launch(region, image)
    killed = sent(region, "createServers")[-1]
    assert launch(region, image).code == 0
    assert sent(region, "createServers")[-1] >= killed + 600
    assert len(region.launched()) == 1


def test_a_server_that_cannot_be_looked_for_is_not_asked_for_again(region: Region, image: str) -> None:
    """Lists that do not answer prove nothing: the launch ends as still running, and the next run decides."""
    region.arm("reset-before", operation="createServers", skip=1)
    region.arm("error-503", operation="listServersDetail", skip=1, times=None)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(sent(region, "createServers"))) == (4, "still_running", 1)
    assert "503" in ended.error["message"]
    assert ended.told["launch_id"]
    region.emulator.faults.disarm()
    assert (launch(region, image).code, len(region.launched())) == (0, 1)


def test_an_unclear_launch_ends_when_it_was_told_to_and_not_when_the_settle_time_is_over(region: Region, image: str) -> None:
    region.arm("reset-before", operation="createServers", skip=1)
    began = region.clock.now()
    ended = launch(region, image, "--timeout", "2m")
    took = (region.clock.now() - began).total_seconds()
    assert (ended.code, ended.told["outcome"]) == (4, "still_running")
    assert took <= 130
    assert ended.told["launch_id"] in ended.error["action"]


def test_a_cloud_that_throttles_right_before_the_launch_is_waited_for_and_takes_no_order_away(region: Region, image: str) -> None:
    """The count of servers is read before the request; however long that takes, the order is still this run's own."""
    region.arm("throttled-429", operation="getServerLimits", skip=1, times=2, retry_after=40)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)


# -- nothing that the report does not name -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["forbidden", "unknown-enum"])
def test_a_server_that_was_asked_for_is_named_by_its_launch_id_however_the_wait_for_it_ends(
    region: Region, image: str, fault: str
) -> None:
    region.arm(fault, operation="getEcsJob", times=None)
    ended = launch(region, image)
    assert ended.code == 1
    (server,) = region.launched()
    assert ended.told["launch_id"] == server["tags"]["b2i-launch"]
    region.emulator.faults.disarm()
    shown = region.b2i("launch", image, "--spec", "launch.yaml", json=False)
    assert shown.code == 0


def test_people_read_the_launch_id_too(region: Region, image: str) -> None:
    region.arm("forbidden", operation="getEcsJob", times=None)
    shown = region.b2i("launch", image, "--spec", region.write_launch(), json=False)
    assert f"launch {region.launched()[0]['tags']['b2i-launch']}" in shown.err


@pytest.mark.parametrize("leave", [["data_disks"], ["eip"], ["system_disk", "data_disks", "eip"]], ids="-".join)
def test_disks_and_addresses_that_a_failed_launch_left_are_named(region: Region, image: str, leave: list[str]) -> None:
    before = {one["id"] for kind in ("volume", "publicip") for one in region.things(kind)}
    region.arm("leftovers", operation="createServers", skip=1, leave=leave)
    ended = launch(region, image, public_ip={})
    assert (ended.code, ended.error["code"]) == (1, "Ecs.0405")
    left = [one["id"] for kind in ("volume", "publicip") for one in region.things(kind) if one["id"] not in before]
    assert len(left) == len(leave)
    for ident in left:
        assert ident in ended.error["action"]


def test_the_backup_that_newest_has_chosen_is_named_when_the_job_fails(region: Region) -> None:
    region.arm("job-fails", operation="createWholeImage")
    ended = region.b2i("create", "--server", "shop-mail-01", "--newest")
    assert (ended.code, ended.told["backup_id"]) == (1, region.sent("createWholeImage")[0].body["backup_id"])


# -- the cloud's own words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["listVpcs", "listSubnets", "listSecurityGroups", "listFlavors"])
@pytest.mark.parametrize(("fault", "code", "waits"), [("error-503", "http.503", False), ("throttled-429", None, True)])
def test_a_launch_that_could_not_be_planned_is_the_clouds_trouble_and_no_refusal_of_the_order(
    region: Region, image: str, operation: str, fault: str, code: str | None, waits: bool
) -> None:
    region.arm(fault, operation=operation, times=None)
    ended = launch(region, image, network=region.launch()["network"])
    assert (ended.code, ended.told["outcome"], ended.error["retryable"]) == (1, "failed", waits)
    assert ended.error["code"] == code or (code is None and "." in ended.error["code"])
    assert ended.error["action"]
    assert sent(region, "createServers") == []
    region.emulator.faults.disarm()
    assert launch(region, image).code == 0
