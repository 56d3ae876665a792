"""A folder for each case: in memory where this machine has such a place, since every case writes its journal to disk for sure."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
IN_MEMORY = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="b2i-faults-", dir=IN_MEMORY) as made:
        yield Path(made)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Say something at the end of the whole run, whether the test passes or not."""
    return lambda what: record_property("told", str(what))
