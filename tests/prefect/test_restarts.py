"""Server and worker are stopped in the middle of a wait; the run does not mind."""

from __future__ import annotations

import signal

import pytest

from tests.support.house import SPEED, House, kill_family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def waiting_run(house: House, backup: str, seconds: float) -> str:
    """A run whose image will take so much longer."""
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=seconds * SPEED)
    run = house.order(backup)
    house.await_word(run, "accepted")
    return run


def test_a_server_that_is_killed_and_restarted_does_not_disturb_a_run_that_waits(house: House) -> None:
    backup = house.backup()
    run = waiting_run(house, backup, 30)

    kill_family(house.server.pid)
    house.server.wait()
    house.start_server()

    ended = house.await_state(run, "Completed", within=120)
    (image,) = house.cloud.images_of(backup)
    told = house.result(run)
    assert (told["outcome"], told["delivery"]["image_id"]) == ("made", image["id"])
    assert ended["run_count"] == 1
    assert image["id"] in house.artifacts(run)["image-from-backup"]
    checked = house.setup("--check")
    assert checked.returncode == 0, checked.stdout


def test_a_worker_that_is_stopped_lets_its_run_finish_and_ends_then(house: House) -> None:
    backup = house.backup()
    run = waiting_run(house, backup, 10)

    house.worker.send_signal(signal.SIGTERM)
    later = house.order(house.backup())
    ended = house.await_state(run, "Completed", within=120)
    assert house.worker.wait(60) == 0
    assert house.run(later)["run_count"] == 0, "no new runs are taken"
    house.start_worker()
    house.await_state(later, "Completed")

    assert ended["run_count"] == 1
    assert [one["name"] for one in house.states(run) if one["name"] in {"Cancelling", "Cancelled", "Crashed"}] == []
    told = house.result(run)
    assert (told["outcome"], "leftovers" in told) == ("made", False)
    assert told["delivery"]["image_id"] == house.cloud.images_of(backup)[0]["id"]
