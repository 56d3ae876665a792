"""Elements of a page: made as a tree, so that whatever comes from outside is escaped wherever it stands."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from backup_to_image.night_pages.words import plain

__all__ = ["add", "say"]

_COMMAND = re.compile(r"`([^`]+)`")


def add(parent: Element, tag: str, text: str = "", **attributes: object) -> Element:
    """A new last child. A trailing `_` of an attribute's name is dropped, any other becomes a `-`: `class_`, `stroke_width`."""
    given = {name.rstrip("_").replace("_", "-"): plain(str(value)) for name, value in attributes.items()}
    child = SubElement(parent, tag, given)
    child.text = plain(text) or None
    return child


def say(parent: Element, text: str) -> None:
    """Words at the end of an element; what stands in backticks is shown as a command is."""
    for number, piece in enumerate(_COMMAND.split(" ".join(text.split("\n")))):
        if not piece:
            continue
        if number % 2:
            add(parent, "code", piece)
            continue
        words = "".join(char if char.isprintable() else " " for char in piece)
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + words
        else:
            parent.text = (parent.text or "") + words
