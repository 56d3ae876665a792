"""Imports point one way; the doors to Prefect and to the emulator are few. The layers themselves stand in
pyproject.toml, [tool.importlinter], and `make lint` checks them."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "backup_to_image"


def _imports(root: Path, under: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of importing module and imported name, wherever in a file the import stands."""
    source = root / "src"
    for path in sorted((source / PACKAGE / under).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        package = parts[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = (
                    ".".join([*package[: len(package) - node.level + 1], node.module or ""]).strip(".")
                    if node.level
                    else node.module or ""
                )
                yield from ((module, f"{base}.{alias.name}") for alias in node.names)


def _within(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_the_emulator_shares_nothing_with_the_client_but_clock_and_contract(root: Path) -> None:
    allowed = [f"{PACKAGE}.{name}" for name in ("emulator", "clock", "contract")]
    shared = [
        pair
        for pair in _imports(root, "emulator")
        if _within(pair[1], PACKAGE, "flows", "tasks") and not _within(pair[1], *allowed)
    ]
    assert shared == [], "both could be wrong together"


def test_only_the_command_line_reaches_the_emulator(root: Path) -> None:
    reaching = {module for module, name in _imports(root) if _within(name, f"{PACKAGE}.emulator")}
    assert {module for module in reaching if not _within(module, f"{PACKAGE}.emulator", f"{PACKAGE}.cli")} == set()


def test_prefect_is_imported_by_the_blocks_and_by_the_door_to_it_alone(root: Path) -> None:
    users = {module for module, name in _imports(root) if _within(name, "prefect")}
    doors = {module for module in users if module.startswith(f"{PACKAGE}.cli.") and "prefect" in module.rpartition(".")[2]}
    assert users - doors <= {f"{PACKAGE}.blocks"}
    assert len(doors) <= 1


def test_the_package_never_imports_flows_or_tasks(root: Path) -> None:
    assert [pair for pair in _imports(root) if _within(pair[1], "flows", "tasks", "deployments")] == []


def test_flows_and_tasks_define_no_exception_enum_or_model(root: Path) -> None:
    files = [path for folder in ("flows", "tasks") for path in (root / folder).rglob("*.py")]
    defined = [
        f"{path.relative_to(root)}: {node.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert defined == [], "how a file was loaded must not decide what a class is"
