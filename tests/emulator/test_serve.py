"""The region as a process of its own: seven ports, signals, kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backup_to_image.emulator import Emulator
from backup_to_image.emulator.serve import PortsTaken, serve

CODE = """
import json, sys
from backup_to_image.emulator.serve import run
port, state, speed = sys.argv[1:]
run(port=int(port), state=state, speed=float(speed), ready=lambda account: print(json.dumps(account), flush=True))
print("stopped", flush=True)
"""


class Process:
    """`b2i emulator`, without the command line."""

    def __init__(self, state: Path, port: int = 0, speed: float = 600) -> None:
        command = [sys.executable, "-c", CODE, str(port), str(state), str(speed)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.popen.stderr.read() if self.popen.stderr else ""
        self.account: dict[str, Any] = json.loads(line)

    @property
    def port(self) -> int:
        return int(self.account["endpoints"]["iam"].rpartition(":")[2])

    def login(self) -> dict[str, str]:
        account = self.account
        user = {"name": account["user"], "password": account["password"], "domain": {"name": account["domain_name"]}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": account["project_id"]}},
            }
        }
        return {"X-Auth-Token": httpx.post(f"{account['auth_url']}/auth/tokens", json=body).headers["X-Subject-Token"]}

    def arm(self, **fault: Any) -> None:
        assert httpx.post(f"{self.account['endpoints']['iam']}/_emulator/faults", json=fault).status_code == 201

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        os.kill(self.popen.pid, number)
        out, err = self.popen.communicate(timeout=20)
        return self.popen.returncode, out, err


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path / "region.db")
    yield made
    if made.popen.poll() is None:
        made.end(signal.SIGKILL)


def test_a_kill_loses_nothing_that_was_answered(process: Process, tmp_path: Path) -> None:
    account, token = process.account, process.login()
    ims = account["endpoints"]["ims"]
    body = {"name": "kept", "backup_id": account["backups"]["available"][0], "whole_image_type": "CBR"}
    answer = httpx.post(f"{ims}/v1/cloudimages/wholeimages/action", json=body, headers=token)
    assert answer.status_code == 200, answer.text
    process.end(signal.SIGKILL)
    again = Process(tmp_path / "region.db", port=process.port)
    try:
        deadline = time.monotonic() + 20
        while (job := httpx.get(f"{ims}/v1/{account['project_id']}/jobs/{answer.json()['job_id']}", headers=token).json())[
            "status"
        ] != "SUCCESS":
            assert time.monotonic() < deadline, job
        assert again.account == account
    finally:
        assert again.end(signal.SIGINT)[0] == 0


def test_signals_end_it_cleanly_and_the_connection_is_really_cut(process: Process) -> None:
    account, token = process.account, process.login()
    vaults = f"{account['endpoints']['cbr']}/v3/{account['project_id']}/vaults"
    process.arm(name="lost-answer", operation="listVaults")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(vaults, headers=token)
    process.arm(name="hold", operation="listVaults", seconds=0.2)
    assert httpx.get(vaults, headers=token).status_code == 200
    assert httpx.get(f"{account['endpoints']['iam']}/_emulator/account").json() == account
    assert httpx.get(f"{account['endpoints']['ims']}/_emulator/account", headers=token).status_code == 404
    code, out, err = process.end(signal.SIGTERM)
    assert (code, out.strip(), err) == (0, "stopped", "")


def test_a_request_whose_sender_dies_in_the_middle_is_none(process: Process) -> None:
    line, token = "POST /v1/cloudimages/wholeimages/action HTTP/1.1", process.login()["X-Auth-Token"]
    head = f"{line}\r\nHost: 127.0.0.1\r\nX-Auth-Token: {token}\r\n"
    ims = httpx.URL(process.account["endpoints"]["ims"])
    with socket.create_connection((ims.host, ims.port)) as half:
        half.sendall(f'{head}Content-Type: application/json\r\nContent-Length: 200\r\n\r\n{{"name": "half'.encode())
    log = f"{process.account['endpoints']['iam']}/_emulator/requests"
    for _ in range(20):  # each goes through the same loop as the half request
        seen = [one["operationId"] for one in httpx.get(log).json()["requests"]]
        assert "createWholeImage" not in seen


async def test_a_taken_port_is_named() -> None:
    first = Emulator(first_port=0)
    listening = asyncio.Event()
    task = asyncio.create_task(serve(first, ready=lambda account: listening.set()))
    await asyncio.wait_for(listening.wait(), 20)
    try:
        with pytest.raises(PortsTaken, match=str(first.cloud.first_port)):
            await serve(Emulator(first_port=first.cloud.first_port))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.filterwarnings("ignore")  # of openstacksdk about itself
def test_openstacksdk_finds_its_way(process: Process) -> None:
    import openstack

    account = process.account
    cloud = openstack.connection.Connection(
        auth={
            "auth_url": account["auth_url"],
            "username": account["user"],
            "password": account["password"],
            "project_id": account["project_id"],
            "user_domain_name": account["domain_name"],
        },
        region_name=account["region"],
        identity_api_version="3",
    )
    images = list(cloud.image.images(owner=account["project_id"]))
    assert len(images) > 20
    assert cloud.image.get_image(account["image_public"]).name == "Standard_Ubuntu_22.04_latest"
    shared = next(image for image in images if image.visibility == "shared")
    assert [member.status for member in cloud.image.members(shared.id)] == ["pending"]
    assert cloud.current_project_id == account["project_id"]
