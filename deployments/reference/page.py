"""What the pages are put together from: tables, and links to headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["anchor", "code", "list_of", "paragraphs", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; what is in a cell may hold anything."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip()).replace("|", "\\|")


def code(text: object) -> str:
    """As it is typed."""
    return f"`{text}`"


def list_of(words: Iterable[object]) -> str:
    """As they are typed, one after the other."""
    return ", ".join(code(one) for one in words)


def paragraphs(text: str) -> str:
    """A docstring as paragraphs, each in one line."""
    parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\b", "")))
    return "\n\n".join(part for part in parts if part)


def anchor(heading: str) -> str:
    """The id that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
