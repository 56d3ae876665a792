"""Whatever dies, the same order given again ends with one image, one server and a true report: with a real server and worker.

What takes minutes (a host that dies, a foreign run that is silent for long) begins first and is looked at last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.automations import HEARTBEAT_SECONDS, RETRY_AFTER_SECONDS
from tests.support.house import ROOT, House, kill_family, patience
from tests.support.yard import DOZEN, POINTS, Came, Point, kill_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds a run's process under /proc"),
]

SILENCE = 3 * HEARTBEAT_SECONDS


@dataclass
class LongOnes:
    """Runs that take minutes, and when they began."""

    lost: str
    """Its host has died."""
    lost_backup: str
    killed_at: datetime
    foreign_silent: str
    """Healthy, without a word for longer than we bear."""
    foreign_crashed: str
    crashed_at: float


@pytest.fixture(scope="module", autouse=True)
def long_ones(house: House) -> Iterator[LongOnes]:
    house.new_pool("foreign")
    flow = house.ask("POST", "/flows/", name="somebody-elses-work")
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    house.ask(
        "POST",
        "/deployments/",
        name="nightly",
        flow_id=flow["id"],
        entrypoint="tests/support/foreign.py:somebody_elses_work",
        pull_steps=pull,
        work_pool_name="foreign",
        enforce_parameter_schema=False,
    )
    worker = house.new_worker("foreign")
    silent = house.order_foreign("somebody-elses-work/nightly", seconds=SILENCE + 60)
    crashed = house.order_foreign("somebody-elses-work/nightly", seconds=600)

    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=600)
    lost = house.order(backup)
    house.await_word(lost, "accepted")
    kill_family(house.worker.pid)
    killed_at = datetime.now(UTC)
    house.start_worker()

    house.await_state(crashed, "Running")
    house.await_state(silent, "Running")
    house.signal_run(crashed)
    house.await_state(crashed, "Crashed")
    yield LongOnes(lost, backup, killed_at, silent, crashed, time.monotonic())
    kill_family(worker.pid)


# -- a dozen kills ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(house: House, request: pytest.FixtureRequest) -> Iterator[dict[Point, Came]]:
    """Every point that is asked for, killed and given again."""
    asked = [item.callspec.params.get("point") for item in request.session.items if getattr(item, "callspec", None)]
    with ExitStack() as processes:
        yield kill_at([point for point in POINTS if point in asked], house, processes)


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=() if point in DOZEN else pytest.mark.prove, id=str(point)) for point in POINTS]
)
def test_an_order_that_is_killed_and_given_again_makes_one_image_and_one_server(killed: dict[Point, Came], point: Point) -> None:
    came = killed[point]
    yard = came.yard
    if came.trouble:
        raise came.trouble
    (image,) = yard.site.cloud.images_of(came.subject)
    (server,) = yard.site.cloud.servers_called(came.server)
    recipient = yard.site.account["second_project"]
    assert (image["status"], server["status"]) == ("active", "ACTIVE")
    assert yard.site.members_of(image["id"]) == [recipient]

    told = yard.house.result(came.runs[-1])
    assert (told["exit_code"], told["outcome"] in {"made", "adopted"}) == (0, True)
    delivery = told["delivery"]
    assert (delivery["image_id"], delivery["status"], delivery["shared_with"]) == (image["id"], "active", [recipient])
    assert delivery["launch"]["server_ids"] == [server["id"]]
    assert image["id"] in yard.house.artifacts(came.runs[-1])["image-from-backup"]
    if point.again == "Retry":
        assert len(came.runs) == 1
        assert came.ended["run_count"] >= 2
    if point.who == "stopped run":
        assert "cancelled" not in came.ended["tags"]


# -- Retry --------------------------------------------------------------------------------------------------------------


def test_a_run_that_is_retried_from_any_end_resumes_its_own_order(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=300)
    run = house.order(backup, share_with=["dr"])
    house.await_word(run, "accepted")
    house.signal_run(run)
    crashed = house.await_state(run, "Crashed")
    assert crashed["run_count"] == 1

    with patience(60, "time since the crash") as beats:  # the worker reports it twice; so long a person needs, too
        begun = time.monotonic()
        for _ in beats:
            if time.monotonic() - begun > 20:
                break
    forbidden = house.cloud.arm(name="forbidden", operation=["getImsJob", "getImage"], times=None)
    house.retry(run)
    failed = house.await_state(run, "Failed")
    assert failed["state"]["message"]
    house.cloud.http.delete(f"{house.account['endpoints']['iam']}/_emulator/faults", params={"id": forbidden})

    house.set_state(run, "FAILED", "StillRunning")  # as it ends after its time; here without waiting for that
    house.retry(run)
    house.await_state(run, "Completed")
    (image,) = house.cloud.images_of(backup)
    first = house.result(run)
    assert (first["outcome"], first["delivery"]["image_id"]) == ("adopted", image["id"])

    house.retry(run)
    house.await_state(run, "AwaitingRetry", "Pending", "Running", "Submitting")
    again = house.await_state(run, "Completed")
    assert again["run_count"] == 4
    assert house.result(run)["delivery"]["image_id"] == image["id"]
    assert [one["id"] for one in house.cloud.images_of(backup)] == [image["id"]]
    assert house.cloud.images_of(backup)[0]["status"] == "active"


# -- what began first ---------------------------------------------------------------------------------------------------


def test_a_run_whose_host_dies_is_taken_up_by_the_next_worker_within_four_minutes(house: House, long_ones: LongOnes) -> None:
    ended = house.await_state(long_ones.lost, "Completed", within=240)
    passed = [one["name"] for one in house.states(long_ones.lost)]
    assert passed.index("Crashed") < passed.index("AwaitingRetry") < passed.index("Completed")
    took = datetime.fromisoformat(ended["end_time"]) - long_ones.killed_at
    assert took < timedelta(seconds=240), took
    (image,) = house.cloud.images_of(long_ones.lost_backup)
    told = house.result(long_ones.lost)
    assert (told["outcome"], told["delivery"]["image_id"], image["status"]) == ("adopted", image["id"], "active")


def test_somebody_elses_run_that_is_silent_for_long_stays_untouched(house: House, long_ones: LongOnes) -> None:
    ended = house.await_state(long_ones.foreign_silent, "Completed", within=SILENCE + 90)
    passed = [one["name"] for one in house.states(long_ones.foreign_silent)]
    assert "Crashed" not in passed
    assert ended["run_count"] == 1


def test_somebody_elses_crashed_run_is_not_brought_back(house: House, long_ones: LongOnes) -> None:
    with patience(300, "the time after which ours would be brought back") as beats:
        for _ in beats:
            if time.monotonic() - long_ones.crashed_at > RETRY_AFTER_SECONDS + 30:
                break
    assert house.run(long_ones.foreign_crashed)["state_name"] == "Crashed"
    assert house.run(long_ones.foreign_crashed)["run_count"] == 1
