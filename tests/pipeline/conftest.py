"""A fresh region for every test, and the doors through which the main job is ordered."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import CommandLine, Door
from tests.support.region import Region
from tests.support.runbooks import APP, DB, WEB

DOORS = {"b2i": CommandLine}


BOTH_DOORS = {
    "test_share_command": ("share", "unshare"),
    "test_accept": ("accept", "reject"),
    "test_accept_all": ("accept",),
    "test_hand_over": ("hand-over",),
    "test_launch": ("launch",),
    "test_launch_compare": ("launch",),
    "test_drill_by_hand": ("launch",),
    "test_teardown": ("teardown",),
    "test_change_os": ("change-os",),
    "test_runbook_check": ("runbook",),
    "test_runbook_run": ("runbook drill", "runbook failover"),
    "test_lost_region": ("runbook",),
}
"""What these modules promise holds by `b2i` and by the commands' flows; a test marked `one_door` says why it is of one alone."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    words = BOTH_DOORS.get(metafunc.module.__name__.rpartition(".")[2])
    if words and "region" in metafunc.fixturenames:
        by_flow = pytest.param(words, marks=pytest.mark.slow, id="flow")
        metafunc.parametrize("region", [pytest.param((), id="b2i"), by_flow], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By the flow only what both doors can; of the many cases of one promise two in `make check-all`, all in `make prove`."""
    items[:] = [item for item in items if not (item.get_closest_marker("one_door") and _by_flow(item))]
    cases: Counter[str] = Counter()
    for item in filter(_by_flow, items):
        promise = item.nodeid.partition("[")[0]
        cases[promise] += 1
        if cases[promise] > 2:
            item.add_marker(pytest.mark.prove)


def _by_flow(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and hasattr(item, "callspec") and bool(item.callspec.params.get("region"))


@pytest.fixture
def seed() -> str:
    """The company that the region begins with."""
    return "demo"


@pytest.fixture
def region(tmp_path: Path, seed: str, request: pytest.FixtureRequest) -> Iterator[Region]:
    made = Region(tmp_path, seed=seed)
    words: tuple[str, ...] = getattr(request, "param", ())
    if words:
        request.getfixturevalue("server")
        from tests.support.flow_door import through_flow

        made.by_flow = dict.fromkeys(words, through_flow)
    yield made
    made.close()


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, region: Region) -> Door:
    return DOORS[request.param](region)


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """An image of shop-web-01, as b2i makes it: its facts are known."""
    found: str = region.b2i("create", backup).told["image_id"]
    region.forget()
    return found


@pytest.fixture
def images(region: Region) -> dict[str, str]:
    """Images of the web, the application and the database server, as b2i makes them, by their sources' names."""
    made = (region.b2i("create", backup).told for backup in region.account["backups"]["available"][:3])
    found = {str(told["image_name"]).rsplit("-", 2)[0]: str(told["image_id"]) for told in made}
    assert set(found) == {WEB, APP, DB}
    region.forget()
    return found
