"""Cancelling a run cancels nothing in the cloud: the run says what is there, and the next order adopts it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support.house import House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = "image-from-backup"


def cancelled(house: House, run: str) -> tuple[str, dict[str, Any]]:
    """Cancel as the UI does; the page and the result that the run leaves."""
    house.cancel(run)
    ended = house.await_state(run, "Cancelled")
    assert "cancelled" in ended["tags"]
    return house.artifacts(run)[PAGE], house.result(run)


def test_a_run_that_is_cancelled_while_it_waits_names_job_and_image_and_the_next_order_adopts_them(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=900)
    run = house.order(backup, share_with=["dr"])
    house.await_word(run, "accepted")

    page, result = cancelled(house, run)

    (image,) = house.cloud.images_of(backup)
    assert (result["exit_code"], result["outcome"], result["error"]["code"]) == (4, "still_running", "b2i.cancelled")
    assert (result["handle"]["backup"], result["handle"]["image"]) == (backup, image["id"])
    seen = {one["kind"]: one for one in result["leftovers"]["things"]}
    assert (seen["image"]["name"], seen["image"]["status"]) == (image["name"], "saving")
    assert seen["job"]["status"].startswith("RUNNING")
    for word in (backup, image["id"], seen["job"]["id"], "saving", "RUNNING", f"b2i create {backup}", "Retry", "delete"):
        assert word in page
    assert image["id"] in house.told(run), "the log names it, too"

    house.retry(run)
    house.await_state(run, "Completed")
    retried, again = house.result(run), house.b2i("--prefect", "create", backup, "--share-with", "dr")
    assert "leftovers" not in retried
    assert retried["delivery"]["image_id"] == image["id"]
    assert (again[0], again[1]["image_id"], again[1]["outcome"]) == (0, image["id"], "adopted")
    assert [one["id"] for one in house.cloud.images_of(backup)] == [image["id"]]


def test_what_was_asked_for_a_moment_before_is_named_and_adopted_too(house: House) -> None:
    backup = house.backup()
    held = house.cloud.arm(name="hold", operation="createWholeImage", seconds=3)
    run = house.order(backup)
    house.await_strike(held)

    page, result = cancelled(house, run)

    (image,) = house.cloud.images_of(backup)
    assert result["handle"]["image"] == image["id"]
    assert image["id"] in page
    code, again, _ = house.b2i("--prefect", "create", backup)
    assert (code, again["image_id"]) == (0, image["id"])


def test_a_run_that_is_cancelled_while_it_launches_names_the_server_and_how_to_be_rid_of_it(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createServers", skip=1, seconds=900)
    launch = house.launch_order("cancelled-server")
    run = house.order(backup, share_with=["dr"], launch=launch)
    house.await_word(run, "accepted for cancelled-server")

    page, result = cancelled(house, run)

    things = {one["kind"]: one for one in result["leftovers"]["things"]}
    assert (things["member"]["id"], things["image"]["status"]) == (house.account["second_project"], "active")
    assert f"b2i teardown {things['launch']['id']}" in page
    assert things["server"]["name"] == "cancelled-server"
    house.retry(run)
    house.await_state(run, "Completed", within=120)
    (server,) = house.cloud.servers_called("cancelled-server")
    assert house.result(run)["delivery"]["launch"]["server_ids"] == [server["id"]]


def test_a_run_that_is_cancelled_before_anything_was_asked_for_says_so(house: House) -> None:
    backup = house.backup()
    held = house.cloud.arm(name="slow", operation="getBackup", seconds=2)
    run = house.order(backup)
    house.await_strike(held)

    page, result = cancelled(house, run)

    assert (result["exit_code"], result["outcome"]) == (1, "failed")
    assert "nothing was made" in page
    assert house.cloud.images_of(backup) == []


def test_a_follower_tells_what_a_cancelled_run_has_left(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=900)
    follower = house.start("follower-of-cancelled", "b2i", "--json", "--prefect", "create", backup)
    run = house.newest_run()
    house.await_word(run, "accepted")
    house.cancel(run)

    assert follower.wait(60) == 4
    said = house.log("follower-of-cancelled")
    (image,) = house.cloud.images_of(backup)
    assert f'"image_id": "{image["id"]}"' in said
    assert '"code": "b2i.cancelled"' in said


def test_a_run_that_is_killed_while_it_is_cancelled_loses_nothing(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=900)
    run = house.order(backup)
    house.await_word(run, "accepted")
    house.signal_run(run, signal.SIGSTOP)
    house.cancel(run)
    house.signal_run(run, signal.SIGKILL)  # perhaps before its worker has heard of the cancelling, and then nobody reports

    code, again, _ = house.b2i("--prefect", "create", backup)
    (image,) = house.cloud.images_of(backup)
    assert (code, again["outcome"], again["image_id"]) == (0, "adopted", image["id"])
