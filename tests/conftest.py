"""No test sees this machine's clouds, settings, Prefect or home, and none leaves anything there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.laid import Laid
    from tests.support.region import Region
    from tests.support.valkey import Valkey

_POINTING_OUTSIDE = ("AWS_", "OS_", "B2I_", "PREFECT_", "XDG_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_home = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported: a home of the run's own, and nothing that points elsewhere."""
    removed = {name for name in os.environ if name.startswith(_POINTING_OUTSIDE) or name.lower() in _PROXIES}
    # The few tests that install packages need what this machine has set up for it. The first process knows, its workers inherit.
    outside = {name: os.environ[name] for name in removed | {"HOME"} if name in os.environ}
    os.environ.setdefault("OUTSIDE_OF_TESTS", json.dumps(outside))
    for name in removed:
        del os.environ[name]
    config.stash[_home] = tempfile.TemporaryDirectory(prefix="b2i-home-")
    home = Path(config.stash[_home].name)
    os.environ |= {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What is costly to make is made once, in one of the processes."""
    from tests.support.together import Together

    return Together(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_home].cleanup()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A real server that every test may use and none may stop; keys of its own keep a test from the others."""
    from tests.support.valkey import Valkey

    with Valkey(on_socket=True) as server:
        yield server


@pytest.fixture(params=["folder", "valkey"])
def laid(request: pytest.FixtureRequest, tmp_path: Path) -> Laid:
    """Each of the places where a journal may lie."""
    from tests.support.laid import InFolder, OnValkey

    return InFolder(tmp_path / "journal") if request.param == "folder" else OnValkey(request.getfixturevalue("valkey"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What proofs have to tell: how often something was tried, and what came of it."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, said in report.user_properties:
            if name == "told":
                terminalreporter.write_line(str(said))


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    """An emulated region of the test's own, whose time passes by itself, and a desk to work at."""
    from tests.support.region import Region

    made = Region(tmp_path)
    yield made
    made.close()


@pytest.fixture
def backup(region: Region) -> str:
    """A backup that nothing speaks against: of shop-web-01, which has a system and a data disk."""
    found: str = region.account["backups"]["available"][0]
    return found


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a Prefect server of these tests' own, with heartbeats off."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_BATCH_INTERVAL,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=90),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.2}),
    ):
        yield PREFECT_API_URL.value()
