"""No test sees this machine's clouds, settings, Prefect or home, and none leaves anything there."""

import json
import os
import tempfile
from pathlib import Path

import pytest

_POINTING_OUTSIDE = ("OS_", "B2I_", "PREFECT_", "XDG_")
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


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_home].cleanup()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What proofs have to tell: how often something was tried, and what came of it."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, said in report.user_properties:
            if name == "told":
                terminalreporter.write_line(str(said))
