"""The image's recipe, step by step without a container engine: each COPY and RUN in a scratch root, then the entry point."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

KNOWN = {"FROM", "WORKDIR", "ENV", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
PLACE = "/opt/b2i"


@dataclass
class Stage:
    """What came of a FROM and what follows it."""

    base: str
    name: str
    workdir: str = "/"
    user: str = "0:0"
    environ: dict[str, str] = field(default_factory=dict)
    command: dict[str, list[str]] = field(default_factory=dict)


class Builder:
    """Does what an engine does, in a folder. Absolute paths of the image are those below it; Python is this one."""

    def __init__(self, root: Path, context: Path, base_python: Path) -> None:
        self.root, self.context, self.base_python = root, context, base_python
        self.finished: dict[str, Path] = {}
        self.stage: Stage | None = None

    def build(self, recipe: Path) -> Stage:
        for word, rest in instructions(recipe.read_text(encoding="utf-8")):
            assert word in KNOWN, f"this builder does not know {word}"
            getattr(self, f"_{word.lower()}")(rest)
        assert self.stage
        return self.stage

    def inside(self, path: str) -> Path:
        """Where a path of the image lies here."""
        assert self.stage
        return self.root / str(Path(self.stage.workdir) / path).lstrip("/")

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert self.stage
        # This test's own saving of time: only what is imported is compiled, and once.
        told = {name: self._here(value) for name, value in self.stage.environ.items()} | {
            "PIP_NO_COMPILE": "1",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "B2I_", "OS_", "PYTHON"))}
        path = f"{told.get('PATH', '')}{os.pathsep}{self.base_python}{os.pathsep}/usr/bin{os.pathsep}/bin".lstrip(os.pathsep)
        return subprocess.run(
            command, cwd=self.inside("."), env=kept | told | {"PATH": path}, check=check, capture_output=True, text=True
        )

    def _here(self, text: str) -> str:
        return re.sub(r"(?<![\w.])/(opt/b2i|var/lib)\b", rf"{self.root}/\1", text)

    def _from(self, rest: str) -> None:
        if self.stage:
            self.finished[self.stage.name] = self.root.with_name(f"stage-{self.stage.name}")
            self.root.rename(self.finished[self.stage.name])
        base, _, name = rest.partition(" AS ")
        self.stage = Stage(base=base, name=name)
        self.root.mkdir()

    def _workdir(self, rest: str) -> None:
        assert self.stage
        self.stage.workdir = rest
        self.inside(".").mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        assert self.stage
        self.stage.environ |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        source = self.context
        if words[0].startswith("--from="):
            source = self.finished[words.pop(0).removeprefix("--from=")]
        *names, target = words
        for name in names:
            found, place = source / name.lstrip("/"), self.inside(target)
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "secrets", "worker"))
            else:
                shutil.copy2(found, place / found.name if target.endswith("/") else place)

    def _run(self, rest: str) -> None:
        done = self.run(["sh", "-c", self._here(rest)], check=False)
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"

    def _user(self, rest: str) -> None:
        assert self.stage
        self.stage.user = rest

    def _entrypoint(self, rest: str) -> None:
        assert self.stage
        self.stage.command["ENTRYPOINT"] = [self._here(word) for word in json.loads(rest)]

    def _cmd(self, rest: str) -> None:
        assert self.stage
        self.stage.command["CMD"] = json.loads(rest)


def instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_recipe_copies_by_name_pins_its_base_and_runs_as_nobody(root: Path) -> None:
    told = instructions((root / "deployments" / "stack" / "Dockerfile").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+( AS build)?", rest) for word, rest in told if word == "FROM")
    copied = [name for word, rest in told if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
    assert "." not in copied
    assert not [name for name in copied if name.startswith(("tests", ".git", "benchmarks"))]
    assert [rest for word, rest in told if word == "USER"] == ["10001:10001"]
    (install,) = [rest for word, rest in told if word == "RUN" and "requirements.lock" in rest]
    assert "--require-hashes" in install


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="the recipe gives folders to another user, which root alone may do")
def test_the_image_can_be_made_and_begins_each_part_of_the_stack(root: Path, files: list[Path], tmp_path: Path) -> None:
    context, python = tmp_path / "context", tmp_path / "python"
    for path in files:  # what a clone would hold
        copy = context / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    python.mkdir()
    (python / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    builder = Builder(tmp_path / "image", context, python)
    image = builder.build(context / "deployments" / "stack" / "Dockerfile")

    def begin(*command: str) -> str:
        done = builder.run([*image.command["ENTRYPOINT"], *command], check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert begin(*image.command["CMD"]).startswith("b2i, version ")
    assert "prefect" in begin("prefect", "server", "services", "start", "--help").lower()
    assert "Exit codes" in begin("python", "-m", "deployments.worker", "--help")
    # The code is root's and closed to the user that it runs as; the folders that are his are his.
    assert builder.inside("/var/lib/b2i").stat().st_uid == int(image.user.partition(":")[0])
    assert not [path for path in builder.inside(".").rglob("*") if path.stat().st_uid]
    assert not (builder.inside(".") / "tests").exists()
