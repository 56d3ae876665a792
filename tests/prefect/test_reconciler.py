"""The reconciler's deployment with a real server and worker: it finishes what a command on the same journal has left."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from backup_to_image.cli.demo import CLOUD
from tests.support.house import BIN, House, patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RECONCILER = "reconcile/every-ten-minutes"


def reconcile(house: House) -> tuple[dict[str, Any], str]:
    """One run of it, and its page."""
    run = house.order_foreign(RECONCILER)
    return house.await_state(run, "Completed", within=120), house.artifacts(run)["open-orders"]


def test_an_order_whose_command_gave_up_is_told_as_late_then_shared_as_ordered(house: House) -> None:
    backup = house.backup()
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=1500)  # at speed 1
    environ = house.environ | {
        "OS_CLIENT_CONFIG_FILE": str(house.files["clouds"]),
        "OS_CLOUD": CLOUD,
        "B2I_CONFIG": str(house.files["settings"]),
    }
    command = [str(BIN / "b2i"), "--json", "create", backup, "--share-with", "dr", "--timeout", "5s"]
    gave_up = subprocess.run(command, cwd=house.folder, env=environ, capture_output=True, text=True, check=False)
    assert gave_up.returncode == 4, gave_up.stderr
    assert json.loads(gave_up.stdout)["outcome"] == "still_running"

    _, page = reconcile(house)
    assert backup in page
    assert "past its deadline" in page

    with patience(120, "the image") as beats:
        for _ in beats:
            if [image["status"] for image in house.cloud.images_of(backup)] == ["active"]:
                break
    ended, page = reconcile(house)
    (image,) = house.cloud.images_of(backup)
    assert "finished" in ended["state"]["message"]
    assert "is Normal, shared with" in page
    assert house.members_of(image["id"]) == [house.account["second_project"]]

    _, page = reconcile(house)
    assert backup not in page, "told once, then closed"
