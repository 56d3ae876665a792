"""What no committed file may hold, and what each must."""

import ast
import re
from pathlib import Path

import pytest

# Taken apart, so that this file does not trip over itself.
_DOMAINS = {
    "org": "pypi pythonhosted anaconda npmjs nodejs golang rubygems debian",
    "com": "npmjs docker ubuntu githubusercontent mcr.microsoft codeload.github",
    "io": "crates docker ghcr quay",
    "net": "playwright.azureedge",
}
_HOSTS = [rf"\b{name}\.{tld}\b" for tld, names in _DOMAINS.items() for name in names.split()]
HOSTS = re.compile("|".join([*_HOSTS, "index-" + "url", "find-" + "links", "releases/" + "download/"]), re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.$}*])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"]) + r")/\w")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def _lines(paths: list[Path], pattern: re.Pattern[str], root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(_text(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_committed_file_names_a_package_index_or_download_host(committed: list[Path], root: Path) -> None:
    assert _lines(committed, HOSTS, root) == []


def test_no_committed_file_names_a_path_of_somebodys_machine(committed: list[Path], root: Path) -> None:
    assert _lines(committed, MACHINE, root) == []


@pytest.mark.parametrize("line", ["https://files.python" + "hosted.org/x", "pip --extra-index-" + "url x", "see py" + "pi.org"])
def test_a_host_would_be_noticed(line: str) -> None:
    assert HOSTS.search(line)


@pytest.mark.parametrize(
    ("line", "noticed"), [("cd /ro" + "ot/x", True), ("'/wo" + "rk/x'", True), ("GET /v1/ho" + "me/x", False)]
)
def test_a_machines_path_is_told_from_an_address(line: str, noticed: bool) -> None:
    assert bool(MACHINE.search(line)) is noticed


def test_the_one_lock_is_requirements_lock(committed: list[Path]) -> None:
    locks = {path.name for path in committed if path.name.endswith(".lock")}
    assert locks == {"requirements.lock"}, "other locks name a package index"


def test_every_pinned_package_carries_hashes(root: Path) -> None:
    entries = re.split(r"\n(?=\S)", (root / "requirements.lock").read_text().strip())
    assert len(entries) > 50
    loose = [entry.split()[0] for entry in entries if "==" not in entry.split()[0] or "--hash=sha256:" not in entry]
    assert loose == []


def test_the_lock_pins_everything_that_pyproject_asks_for(root: Path) -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (root / "requirements.lock").read_text(), re.MULTILINE))
    asked = set(re.findall(r'^  "([\w.-]+)(?:\[\w+\])?[<>=]', (root / "pyproject.toml").read_text(), re.MULTILINE))
    assert len(asked) > 15
    assert {name.lower().replace("_", "-") for name in asked} - locked == set(), "run `make lock`"


def test_every_module_says_what_it_is_for(root: Path) -> None:
    modules = sorted((root / "src").rglob("*.py"))
    assert modules
    silent = [
        str(path.relative_to(root)) for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, "\n".join(silent)
