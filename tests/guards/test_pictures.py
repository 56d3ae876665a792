"""Each picture of the UI that a page shows was made by a test that looks at that UI, and is small."""

import re
from pathlib import Path

_LARGEST, _MOST = 150_000, 6
_SHOWN = re.compile(r"!\[([^\]]*)\]\(pictures/(ui-[a-z-]+)\.png\)")


def test_every_picture_of_the_ui_is_shown_by_a_page_and_made_by_a_test(root: Path) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((root / "docs").glob("*.md")))
    shown = {name for _, name in _SHOWN.findall(pages)}
    made = {f"ui-{name}" for test in (root / "tests" / "browser").glob("test_*.py") for name in _shots(test)}
    there = {picture.stem for picture in (root / "docs" / "pictures").glob("*.png")}
    assert shown == made == there
    assert 0 < len(there) <= _MOST


def test_every_picture_has_words_for_those_who_do_not_see_it_and_is_small(root: Path) -> None:
    for page in (root / "docs").glob("*.md"):
        assert all(words for words, _ in _SHOWN.findall(page.read_text(encoding="utf-8"))), page.name
    for picture in (root / "docs" / "pictures").glob("*.png"):
        assert picture.stat().st_size <= _LARGEST, picture.name


def _shots(test: Path) -> list[str]:
    return re.findall(r'\bshot\("([a-z-]+)"\)', test.read_text(encoding="utf-8"))
