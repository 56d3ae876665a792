"""Every statement of the user guide's page is accounted for, with tests that exist."""

import ast
import re
from pathlib import Path

STATEMENTS = 23
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(r"^\| (\d+) \|(.*)\|$", re.MULTILINE)


def _rows(root: Path) -> dict[int, str]:
    page = (root / "docs/seed-coverage.md").read_text(encoding="utf-8")
    return {int(number): rest for number, rest in _ROW.findall(page)}


def _tests(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_statement_of_the_page_has_a_row_with_a_test(root: Path) -> None:
    rows = _rows(root)
    assert sorted(rows) == list(range(1, STATEMENTS + 1))
    assert [number for number, rest in rows.items() if not _TEST.search(rest.split("|")[-1])] == []


def test_every_test_that_the_page_names_exists(root: Path) -> None:
    named = {(path, name) for rest in _rows(root).values() for path, name in _TEST.findall(rest)}
    assert len(named) >= STATEMENTS
    assert [f"{path}::{name}" for path, name in sorted(named) if name not in _tests(root / path)] == []


def test_nothing_in_the_last_column_is_written_in_another_way(root: Path) -> None:
    for number, rest in _rows(root).items():
        left = re.sub(r"[,\s]", "", _TEST.sub("", rest.split("|")[-1]))
        assert left == "", f"row {number}: {left}"
