"""A region for several people at once, and where the figures of a proof are told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.kills.company import LATE, SPEED, Person, people, seed
from tests.support.served import Served

PEOPLE = 12
BACKUPS = 60


@dataclass
class Company:
    served: Served
    people: list[Person]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    with Served(folder, SPEED, seed(folder, PEOPLE, BACKUPS)) as served:
        everybody = list(people(served, folder / "people"))
        served.arm(name="late-listing", seconds=LATE * SPEED, times=None)
        yield Company(served, everybody)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Say something at the end of the whole run, whether the test passes or not."""
    return lambda what: record_property("told", str(what))
