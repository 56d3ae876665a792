"""A fresh region for every test, and the doors through which the main job is ordered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import CommandLine, Door
from tests.support.region import Region

DOORS = {"b2i": CommandLine}


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, region: Region) -> Door:
    return DOORS[request.param](region)


@pytest.fixture
def backup(region: Region) -> str:
    """A backup that nothing speaks against: of shop-web-01, which has a system and a data disk."""
    found: str = region.account["backups"]["available"][0]
    return found
