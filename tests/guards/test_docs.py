"""Every code block of README and docs is run or checked, so that no example rots.

A page's ```bash and ```python blocks run one after the other in one shell, as a reader would type them, in a scratch copy of the
checkout with the environment's commands first on PATH. Directly above a block a page may say:

    <!-- test: emulator -->       from this block on OS_* name an emulated cloud that is running, and what a reader picks is in
                                  BACKUP, BACKUP_2, VAULT, RECIPIENT (a project) and RECIPIENT_VAULT; the reader's own clouds.yaml
                                  has an entry `recipient` for that project's user
    <!-- test: emulator second-region -->  the same of another seed than the demo's; here the entry `dr-region` is for the
                                  project that OS_* name
    <!-- test: exit 3 -->         the block ends with this code (after a comma also beside emulator)
    <!-- test: skip REASON -->    never run: allowed for the commands in NOT_RUN_HERE alone
    <!-- file: launch.yaml -->    the block is the text of this file, there when the page's blocks run
    <!-- model: LaunchOrder -->   the ```yaml below is valid for this model (of backup_to_image.model, or by its full name)

```yaml, ```json and ```toml are parsed; ```text is output or a drawing and holds no command. Other languages are refused.
"""

import json
import os
import pydoc
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for pattern in ("*.md", "docs/**/*.md", "deployments/**/*.md") for page in ROOT.glob(pattern))
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

NOT_RUN_HERE = {
    "make": "lists the commands",
    "make setup-env": "what these tests run in was made by it",
    "make test": "would run the tests in the tests",
    "make test-slow": "would run the tests in the tests",
    "make check-all": "would run the tests in the tests",
    "make prove": "would run the tests in the tests, for an hour",
    "make docs": "would run the tests in the tests",
    "make lint": "a step of .ci/run",
    ".ci/run": "would run the tests in the tests",
    "make demo": "has its own test",
    "make setup": "has its own test, with a Prefect server",
    "export PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false": "goes with the server",
    "export PREFECT_API_URL=http://127.0.0.1:4200/api": "goes with the server",
    "b2i emulator --speed 60": "runs until it is stopped; these tests start one by themselves",
    "prefect server start": "runs until it is stopped; tests/prefect/test_door.py starts one",
    "python -m deployments.worker": "runs until it is stopped; tests/prefect/test_door.py starts one",
    'b2i --prefect create "$BACKUP" --share-with dr': "has its own test, with server and worker",
    "b2i --prefect create --server shop-db-01 --backup-now --share-with dr --share-for 30d": "has its own test, with a worker",
    "b2i --prefect retention policies/nightly.yaml": "has its own test, with server and worker",
    "b2i --prefect sweep": "has its own test, with server and worker",
    'b2i --prefect share "$IMAGE" auditor --share-for 30d': "has its own test, with server and worker",
    'b2i --prefect hand-over "$IMAGE" --to recipient': "has its own test, with server and worker",
    'b2i --prefect launch "$IMAGE" --spec drill.yaml': "has its own test, with server and worker",
    "deployments/stack/make-secrets": "writes into the checkout; tests/guards/test_stack.py runs it elsewhere",
    "export B2I_ADDRESS=prefect.example.com B2I_LISTEN=192.0.2.10": "goes with the stack",
    "docker compose -f deployments/stack/compose.yaml up -d --build": "needs a container engine; its parts have their own tests",
    "docker compose -f deployments/stack/compose.yaml run --rm setup": "needs a container engine",
    "make lock": "asks a package index",
    "make clean": "would remove what the tests run in",
    ".venv/bin/pre-commit install": "writes into .git",
}
OWN_ENTRIES = {"second-region": "dr-region"}
"""What the reader of a page with this cloud calls it in clouds.yaml."""
LANGUAGES = {"bash", "python", "yaml", "json", "toml", "text"}
COMMAND = re.compile(
    r"^\s*(\$ |(sudo |[A-Z_]+=\S+ )*(b2i|make|prefect|uv|pip|python3?|docker|git|cd|export|\.venv/bin/\S+) )", re.MULTILINE
)


@dataclass
class Block:
    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def tests(self) -> list[str]:
        return [part.strip() for part in self.marks.get("test", "").split(",") if part.strip()]

    @property
    def connected(self) -> bool:
        """Whether a cloud has to be there from here on."""
        return any(part.partition(" ")[0] == "emulator" for part in self.tests)

    @property
    def seed(self) -> str | None:
        """Which cloud it asks for by name."""
        return next((part.removeprefix("emulator ") for part in self.tests if part.startswith("emulator ")), None)

    @property
    def skipped(self) -> bool:
        return any(part.startswith("skip") for part in self.tests)

    @property
    def exit_code(self) -> int:
        return next((int(part.removeprefix("exit ")) for part in self.tests if part.startswith("exit ")), 0)


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """The fenced blocks of a page, each with the comments that stand directly above it."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    opened: Block | None = None
    for number, line in enumerate((text if text is not None else page.read_text(encoding="utf-8")).splitlines(), 1):
        bare = line.strip()
        if opened is not None:
            if bare == "```":
                opened.text = textwrap.dedent(opened.text)
                found.append(opened)
                opened = None
            else:
                opened.text += line + "\n"
        elif bare.startswith("```"):
            opened, marks = Block(page, number, bare[3:].strip(), "", marks), {}
        elif mark := re.fullmatch(r"<!-- (\w+): (.+?) -->", bare):
            marks[mark[1]] = mark[2]
        elif bare:
            marks = {}
    assert opened is None, f"{opened and opened.place}: this block has no end"
    return found


def problem_of(block: Block) -> str | None:
    """What is wrong with a block as it stands, without running it."""
    if block.language not in LANGUAGES:
        return f"language {block.language!r}: use one of {', '.join(sorted(LANGUAGES))}"
    if unknown := set(block.marks) - {"test", "file", "model"}:
        return f"unknown comment: {', '.join(unknown)}"
    if wrong := [part for part in block.tests if not re.fullmatch(r"emulator( [\w-]+)?|exit \d+|skip \S.*", part)]:
        return f"unknown test comment: {', '.join(wrong)}"
    if block.skipped:
        lines = [line.split("#")[0].strip() for line in block.text.splitlines()]
        if run := [line for line in lines if line and line not in NOT_RUN_HERE]:
            return f"may not be skipped: {'; '.join(run)}"
    try:
        return CHECKS[block.language](block)
    except (ValueError, yaml.YAMLError) as error:  # pydantic's, json's and tomllib's errors are ValueErrors
        return str(error)


def _yaml_problem(block: Block) -> str | None:
    documents = list(yaml.safe_load_all(block.text))
    if name := block.marks.get("model"):
        model = pydoc.locate(name if "." in name else f"backup_to_image.model.{name}")
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return f"no such model: {name}"
        for document in documents:
            model.model_validate(document)
    return None


def _bash_problem(block: Block) -> str | None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    return done.stderr or None


def _python_problem(block: Block) -> str | None:
    try:
        compile(block.text, block.place, "exec")
    except SyntaxError as error:
        return str(error)
    return None


def _parsed(parse: Callable[[str], Any]) -> Callable[[Block], None]:
    def check(block: Block) -> None:
        parse(block.text)

    return check


CHECKS: dict[str, Callable[[Block], str | None]] = {
    "bash": _bash_problem,
    "python": _python_problem,
    "yaml": _yaml_problem,
    "json": _parsed(json.loads),
    "toml": _parsed(tomllib.loads),
    "text": lambda block: "a text block holds no command" if COMMAND.search(block.text) else None,
}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_is_well_formed_and_valid(page: Path) -> None:
    problems = [f"{block.place}: {problem}" for block in blocks_of(page) if (problem := problem_of(block))]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\nls\n```", "language 'sh'"),
        ("```text\n$ b2i board\n```", "holds no command"),
        ("<!-- test: skip too hard -->\n```bash\nb2i board\n```", "may not be skipped: b2i board"),
        ("<!-- test: later -->\n```bash\nb2i board\n```", "unknown test comment: later"),
        ("```bash\nif then\n```", "syntax error"),
        ("```python\nif\n```", "invalid syntax"),
        ("```yaml\na: [\n```", "while parsing"),
        ("<!-- model: LaunchOrder -->\n```yaml\nname: x\nflavour: y\n```", "flavour"),
        ("<!-- model: Nothing -->\n```yaml\nname: x\n```", "no such model"),
    ],
)
def test_a_block_that_would_rot_is_noticed(text: str, problem: str) -> None:
    (block,) = blocks_of(ROOT / "README.md", text)
    assert problem in (problem_of(block) or "nothing")


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on; below those that connections take, at a place of its own."""
    for _ in range(200):
        first = secrets.choice(range(20000, 32000, count))
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


@contextmanager
def emulated_cloud(scratch: Path, commands: str, seed: str) -> Iterator[dict[str, str]]:
    """A cloud of one's own on loopback, 300 times as fast as a real one, and the environment that leads to it."""
    port = _free_ports(7)
    state = str(scratch / ".emulator.sqlite")
    arguments = ["b2i", "emulator", "--port", str(port), "--speed", "300", "--state", state, "--seed", seed]
    log = (scratch / ".emulator.log").open("w+")
    process = subprocess.Popen(arguments, env=os.environ | {"PATH": commands}, cwd=scratch, stdout=log, stderr=log)
    try:
        account = _account(port, process, scratch / ".emulator.log")
        _write_clouds(account, scratch, OWN_ENTRIES.get(seed))
        yield {
            "OS_AUTH_URL": account["auth_url"],
            "OS_REGION_NAME": account["region"],
            "OS_USERNAME": account["user"],
            "OS_PASSWORD": account["password"],
            "OS_USER_DOMAIN_NAME": account["domain_name"],
            "OS_PROJECT_NAME": account["project_name"],
            "BACKUP": account["backups"]["available"][0],
            "BACKUP_2": account["backups"]["available"][1],
            "VAULT": account["vault"],
            "RECIPIENT": account["recipient"]["project_id"],
            "RECIPIENT_VAULT": account["recipient"]["vault"],
        }
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _write_clouds(account: dict[str, Any], home: Path, own: str | None) -> None:
    clouds: dict[str, Any] = {}
    for name, who in {"recipient": account["recipient"], own: account}.items():
        if name is not None:
            auth = {"auth_url": account["auth_url"], "username": who["user"], "password": who["password"]}
            auth |= {"user_domain_name": who["domain_name"], "project_id": who["project_id"]}
            clouds[name] = {"auth": auth, "region_name": account["region"]}
    folder = home / ".config" / "openstack"
    folder.mkdir(parents=True)
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}), encoding="utf-8")


def _account(port: int, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, f"b2i emulator ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_emulator/account", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.1)  # another process starts; nothing here can hear when it is ready
    raise AssertionError(f"b2i emulator does not answer: {log.read_text()}")


def script_of(blocks: list[Block], cloud: dict[str, str]) -> str:
    """One shell session out of a page's blocks, that stops at the first which does not end as it says."""
    lines = ["set -uo pipefail"]
    connected = False
    for block in blocks:
        if block.connected and not connected:
            connected = True
            lines += [f"export {name}={shlex.quote(value)}" for name, value in cloud.items()]
        body = block.text if block.language == "bash" else f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
        lines.append(f"echo '--- {block.place}' >&2")
        if block.exit_code == 0:
            lines += ["set -e", body, "set +e"]
        else:
            lines += [body + f"code=$?; test $code -eq {block.exit_code} || {{ echo 'exit code' $code >&2; exit 99; }}"]
    return "\n".join(lines)


def run_page(blocks: list[Block], scratch: Path) -> subprocess.CompletedProcess[str]:
    """Type a page's blocks into one shell, in `scratch`, with an emulated cloud if one of them asks for it."""
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        if name := block.marks.get("file"):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_text(block.text, encoding="utf-8")
    typed = [
        block for block in blocks if block.language in {"bash", "python"} and not block.skipped and "file" not in block.marks
    ]

    def run(cloud: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", script_of(typed, cloud)]
        environment = os.environ | {"PATH": commands, "HOME": str(scratch)}
        return subprocess.run(
            command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    if not any(block.connected for block in typed):
        return run({})
    (seed,) = {block.seed for block in typed if block.seed} or {"demo"}  # a page has one cloud
    with emulated_cloud(scratch, commands, seed) as cloud:
        return run(cloud)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```bash\nx=1\n```\n\n```bash\ntest $x = 1\n```", 0),  # one shell for the page
        ("```bash\nfalse\ntrue\n```", 1),
        ("<!-- test: exit 3 -->\n```bash\n(exit 3)\n```", 0),
        ("<!-- test: exit 3 -->\n```bash\ntrue\n```", 99),
        ("<!-- file: a/b.yaml -->\n```yaml\nb: 2\n```\n```bash\ngrep 2 a/b.yaml\n```", 0),
        ("```python\nassert False\n```", 1),
        ("<!-- test: skip its own test -->\n```bash\nmake demo\n```", 0),
    ],
)
def test_a_page_is_typed_into_one_shell_and_stops_where_it_is_wrong(text: str, code: int, tmp_path: Path) -> None:
    assert run_page(blocks_of(ROOT / "README.md", text), tmp_path).returncode == code


def _typed(page: Path) -> bool:
    return any(block.language in {"bash", "python"} and not block.skipped for block in blocks_of(page))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for page, name in zip(PAGES, NAMES, strict=True) if _typed(page)])
def test_every_page_does_what_it_says(name: str, files: list[Path], tmp_path: Path) -> None:
    for path in files:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    done = run_page(blocks_of(ROOT / name), tmp_path)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
