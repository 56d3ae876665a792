"""Deleting is harder than making: by name, only what is ours, until nothing is left, and proven."""

import json
from typing import Any

import pytest

from tests.support.region import Asked, Ended, Region

NAME = ("--yes-i-mean", "shop-restored")


@pytest.fixture
def image(region: Region, backup: str) -> str:
    found: str = region.make_image_by_hand(backup)["id"]
    return found


def launched(region: Region, image: str, **order: Any) -> dict[str, Any]:
    """A launch with a public address; returns what it told."""
    ended = region.b2i("launch", image, "--spec", region.write_launch(**({"public_ip": {}} | order)))
    assert ended.code == 0, ended.err
    region.forget()
    return ended.told


def teardown(region: Region, launch: dict[str, Any], *arguments: str, **how: Any) -> Ended:
    return region.b2i("teardown", launch["launch_id"], *arguments, **how)


def left(region: Region, launch: dict[str, Any]) -> dict[str, list[str]]:
    """What is still there of a launch, by its name."""
    return {
        "servers": [one["id"] for one in region.launched()],
        "disks": [one["id"] for one in region.things("volume") if one["name"].startswith("shop-restored")],
        "addresses": [one["id"] for one in region.things("publicip")],
    }


NOTHING: dict[str, list[str]] = {"servers": [], "disks": [], "addresses": []}


# -- who may --------------------------------------------------------------------------------------------------------------


def test_without_the_name_nothing_is_deleted(region: Region, image: str) -> None:
    launch = launched(region, image)
    ended = teardown(region, launch)
    assert (ended.code, ended.told["outcome"]) == (2, "failed")
    assert "shop-restored" in ended.error["action"]
    assert region.writes == []


@pytest.mark.parametrize(
    "said",
    ["shop-db-01", "", pytest.param("shop-restored ", marks=pytest.mark.one_door("a form takes blanks off")), "SHOP-RESTORED"],
)
def test_with_a_wrong_name_nothing_is_deleted(region: Region, image: str, said: str) -> None:
    launch = launched(region, image)
    ended = teardown(region, launch, "--yes-i-mean", said)
    assert ended.code == 2
    assert (region.writes, len(region.launched())) == ([], 1)


@pytest.mark.one_door("the form has a field for it")
@pytest.mark.parametrize(("typed", "code"), [("shop-restored\n", 0), ("shop-web-01\n", 2), ("\n\nno\n", 2)])
def test_on_a_terminal_the_name_is_asked_for(region: Region, image: str, typed: str, code: int) -> None:
    launch = launched(region, image)
    ended = teardown(region, launch, json=False, typed=typed)
    assert ended.code == code, ended.err
    assert len(region.launched()) == (0 if code == 0 else 1)


def test_a_drill_server_needs_no_name(region: Region, image: str) -> None:
    launch = launched(region, image)
    (server,) = region.launched()
    region.change("server", server, tags={"b2i-drill": launch["launch_id"]})
    assert teardown(region, launch).code == 0
    assert left(region, launch) == NOTHING


@pytest.mark.parametrize("wrong", ["", "xyz", "0" * 11, "g" * 12, "shop-restored", "../../etc", "A" * 12])
def test_what_cannot_be_a_launch_id_is_a_mistake_of_usage(region: Region, wrong: str) -> None:
    ended = region.b2i("teardown", wrong, *NAME)
    assert (ended.code, region.writes) == (2, [])


# -- what goes ------------------------------------------------------------------------------------------------------------


def test_servers_disks_and_addresses_are_gone_and_it_is_proven_by_looking(region: Region, image: str) -> None:
    launch = launched(region, image)
    before = left(region, launch)
    assert [len(kind) for kind in before.values()] == [1, 2, 1]
    ended = teardown(region, launch, *NAME)
    assert (ended.code, ended.told["outcome"], ended.told["left_behind"]) == (0, "made", [])
    assert (ended.told["servers"], sorted(ended.told["disks"])) == (before["servers"], sorted(before["disks"]))
    assert ended.told["public_ips"] == before["addresses"]
    assert left(region, launch) == NOTHING
    (asked,) = region.sent("deleteServers")
    assert asked.body == {"servers": [{"id": before["servers"][0]}], "delete_publicip": True, "delete_volume": True}
    assert region.sent("listVolumesDetail")
    assert region.sent("listPublicIps")


@pytest.mark.parametrize("switch", ["deleted", "kept"])
def test_the_system_disk_goes_whether_the_cloud_takes_it_along_or_not(region: Region, image: str, switch: str) -> None:
    region.emulator.switches["system_disk_on_delete"] = switch
    launch = launched(region, image)
    assert teardown(region, launch, *NAME).code == 0
    assert left(region, launch) == NOTHING


def test_several_servers_of_one_launch_go_together(region: Region, image: str) -> None:
    launch = launched(region, image, count=3)
    ended = teardown(region, launch, *NAME)
    assert (ended.code, len(ended.told["servers"])) == (0, 3)
    assert left(region, launch) == NOTHING


def test_a_server_in_error_goes_too(region: Region, image: str) -> None:
    region.arm("leftovers", operation="createServers", skip=1, leave=["server", "data_disks"])
    ended = region.b2i("launch", image, "--spec", region.write_launch())
    assert ended.code == 1
    (server,) = region.launched()
    assert region.b2i("teardown", server["tags"]["b2i-launch"], *NAME).code == 0
    assert region.launched() == []


def test_again_there_is_nothing_to_do(region: Region, image: str) -> None:
    launch = launched(region, image)
    teardown(region, launch, *NAME)
    region.forget()
    ended = teardown(region, launch)
    assert (ended.code, ended.told["outcome"], ended.told["servers"]) == (0, "adopted", [])
    assert region.writes == []


def test_a_lost_journal_hinders_no_teardown(region: Region, image: str) -> None:
    launch = launched(region, image)
    for record in region.journal.iterdir():
        record.unlink()
    assert teardown(region, launch, *NAME).code == 0
    assert left(region, launch) == NOTHING


def test_a_proven_teardown_frees_the_order_for_the_next_launch(region: Region, image: str) -> None:
    first = launched(region, image)
    assert teardown(region, first, *NAME).code == 0
    second = launched(region, image)
    assert (second["outcome"], len(region.launched())) == ("made", 1)
    assert second["launch_id"] != first["launch_id"]


# -- what stays -----------------------------------------------------------------------------------------------------------


def test_what_others_have_stays_as_it_is(region: Region, image: str) -> None:
    launch = launched(region, image)
    other = launched(region, image, name="other-one")
    servers = {one["id"] for one in region.things("server")}
    volumes = {one["id"] for one in region.things("volume")}
    ended = teardown(region, launch, *NAME)
    gone = set(ended.told["servers"]) | set(ended.told["disks"])
    assert {one["id"] for one in region.things("server")} == servers - gone
    assert {one["id"] for one in region.things("volume")} == volumes - gone
    assert [one["id"] for one in region.launched()] == [other["server_id"]]
    (address,) = region.things("publicip")
    assert address["port_id"] == region.launched()[0]["nics"][0]["port_id"]


def test_a_server_of_the_same_name_without_the_mark_stays(region: Region, image: str) -> None:
    launch = launched(region, image)
    by_hand = dict(region.launched()[0]) | {
        "id": "11111111-2222-4333-8444-555555555555",
        "tags": {},
        "volumes": [],
        "listens": False,
    }
    region.emulator.cloud.new("server", by_hand)
    assert teardown(region, launch, *NAME).code == 0
    assert region.emulator.cloud.get("server", by_hand["id"]) is not None


def test_a_disk_that_somebody_attached_elsewhere_meanwhile_is_his(region: Region, image: str) -> None:
    """The servers go with their disks kept by the cloud; before we look, one of them hangs on another server."""
    launch = launched(region, image)
    (server,) = region.launched()
    taken = region.emulator.cloud.get("volume", server["volumes"][1])
    assert taken

    def attach(asked: Asked) -> None:
        if asked.operation == "deleteServers":
            host = region.named("server", "shop-web-01")
            region.change("server", server, volumes=server["volumes"][:1])
            region.change("server", host, volumes=[*host["volumes"], taken["id"]])
            region.change("volume", taken, server_id=host["id"], device="/dev/vdx")

    region.watchers.append(attach)
    ended = teardown(region, launch, *NAME)
    assert ended.code == 0, ended.err
    assert region.emulator.cloud.get("volume", taken["id"]) is not None
    assert region.launched() == []


def test_an_address_that_still_hangs_on_the_dead_servers_port_is_named_as_left_behind(region: Region, image: str) -> None:
    launch = launched(region, image)
    address = dict(region.things("publicip")[0])

    def hang(asked: Asked) -> None:
        if not region.launched() and not region.things("publicip"):
            region.emulator.cloud.new("publicip", dict(address))

    region.watchers.append(hang)
    ended = teardown(region, launch, *NAME)
    assert (ended.code, ended.told["outcome"]) == (5, "partly")
    assert ended.told["left_behind"] == [f"address {address['address']} (ACTIVE)"]
    region.watchers.clear()
    region.change("publicip", address, port_id=None, status="DOWN")
    again = teardown(region, launch)
    assert (again.code, again.told["left_behind"]) == (0, [])
    assert left(region, launch) == NOTHING


def test_a_locked_server_is_told_and_stays(region: Region, image: str) -> None:
    launch = launched(region, image)
    region.change("server", region.launched()[0], locked=True)
    ended = teardown(region, launch, *NAME)
    assert ended.code in {1, 4}
    assert ended.told["launch_id"] == launch["launch_id"]
    assert len(region.launched()) == 1
    region.change("server", region.launched()[0], locked=False)
    assert teardown(region, launch, *NAME).code == 0
    assert left(region, launch) == NOTHING


# -- on the way -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost-answer", "reset-before", "error-500", "html-502", "throttled-429", "truncated-json"])
@pytest.mark.parametrize("operation", ["deleteServers", "getServer", "listVolumesDetail", "deleteVolume", "listPublicIps"])
def test_trouble_on_the_way_leaves_nothing_behind(region: Region, image: str, operation: str, fault: str) -> None:
    region.emulator.switches["system_disk_on_delete"] = "kept"
    launch = launched(region, image)
    region.arm(fault, operation=operation)
    ended = teardown(region, launch, *NAME)
    assert (ended.code, left(region, launch)) == (0, NOTHING), ended.err


def test_a_deletion_job_that_fails_is_asked_for_again_or_told(region: Region, image: str) -> None:
    launch = launched(region, image)
    region.arm("job-fails", operation="deleteServers", code="Ecs.0073", reason="the system disk is being backed up")
    ended = teardown(region, launch, *NAME)
    assert (ended.code, left(region, launch)) == (0, NOTHING), ended.err


def test_a_deletion_that_never_ends_is_still_running_and_names_what_is_left(region: Region, image: str) -> None:
    launch = launched(region, image)
    region.arm("job-stuck", operation="deleteServers", seconds=3000)
    ended = teardown(region, launch, *NAME)
    assert (ended.code, ended.told["outcome"]) == (4, "still_running")
    assert launch["server_id"] in ended.error["message"]
    region.clock.advance(3000)
    ended = teardown(region, launch, *NAME)
    assert (ended.code, left(region, launch)) == (0, NOTHING)


def test_stopped_half_way_the_next_run_removes_the_disks_that_are_left(region: Region, image: str) -> None:
    """The servers are gone, so nothing in the cloud tells whose disks those are; the journal does."""
    region.emulator.switches["system_disk_on_delete"] = "kept"
    launch = launched(region, image)
    region.arm("forbidden", operation=["deleteVolume", "listVolumesDetail"], times=None)
    ended = teardown(region, launch, *NAME)
    assert ended.code == 1
    assert (region.launched(), len(left(region, launch)["disks"])) == ([], 1)
    region.emulator.faults.disarm()
    ended = teardown(region, launch)
    assert (ended.code, left(region, launch)) == (0, NOTHING)


def test_people_read_what_went_and_that_nothing_is_left(region: Region, image: str) -> None:
    launch = launched(region, image)
    ended = teardown(region, launch, *NAME, json=False)
    assert ended.code == 0
    assert f"Launch {launch['launch_id']} is gone" in ended.out
    assert launch["server_id"] in ended.out
    assert "nothing is left" in ended.err


# -- a launch that is still on its way ----------------------------------------------------------------------------------


def test_a_launch_whose_server_is_not_to_be_seen_yet_has_not_gone(region: Region, backup: str) -> None:
    """Else its server would come after the proof, and the same order would launch a second one."""
    image = region.b2i("create", backup).told["image_id"]
    region.emulator.switches["building_server"] = "absent"
    spec = region.write_launch()
    with region.killing("getEcsJob"):
        region.b2i("launch", image, "--spec", spec)
    (mark,) = {server["tags"]["b2i-launch"] for server in region.launched()}
    early = region.b2i("teardown", mark, "--yes-i-mean", "shop-restored")
    assert (early.code, early.error["code"]) == (4, "b2i.still-running")
    assert "on its way" in early.error["message"]
    region.clock.advance(600)
    gone = region.b2i("teardown", mark, "--yes-i-mean", "shop-restored")
    assert (gone.code, gone.told["left_behind"], region.launched()) == (0, [], [])
    assert region.b2i("launch", image, "--spec", spec).told["outcome"] == "made"
    assert len(region.launched()) == 1


def test_a_launch_that_was_never_answered_counts_as_gone_only_after_the_settle_time(region: Region, backup: str) -> None:
    image = region.b2i("create", backup).told["image_id"]
    with region.killing("createServers", skip=1):
        region.b2i("launch", image, "--spec", region.write_launch())
    (record,) = region.journal.glob("launch-*.json")
    mark = json.loads(record.read_text())["mark"]
    assert region.b2i("teardown", mark).code == 4
    region.clock.advance(601)
    assert region.b2i("teardown", mark).code == 0


def test_a_server_that_lists_do_not_show_yet_is_removed_all_the_same(region: Region, backup: str) -> None:
    told = region.b2i("create", backup, "--launch", region.write_launch()).told
    region.arm("late-listing", seconds=3600, times=None)
    refused = region.b2i("teardown", told["launch_id"])
    assert (refused.code, region.launched() != []) == (2, True), "its name is asked for"
    gone = region.b2i("teardown", told["launch_id"], "--yes-i-mean", "shop-restored")
    assert (gone.code, gone.told["servers"], region.launched()) == (0, [told["server_id"]], [])
