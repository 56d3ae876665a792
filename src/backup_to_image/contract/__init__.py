"""The cloud's API as its public documentation describes it, as data: `openapi.yaml`.

Two readers use it, and share nothing else: the emulator, to be strict about requests, and `b2i doctor --contract`, to compare a
real cloud's answers with the documented shapes. Path keys are `/<service><path>`; `x-path` and `x-service` take them apart.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["openapi"]


@cache
def openapi() -> dict[str, Any]:
    """The whole document, parsed once in a process (about 0.2 s with libyaml)."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(files(__name__).joinpath("openapi.yaml").read_bytes(), Loader=loader)  # noqa: S506 - a safe loader, by either name
    return document
