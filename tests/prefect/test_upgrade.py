"""A run that an older version began is finished by the newer one, once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backup_to_image import __version__
from tests.support.house import DEPLOYMENT, ROOT, SPEED, House, kill_family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OLDER = "0.0.9"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A checkout of the version before: by its number, and by records that say nothing of their form."""
    place = tmp_path / "older"
    for name in ("src", "flows", "tasks", "deployments"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    declared = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    (place / "prefect.yaml").write_text(declared.replace(f"version: {__version__}", f"version: {OLDER}"), encoding="utf-8")
    package = place / "src" / "backup_to_image"
    _change(package / "__init__.py", re.escape(f'"{__version__}"'), f'"{OLDER}"')
    _change(package / "journal" / "record.py", r'    form: int = FORM\n    """.*?"""\n', "")
    return place


def _change(file: Path, what: str, by: str) -> None:
    text, changed = re.subn(what, by, file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert changed == 1, file
    file.write_text(text, encoding="utf-8")


def set_up(house: House, checkout: Path) -> None:
    environ = house.environ | {"OS_CLIENT_CONFIG_FILE": str(house.files["clouds"]), "PYTHONPATH": str(checkout / "src")}
    made = subprocess.run(
        [sys.executable, "-m", "deployments.setup"], cwd=checkout, env=environ, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr


def version(house: House) -> str:
    return str(house.ask("GET", f"/deployments/name/{DEPLOYMENT}")["version"])


def test_a_run_of_the_older_version_that_was_killed_is_finished_by_the_newer_one_with_one_image(
    house: House, older: Path
) -> None:
    house.kill_worker_and_runs()
    set_up(house, older)
    assert version(house) == OLDER
    settings = {"B2I_CONFIG": str(house.files["settings"]), "PYTHONPATH": str(older / "src")}
    old = house.start("older-worker", "python", "-m", "deployments.worker", "--name", "older", cwd=older, **settings)
    backup, before = house.backup(), house.asked("createWholeImage")
    house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=20 * SPEED)
    run = house.order(backup)
    house.await_word(run, "accepted", within=240)
    kill_family(old.pid)

    set_up(house, ROOT)
    house.start_worker()
    house.retry(run)
    ended = house.await_state(run, "Completed", within=300)

    assert (ended["deployment_version"], version(house)) == (OLDER, __version__), "with which it began, and what is there now"
    assert ended["run_count"] == 2
    (image,) = house.cloud.images_of(backup)
    assert house.result(run)["delivery"]["image_id"] == image["id"]
    assert house.asked("createWholeImage") == before + 1
