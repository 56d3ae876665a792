"""After all of that no secret lies anywhere: logs, Prefect's database and home, pages, journal, traces.

It runs last of those in the `house`, over what the others have left there.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.house import BIN, House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = re.compile(rb"MII[\w-]{200}")
"""As the emulated cloud writes its tokens, of which it keeps the fingerprints alone."""
ADMIN_PASS = re.compile(rb'"?adminpass"?\s*[:=]\s*"?(?!\[hidden\])[^"\s]', re.IGNORECASE)


def kept(house: House) -> dict[str, bytes]:
    """All that is left of the runs, by file. What people wrote themselves and the cloud's own state are not ours."""
    files = {
        str(path.relative_to(house.folder)): path.read_bytes()
        for path in house.folder.rglob("*")
        if path.is_file() and path.name != "clouds.yaml" and "cloud" not in path.parts
    }
    with sqlite3.connect(f"file:{house.folder / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
        files["the database"] = "\n".join(database.iterdump()).encode()
    return files


def new_token(house: House) -> bytes:
    account = house.account
    user = {"name": account["user"], "password": account["password"], "domain": {"name": account["domain_name"]}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": account["project_id"]}}}}
    answer = house.cloud.http.post(f"{account['auth_url']}/auth/tokens", json=body)
    return answer.headers["X-Subject-Token"].encode()


def order_from_a_terminal(house: House, backup: str, trace: Path) -> None:
    """The other door, with a trace of every exchange; it launches, so that what a launch answers is in there."""
    environ = house.environ | {
        "OS_CLIENT_CONFIG_FILE": str(house.files["clouds"]),
        "OS_CLOUD": "b2i-demo",
        "B2I_CONFIG": str(house.files["settings"]),
    }
    launch = house.files["launch"].parent / house.launch_order("traced")
    command = [BIN / "b2i", "create", backup, "--launch", str(launch), "--trace", str(trace), "-vv"]
    done = subprocess.run(command, cwd=house.folder, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (house.folder / "terminal.log").write_bytes(done.stdout + done.stderr)


def test_no_password_token_or_key_is_in_logs_database_pages_journal_or_traces(house: House) -> None:
    backup = house.backup()
    assert house.b2i("--prefect", "create", backup, "--share-with", "dr")[0] == 0
    keys = house.new_block("keys", house, with_keys=True)
    signed = house.order(backup, project={"$ref": {"block_document_id": keys}})
    house.await_state(signed, "Completed")
    order_from_a_terminal(house, backup, house.folder / "trace.jsonl")

    files = kept(house)
    assert all(backup.encode() in files[one] for one in ("the database", "trace.jsonl", "terminal.log"))
    assert any(name.startswith("journal/") and backup.encode() in content for name, content in files.items())
    assert b"X-Auth-Token" in files["trace.jsonl"] or b"x-auth-token" in files["trace.jsonl"]
    assert TOKEN.search(new_token(house)), "this is how a token looks"
    for name, content in files.items():
        assert not TOKEN.search(content), f"a token in {name}"
        assert not ADMIN_PASS.search(content), f"an adminPass in {name}"
        for secret in (house.account["password"], house.account["sk"], house.account["recipient"]["password"]):
            assert secret.encode() not in content, f"a secret in {name}"
