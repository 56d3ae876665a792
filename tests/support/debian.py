"""Programs that tests take from Debian, where they are."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["from_debian", "missing"]


def from_debian(name: str) -> str:
    """Where it is. Without it a test is skipped; where CI is set, it fails: nobody would see what was skipped there."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing(name))
    return str(found)


def missing(name: str) -> str:
    return f"there is no {name}: `apt-get install {name}`, or `.ci/debian` as root"
