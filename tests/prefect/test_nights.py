"""Nights with a real server and worker: killed, missed, stopped, ordered from a terminal; who is told of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from backup_to_image.run_results import NIGHT_RESULT_KEY
from tests.support.house import SPEED, House, Site, kill_family, patience
from tests.support.letters import letter_box, unsubscribe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Nights:
    """A cloud of their own, and the policies of its worker."""

    def __init__(self, house: House, site: Site, block: str) -> None:
        self.house, self.site, self.block = house, site, block
        self.folder = site.folder / "policies"
        self.folder.mkdir()
        settings = yaml.safe_load(site.files["settings"].read_text())
        settings["directories"]["policies"] = "policies"
        site.files["settings"].write_text(yaml.safe_dump(settings))
        house.new_block(block, site)

    def policy(self, name: str, *servers: str, **keys: Any) -> str:
        """Write a policy and have it deployed; returns the deployment's name."""
        content = {
            "name": name,
            "cloud": self.block,
            "servers": {"names": list(servers)},
            "backup": {"newest_within": "30d"},
        } | keys
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = self.setup()
        assert done.returncode == 0, done.stdout + done.stderr
        return f"nightly/{name}"

    def setup(self) -> subprocess.CompletedProcess[str]:
        return self.house.setup(B2I_CONFIG=str(self.site.files["settings"]))

    def result(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.house.artifacts(run)[NIGHT_RESULT_KEY])
        return found

    def images(self) -> Counter[str]:
        """How many images each backup has."""
        owner = self.site.account["project_id"]
        listed = self.site.cloud.get("ims", "/v2/cloudimages", __whole_image="true", owner=owner)["images"]
        return Counter(image["__backup_id"] for image in listed)


@pytest.fixture(scope="module")
def nights(house: House) -> Iterator[Nights]:
    with ExitStack() as processes:
        yield Nights(house, Site(house.folder / "nights", processes), "nights")


@pytest.fixture(scope="module")
def shared(house: House) -> Iterator[Nights]:
    """Another cloud, whose servers no other night has done."""
    with ExitStack() as processes:
        yield Nights(house, Site(house.folder / "shared", processes), "shared")


def outcomes(result: dict[str, Any]) -> Counter[str]:
    return Counter(one["outcome"] for one in result["report"]["servers"])


@pytest.mark.prove  # in check-all both happen to the night on the stack (benchmarks.stack)
def test_a_night_whose_host_dies_half_way_is_brought_back_adopts_everything_and_makes_nothing_twice(
    house: House, nights: Nights
) -> None:
    deployment = nights.policy("killed", "shop-web-0?", "shop-app-0[134]", limits={"images_at_once": 3})
    there, before = nights.images(), nights.site.asked("createWholeImage")
    nights.site.cloud.arm(name="job-stuck", operation="createWholeImage", times=None, seconds=10 * SPEED)
    run = house.order_foreign(deployment)
    with patience(120, "half of the night") as beats:
        for _ in beats:
            if nights.site.asked("createWholeImage") >= before + 2:
                break
    house.kill_worker_and_runs()
    nights.site.cloud.disarm()
    asked = nights.site.asked("createWholeImage") - before
    assert asked < 6, "the night is not over yet"
    house.start_worker()

    ended = house.await_state(run, "Completed", within=300)
    assert ended["run_count"] == 2
    told = outcomes(nights.result(run))
    assert told["made"] + told["adopted"] == 7
    assert told["adopted"] >= 3, "what was asked for before"
    made = nights.images() - there
    assert (len(made), set(made.values())) == (nights.site.asked("createWholeImage") - before, {1})
    assert "was interrupted; going on" in house.told(run), "it keeps its deadline"


def test_of_the_nights_that_were_missed_while_no_worker_was_there_one_is_done(house: House, nights: Nights) -> None:
    deployment = nights.policy("missed", "office-wiki-01", "office-chat-01", schedule="30 22 * * *")
    kill_family(house.worker.pid)
    found = house.ask("GET", f"/deployments/name/{deployment}")
    newest = datetime.now(UTC).replace(hour=22, minute=30, second=0, microsecond=0)
    newest -= timedelta(days=1) if newest > datetime.now(UTC) else timedelta(0)
    before = nights.site.asked("createWholeImage")
    runs = [
        house.ask(
            "POST",
            f"/deployments/{found['id']}/create_flow_run",
            state={
                "type": "SCHEDULED",
                "name": "Scheduled",
                "state_details": {"scheduled_time": (newest - timedelta(days=days)).isoformat()},
            },
        )["id"]
        for days in (2, 1, 0)
    ]
    house.start_worker()
    ends = [house.await_state(run, within=180) for run in runs]
    done = [end for end in ends if end["state_type"] == "COMPLETED"]
    assert {end["state_type"] for end in ends} <= {"COMPLETED", "CANCELLED"}, [end["state_name"] for end in ends]
    assert nights.site.asked("createWholeImage") - before == 2
    assert len(done) >= 1
    assert {nights.result(end["id"])["report"]["night"] for end in done} == {newest.date().isoformat()}


def test_a_cancelled_night_names_what_is_in_the_cloud_and_its_retry_goes_on(house: House, nights: Nights) -> None:
    deployment = nights.policy("cancelled", "office-ad-0?", "office-files-01", limits={"images_at_once": 1})
    before = nights.site.asked("createWholeImage")
    nights.site.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=600)
    run = house.order_foreign(deployment)
    with patience(90, "its first image") as beats:
        for _ in beats:
            if nights.site.asked("createWholeImage") > before:
                break
    house.cancel(run)
    ended = house.await_state(run, "Cancelled")
    assert "cancelled" in ended["tags"]
    told, page = nights.result(run), house.artifacts(run)["night-cancelled"]
    assert (told["exit_code"], told["outcome"], told["error"]["code"]) == (4, "still_running", "b2i.cancelled")
    assert "office-" in page
    assert "1 servers have their image or it is being made" in page or "1 more were asked for" in page
    house.retry(run)
    house.await_state(run, "Completed", within=180)
    assert outcomes(nights.result(run)).total() == 3
    assert nights.site.asked("createWholeImage") - before == 3


def test_a_night_ordered_from_a_terminal_prints_what_the_local_door_prints_and_ends_with_its_code(
    house: House, nights: Nights
) -> None:
    nights.policy("terminal", "shop-cache-0?", "shop-queue-01")
    code, told, said = house.b2i("--prefect", "nightly", "terminal")
    assert (code, told["policy"], told["outcome"], len(told["made"])) == (0, "terminal", "made", 3), said
    assert told["error"] is None
    again = house.b2i("--prefect", "nightly", "terminal")
    assert (again[0], again[1]["outcome"], len(again[1]["adopted"])) == (0, "adopted", 3)
    looked = house.b2i("--prefect", "nightly", "terminal", "--dry-run")
    assert (looked[0], {one["action"] for one in looked[1]["plan"]["members"]}) == (0, {"adopt"})
    kept, told, said = house.b2i("--prefect", "retention", "terminal", "--apply", "--fail-on-findings")
    assert (kept, told["policy"], len(told["keep"]), told["delete"], told["error"]) == (0, "terminal", 3, [], None), said
    missing = house.b2i("--prefect", "nightly", "no-such-policy")
    assert (missing[0], "nightly/no-such-policy" in missing[1]["error"]["message"]) == (2, True)


def test_a_night_that_is_shared_out_has_one_report_of_all_shards_and_each_server_is_done_once(
    house: House, shared: Nights
) -> None:
    servers = ("shop-db-0?", "shop-search-01", "ledger-0?", "build-registry-01", "build-ci-0?")
    deployment = shared.policy("shared", *servers, limits={"shards": 2, "images_at_once": 4})
    there, before = shared.images(), shared.site.asked("createWholeImage")
    run = house.order_foreign(deployment)
    house.await_state(run, "Completed", within=180)
    report = shared.result(run)["report"]
    assert outcomes({"report": report}).total() == 8
    assert {one["outcome"] for one in report["servers"]} <= {"made", "adopted"}
    assert sorted({one["server_name"] for one in report["servers"]}) == sorted(one["server_name"] for one in report["servers"])
    made = shared.images() - there
    assert (len(made), set(made.values())) == (shared.site.asked("createWholeImage") - before, {1})
    shards = house.ask("POST", "/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}})
    assert sorted(one["name"] for one in shards) == [f"night of shared.yaml, shard {number} of 2" for number in (1, 2)]
    assert {one["state_name"] for one in shards} == {"Completed"}


@pytest.mark.prove  # in check-all both happen to the night on the stack (benchmarks.stack)
def test_a_shared_night_whose_own_run_is_killed_waits_for_the_shards_that_are_at_work_and_starts_none_twice(
    house: House, shared: Nights
) -> None:
    deployment = shared.policy("torn", "shop-web-0?", "shop-app-0[134]", limits={"shards": 2, "images_at_once": 4})
    shared.site.cloud.arm(name="job-stuck", operation="createWholeImage", times=None, seconds=20 * SPEED)
    run = house.order_foreign(deployment)
    house.await_word(run, "shard 2 of 2 is run")
    house.signal_run(run)
    house.await_state(run, "Crashed")
    shared.site.cloud.disarm()
    ended = house.await_state(run, "Completed", within=240)
    assert ended["run_count"] == 2
    shards = house.ask("POST", "/flow_runs/filter", flow_runs={"name": {"like_": "night of torn.yaml, shard"}})
    assert sorted(one["name"] for one in shards) == [f"night of torn.yaml, shard {number} of 2" for number in (1, 2)]
    assert set(shared.images().values()) == {1}


def test_a_cancelled_shared_night_takes_its_shards_along(house: House, shared: Nights) -> None:
    servers = ("shop-mail-01", "shop-queue-01", "shop-lb-0?", "shop-cache-0?")
    deployment = shared.policy("taken-along", *servers, limits={"shards": 2, "images_at_once": 2})
    shared.site.cloud.arm(name="job-stuck", operation="createWholeImage", times=None, seconds=100 * SPEED)
    run = house.order_foreign(deployment)
    house.await_word(run, "shard 2 of 2 is run")
    house.cancel(run)
    house.await_state(run, "Cancelled")
    # One that a worker is just about to begin, too: it has no process yet that could be told.
    shards = await_shards(house, run, "Cancelled", within=30)
    asked = shared.site.asked("createWholeImage")
    shared.site.cloud.disarm()
    assert "cancelled" in house.run(run)["tags"]

    house.retry(run)
    house.await_state(run, "Completed", within=180)
    assert outcomes(shared.result(run)).total() == 6
    assert {one["id"] for one in shards_of(house, run)} > {one["id"] for one in shards}, "those that have ended begin anew"
    assert set(shared.images().values()) == {1}
    assert shared.site.asked("createWholeImage") >= asked


def test_a_shard_that_ends_without_a_report_is_told_and_the_night_ends_with_the_others(house: House, shared: Nights) -> None:
    keys: dict[str, Any] = {"limits": {"shards": 2, "images_at_once": 2}, "failed_when": {"more_than": 9}}
    deployment = shared.policy("torn-off", "office-ad-0?", "office-wiki-01", "office-chat-01", "office-files-01", **keys)
    shared.site.cloud.arm(name="job-stuck", operation="createWholeImage", times=None, seconds=10 * SPEED)
    run = house.order_foreign(deployment)
    house.await_word(run, "shard 2 of 2 is run")
    first = min(shards_of(house, run), key=lambda one: one["created"])
    house.await_state(first["id"], "Running")  # before, it has no process, and Prefect's server ends it after five minutes
    house.cancel(first["id"])
    ended = house.await_state(run, "PartlyDone", within=120)
    shared.site.cloud.disarm()
    told = shared.result(run)["report"]["servers"]
    bad = [one for one in told if one["outcome"] in {"failed", "late"}]
    assert 0 < len(bad) < len(told) == 5
    assert {one["code"] for one in bad} <= {"b2i.shard-ended", "b2i.interrupted"}
    assert "has ended without a report" in house.told(run)
    assert ended["run_count"] == 1


def shards_of(house: House, night: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.ask("POST", "/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [night]}})
    return found


def await_shards(house: House, night: str, state: str, *, within: float) -> list[dict[str, Any]]:
    """The shards of a night, once all of them are that."""
    with patience(within, f"both shards as {state}") as beats:
        for _ in beats:
            found = shards_of(house, night)
            if {one["state_name"] for one in found} == {state}:
                return found
    raise AssertionError


# -- who is told --------------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(house: House, nights: Nights) -> Iterator[list[str]]:
    """What is sent to a webhook whose block somebody has made."""
    make = (
        "import sys\nfrom prefect.blocks.notifications import CustomWebhookNotificationBlock as Block\n"
        "Block(name='x', url=sys.argv[1], json_data={'text': '{{subject}}: {{body}}'}).save('b2i-night', overwrite=True)"
    )
    with letter_box() as box:
        subprocess.run([sys.executable, "-c", make, box.address], env=house.environ, check=True, capture_output=True)
        yield box.came
    unsubscribe(house)


def test_a_failed_night_sends_one_message_with_its_summary_and_a_green_one_sends_none(
    house: House, nights: Nights, letters: list[str]
) -> None:
    good = nights.policy("good", "shop-lb-01", "shop-mail-01")
    bad = nights.policy("bad", "build-ci-01", "build-ci-02", failed_when={"more_than": 0})
    house.await_state(house.order_foreign(good), "Completed", within=120)
    nights.site.cloud.arm(name="job-fails", operation="createWholeImage", times=None)
    failed = house.order_foreign(bad)
    try:
        ended = house.await_state(failed, "Failed", within=120)
    finally:
        nights.site.cloud.disarm()
    with patience(60, "the message") as beats:
        for _ in beats:
            if letters:
                break
    house.await_state(house.order_foreign(good), "Completed", within=120)  # whatever else was sent has come by now
    (letter,) = letters
    assert ended["state"]["message"].split(":")[0] in letter
    assert "build-ci-01" in letter
    assert f"/v2/runs/flow-run/{failed}" in letter
