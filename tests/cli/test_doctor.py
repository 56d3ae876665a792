"""`b2i doctor`, asked as an operator asks it: arguments and environment in, output and exit code out, a region on sockets."""

import asyncio
import contextlib
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.cli import run
from backup_to_image.cli.doctor import BLANK
from backup_to_image.emulator import Emulator
from backup_to_image.emulator.routing import PORT_ORDER, Router
from backup_to_image.emulator.serve import serve
from tests.support.valkey import Valkey

# How each service says that a right is missing (BEHAVIOUR.md 3 and 15).
REFUSALS = {
    "ims": {"error": {"code": "IMG.0026", "message": "role not sufficient"}},
    "cbr": {"error_code": "APIGW.0302", "error_msg": "policy does not allow this action"},
    "ecs": {"error": {"code": "Pdp.0001", "message": "policy does not allow this action"}},
    "vpc": {"code": "VPC.2201", "message": "policy does not allow this action"},
    "eip": {"code": "VPC.2201", "message": "policy does not allow this action"},
    "evs": {"error": {"code": "EVS.5403", "message": "policy does not allow this action"}},
}

# The read that is refused: the action that the operator has to be told, and the steps that it blocks.
RIGHTS = {
    "listBackups": ("cbr:backups:list", {"validate", "create", "retention"}),
    "getBackup": ("cbr:backups:get", {"validate", "create", "share", "launch", "change-os", "retention"}),
    "listVaults": ("cbr:vaults:list", {"validate", "accept"}),
    "getVault": ("cbr:vaults:get", {"validate"}),
    "listServersDetail": ("ecs:cloudServers:list", {"launch", "teardown", "change-os", "retention"}),
    "getServer": ("ecs:cloudServers:showServer", {"validate", "launch", "teardown", "change-os", "retention"}),
    "listVolumesDetail": ("evs:volumes:list", {"validate", "teardown", "change-os"}),
    "listCloudImages": ("ims:images:list", {"validate", "create", "share", "accept", "retention"}),
    "getImage": ("ims:images:get", {"create", "share", "accept", "launch", "change-os", "retention"}),
    "getImageQuota": ("ims:quotas:get", {"validate"}),
    "listImageMembers": ("ims:images:share", {"share", "accept", "retention"}),
    "listVpcs": ("vpc:vpcs:list", {"launch"}),
    "listSubnets": ("vpc:subnets:get", {"launch"}),
    "listSecurityGroups": ("vpc:securityGroups:get", {"launch"}),
    "listFlavors": ("ecs:cloudServerFlavors:get", {"launch"}),
    "getServerLimits": ("ecs:cloudServerQuotas:get", {"launch"}),
    "listAvailabilityZones": ("ecs:availabilityZones:list", {"launch"}),
    "listKeypairs": ("ecs:serverKeypairs:list", {"launch", "change-os"}),
    "listPublicIps": ("vpc:publicIps:list", {"teardown"}),
}

# Those that are asked with an id, which a list must tell first: refused together, after the lists were let through.
WITH_AN_ID = {"getBackup", "getVault", "getServer", "getImage", "listImageMembers"}


class Gate:
    """A policy in front of the region: the operations in `closed` are refused in their service's words, as IAM would have it."""

    def __init__(self, region: Any) -> None:
        self._region = region
        self._router = Router()
        self.first_port = 0
        self.closed: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            service = PORT_ORDER[scope["server"][1] - self.first_port]
            operation, _, _ = self._router.find(service, scope["method"], scope["path"])
            if operation is not None and operation.id in self.closed:
                content = json.dumps(REFUSALS[operation.service]).encode()
                headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
                await send({"type": "http.response.start", "status": 403, "headers": headers})
                await send({"type": "http.response.body", "body": content})
                return
        await self._region(scope, receive, send)


class Region:
    """A served region, what is closed in it, and `b2i` for its user."""

    def __init__(
        self, emulator: Emulator, gate: Gate, account: dict[str, Any], home: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.emulator, self.gate, self.account, self.home, self._loop = emulator, gate, account, home, loop

    def image_quota(self, limit: int) -> int:
        """Set the quota of images in the region's own thread; returns what it was."""

        async def change() -> int:
            quota = self.emulator.cloud.get("quota", self.account["project_id"])
            assert quota is not None
            before: int = quota["images"]
            self.emulator.cloud.save("quota", {**quota, "images": limit})
            return before

        return asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    def b2i(self, *arguments: str, code: int = 0, **environment: str) -> dict[str, Any]:
        ended, out, err = self.run(*arguments, "--json", **environment)
        assert ended == code, err + out
        content: dict[str, Any] = json.loads(out)
        return content

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        known = {
            "OS_AUTH_URL": self.account["auth_url"],
            "OS_REGION_NAME": self.account["region"],
            "OS_USERNAME": self.account["user"],
            "OS_PASSWORD": self.account["password"],
            "OS_USER_DOMAIN_NAME": self.account["domain_name"],
            "OS_PROJECT_NAME": self.account["project_name"],
            "HOME": str(self.home),
            "COLUMNS": "200",
        }
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(self.home)
            for name, value in (known | environment).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                run(list(arguments))
        return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    emulator = Emulator(first_port=0, speed=300)
    gate = Gate(emulator.app)
    emulator.app = gate  # type: ignore[assignment]  # another ASGI app in front of the region's own
    told: list[dict[str, Any]] = []
    listening = threading.Event()
    loop = asyncio.new_event_loop()

    def ready(account: dict[str, Any]) -> None:
        told.append(account)
        listening.set()

    serving = loop.create_task(serve(emulator, ready=ready))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([serving])), daemon=True)
    thread.start()
    assert listening.wait(30)
    gate.first_port = emulator.cloud.first_port
    yield Region(emulator, gate, told[0], tmp_path_factory.mktemp("home"), loop)
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(10)
    loop.close()


@pytest.fixture
def region(served: Region) -> Iterator[Region]:
    served.gate.closed = set()
    served.emulator.faults.disarm()
    yield served
    served.gate.closed = set()
    served.emulator.faults.disarm()


@pytest.fixture(scope="module")
def healthy(served: Region) -> dict[str, Any]:
    """What it tells, contract and all, of an account that may do everything in a cloud that answers as documented."""
    before = len(served.emulator.requests)
    told = served.b2i("doctor", "--contract", "--fail-on-findings")
    return {**told, "asked": list(served.emulator.requests)[before:]}


def test_it_says_who_this_is_and_until_when_without_a_secret(region: Region, healthy: dict[str, Any]) -> None:
    login = healthy["login"]
    assert (login["user"], login["account"]) == (region.account["user"], region.account["domain_name"])
    assert (login["project_id"], login["region"]) == (region.account["project_id"], region.account["region"])
    assert 23 * 3600 < login["token_seconds_left"] <= 24 * 3600
    assert abs(login["clock_skew_s"]) < 60
    assert region.account["password"] not in json.dumps(healthy)


def test_all_its_keys_are_there_whatever_happens(region: Region, healthy: dict[str, Any]) -> None:
    assert set(healthy) - {"asked"} == set(BLANK)
    assert set(region.b2i("doctor", code=2, OS_PASSWORD="not the password")) == set(BLANK)


def test_a_refused_log_in_ends_with_2_and_is_sent_once(region: Region) -> None:
    before = len(region.emulator.requests)
    told = region.b2i("doctor", code=2, OS_PASSWORD="not the password either")
    assert told["error"]["code"] == "b2i.login-refused"
    assert "not the password either" not in json.dumps(told)
    assert [one["operationId"] for one in list(region.emulator.requests)[before:]] == ["createToken"]


def test_with_every_right_no_step_is_blocked(healthy: dict[str, Any]) -> None:
    assert set(healthy["steps"].values()) == {"open"}
    assert healthy["findings"] == []
    assert {right["outcome"] for right in healthy["rights"]} == {"granted", "not tried"}


@pytest.mark.parametrize("closed", [WITH_AN_ID, set(RIGHTS) - WITH_AN_ID, {"listKeypairs"}], ids=["by id", "lists", "one"])
def test_each_missing_right_is_named_for_each_step_that_it_blocks(region: Region, closed: set[str]) -> None:
    region.gate.closed = closed
    told = region.b2i("doctor")
    missing = [right for right in told["rights"] if right["outcome"] == "missing"]
    expected = {(action, step) for action, steps in map(RIGHTS.__getitem__, closed) for step in steps}
    assert {(right["action"], right["step"]) for right in missing} == expected
    assert all(right["action"] in right["remedy"] and right["step"] in right["remedy"] and right["code"] for right in missing)
    assert {step for step, state in told["steps"].items() if state == "blocked"} == {step for _, step in expected}
    assert sorted(finding.split(" ")[0] for finding in told["findings"]) == sorted({action for action, _ in expected})


def test_people_read_the_same_as_machines(region: Region) -> None:
    region.gate.closed = {"listPublicIps"}
    _, words, _ = region.run("doctor")
    assert re.search(r"teardown .*blocked", words)
    assert "vpc:publicIps:list" in words
    assert "Grant vpc:publicIps:list" in words
    assert "1 finding:" in words


def test_findings_end_with_5_only_where_asked(region: Region) -> None:
    region.gate.closed = {"listVaults"}
    assert region.b2i("doctor", code=0)["findings"] == region.b2i("doctor", "--fail-on-findings", code=5)["findings"]


def test_what_cannot_be_tried_is_named_with_its_action(healthy: dict[str, Any]) -> None:
    untried = {right["action"] for right in healthy["rights"] if right["outcome"] == "not tried"}
    assert {"ims:wholeImages:create", "ims:images:share", "ecs:cloudServers:createServers"} <= untried
    assert {"ecs:cloudServers:deleteServers", "evs:volumes:delete", "vpc:publicIps:delete"} <= untried


def test_nothing_is_written_to_the_cloud(healthy: dict[str, Any]) -> None:
    assert len(healthy["asked"]) == healthy["requests"]
    writes = {one["operationId"] for one in healthy["asked"] if one["method"] != "GET"}
    assert writes == {"createToken", "getConsoleOutput"}  # both are read with a POST


def test_every_action_names_the_page_that_it_stands_on(healthy: dict[str, Any]) -> None:
    pages = {right["page"] for right in healthy["rights"]}
    assert all(re.fullmatch(r"(IMS|CBR|ECS|EVS|VPC|EIP) api-ref/source/\S+\.rst", page) for page in pages)


def test_a_used_up_quota_is_a_finding(region: Region) -> None:
    before = region.image_quota(1)
    try:
        told = region.b2i("doctor", "--fail-on-findings", code=5)
    finally:
        region.image_quota(before)
    assert told["quotas"]["images"]["limit"] == 1
    assert [finding for finding in told["findings"] if "quota of images" in finding]


def test_vaults_are_told_with_their_free_space_and_a_full_one_is_a_warning(healthy: dict[str, Any]) -> None:
    full = next(vault for vault in healthy["vaults"] if vault["name"] == "full-vault")
    assert full["free_gb"] == 0
    assert "vault full-vault" in [check["rule"] for check in healthy["checks"] if check["verdict"] == "warned"]


def test_a_clock_that_is_off_is_a_finding(region: Region) -> None:
    region.emulator.faults.arm("clock-skew", seconds=1800.0)
    told = region.b2i("doctor")
    assert 1700 < told["login"]["clock_skew_s"] < 1900
    assert any(finding.startswith("clock: this clock is") and "behind" in finding for finding in told["findings"])


def test_the_settings_file_and_the_recipients_are_told(region: Region, tmp_path: Path) -> None:
    assert region.b2i("doctor")["settings"] == {"file": None, "recipients": {}}
    file = tmp_path / "b2i.yaml"
    recipient = region.account["recipient"]["project_id"]
    file.write_text(f"projects: {{dr: {recipient}}}\njournal: kept\n")
    told = region.b2i("doctor", "--config", str(file))
    assert told["settings"] == {"file": str(file), "recipients": {"dr": recipient}}
    assert told["journal"] == {"place": str(tmp_path / "kept"), "writable": True, "durable": True}


def test_a_journal_that_cannot_be_written_is_a_finding_and_not_the_end(region: Region, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    file = tmp_path / "b2i.yaml"
    file.write_text("journal: taken/journal\n")
    told = region.b2i("doctor", "--config", str(file), "--fail-on-findings", code=5)
    assert told["journal"] == {"place": str(tmp_path / "taken" / "journal"), "writable": False, "durable": None}
    assert set(told["steps"].values()) == {"open"}
    assert [finding for finding in told["findings"] if finding.startswith("journal: ")]


def test_a_journal_on_a_server_is_told_with_whether_it_outlasts_a_restart(region: Region, tmp_path: Path, valkey: Valkey) -> None:
    file = tmp_path / "b2i.yaml"
    file.write_text(f"journal: {valkey.address}?prefix=doctor\n")
    told = region.b2i("doctor", "--config", str(file))
    assert told["journal"] == {"place": f"{valkey.address}?prefix=doctor", "writable": True, "durable": True}
    assert [check["verdict"] for check in told["checks"] if check["rule"] == "journal"] == ["passed"]


def test_a_journal_that_a_restart_would_empty_is_warned_of(region: Region, tmp_path: Path) -> None:
    file = tmp_path / "b2i.yaml"
    with Valkey(on_socket=True, appendonly="no") as forgetful:
        file.write_text(f"journal: {forgetful.address}\n")
        told = region.b2i("doctor", "--config", str(file), "--fail-on-findings")
    (check,) = [check for check in told["checks"] if check["rule"] == "journal"]
    assert (check["verdict"], told["journal"]["durable"]) == ("warned", False)
    assert "appendonly yes" in check["why"]


@pytest.mark.parametrize(
    ("address", "word"), [("redis://127.0.0.1:1/0", "refused"), ("redis://b2i@127.0.0.1", "B2I_JOURNAL_PASSWORD")]
)
def test_a_journal_whose_server_does_not_let_us_in_is_a_finding_and_not_the_end(
    region: Region, tmp_path: Path, address: str, word: str
) -> None:
    file = tmp_path / "b2i.yaml"
    file.write_text(f"journal: {address}\n")
    told = region.b2i("doctor", "--config", str(file), "--fail-on-findings", code=5)
    assert told["journal"]["writable"] is False
    (finding,) = [finding for finding in told["findings"] if finding.startswith("journal: ")]
    assert word in finding


def test_a_key_pair_serves_as_well_as_a_password(region: Region) -> None:
    keys = {"OS_ACCESS_KEY": region.account["ak"], "OS_SECRET_KEY": region.account["sk"], "OS_USERNAME": "", "OS_PASSWORD": ""}
    told = region.b2i("doctor", **keys)
    assert (told["login"]["method"], told["login"]["token_expires_at"]) == ("key pair", None)
    assert told["findings"] == []
    assert region.account["sk"] not in json.dumps(told)


def test_a_cloud_that_answers_as_documented_shows_no_difference(healthy: dict[str, Any]) -> None:
    asked = [one for one in healthy["contract"] if one["asked"]]
    assert len(asked) >= 30
    assert [(one["operation"], each) for one in asked for each in one["differences"] if each["kind"] != "undocumented"] == []
    assert all(one["not_asked"] for one in healthy["contract"] if not one["asked"])


@pytest.fixture(scope="module")
def odd(served: Region, healthy: dict[str, Any]) -> dict[str, Any]:
    """What it tells of a cloud with a new field in one answer, a new word in another, and a right missing for a third."""
    served.emulator.faults.arm("unknown-fields", operation="listBackups", times=None)
    served.emulator.faults.arm("unknown-enum", operation="getVault", times=None)
    served.gate.closed = {"listKeypairs"}
    told = served.b2i("doctor", "--contract", "--fail-on-findings", code=5)
    served.gate.closed = set()
    served.emulator.faults.disarm()
    return {**told, "contract": {one["operation"]: one for one in told["contract"]}}


def test_a_field_that_no_page_names_is_told_as_information(odd: dict[str, Any]) -> None:
    found = odd["contract"]["listBackups"]["differences"]
    assert any(each["kind"] == "undocumented" and each["where"].startswith("backups[].x_new") for each in found)
    assert not any(finding.startswith("listBackups") for finding in odd["findings"])


def test_a_value_that_no_page_names_is_a_finding_with_its_field_and_the_known_ones(odd: dict[str, Any]) -> None:
    (difference,) = [each for each in odd["contract"]["getVault"]["differences"] if each["kind"] == "value"]
    assert difference["where"] == "vault.billing.status"
    assert "reticulating" in difference["told"]
    assert "available" in difference["told"]
    assert any(finding.startswith("getVault: vault.billing.status") for finding in odd["findings"])


def test_a_refusal_is_compared_too_and_a_missing_right_is_no_difference(odd: dict[str, Any]) -> None:
    keys = odd["contract"]["listKeypairs"]
    assert keys["statuses"] == [403]
    assert "Pdp.0001" in keys["refused"]
    assert keys["differences"] == []
