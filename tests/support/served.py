"""An emulated region in a process of its own, and b2i in another: what real processes, sockets and signals are needed for."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

_B2I = [sys.executable, "-c", "from backup_to_image.cli import run; run()"]
_PATIENCE = 30.0


class Served:
    """`b2i emulator` on ports of its own. A held request never waits longer than its test."""

    def __init__(self, folder: Path, speed: float, seed: str = "demo") -> None:
        self._words = ["--speed", str(speed), "--state", str(folder / "region.sqlite"), "--seed", seed, "--json"]
        self._noise = (folder / "region.err").open("w", encoding="utf-8")
        self._begin(0)
        self._clients = threading.local()
        self._door = f"{self.account['endpoints']['iam']}/_emulator"
        self._tokens: dict[str, str] = {}

    def _begin(self, port: int) -> None:
        command = [*_B2I, "emulator", "--port", str(port), *self._words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._noise, text=True)
        assert self.process.stdout is not None
        self.account: dict[str, Any] = json.loads(self.process.stdout.readline())

    @property
    def http(self) -> httpx.Client:
        """A client for each thread: in a pool that threads share, one may close the connection that another was just given."""
        if not hasattr(self._clients, "own"):
            # A connection for each request: the region hangs up on idle ones, and dies in some tests.
            self._clients.own = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        own: httpx.Client = self._clients.own
        return own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=_PATIENCE)
        self._noise.close()

    def kill(self) -> None:
        """The region is gone from one instant to the next; its state file stays."""
        self.process.kill()
        self.process.communicate(timeout=_PATIENCE)

    def restart(self) -> None:
        """It comes back where it was, with what its state file kept."""
        self._begin(httpx.URL(self.account["auth_url"]).port or 0)

    def arm(self, **fault: Any) -> str:
        answer = self.http.post(f"{self._door}/faults", json=fault)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    def switch(self, **switches: str) -> None:
        assert self.http.put(f"{self._door}/switches", json=switches).status_code == 200

    def disarm(self) -> None:
        self.http.delete(f"{self._door}/faults")

    def armed(self) -> list[dict[str, Any]]:
        """The faults that have not struck yet, or go on."""
        found: list[dict[str, Any]] = self.http.get(f"{self._door}/faults").json()["armed"]
        return found

    def await_strike(self, fault: str) -> None:
        """Come back once the fault has struck: its request is inside the region now."""
        end = time.monotonic() + _PATIENCE
        while any(one["id"] == fault for one in self.armed()):
            assert time.monotonic() < end, "the request never came"
            time.sleep(0.02)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """What was asked of the region since it began or was restarted, in order."""
        found: list[dict[str, Any]] = self.http.get(f"{self._door}/requests", params={"since": since}).json()["requests"]
        return found

    def ask(self, method: str, service: str, path: str, *, project: str = "", **given: Any) -> Any:
        """What the region answers to somebody from outside; in the account's own project, or in another."""
        account = self.account
        project = project or account["project_id"]
        if project not in self._tokens:
            user = {"name": account["user"], "password": account["password"], "domain": {"name": account["domain_name"]}}
            identity = {"methods": ["password"], "password": {"user": user}}
            body = {"auth": {"identity": identity, "scope": {"project": {"id": project}}}}
            self._tokens[project] = self.http.post(f"{account['auth_url']}/auth/tokens", json=body).headers["X-Subject-Token"]
        url = account["endpoints"][service] + path.replace("{project}", project)
        answer = self.http.request(method, url, headers={"X-Auth-Token": self._tokens[project]}, **given)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def get(self, service: str, path: str, **query: Any) -> Any:
        return self.ask("GET", service, path, params=query)

    def launch(self, image: str, name: str, tags: dict[str, str]) -> str:
        """A server made without b2i, with these tags; comes back once it is ACTIVE."""
        account = self.account
        asked = {
            "name": name,
            "imageRef": image,
            "flavorRef": account["flavor"],
            "vpcid": account["vpc"],
            "nics": [{"subnet_id": account["subnet"]}],
            "root_volume": {"volumetype": "SSD"},
            "tags": [f"{key}.{value}" for key, value in tags.items()],
        }
        taken = self.ask("POST", "ecs", "/v1/{project}/cloudservers", json={"server": asked})
        end = time.monotonic() + _PATIENCE
        while self.get("ecs", f"/v1/{{project}}/jobs/{taken['job_id']}")["status"] != "SUCCESS":
            assert time.monotonic() < end, "the server was never made"
            time.sleep(0.1)
        found: str = taken["serverIds"][0]
        return found

    def images_of(self, backup: str) -> list[dict[str, Any]]:
        listed = self.get("ims", "/v2/cloudimages", __whole_image="true", owner=self.account["project_id"])
        return [image for image in listed["images"] if image["__backup_id"] == backup]

    def servers_called(self, name: str) -> list[dict[str, Any]]:
        listed = self.get("ecs", "/v1/{project}/cloudservers/detail", name=name)
        return [server for server in listed["servers"] if server["name"] == name]

    def disks_called(self, name: str) -> list[str]:
        listed = self.get("evs", "/v2/{project}/cloudvolumes/detail")
        return [disk["id"] for disk in listed["volumes"] if disk["name"].startswith(name)]


class Desk:
    """A folder from which somebody works with a served region: settings, journal, launch orders, and b2i as a process."""

    def __init__(self, served: Served, folder: Path, *, journal: str = "journal") -> None:
        self.served, self.folder = served, folder
        account = served.account
        settings = {
            "projects": {"dr": account["second_project"]},
            "journal": journal,
            "settle": {"image": "2s", "server": "3s"},
        }
        (folder / "b2i.yaml").write_text(yaml.safe_dump(settings))
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "B2I_"))} | {
            "OS_AUTH_URL": account["auth_url"],
            "OS_USERNAME": account["user"],
            "OS_PASSWORD": account["password"],
            "OS_USER_DOMAIN_NAME": account["domain_name"],
            "OS_PROJECT_ID": account["project_id"],
            "OS_REGION_NAME": account["region"],
            "HOME": str(folder),
        }

    def launch_order(self, name: str, **more: Any) -> str:
        account = self.served.account
        network = {"vpc": account["vpc"], "subnet": account["subnet"], "security_groups": [account["security_group"]]}
        (self.folder / f"{name}.yaml").write_text(
            yaml.safe_dump({"name": name, "flavor": account["flavor"], "network": network} | more)
        )
        return f"{name}.yaml"

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*_B2I, *words, "--json"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], *, within: float = _PATIENCE) -> tuple[int, dict[str, Any]]:
        out, err = process.communicate(timeout=within)
        assert "Traceback" not in err, err
        return process.returncode, json.loads(out) if out else {}

    def run(self, *words: str, within: float = _PATIENCE) -> tuple[int, dict[str, Any]]:
        return self.end(self.start(*words), within=within)

    def kill_at(self, fault: dict[str, Any], *words: str) -> None:
        """Run a command and kill it, as `kill -9` does, while this request is inside the region."""
        armed = self.served.arm(**fault)
        process = self.start(*words)
        try:
            self.served.await_strike(armed)
        finally:
            process.kill()
            process.communicate(timeout=_PATIENCE)
