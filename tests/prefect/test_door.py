"""The whole way, with nothing pretended but the cloud: server, setup, worker, and `b2i --prefect` that gives what b2i gives."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.support.house import BIN, ROOT, House, patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_worker_makes_shares_and_launches_and_b2i_prints_what_it_would_print_itself(house: House) -> None:
    backup, before = house.account["backups"]["available"][0], house.asked("createWholeImage")
    code, said, told = house.b2i(
        "--prefect", "create", backup, "--share-with", "dr", "--launch", str(house.files["launch"]), "--tag", "team=shop"
    )
    assert code == 0, (said, told, house.log("worker-1"))
    assert (said["outcome"], said["status"], said["adopted"], said["error"]) == ("made", "active", False, None)
    assert said["shared_with"] == [house.account["second_project"]]
    assert [probe["ok"] for probe in said["probes"]] == [True, True, True]
    assert "/v2/runs/flow-run/" in told
    assert "is Normal after" in told, "the run's log lines come along"

    code, again, _ = house.b2i("--prefect", "create", backup, "--share-with", "dr", "--launch", str(house.files["launch"]))
    assert (code, again["outcome"]) == (0, "adopted")
    assert [again[key] for key in ("image_id", "server_id", "launch_id")] == [
        said[key] for key in ("image_id", "server_id", "launch_id")
    ]
    assert set(again) == set(said)
    assert house.asked("createWholeImage") == before + 1


def test_a_refused_order_ends_with_3_and_every_reason_and_nothing_made(house: House) -> None:
    before, logged = house.asked("createWholeImage"), len(house.log("worker-1"))
    code, said, told = house.b2i("--prefect", "create", house.account["backups"]["volume"], "--share-with", "nobody")
    assert code == 3, (said, told)
    assert (said["outcome"], said["error"]["code"], said["image_id"]) == ("refused", "b2i.refused", None)
    refused = [check["why"] for check in said["report"]["checks"] if check["verdict"] == "refused"]
    assert len(refused) >= 2
    assert all(why in said["error"]["message"] and why in told for why in refused)
    assert house.asked("createWholeImage") == before
    assert "Traceback" not in house.log("worker-1")[logged:]


def test_a_server_is_backed_up_now_and_its_image_shared_until_a_day_and_the_newest_backup_is_that_one(house: House) -> None:
    server = ("--prefect", "create", "--server", "shop-mail-01")
    before = house.asked("createCheckpoint")
    code, said, told = house.b2i(*server, "--backup-now", "--share-with", "dr", "--share-for", "30d")
    assert (code, said["outcome"], said["shared_with"]) == (0, "made", [house.account["second_project"]]), (said, told)
    code, newest, told = house.b2i(*server, "--newest")
    assert (code, newest["outcome"], newest["backup_id"]) == (0, "adopted", said["backup_id"]), told
    assert set(newest) == set(said)
    assert house.asked("createCheckpoint") == before + 1


def test_a_sweep_ordered_from_a_terminal_prints_what_the_local_door_prints(house: House) -> None:
    code, said, told = house.b2i("--prefect", "sweep", "--grace", "2h")
    local, itself, _ = house.local("sweep")
    assert local == 0
    assert (code, said["error"], said["unread"]) == (0, None, {}), told
    assert [(one["id"], one["first_seen"]) for one in said["found"]] == [
        (one["id"], one["first_seen"]) for one in itself["found"]
    ]
    assert set(said) == set(itself)


def test_setup_from_the_command_line_changes_nothing_the_second_time(house: House) -> None:
    again = house.setup("--check")
    assert again.returncode == 0, again.stdout
    assert "unchanged" in again.stdout
    assert house.account["password"] not in again.stdout + again.stderr


def test_prefects_own_deploy_takes_the_same_file_and_setup_then_adds_the_project(house: House) -> None:
    deploy = [BIN / "prefect", "--no-prompt", "deploy", "--all"]
    environ = house.environ | {"PWD": str(ROOT)}  # as a shell has it
    done = subprocess.run(deploy, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    again = house.setup()
    changed = [line for line in again.stdout.splitlines() if "updated" in line]
    ours = "(parameter_openapi_schema, parameters)"  # the form's labels and order, and whose credentials
    assert all(line.startswith("deployment") and line.endswith(ours) for line in changed)
    assert any("image-from-backup/on-demand" in line for line in changed)


def test_a_follower_that_is_stopped_leaves_the_run_to_the_worker(house: House) -> None:
    backup, before = house.account["backups"]["available"][1], house.asked("createWholeImage")
    follower = house.start("follower", "b2i", "--json", "--prefect", "create", backup)
    with patience(90, "the run") as beats:
        for _ in beats:
            if "accepted" in house.log("follower"):
                break
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    assert "detached" in house.log("follower")
    code, said, _ = house.b2i("--prefect", "create", backup)
    assert (code, said["status"]) == (0, "active")
    assert house.asked("createWholeImage") == before + 1
