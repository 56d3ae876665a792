"""The whole way, with nothing pretended but the cloud: server, setup, worker, and `b2i --prefect` that gives what b2i gives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backup_to_image.cli.demo import write_files

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prefect-door"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


class House:
    """A Prefect server, a worker and an emulated cloud, each a process of its own."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self.folder = folder
        self._processes = processes
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_"))} | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.account: dict[str, Any] = {}
        self.files: dict[str, Path] = {}

    def start(self, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("wb")
        self._processes.callback(log.close)
        started = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environ | more,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.callback(stop, started)
        return started

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def b2i(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, JSON and progress of one command; it knows the Prefect server and nothing else."""
        done = subprocess.run(
            [BIN / "b2i", "--json", *arguments], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    def worker(self, name: str) -> None:
        self._worker = self.start(name, "prefect", "worker", "start", "--pool", "b2i", B2I_CONFIG=str(self.files["settings"]))

    def kill_worker_and_run(self) -> None:
        """As when their host dies: nobody is left to report it."""
        family = {self._worker.pid}
        parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        for pid in family:
            os.kill(pid, signal.SIGKILL)

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = self.environ | {"OS_CLIENT_CONFIG_FILE": str(self.files["clouds"])}
        command = [sys.executable, "-m", "deployments.setup", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def patience(seconds: float, what: str) -> Iterator[Iterator[int]]:
    """Beats of half a second until the deadline, which is a failure that says what was waited for."""
    deadline = time.monotonic() + seconds

    def beats() -> Iterator[int]:
        beat = 0
        while time.monotonic() < deadline:
            yield (beat := beat + 1)
            time.sleep(0.5)
        pytest.fail(f"{what}: not within {seconds:.0f} s")

    yield beats()


@pytest.fixture(scope="session")  # made once, whatever runs in between
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as processes:
        house = House(tmp_path_factory.mktemp("house"), processes)
        address = httpx.URL(house.environ["PREFECT_API_URL"])
        house.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(address.port))
        house.start("cloud", "b2i", "emulator", "--port", "0", "--speed", "30", "--json")
        with patience(60, "the emulated cloud") as beats:
            for _ in beats:
                if house.log("cloud").endswith("\n"):
                    break
        house.account = json.loads(house.log("cloud"))
        house.files = write_files(house.account, house.folder)
        with patience(150, "the Prefect server") as beats:
            for _ in beats:
                try:
                    if httpx.get(f"{address}/health").is_success:
                        break
                except httpx.HTTPError:
                    continue
        made = house.setup()
        assert made.returncode == 0, made.stdout + made.stderr
        house.worker("worker")
        yield house


def requests(house: House, operation: str) -> int:
    seen = httpx.get(f"{house.account['endpoints']['iam']}/_emulator/requests").json()["requests"]
    return sum(request["operationId"] == operation for request in seen)


def test_the_worker_makes_shares_and_launches_and_b2i_prints_what_it_would_print_itself(house: House) -> None:
    backup = house.account["backups"]["available"][0]
    code, said, told = house.b2i(
        "--prefect", "create", backup, "--share-with", "dr", "--launch", str(house.files["launch"]), "--tag", "team=shop"
    )
    assert code == 0, (said, told, house.log("worker"))
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
    assert requests(house, "createWholeImage") == 1


def test_a_refused_order_ends_with_3_and_every_reason_and_nothing_made(house: House) -> None:
    before = requests(house, "createWholeImage")
    code, said, told = house.b2i("--prefect", "create", house.account["backups"]["volume"], "--share-with", "nobody")
    assert code == 3, (said, told)
    assert (said["outcome"], said["error"]["code"], said["image_id"]) == ("refused", "b2i.refused", None)
    refused = [check["why"] for check in said["report"]["checks"] if check["verdict"] == "refused"]
    assert len(refused) >= 2
    assert all(why in said["error"]["message"] and why in told for why in refused)
    assert requests(house, "createWholeImage") == before
    assert "Traceback" not in house.log("worker")


def test_setup_from_the_command_line_changes_nothing_the_second_time(house: House) -> None:
    again = house.setup("--check")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("unchanged") == 6
    assert house.account["password"] not in again.stdout + again.stderr


def test_prefects_own_deploy_takes_the_same_file_and_setup_then_adds_the_project(house: House) -> None:
    deploy = [BIN / "prefect", "--no-prompt", "deploy", "--all"]
    environ = house.environ | {"PWD": str(ROOT)}  # as a shell has it
    done = subprocess.run(deploy, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    again = house.setup()
    (changed,) = [line for line in again.stdout.splitlines() if "updated" in line]
    assert "image-from-backup/on-demand" in changed
    assert "(parameters)" in changed


def test_a_follower_that_is_stopped_leaves_the_run_to_the_worker(house: House) -> None:
    backup, before = house.account["backups"]["available"][1], requests(house, "createWholeImage")
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
    assert requests(house, "createWholeImage") == before + 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the run's process under /proc")
def test_a_run_whose_host_dies_is_taken_up_by_the_next_worker_and_makes_one_image(house: House) -> None:
    backup, before = house.account["backups"]["available"][2], requests(house, "createWholeImage")
    httpx.post(
        f"{house.account['endpoints']['iam']}/_emulator/faults",
        json={"name": "job-stuck", "operation": "createWholeImage", "seconds": 600},
    ).raise_for_status()
    follower = house.start("patient", "b2i", "--json", "--prefect", "create", backup)
    with patience(120, "the run") as beats:
        for _ in beats:
            if "accepted" in house.log("patient"):
                break
    house.kill_worker_and_run()
    house.worker("second-worker")
    code = follower.wait(400)
    said = house.log("patient")
    assert code == 0, said
    assert ": Crashed" in said
    assert ": AwaitingRetry" in said
    assert '"status": "active"' in said
    assert requests(house, "createWholeImage") == before + 1


def test_no_secret_of_the_cloud_is_in_any_log_or_in_prefects_database(house: House) -> None:
    backup = house.account["backups"]["available"][0]
    assert house.b2i("--prefect", "create", backup)[0] == 0
    kept = b"".join(path.read_bytes() for path in house.folder.rglob("*.log") if path.name != "cloud.log")
    kept += b"".join(path.read_bytes() for path in (house.folder / "prefect").rglob("*") if path.is_file())
    assert backup.encode() in kept
    for secret in (house.account["password"], house.account["sk"]):
        assert secret.encode() not in kept
