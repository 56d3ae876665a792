"""No test sees this machine's clouds, settings, Prefect or home, and none leaves anything there."""

import os
import tempfile
from pathlib import Path

import pytest

_OUTSIDE = ("OS_", "B2I_", "PREFECT_", "XDG_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_home = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported: a home of the run's own, and nothing that points elsewhere."""
    for name in list(os.environ):
        if name.startswith(_OUTSIDE) or name.lower() in _PROXIES:
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
