"""How much work something is, in calls of functions: the same on every machine, however busy it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["calls"]


T = TypeVar("T")


def calls(do: Callable[[], T]) -> tuple[int, T]:
    """How many functions were called, built-in ones among them, and what came of it."""
    counted = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        came = do()
    finally:
        sys.setprofile(before)
    return counted, came
