"""The wheel holds what it promises and nothing else, and what it holds works without the checkout."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=root, check=True, capture_output=True
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_one_top_level_name(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"backup_to_image"}
    assert "backup_to_image/py.typed" in wheel.namelist()


def test_the_wheel_holds_the_files_of_the_package_and_no_others(wheel: zipfile.ZipFile, root: Path) -> None:
    package = root / "src" / "backup_to_image"
    intended = {f"backup_to_image/{path.relative_to(package).as_posix()}" for path in package.rglob("*") if path.is_file()}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == {name for name in intended if "__pycache__" not in name}
    kinds = {".py", ".typed", ".txt", ".yaml", ".json", ".md", ".sql", ".html", ".css"}
    assert {Path(name).suffix for name in inside} <= kinds
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


# Without the extras first, as where only the wheel's own dependencies are installed; then the doors that need them.
_IMPORT_ALL = """
import importlib, sys
place, *names = sys.argv[1:]
sys.path.insert(0, place)
doors = {name for name in names if name.endswith((".blocks", ".journal.shared")) or "prefect" in name}
sys.modules["prefect"] = sys.modules["redis"] = None
for name in sorted(set(names) - doors):
    assert importlib.import_module(name).__file__.startswith(place), name
del sys.modules["prefect"], sys.modules["redis"]
for name in sorted(doors):
    importlib.import_module(name)
assert not {"flows", "tasks"} & sys.modules.keys()
"""


def test_every_module_of_the_wheel_imports_away_from_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    modules = [name.removesuffix(".py").removesuffix("/__init__") for name in wheel.namelist() if name.endswith(".py")]
    names = [module.replace("/", ".") for module in modules if not module.endswith("/__main__")]
    command = [sys.executable, "-c", _IMPORT_ALL, str(tmp_path), *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_works_alone_in_a_fresh_environment(
    wheel: zipfile.ZipFile, root: Path, tmp_path: Path, installing: dict[str, str]
) -> None:
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (root / "requirements.lock").read_text(), re.MULTILINE)
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=tmp_path, check=True)
    install = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--constraint", "pins.txt", str(wheel.filename)]
    subprocess.run(install, cwd=tmp_path, env=installing, check=True)
    have = subprocess.run(
        ["venv/bin/python", "-m", "pip", "freeze"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert "prefect" not in have
    helped = subprocess.run(["venv/bin/b2i", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert helped.returncode == 0, helped.stderr
    assert "emulator" in helped.stdout
    command = [str(tmp_path / "venv/bin/b2i"), "demo", "--json"]
    shown = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    assert shown.returncode == 0, shown.stderr
    made = json.loads(shown.stdout)
    assert (made["outcome"], made["status"]) == ("made", "active")
    assert made["server_id"]
    assert [probe["ok"] for probe in made["probes"]] == [True, True, True]
