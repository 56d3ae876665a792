"""Requests whose answer never comes, in the ways that look alike to a client: had the cloud done it, or not?"""

from typing import Any

import pytest

__all__ = ["answer_lost", "request_lost"]

_DONE: dict[str, tuple[str, dict[str, Any]]] = {
    "connection cut": ("lost-answer", {}),
    "502 of a proxy": ("html-502", {"effect": True}),
    "503 without a word": ("error-503", {"effect": True}),
    "half an answer": ("truncated-json", {}),
}
_NOT_DONE: dict[str, tuple[str, dict[str, Any]]] = {
    "connection cut": ("reset-before", {}),
    "502 of a proxy": ("html-502", {}),
    "503 without a word": ("error-503", {}),
}

answer_lost = pytest.mark.parametrize(("fault", "how"), _DONE.values(), ids=_DONE)
"""Gives a test `fault` and `how`, to be armed at a request that takes effect."""
request_lost = pytest.mark.parametrize(("fault", "how"), _NOT_DONE.values(), ids=_NOT_DONE)
"""Gives a test `fault` and `how`, to be armed at a request that takes none."""
