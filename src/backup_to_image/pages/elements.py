"""A page and its elements: made as a tree, so that whatever comes from outside is escaped wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element, SubElement, tostring

from backup_to_image.pages.words import Verdict, plain

__all__ = ["add", "as_file", "banner", "folded", "listed", "new_page", "say", "table", "tile", "verbatim"]

_STYLE = files("backup_to_image.pages").joinpath("page.css").read_text(encoding="utf-8")
_MARKS = {"good": "✓", "look": "!", "bad": "✗"}
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


def verbatim(parent: Element, text: str) -> None:
    """A text of several lines as it is; only what does not show itself is shown as �."""
    lines = ("".join(char if char.isprintable() else "�" for char in line.expandtabs()) for line in text.splitlines())
    add(parent, "pre").text = "\n".join(lines)


def new_page(title: str, *, style: str = "") -> tuple[Element, Element]:
    """A page without a script and without anything from elsewhere, and its body. `style`: what it needs besides what all have."""
    root = Element("html", {"lang": "en"})
    head = add(root, "head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", title)
    add(head, "link", rel="icon", href="data:,")  # or a browser asks for one
    SubElement(head, "style").text = _STYLE + style
    return root, add(root, "body")


def as_file(root: Element) -> str:
    """The whole page as text."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def banner(parent: Element, told: Verdict) -> Element:
    """The verdict, for the eyes and for whoever listens to the page; returns where more may be said of it."""
    box = add(parent, "div", class_=f"verdict {told.level}", role="status")
    add(box, "span", _MARKS[told.level], class_="sign", aria_hidden="true")
    words = add(box, "div")
    add(words, "b", told.headline)
    return words


def tile(tiles: Element, figure: str, words: str, tone: str = "") -> None:
    """One figure and what it counts."""
    one = add(tiles, "li", class_=tone)
    add(one, "b", figure)
    add(one, "span", words, class_="soft")


def listed(body: Element, heading: str, lines: Sequence[str]) -> None:
    """Lines below a heading; neither where there is nothing to say."""
    if not lines:
        return
    add(body, "h2", heading)
    there = add(body, "ul")
    for line in lines:
        say(add(there, "li"), line)


def folded(body: Element, words: str, *, opened: bool) -> Element:
    """What may be long, behind a line that opens it."""
    fold = add(body, "details")
    if opened:
        fold.set("open", "open")
    add(fold, "summary", words)
    return fold


def table(parent: Element, heads: Iterable[str], numbers: Iterable[int] = (), class_: str = "") -> Element:
    """A table with its head; returns where its rows belong. `numbers`: columns of figures."""
    grid = add(parent, "table", class_=class_)
    head = add(add(grid, "thead"), "tr")
    for number, words in enumerate(heads):
        add(head, "th", words, class_="n" if number in set(numbers) else "")
    return add(grid, "tbody")
