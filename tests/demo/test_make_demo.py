"""`make demo` shows a stranger the whole job through Prefect, and leaves nothing running."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.demo import Demo, DemoError

_ROOT = Path(__file__).resolve().parents[2]
_NEEDED = ("flows", "tasks", "deployments", "src", "prefect.yaml", "pyproject.toml", "Makefile")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout in a folder with spaces in its name, so that nobody's own demo is in the way."""
    place = tmp_path / "a folder with spaces"
    place.mkdir()
    for name in _NEEDED:
        source = _ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, place / name)
    return place


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_makes_shares_and_launches_through_the_deployment_and_ends_with_0_without_a_terminal(checkout: Path) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "deployments.demo"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    print(f"make demo took {time.monotonic() - begun:.0f} s")  # noqa: T201 - a figure for whoever reads the run
    assert re.search(r"image +│ shop-web-01-\d{8}-[0-9a-f]{8}", told)
    assert "active (Normal in the console)" in told
    assert "shared with" in told
    assert "launch id" in told
    assert "probe tcp:2222" in told
    assert "requests to the cloud" in told
    assert "/v2/runs" in told
    assert "Traceback" not in told
    assert not _still_running(checkout), "the demo left a process behind"


def test_a_process_that_dies_ends_the_demo_and_is_named_instead_of_being_waited_for(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.start("worker", "sh", "-c", "echo no room >&2; exit 3", environ={})
        with pytest.raises(DemoError, match=r"The worker ended with 3; see .*worker\.log"):
            demo.follow(sys.executable, "-c", "import time; time.sleep(60)", environ={})
    finally:
        demo.stop()
    assert (tmp_path / "worker.log").read_text() == "no room\n"


def _still_running(checkout: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(checkout) in line]
