"""Decision records can be found, numbered without gaps, and say why."""

import re
from pathlib import Path

SECTIONS = ["Context", "Decision", "Consequences"]


def _records(root: Path) -> list[Path]:
    return sorted(path for path in (root / "docs/decisions").glob("*.md") if path.name != "README.md")


def test_records_are_numbered_one_after_the_other(root: Path) -> None:
    names = [path.name for path in _records(root)]
    assert names
    assert [name[:5] for name in names] == [f"{number:04d}-" for number in range(1, len(names) + 1)]


def test_every_record_has_status_context_decision_and_consequences(root: Path) -> None:
    for path in _records(root):
        text = path.read_text(encoding="utf-8")
        assert re.match(
            rf"# {path.name[:4]} \S.+\n\nStatus: (accepted|replaced by \[\d{{4}}\]\(.+\)) \(\d{{4}}-\d\d-\d\d\)\n", text
        ), path.name
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS, path.name


def test_the_index_lists_every_record_under_its_title(root: Path) -> None:
    index = (root / "docs/decisions/README.md").read_text(encoding="utf-8")
    for path in _records(root):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix(f"# {path.name[:4]} ")
        assert f"[{title}]({path.name})" in index
