"""A whole production stack of processes: PostgreSQL, two Valkeys, two API servers behind their proxy, services, workers.

Settings, commands and the rules of the Valkeys' users are those of the files in `deployments/stack`, without containers: the
database is migrated by a job, every part asks for a password, the journal lies on a Valkey of its own, each worker has a home.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.house import BIN, ROOT, kill_family, patience, runs_below, stop
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.valkey import Valkey, free_port

__all__ = ["Stack", "open_stack"]

FILES = ROOT / "deployments" / "stack"
APIS = (1, 2)
_QUERY_SECONDS = "2"


class Stack:
    """Its processes by name, each with a log of its own, and what an operator does with them."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._processes = processes
        self._composed = yaml.safe_load((FILES / "compose.yaml").read_text(encoding="utf-8"))["services"]
        subprocess.run([FILES / "make-secrets", folder / "secrets"], check=True, capture_output=True)
        self.database = processes.enter_context(Postgres(self._secret("database-password")))
        self.broker = processes.enter_context(Valkey(user=self._rules("valkey.acl")))
        self.journal = processes.enter_context(Valkey(user=self._rules("journal.acl")))
        self.proxy = processes.enter_context(Proxy(folder / "proxy", [free_port() for _ in APIS]))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        user, _, password = self._secret("auth").partition(":")
        self.http = processes.enter_context(
            httpx.Client(
                base_url=f"{self.proxy.outside}/api",
                auth=(user, password),
                verify=self.proxy.trust(),
                trust_env=False,
                timeout=60,
            )
        )

    def _secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def _rules(self, name: str) -> str:
        """What the user of a Valkey may do, as the file for containers says; the default user stays, for the test's own looks."""
        line = self._secret(name).splitlines()[-1]
        return line.removeprefix("user ")

    # -- what each part is told -----------------------------------------------------------------------------------------

    def of_the_server(self, service: str) -> dict[str, str]:
        """The environment of one of the server's own processes: that of its container, where the others are on this host."""
        told = {name: str(value).partition("${")[0] for name, value in self._composed[service]["environment"].items()}
        del told["PREFECT_SERVER_UI_API_URL"]
        return (
            self._plain("server")
            | told
            | {
                "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
                "PREFECT_SERVER_DATABASE_PORT": str(self.database.port),
                "PREFECT_SERVER_DATABASE_PASSWORD": self._secret("database-password"),
                "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
                "PREFECT_REDIS_MESSAGING_PORT": str(self.broker.port),
                "PREFECT_REDIS_MESSAGING_PASSWORD": self._secret("valkey-password"),
                "PREFECT_SERVER_DOCKET_URL": self._secret("docket-url").replace("valkey:6379", f"127.0.0.1:{self.broker.port}"),
                "PREFECT_SERVER_API_AUTH_STRING": self._secret("auth"),
                "PREFECT_SERVER_ENCRYPTION_KEY": self._secret("encryption-key"),
            }
        )

    def of_a_client(self, home: str = "operator") -> dict[str, str]:
        """The environment of whoever asks the server: workers, setup, people. The second worker is on another host."""
        elsewhere = {"PREFECT_API_URL": f"{self.proxy.outside}/api", "PREFECT_API_SSL_CERT_FILE": str(self.proxy.certificate)}
        return self._plain(home) | {
            "PREFECT_API_URL": f"{self.proxy.inside}/api",
            "PREFECT_API_AUTH_STRING": self._secret("auth"),
            "PREFECT_WORKER_QUERY_SECONDS": _QUERY_SECONDS,
            "B2I_JOURNAL_PASSWORD": self._secret("journal-password"),
            **(elsewhere if home == "worker-2" else {}),
        }

    def _plain(self, home: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_", "PREFECT_"))}
        place = self.folder / home
        place.mkdir(exist_ok=True)
        return kept | {
            "HOME": str(place),
            "PREFECT_HOME": str(place / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def journal_address(self) -> str:
        """As b2i.yaml names it; the password stands in the environment."""
        return f"redis://b2i@127.0.0.1:{self.journal.port}/0"

    # -- its processes --------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """The job that comes before the server, and once with each upgrade."""
        self._once(*self._composed["migrate"]["command"], environ=self.of_the_server("migrate"))

    def start_api(self, number: int) -> None:
        service, here = f"api-{number}", {"0.0.0.0": "127.0.0.1", "4200": str(self.proxy.behind[number - 1])}  # noqa: S104 - the container's
        command = [here.get(word, word) for word in self._composed[service]["command"]]
        self._start(service, *command, environ=self.of_the_server(service))

    def start_services(self) -> None:
        self._start("services", *self._composed["services"]["command"], environ=self.of_the_server("services"))

    def start_worker(self, number: int, **more: str) -> None:
        name = f"worker-{number}"
        environ = self.of_a_client(name) | more
        self._start(name, "python", "-m", "deployments.worker", "--name", name, "--limit", "3", environ=environ)

    def kill(self, name: str) -> None:
        """With all that it has begun, as when its host dies."""
        kill_family(self.running[name].pid)
        self.running[name].wait()

    def runs_of(self, worker: str) -> set[str]:
        """The ids of the runs that it has in hand."""
        return runs_below(self.running[worker].pid)

    def await_apis(self, within: float = 120) -> None:
        """Until each answers, and reaches its database."""
        with patience(within, "both API servers") as beats:
            for _ in beats:
                if all(self.ready(number) for number in APIS):
                    return

    def ready(self, number: int) -> bool:
        """Whether that API server can be used: it says so only when its database answers."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.proxy.behind[number - 1]}/api/ready", trust_env=False).is_success
        return False

    def gone(self) -> list[str]:
        """Processes that have ended though nobody ended them."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def setup(self, **more: str) -> str:
        """`make setup`, as an operator does it."""
        return self._once(sys.executable, "-m", "deployments.setup", environ=self.of_a_client() | more)

    def _start(self, name: str, *command: str, environ: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [BIN / command[0], *command[1:]],
                cwd=ROOT,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.callback(stop, self.running[name])

    def _once(self, *command: str, environ: Mapping[str, str]) -> str:
        done = subprocess.run(
            [BIN / command[0], *command[1:]], cwd=ROOT, env=dict(environ), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    # -- what a person asks ---------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, within: float = 60, **body: Any) -> Any:
        """Asked again while a part of the server is away for a moment."""
        end = time.monotonic() + within
        while True:
            try:
                answer = self.http.request(method, path, json=body or None)
                if not answer.is_server_error:
                    assert answer.is_success, answer.text
                    return answer.json() if answer.content else None
                said = answer.text
            except httpx.HTTPError as error:
                said = repr(error)
            assert time.monotonic() < end, f"{method} {path}: {said}"
            time.sleep(0.5)

    def order(self, deployment: str) -> str:
        """Quick run; returns the run's id."""
        found = self.ask("GET", f"/deployments/name/{deployment}")
        return str(self.ask("POST", f"/deployments/{found['id']}/create_flow_run", state={"type": "SCHEDULED"})["id"])

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=100)
        return found

    def states(self, run: str) -> list[dict[str, Any]]:
        """All that a run has been, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
        return sorted(found, key=lambda state: state["timestamp"])

    def artifact(self, run: str, key: str) -> str | None:
        wanted = {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}
        found = self.ask("POST", "/artifacts/filter", artifacts=wanted, sort="CREATED_DESC", limit=1)
        return str(found[0]["data"]) if found else None

    def told(self, run: str) -> str:
        """A run's log."""
        logs = self.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200)
        return "\n".join(one["message"] for one in logs)


@contextmanager
def open_stack(folder: Path) -> Iterator[Stack]:
    """Everything but workers and deployments, up and reachable."""
    with ExitStack() as processes:
        stack = Stack(folder, processes)
        stack.migrate()
        for number in APIS:
            stack.start_api(number)
        stack.start_services()
        stack.await_apis()
        yield stack
