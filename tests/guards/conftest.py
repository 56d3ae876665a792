"""What the guards look at: the checkout, and the files that are (or are about to be) part of the project."""

import json
import os
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def _listed(*options: str) -> list[Path]:
    # safe.directory: in a container the checkout often belongs to somebody else than who tests it.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", *options]
    names = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in names if name and (path := _ROOT / name).is_file()]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return _ROOT


@pytest.fixture(scope="session")
def committed() -> list[Path]:
    """Every file that git knows."""
    return _listed()


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Every file that git knows or would not ignore."""
    return _listed("--cached", "--others", "--exclude-standard")


@pytest.fixture(scope="session")
def installing() -> dict[str, str]:
    """The environment for package installers: this machine's own, with its proxies and its home."""
    return os.environ | json.loads(os.environ["OUTSIDE_OF_TESTS"])
