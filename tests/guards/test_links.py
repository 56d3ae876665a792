"""Every link inside the project leads somewhere."""

import re
from pathlib import Path

_FENCE = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")


def _anchors(page: Path) -> set[str]:
    """The ids that a heading gets where Markdown is shown: lower case, no punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_internal_link_of_every_page_resolves(files: list[Path], root: Path) -> None:
    dead = []
    for page in (path for path in files if path.suffix == ".md"):
        for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in _anchors(there)):
                dead.append(f"{page.relative_to(root)}: {target}")
    assert dead == []
