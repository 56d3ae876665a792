"""A clean checkout makes itself: anywhere, without a home, twice."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(files: list[Path], root: Path, tmp_path: Path) -> Path:
    """A copy of the checkout in a folder with spaces in its name."""
    place = tmp_path / "a folder with spaces"
    for path in files:
        copy = place / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return place


@pytest.fixture
def make(checkout: Path) -> Make:
    # MAKEFLAGS and MAKELEVEL: these tests may themselves run under make, which is not this one's business.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "PYTHON"}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments], cwd=checkout, env=inherited | environment, capture_output=True, text=True, check=False
        )

    return run


def test_make_alone_lists_every_command(make: Make, checkout: Path) -> None:
    promised = re.findall(r"^([a-z-]+):.*## ", (checkout / "Makefile").read_text(), re.MULTILINE)
    assert {"test", "check-all", "demo", "setup", "clean"} <= set(promised)
    assert re.findall(r"^  make ([a-z-]+)", make().stdout, re.MULTILINE) == promised


def test_a_python_that_is_too_old_is_refused_in_one_plain_sentence(make: Make, checkout: Path) -> None:
    old = checkout / "old python"
    old.write_text('#!/bin/sh\ncase "$*" in *platform*) echo 3.9.18;; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = make("setup-env", f"PYTHON={old}")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"backup-to-image needs Python 3.11 or newer, but {old} is 3.9.18; name another with PYTHON=python3.12."]
    assert done.returncode != 0
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clean_checkout_makes_itself_without_a_home_and_a_second_time_does_nothing(
    make: Make, checkout: Path, installing: dict[str, str]
) -> None:
    before = {path.name for path in checkout.parent.iterdir()}
    homeless = installing | {"HOME": str(checkout.parent / "nowhere")}
    first = make("setup-env", **homeless)
    assert first.returncode == 0, first.stderr
    assert "Nothing to be done" in make("setup-env", **homeless).stdout
    assert {path.name for path in checkout.parent.iterdir()} == before, "something was written outside the checkout"
    look = "import backup_to_image, prefect; print(backup_to_image.__file__)"
    found = subprocess.run(
        [".venv/bin/python", "-c", look], cwd=checkout, env=os.environ, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(checkout)
