"""One emulated cloud for all of these clients; without their environment (`make test-third-party`) nothing here is collected."""

import importlib.util
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

_ROOT = Path(__file__).resolve().parents[2]
_CLIENTS = ("huaweicloudsdkims", "otcextensions", "openstackclient")

collect_ignore_glob = [] if all(importlib.util.find_spec(name) for name in _CLIENTS) else ["test_*.py"]


@pytest.fixture(scope="session")
def account() -> Iterator[dict[str, Any]]:
    """What `b2i emulator --json` prints once it listens; stopped after the last test."""
    command = [str(_ROOT / ".venv/bin/b2i"), "emulator", "--port", "0", "--speed", "50", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        try:
            yield json.loads(emulator.stdout.readline())
        finally:
            emulator.terminate()
            emulator.communicate(timeout=20)
    assert emulator.returncode == 0, "the emulator did not stop cleanly"


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], T], Callable[[T], bool]], T]:
    """Ask until the answer will do: these clients leave the waiting to their users."""

    def ask(look: Callable[[], T], enough: Callable[[T], bool]) -> T:
        end = time.monotonic() + 60
        while not enough(answer := look()):
            assert time.monotonic() < end, f"not done within a minute: {answer}"
            time.sleep(0.2)
        return answer

    return ask
