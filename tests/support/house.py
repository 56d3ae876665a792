"""A Prefect server, a worker and an emulated cloud, each a process of its own, as on a real installation."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backup_to_image.cli.demo import CLOUD, write_files
from backup_to_image.run_results import ORDER_RESULT_KEY, RESULT_KEY
from tests.support.served import Served

__all__ = [
    "BIN",
    "DEPLOYMENT",
    "ROOT",
    "SPEED",
    "House",
    "Site",
    "kill_family",
    "open_house",
    "patience",
    "processes_of",
    "runs_below",
    "stop",
]

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
SPEED = 30.0
DEPLOYMENT = "image-from-backup/on-demand"
ENDS = {"Superseded", "Completed", "Failed", "Refused", "StillRunning", "PartlyDone", "Cancelled", "Crashed"}


class Site:
    """An emulated cloud and the files of somebody who works with it."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        (folder / "cloud").mkdir(parents=True)
        self.folder = folder
        self.cloud = processes.enter_context(Served(folder / "cloud", SPEED))
        self.account = self.cloud.account
        self.files = write_files(self.account, folder)
        settings = yaml.safe_load(self.files["settings"].read_text()) | {"settle": {"image": "3s", "server": "4s"}}
        self.files["settings"].write_text(yaml.safe_dump(settings))
        self._spare = iter(self._unused_backups())

    def asked(self, operation: str) -> int:
        """How often the cloud was asked for that."""
        seen = self.cloud.http.get(f"{self.account['endpoints']['iam']}/_emulator/requests").json()["requests"]
        return sum(request["operationId"] == operation for request in seen)

    def await_strike(self, fault: str, within: float = 120) -> None:
        """Come back once the fault has struck: its request is inside the cloud now."""
        door = f"{self.account['endpoints']['iam']}/_emulator/faults"
        with patience(within, "the request that the fault waits for") as beats:
            for _ in beats:
                if all(one["id"] != fault for one in self.cloud.http.get(door).json()["armed"]):
                    break

    def members_of(self, image: str) -> list[str]:
        return [one["member_id"] for one in self.cloud.get("ims", f"/v2/images/{image}/members")["members"]]

    def launch_order(self, name: str, **more: Any) -> str:
        """A launch order of that name in the worker's directory; returns the file's name."""
        order = yaml.safe_load(self.files["launch"].read_text()) | {"name": name, "probes": []} | more
        (self.files["launch"].parent / f"{name}.yaml").write_text(yaml.safe_dump(order))
        return f"{name}.yaml"

    def know(self, partner: str) -> None:
        """Those with whom images are shared are an alias here, and have a b2i.yaml and an entry of clouds.yaml of their own."""
        account, recipient = self.account, self.account["recipient"]
        ours = yaml.safe_load(self.files["settings"].read_text())
        journal = str(self.folder / f"journal-of-{partner}")
        theirs = {"projects": {"shop": account["project_id"]}, "accept_from": ["shop"], "journal": journal}
        _write(self.settings_of(partner), ours | theirs)
        _write(self.files["settings"], ours | {"projects": ours["projects"] | {partner: recipient["project_id"]}})
        clouds = yaml.safe_load(self.files["clouds"].read_text())["clouds"]
        login = {"username": recipient["user"], "password": recipient["password"], "user_domain_name": recipient["domain_name"]}
        auth = {"auth_url": account["auth_url"], "project_id": recipient["project_id"], **login}
        _write(self.files["clouds"], {"clouds": clouds | {partner: {"auth": auth, "region_name": account["region"]}}})

    def images(self) -> list[str]:
        """Full-ECS images of ours that could be shared and launched."""
        listed = self.cloud.get("ims", "/v2/cloudimages", __whole_image="true", owner=self.account["project_id"])["images"]
        return [one["id"] for one in listed if one["status"] == "active" and one.get("__backup_id")]

    def settings_of(self, partner: str) -> Path:
        return self.folder / f"b2i-of-{partner}.yaml"

    def backup(self) -> str:
        """One that no test has used yet and that nothing speaks against."""
        return next(self._spare)

    def _unused_backups(self) -> list[str]:
        listed = self.cloud.get("cbr", "/v3/{project}/backups", resource_type="OS::Nova::Server", status="available")["backups"]
        return [
            one["id"]
            for one in listed
            if one["resource_name"].startswith(("shop-lb", "shop-web-0", "shop-app", "shop-queue", "shop-search", "shop-mail"))
            and not one["extend_info"].get("os_images_data")
            and one["extend_info"].get("contain_system_disk", True)
            and one["name"].startswith("autobk")
            and one["id"] not in self.account["backups"]["available"]
        ]


class House(Site):
    """One of each, and what a person does with them: order, look, cancel, retry, stop, kill."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        super().__init__(folder, processes)
        self._processes = processes
        self.api = f"http://127.0.0.1:{free_port()}/api"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_"))} | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.http = processes.enter_context(httpx.Client(base_url=self.api, trust_env=False, timeout=30))
        self._workers = 0
        self.server: subprocess.Popen[bytes]
        self.worker: subprocess.Popen[bytes]

    # -- its processes --------------------------------------------------------------------------------------------------

    def start(self, name: str, *command: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        self._processes.callback(log.close)
        started = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=cwd or self.folder,
            env=self.environ | more,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.callback(stop, started)
        return started

    def start_server(self) -> None:
        """Comes back once it answers."""
        port = str(httpx.URL(self.api).port)
        self.server = self.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
        with patience(150, "the Prefect server") as beats:
            for _ in beats:
                try:
                    if self.http.get("/health").is_success:
                        break
                except httpx.HTTPError:
                    continue

    def start_worker(self) -> None:
        """Ours, as the documentation says."""
        name = self._worker_name()
        settings = str(self.files["settings"])
        self.worker = self.start(name, "python", "-m", "deployments.worker", "--name", name, cwd=ROOT, B2I_CONFIG=settings)

    def new_worker(self, pool: str, *options: str) -> subprocess.Popen[bytes]:
        """Prefect's own."""
        name = self._worker_name()
        return self.start(name, "prefect", "worker", "start", "--pool", pool, "--name", name, *options)

    def _worker_name(self) -> str:
        self._workers += 1
        return f"worker-{self._workers}"

    def kill_worker_and_runs(self) -> None:
        """As when their host dies: nobody is left to report it."""
        kill_family(self.worker.pid)

    def signal_run(self, run: str, number: signal.Signals = signal.SIGKILL) -> None:
        """As when the memory is full: the run's process is gone, its worker sees it."""
        for process in processes_of(run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def b2i(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, JSON and progress of one command; it knows the Prefect server and nothing else."""
        done = subprocess.run(
            [BIN / "b2i", "--json", *arguments], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    def local(self, *arguments: str, cloud: str = CLOUD) -> tuple[int, dict[str, Any], str]:
        """The same by b2i itself, of whichever log-in of this house; it knows no Prefect server."""
        environ = {name: value for name, value in self.environ.items() if not name.startswith("PREFECT_")} | {
            "OS_CLIENT_CONFIG_FILE": str(self.files["clouds"]),
            "OS_CLOUD": cloud,
            "B2I_CONFIG": str(self.files["settings"] if cloud == CLOUD else self.settings_of(cloud)),
        }
        done = subprocess.run(
            [BIN / "b2i", "--json", *arguments], cwd=self.folder, env=environ, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    def setup(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environ = self.environ | {"OS_CLIENT_CONFIG_FILE": str(self.files["clouds"])} | more
        command = [sys.executable, "-m", "deployments.setup", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    def new_pool(self, name: str) -> None:
        template = self.ask("GET", "/work_pools/b2i")["base_job_template"]
        self.ask("POST", "/work_pools/", name=name, type="process", base_job_template=template)

    def new_block(self, name: str, site: Site, *, with_keys: bool = False) -> str:
        """A credentials block for a cloud; returns its id."""
        account = site.account
        same = {"auth_url": account["auth_url"], "region": account["region"], "project_name": account["project_name"]}
        return self._new_block(name, site.files["settings"], account, same, with_keys=with_keys)

    def meet(self, partner: str, site: Site | None = None) -> str:
        """Somebody with whom images are shared gets a block, besides what `Site.know` writes down; returns the block's id."""
        where = site or self
        where.know(partner)
        account, recipient = where.account, where.account["recipient"]
        theirs = {"auth_url": account["auth_url"], "region": account["region"], "project_id": recipient["project_id"]}
        name = partner if where is self else f"{where.folder.name}-{partner}"
        return self._new_block(name, where.settings_of(partner), recipient, theirs, with_keys=False)

    def _new_block(self, name: str, settings: Path, login: dict[str, Any], project: dict[str, str], *, with_keys: bool) -> str:
        like = self._block("b2i")
        data = project | {"domain_name": login["domain_name"], "settings_file": str(settings)}
        data |= (
            {"access_key": login["ak"], "secret_key": login["sk"]}
            if with_keys
            else {"username": login["user"], "password": login["password"]}
        )
        same = {one: like[one] for one in ("block_schema_id", "block_type_id")}
        return str(self.ask("POST", "/block_documents/", name=name, data=data, **same)["id"])

    def _block(self, name: str) -> dict[str, Any]:
        found = self.ask("GET", f"/block_types/slug/otc-project/block_documents/name/{name}")
        assert isinstance(found, dict)
        return found

    # -- what a person does in the UI, by the API that the UI asks -------------------------------------------------------

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Asked again where the server's database was locked for a moment, as everybody's client does."""
        with patience(30, f"an answer to {method} {path}") as beats:
            for _ in beats:
                answer = self.http.request(method, path, json=body or None)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def order(self, backup: str, *, deployment: str = DEPLOYMENT, project: Any = None, **form: Any) -> str:
        """Run > Custom run; returns the run's id. `project`: another block than the deployment's own."""
        found = self.ask("GET", f"/deployments/name/{deployment}")
        parameters = {"order": {"backup_id": backup} | form} | ({"project": project} if project else {})
        ordered = self.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters=parameters)
        return str(ordered["id"])

    def order_action(self, deployment: str, *, order: dict[str, Any], **blocks: str) -> str:
        """The same of one command's form; `blocks` are those of other parameters than `project`."""
        found = self.ask("GET", f"/deployments/name/{deployment}")
        named = {
            name: self.ask("GET", f"/block_types/slug/otc-project/block_documents/name/{one}") for name, one in blocks.items()
        }
        projects = {name: {"$ref": {"block_document_id": one["id"]}} for name, one in named.items()}
        ordered = self.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters={"order": order} | projects)
        return str(ordered["id"])

    def order_foreign(self, deployment: str, **parameters: Any) -> str:
        found = self.ask("GET", f"/deployments/name/{deployment}")
        return str(self.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def states(self, run: str) -> list[dict[str, Any]]:
        """All that the run has been, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
        return sorted(found, key=lambda state: state["timestamp"])

    def newest_run(self, within: float = 30) -> str:
        """The run that somebody else is about to order."""
        known = {one["id"] for one in self._runs()}
        with patience(within, "a new run") as beats:
            for _ in beats:
                if new := [one["id"] for one in self._runs() if one["id"] not in known]:
                    return str(new[0])
        raise AssertionError

    def _runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=20)
        return found

    def run(self, run: str) -> dict[str, Any]:
        seen = self.ask("GET", f"/flow_runs/{run}")
        assert isinstance(seen, dict)
        return seen

    def set_state(self, run: str, state: str, name: str) -> None:
        """What Cancel, Retry and Change state do."""
        answer = self.ask("POST", f"/flow_runs/{run}/set_state", state={"type": state, "name": name}, force=state != "CANCELLING")
        assert answer["status"] == "ACCEPT", answer

    def cancel(self, run: str) -> None:
        self.set_state(run, "CANCELLING", "Cancelling")

    def retry(self, run: str) -> None:
        self.set_state(run, "SCHEDULED", "AwaitingRetry")

    def await_state(self, run: str, *names: str, within: float = 90) -> dict[str, Any]:
        """The run, once its state is one of these (any end, where none is named)."""
        wanted = set(names) or ENDS
        with patience(within, f"{run} as {' or '.join(sorted(wanted))}") as beats:
            for _ in beats:
                seen = self.run(run)
                if seen["state_name"] in wanted:
                    return seen
                if seen["state_name"] in ENDS - {"Crashed"}:
                    break
        pytest.fail(
            f"the run is {seen['state_name']} ({seen['state']['message']}), not {' or '.join(sorted(wanted))}\n{self.told(run)}"
        )

    def artifacts(self, run: str) -> dict[str, str]:
        """The newest of each key."""
        found = self.ask("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}}, sort="UPDATED_DESC")
        return {one["key"]: str(one["data"]) for one in sorted(found, key=lambda one: one["created"])}

    def result(self, run: str) -> dict[str, Any]:
        """What the run left for programs."""
        found = json.loads(self.artifacts(run)[RESULT_KEY])
        assert isinstance(found, dict)
        return found

    def came_of(self, run: str) -> dict[str, Any]:
        """The same of a run that one command's form ordered."""
        found = json.loads(self.artifacts(run)[ORDER_RESULT_KEY])
        assert isinstance(found, dict)
        return found

    def told(self, run: str) -> str:
        """The run's log."""
        logs = self.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200)
        return "\n".join(one["message"] for one in logs)

    def await_word(self, run: str, word: str, within: float = 60) -> None:
        """Until the run's log says it."""
        with patience(within, f"{word!r} in the log of {run}") as beats:
            for _ in beats:
                if word in self.told(run):
                    break


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(content))


def processes_of(run: str) -> list[int]:
    """The processes that work on a run: Prefect names it in their environment."""
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _content(path)]


def runs_below(root: int) -> set[str]:
    """The runs that a worker's processes work on."""
    mark = b"PREFECT__FLOW_RUN_ID="
    words = [word for process in family_of(root) for word in _content(Path(f"/proc/{process}/environ")).split(b"\0")]
    return {word.removeprefix(mark).decode() for word in words if word.startswith(mark)}


def family_of(root: int) -> set[int]:
    """A process and all that it has begun."""
    family = {root}
    parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def kill_family(root: int) -> None:
    for process in family_of(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parent(stat: Path) -> int:
    words = _content(stat).decode(errors="replace").rpartition(")")[2].split()
    return int(words[1]) if words else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


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
    """Beats of a fifth of a second until the deadline, which is a failure that says what was waited for."""
    deadline = time.monotonic() + seconds

    def beats() -> Iterator[int]:
        beat = 0
        while time.monotonic() < deadline:
            yield (beat := beat + 1)
            time.sleep(0.2)
        pytest.fail(f"{what}: not within {seconds:.0f} s")

    yield beats()


@contextmanager
def open_house(folder: Path, furnish: Callable[[House], None] | None = None, **environ: str) -> Iterator[House]:
    """A house with everything set up and one worker; `furnish` puts policies and runbooks into the worker's directories first."""
    with ExitStack() as processes:
        house = House(folder, processes)
        house.environ |= environ
        house.start_server()
        if furnish:
            furnish(house)
        made = house.setup(B2I_CONFIG=str(house.files["settings"])) if furnish else house.setup()
        assert made.returncode == 0, made.stdout + made.stderr
        house.start_worker()
        yield house
