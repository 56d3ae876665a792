"""`make demo`: the whole job through its deployment, on this machine alone: emulated cloud, Prefect server, worker, one run.

Everything listens on free loopback ports and keeps its state in .state/demo, which the next demo starts anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shlex import join, quote
from typing import Any, NoReturn

import httpx
from rich.console import Console

from backup_to_image.cli.demo import CLOUD, write_files

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state" / "demo"
BIN = Path(sys.executable).parent
SPEED = 30
SERVER_DEADLINE = 90.0
"""Seconds; an empty database takes about twelve on two cores."""

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """Something of the demo did not come up; the message names its log."""


class Demo:
    """The processes of the demo, in the order in which they were started; they end in the other one."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, *command: str, environ: Mapping[str, str], stdout: int | None = None) -> subprocess.Popen[str]:
        """Start a process that writes its log to NAME.log."""
        log = (self._logs / f"{name}.log").open("w", encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=ROOT,
            env=dict(environ),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout or log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to handle, in order
        )
        log.close()
        self._running.append((name, process))
        return process

    def stop(self) -> None:
        """End them all, the last one first; what does not end by itself is killed."""
        for _, process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def check(self) -> None:
        """Raise if one has ended on its own."""
        for name, process in self._running:
            if process.poll() is not None:
                raise DemoError(f"The {name} ended with {process.returncode}; see {os.path.relpath(self._logs / name)}.log.")

    def follow(self, *command: str, environ: Mapping[str, str]) -> int:
        """Run a command in the foreground; returns its exit code. Raises DemoError if one of the others ends meanwhile."""
        with subprocess.Popen(command, cwd=ROOT, env=dict(environ)) as running:  # noqa: S603 - our own command
            try:
                while running.poll() is None:
                    self.check()
                    time.sleep(0.2)
            except DemoError:
                running.terminate()
                raise
            return running.returncode


def main() -> int:
    """Run the demo; 0 when the image was made, shared and launched."""
    begun = time.monotonic()
    shutil.rmtree(STATE, ignore_errors=True)
    (STATE / "tmp").mkdir(parents=True)
    demo = Demo(STATE)
    for ends in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed ends it too
        signal.signal(ends, _terminated)
    try:
        return _run(demo, begun)
    except DemoError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopping the demo ...")
        return 0
    finally:
        demo.stop()


def _run(demo: Demo, begun: float) -> int:
    environ = _environment()
    port = _free_port()
    api = f"http://127.0.0.1:{port}/api"
    console.print("[bold]1[/] An emulated cloud and a Prefect server, on loopback")
    emulator = demo.start(
        "emulator", str(BIN / "b2i"), "emulator", "--port", "0", "--speed", str(SPEED),
        "--state", str(STATE / "cloud.db"), "--json",
        environ=environ, stdout=subprocess.PIPE,
    )  # fmt: skip
    # The pages in the browser ask the address in this setting, not the one that they came from.
    environ |= {"PREFECT_SERVER_UI_API_URL": api, "PREFECT_SERVER_API_PORT": str(port)}
    demo.start("server", str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port), environ=environ)
    account: dict[str, Any] = json.loads((emulator.stdout and emulator.stdout.readline()) or "{}")
    if "auth_url" not in account:
        raise DemoError("The emulator did not start; see .state/demo/emulator.log.")
    files = write_files(account, STATE)
    environ |= {
        "PREFECT_API_URL": api,
        "OS_CLIENT_CONFIG_FILE": str(files["clouds"]),
        "OS_CLOUD": CLOUD,
        "B2I_CONFIG": str(files["settings"]),
    }
    _await_server(api, demo)
    console.print(f"  the cloud: {account['auth_url']}   Prefect: {_page(port, 'dashboard')}")

    console.print("[bold]2[/] Setup: work pool, credentials block, deployment, automations")
    _call("setup", str(BIN / "python"), "-m", "deployments.setup", environ=environ)

    console.print("[bold]3[/] A worker, and one backup through the deployment")
    demo.start("worker", str(BIN / "prefect"), "worker", "start", "--pool", "b2i", "--name", "demo", environ=environ)
    backup = account["backups"]["available"][0]
    command = ["b2i", "--prefect", "create", backup, "--share-with", "dr", "--launch", str(files["launch"])]
    console.print(f"  $ {join(word.removeprefix(f'{ROOT}{os.sep}') for word in command)}")
    requests = _requests(account)
    code = demo.follow(str(BIN / command[0]), *command[1:], environ=environ)
    console.print(
        f"  {_requests(account) - requests} requests to the cloud; {time.monotonic() - begun:.0f} s since the demo began"
    )
    if code != 0:
        raise DemoError(f"The run ended with {code}; the logs are in .state/demo.")
    _farewell(demo, port, files, backup)
    return 0


def _farewell(demo: Demo, port: int, files: Mapping[str, Path], backup: str) -> None:
    exports = f"OS_CLIENT_CONFIG_FILE={quote(str(files['clouds']))} OS_CLOUD={CLOUD} B2I_CONFIG={quote(str(files['settings']))}"
    console.print("\n[bold]Look[/] at the run, its report and the form in the Prefect UI:")
    for what in ("runs", "deployments", "artifacts"):
        console.print(f"  {_page(port, what)}")
    console.print("[bold]Try[/] next, while it is up, in another terminal:")
    console.print(f"  export PATH={quote(str(BIN))}:$PATH PREFECT_API_URL=http://127.0.0.1:{port}/api {exports}")
    console.print(f"  b2i create {backup}              # again: it adopts the image, nothing is made twice")
    console.print("  b2i backups                                               # what could become an image, and why not")
    console.print("  b2i doctor                                                # what this account may do, what is missing")
    if not sys.stdin.isatty():
        return
    console.print("\nIt stays up until Ctrl-C.")
    while True:
        time.sleep(1)
        demo.check()


def _environment() -> dict[str, str]:
    """This process's environment without any cloud or Prefect of the person's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_", "PREFECT_"))}
    return kept | {
        "PREFECT_HOME": str(STATE / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "TMPDIR": str(STATE / "tmp"),  # Prefect's worker keeps a folder there that belongs to whoever ran the first one
        "PYTHONUNBUFFERED": "1",
    }


def _call(name: str, *command: str, environ: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=dict(environ), text=True, capture_output=True, check=False)  # noqa: S603 - our own command
    (STATE / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    for line in done.stdout.partition("\n\n")[0].splitlines():  # what was made; where to look comes at the end
        console.print(line, markup=False)
    if done.returncode:
        raise DemoError(f"The {name} ended with {done.returncode}; see .state/demo/{name}.log.")


def _await_server(api: str, demo: Demo) -> None:
    deadline = time.monotonic() + SERVER_DEADLINE
    while time.monotonic() < deadline:
        demo.check()
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{api}/health", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise DemoError(f"The Prefect server did not answer within {SERVER_DEADLINE:.0f} s; see .state/demo/server.log.")


def _requests(account: Mapping[str, Any]) -> int:
    """How many requests the cloud has seen from its clients."""
    answer = httpx.get(f"{account['endpoints']['iam']}/_emulator/requests", timeout=10, trust_env=False).json()
    return len(answer["requests"])


def _page(port: int, what: str) -> str:
    return f"http://127.0.0.1:{port}/v2/{what}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
