"""A region for several people at once, and where the figures of a proof are told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kills.company import LATE, SPEED, Person, people, seed, seed_of_nights
from tests.support.served import Served

PEOPLE = 24
BACKUPS = 30
AWAKE = 24
"""So many nights at a time: with more of them each takes minutes, and all together no less."""
NIGHTS = 450
"""Projects for nights, one for each: what a night leaves is not what the next one begins with."""


@dataclass
class Company:
    served: Served
    people: list[Person]


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """A region of the test's own: one region has room for 250 servers that listen."""
    with Served(tmp_path, SPEED, seed(tmp_path, PEOPLE, BACKUPS)) as served:
        yield _late(served, tmp_path)


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Company]:
    """The same for nights: everybody has as many fresh projects as it takes."""
    with Served(tmp_path, SPEED, seed_of_nights(tmp_path, AWAKE, NIGHTS)) as served:
        yield _late(served, tmp_path)


def _late(served: Served, folder: Path) -> Company:
    everybody = people(served, folder / "people")
    served.arm(name="late-listing", seconds=LATE * SPEED, times=None)
    return Company(served, everybody)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Say something at the end of the whole run, whether the test passes or not."""
    return lambda what: record_property("told", str(what))
