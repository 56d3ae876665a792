"""Ctrl-C and SIGTERM: what is left in the cloud is named, nothing is undone, and the same command goes on."""

import asyncio
import os
import signal
from typing import Any

import pytest
import yaml

from tests.support.region import Region
from tests.support.runbooks import APP, DRILL, FAILOVER, WEB


def stop_at(region: Region, operation: str, number: signal.Signals) -> None:
    """Somebody sends this process a signal when it asks for that, once."""

    def stop(asked: Any) -> None:
        if asked.operation == operation:
            region.watchers.remove(stop)
            os.kill(os.getpid(), number)

    region.watchers.append(stop)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_order_names_the_job_and_the_image_and_the_next_run_adopts_them(
    region: Region, backup: str, number: signal.Signals, code: int
) -> None:
    stop_at(region, "getImsJob", number)
    ended = region.b2i("create", backup)
    (image,) = region.images_of(backup)
    (job,) = region.things("ims-job", job_type="imsCreateWholeImageByBackupJob")
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (code, "still_running", "b2i.interrupted")
    assert (ended.told["backup_id"], ended.told["job_id"], ended.told["image_id"]) == (backup, job["id"], image["id"])
    assert f"`b2i --cloud shop --json create {backup}`" in ended.error["action"]
    again = region.b2i("create", backup)
    assert (again.code, again.told["image_id"]) == (0, image["id"])
    assert len(region.sent("createWholeImage")) == 1


def test_on_a_terminal_every_thing_that_is_left_has_a_line(region: Region, backup: str) -> None:
    stop_at(region, "getImsJob", signal.SIGINT)
    ended = region.b2i("create", backup, json=False)
    (image,) = region.images_of(backup)
    assert ended.code == 130
    assert any(image["id"] in line and "saving" in line for line in ended.err.splitlines())


def test_a_stopped_launch_names_its_server(region: Region, backup: str) -> None:
    image = region.b2i("create", backup).told["image_id"]
    region.emulator.switches["building_server"] = "shown"
    stop_at(region, "getEcsJob", signal.SIGINT)
    ended = region.b2i("launch", image, "--spec", region.write_launch())
    (server,) = region.launched()
    assert (ended.code, ended.told["server_id"], ended.told["launch_id"]) == (130, server["id"], server["tags"]["b2i-launch"])


def test_a_stopped_launch_names_what_its_failed_job_left_behind(region: Region, backup: str) -> None:
    image = region.b2i("create", backup).told["image_id"]
    region.arm("leftovers", operation="createServers", skip=1, leave=["system_disk", "eip"])
    spec = region.write_launch(public_ip={"bandwidth_mbit": 5})

    def stop(asked: Any) -> None:
        if asked.operation == "getEcsJob" and b"FAIL" in asked.answer:
            region.answered.remove(stop)
            raise asyncio.CancelledError  # as Ctrl-C ends what is under way; the signal itself would come too late here

    region.answered.append(stop)
    ended = region.b2i("launch", image, "--spec", spec)
    assert ended.code == 130
    (disk,) = [one for one in region.things("volume") if one["server_id"] is None and one["name"].startswith("shop-restored")]
    (address,) = region.things("publicip", port_id=None)
    assert disk["id"] in ended.error["message"]
    assert address["id"] in ended.error["message"]


def test_a_cloud_that_is_silent_does_not_hold_up_the_stop(region: Region, backup: str) -> None:
    stop_at(region, "getImsJob", signal.SIGINT)
    region.arm("reset-before", operation=["getBackup", "listCloudImages", "getImage"], skip=3, times=None)
    ended = region.b2i("create", backup)
    assert (ended.code, ended.error["code"]) == (130, "b2i.interrupted")


def test_an_order_that_a_person_stopped_is_told_by_the_reconciler_and_not_gone_on_with(region: Region, backup: str) -> None:
    stop_at(region, "getImsJob", signal.SIGINT)
    region.b2i("create", backup, "--share-with", "dr")
    region.clock.advance(3600)
    (told,) = region.b2i("reconcile").told["orders"]
    assert (told["outcome"], told["subject"]) == ("stopped", backup)
    assert region.sent("batchAddImageMembers") == []


def test_a_stopped_night_says_how_far_it_came_and_the_same_command_goes_on(region: Region) -> None:
    policy = {"name": "nightly", "servers": {"names": ["shop-web-0?"]}, "limits": {"images_at_once": 2}}
    (region.folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    stop_at(region, "getImsJob", signal.SIGTERM)
    ended = region.b2i("nightly", "policy.yaml")
    told = ended.told
    assert (ended.code, told["outcome"], ended.error["code"]) == (143, "still_running", "b2i.interrupted")
    assert (told["servers"], len(told["made"]) + len(told["late"]), len(told["failed"])) == (4, 2, 2)
    assert all(one["code"] == "b2i.interrupted" for one in told["late"] + told["failed"])
    again = region.b2i("nightly", "policy.yaml")
    assert (again.code, len(again.told["made"]) + len(again.told["adopted"])) == (0, 4)
    assert len(region.sent("createWholeImage")) == 4


def test_the_board_knows_of_a_stopped_night(region: Region) -> None:
    (region.folder / "policy.yaml").write_text(yaml.safe_dump({"name": "nightly", "servers": {"names": ["shop-web-0?"]}}))
    stop_at(region, "getImsJob", signal.SIGTERM)
    region.b2i("nightly", "policy.yaml")
    (policy,) = region.b2i("board").told["policies"]
    assert (policy["name"], policy["outcome"]) == ("nightly", "failed")


@pytest.mark.parametrize("json", [True, False])
def test_a_stopped_hand_over_names_the_image_and_how_its_recipient_stands(region: Region, backup: str, json: bool) -> None:
    image = region.make_image_by_hand(backup)["id"]
    stop_at(region, "batchUpdateImageMembers", signal.SIGINT)
    ended = region.b2i("hand-over", image, "--to", "partner", json=json)
    recipient = region.account["recipient"]["project_id"]
    assert ended.code == 130
    if json:
        assert (ended.told["outcome"], ended.told["image_id"], ended.told["recipient"]) == ("still_running", image, recipient)
    else:
        assert any(recipient in line and "pending" in line for line in ended.err.splitlines())
    orders = region.b2i("reconcile").told["orders"]
    assert [one["outcome"] for one in orders] == ["stopped"]
    again = region.b2i("hand-over", image, "--to", "partner")
    assert (again.code, again.told["state"], region.b2i("reconcile").told["orders"]) == (0, "accepted", [])


def test_a_stopped_accept_of_everything_names_each_offer_and_how_it_stands(region: Region, backup: str) -> None:
    image = region.make_image_by_hand(backup, "shop-web")["id"]
    plain = region.named("image", "base-ubuntu-hardened")["id"]
    for one in (image, plain):
        region.b2i("share", one, "partner")
    region.b2i("accept", plain, cloud="partner")
    region.write_settings(projects={}, accept_from=[region.account["project_id"]])
    stop_at(region, "batchUpdateImageMembers", signal.SIGINT)
    ended = region.b2i("accept", "--all", cloud="partner", json=False)
    assert ended.code == 130
    for named, state in ((image, "pending"), (plain, "accepted")):
        assert any(named in line and state in line for line in ended.err.splitlines())
    again = region.b2i("accept", "--all", cloud="partner")
    assert (again.code, {one["state"] for one in again.told["offers"]}) == (0, {"accepted"})
    assert region.b2i("reconcile", cloud="partner").told["orders"] == []


def _runbook(region: Region) -> str:
    """Two servers, one after the other; images are made first."""
    groups: list[dict[str, Any]] = [
        {"name": "one", "servers": [{"source": APP, "probes": [{"console": "login:"}]}]},
        {"name": "two", "needs": ["one"], "servers": [{"source": WEB, "probes": [{"console": "login:"}]}]},
    ]
    told = {"name": "shop", "drill": DRILL, "failover": FAILOVER, "groups": groups, "images": {"when_missing": "create"}}
    told["defaults"] = {"flavor": region.account["flavor"]}
    (region.folder / "shop.yaml").write_text(yaml.safe_dump(told))
    return "shop.yaml"


def _stop_at_the_second_launch(region: Region, number: signal.Signals) -> None:
    def stop(asked: Any) -> None:
        if asked.operation == "createServers" and asked.writes and len(region.launched()) == 1:
            region.watchers.remove(stop)
            os.kill(os.getpid(), number)

    region.watchers.append(stop)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_drill_of_a_runbook_is_taken_down_and_its_evidence_says_so(
    region: Region, number: signal.Signals, code: int
) -> None:
    book = _runbook(region)
    _stop_at_the_second_launch(region, number)
    ended = region.b2i("runbook", "drill", book)
    assert (ended.code, ended.told["outcome"], region.launched()) == (code, "failed", [])
    assert "its servers were taken down" in ended.error["message"]
    assert "begins another" in ended.error["action"]
    (run,) = region.b2i("runbook", "status").told["runs"]
    assert (run["state"], run["outcome"]) == ("done", "partly")
    assert region.b2i("runbook", "status", run["run"]).told["stopped"] == "stopped by a signal"


def test_a_stopped_failover_stays_as_it_is_and_the_same_command_goes_on(region: Region) -> None:
    book = _runbook(region)
    _stop_at_the_second_launch(region, signal.SIGTERM)
    ended = region.b2i("runbook", "failover", book, "--yes-i-mean", "shop")
    assert (ended.code, ended.told["outcome"]) == (143, "still_running")
    assert region.launched()
    again = region.b2i("runbook", "failover", book, "--yes-i-mean", "shop")
    assert (again.code, again.told["outcome"], len(region.launched())) == (0, "made", 2)
