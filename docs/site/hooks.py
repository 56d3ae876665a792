# ruff: noqa: INP001 - mkdocs loads it by its path
"""What mkdocs needs to know of this checkout: pages link to files outside of docs/, which a site would not have.

Those files come along: Markdown as pages, everything else as a page that shows its text. A link to a file that does not exist is
a warning, and so ends the build.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROJECT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")
"""Pages of the checkout that stand in the navigation."""
LINK = re.compile(r"(?P<head>!?\[[^\]]*\]\(<?)(?P<target>[^)\s>#]+)(?P<tail>#[^)\s>]*)?(?=>?(?: \"[^\"]*\")?\))")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)

log = get_plugin_logger("links")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the ids that they have where the files themselves are shown, so that one link serves both."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring every file of the checkout that a page links to, and those that these link to."""
    waiting = [ROOT / name for name in PROJECT] + [DOCS / file.src_uri for file in files.documentation_pages()]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(DOCS):
            files.append(_brought(path, config))
        if path.suffix == ".md":
            waiting += [there for there in _linked(path) if not there.is_relative_to(DOCS) and there.is_file()]
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead each link to where its file is in the site."""
    here = _original(page.file.src_uri)
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_led(markdown[last : fence.start()], here, page), fence[0]]
        last = fence.end()
    return "".join([*parts, _led(markdown[last:], here, page)])


def _led(text: str, here: Path, page: Page) -> str:
    def lead(found: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", found["target"]):
            return found[0]
        there = Path(os.path.normpath(here.parent / found["target"]))
        if not there.is_relative_to(ROOT) or not there.exists():
            log.warning("%s: %s leads nowhere", page.file.src_uri, found["target"])
            return found[0]
        target = os.path.relpath(_place(there), Path(page.file.src_uri).parent)
        return found["head"] + Path(target).as_posix() + (found["tail"] or "")

    return LINK.sub(lead, text)


def _linked(page: Path) -> list[Path]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [found["target"] for found in LINK.finditer(text)]
    return [Path(os.path.normpath(page.parent / target)) for target in targets if not re.match(r"[a-z]+:", target)]


def _place(path: Path) -> str:
    """Where a file of the checkout is in the site's sources."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = f"checkout/{path.relative_to(ROOT).as_posix()}"
    return name if path.suffix == ".md" else f"{name}.md"


def _original(place: str) -> Path:
    """Where in the checkout a page of the site comes from."""
    return ROOT / place.removeprefix("checkout/") if place.startswith("checkout/") else DOCS / place


def _brought(path: Path, config: MkDocsConfig) -> File:
    name = path.relative_to(ROOT).as_posix()
    inclusion = InclusionLevel.INCLUDED if name in PROJECT else InclusionLevel.NOT_IN_NAV
    if path.suffix == ".md":
        return File.generated(config, _place(path), abs_src_path=str(path), inclusion=inclusion)
    text = path.read_text(encoding="utf-8").rstrip()
    shown = f"# {name}\n\n````{path.suffix.removeprefix('.')}\n{text}\n````\n"
    return File.generated(config, _place(path), content=shown, inclusion=inclusion)
