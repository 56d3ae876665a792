"""The reference pages know every command, option, JSON key, setting, key of a file and code of ours; what is made is as made."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import click
import pytest
from prefect.client.schemas.objects import BlockDocument
from pydantic import BaseModel

from backup_to_image.cli import main
from backup_to_image.doctor import known_codes
from backup_to_image.model import LaunchOrder
from backup_to_image.model.policy import Amount, Policy, VerifyRule, WhichServers
from backup_to_image.model.runbook import Runbook
from backup_to_image.settings import Settings
from backup_to_image.steps import checkup
from deployments.automations import notice_automations, recovery_automations
from deployments.reference import FOLDER, PAGES, text_of

COMMANDS = main.list_commands(click.Context(main))


def _page(root: Path, name: str) -> str:
    return (root / "docs" / name).read_text(encoding="utf-8")


def _section(page: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section on {heading}"
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options_is_documented(root: Path, name: str) -> None:
    page = _page(root, "cli.md")
    # An order's options are explained once, at `create`.
    text = _section(page, name) + page.partition("## JSON")[0] + (_section(page, "create") if name == "validate" else "")
    command = main.get_command(click.Context(main), name)
    assert command is not None
    parts = [command, *command.commands.values()] if isinstance(command, click.Group) else [command]
    options = [spelled for part in parts for one in part.params if isinstance(one, click.Option) for spelled in one.opts]
    assert [option for option in options if f"`{option}" not in text and f" {option}`" not in text] == []


@pytest.mark.parametrize(
    "name",
    [
        *("doctor", "validate", "create", "share", "unshare", "accept", "reject", "hand-over", "launch", "change-os", "export"),
        *("runbook", "board", "sweep"),
    ],
)
def test_every_key_of_a_commands_json_is_documented(root: Path, name: str) -> None:
    module = import_module(f"backup_to_image.cli.{name.replace('-', '_')}")
    blanks: list[dict[str, Any]] = [value for word, value in vars(module).items() if word.endswith("BLANK")]
    assert blanks
    section = _section(_page(root, "cli.md"), name)
    assert [key for blank in blanks for key in blank if f"`{key}`" not in section] == []


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted keys of a model that people write, those of its parts included."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        parts = [one for one in _parts(field.annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
        found.append(prefix + name)
        for part in parts:
            found += _keys(part, f"{prefix}{name}.")
    return found


def _parts(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [annotation] if not inner else [part for one in inner for part in _parts(one)]


def _known(key: str, page: str) -> bool:
    first, _, last = key.rpartition(".")
    return f"`{key}`" in page or (bool(first) and f"`.{last}`" in page) or f"`{last}`" in page


def test_every_key_of_the_settings_is_documented(root: Path) -> None:
    page = _page(root, "configuration.md")
    assert [key for key in _keys(Settings) if not _known(key, page) and key not in {"settle", "directories"}] == []


def test_every_key_of_a_launch_order_is_documented(root: Path) -> None:
    page = _page(root, "launch-orders.md")
    blocks = {"network", "login", "system_disk", "public_ip"}
    assert [key for key in _keys(LaunchOrder) if not _known(key, page) and key not in blocks] == []


def test_every_key_of_a_policy_is_documented_by_its_whole_name(root: Path) -> None:
    page = _page(root, "policies.md")
    parts = {f".{name}" for name in Amount.model_fields}  # people write a number or a per cent
    keys = [key for key in _keys(Policy) if not key.endswith(tuple(parts))]
    assert len(keys) > 40
    assert [key for key in keys if f"`{key}`" not in page and not any(one.startswith(f"{key}.") for one in keys)] == []


def test_every_key_of_a_runbook_is_documented(root: Path) -> None:
    page = _page(root, "runbooks.md")
    keys = {re.sub(r"^groups\.(servers|before|then)\.", r"\1.", key) for key in _keys(Runbook)}
    keys = {re.sub(r"^(before|then|servers\.(launch|drill|failover)|drill|failover)\.", "", key) for key in keys}
    assert len(keys) > 60
    blocks = {"targets", "images", "http", "probes", "network"}
    in_launch_orders = r"(servers\.|defaults\.)?(probes|login|system_disk|data_disks|public_ip|flavor)\."
    named = [key for key in sorted(keys) if key not in blocks and not re.match(in_launch_orders, key)]
    assert [key for key in named if not _known(key.removeprefix("defaults."), page)] == []


def test_every_default_of_a_policy_is_told_as_it_is(root: Path) -> None:
    page = _page(root, "policies.md")
    told = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+?) \|", page, re.MULTILINE))
    assert len(told) > 35
    defaults = _defaults(Policy(name="x", servers=WhichServers(names=("*",))).model_dump(mode="json"))
    rules = _defaults(VerifyRule(launch="x").model_dump(mode="json"), "verify.")
    wrong = {key: told.get(key) for key, default in (defaults | rules).items() if not _tells(told.get(key, ""), key, default)}
    assert wrong == {}


def _defaults(dumped: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys with what holds where they are left out; an empty block of keys is one key."""
    found: dict[str, Any] = {}
    for name, value in dumped.items():
        found |= _defaults(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return found


def _tells(words: str, key: str, default: Any) -> bool:
    if key in {"name", "verify.launch"} or key.startswith("servers."):
        return bool(words)
    if default in (None, [], {}):
        return words.startswith(("none", "the command's"))
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return words == (f"`{shown}`" if shown else "empty")


def test_every_code_of_ours_is_documented(root: Path) -> None:
    page = _page(root, "errors.md")
    sources = (path.read_text(encoding="utf-8") for path in (root / "src").rglob("*.py"))
    codes = {code for source in sources for code in re.findall(r'"(b2i\.[a-z-]+)"', source)} - {"b2i.yaml", "b2i.outcome"}
    assert len(codes) > 10
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []


def test_every_action_that_doctor_names_stands_in_a_policy_or_the_table(root: Path) -> None:
    page = _page(root, "permissions.md")
    actions = {one.action for one in (*checkup._READS.values(), *checkup._CHANGES)}
    assert [action for action in sorted(actions) if page.count(action) < 2] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_what_the_code_says(name: str) -> None:
    path = FOLDER / name
    assert path.is_file(), "run `python -m deployments.reference`"
    assert path.read_text(encoding="utf-8") == text_of(name), "run `python -m deployments.reference`"


def test_nothing_in_the_reference_is_written_by_hand() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_code_that_doctor_knows_has_its_page() -> None:
    pages = [text_of(name) for name in PAGES if name.startswith("codes-")]
    cells = [cell for page in pages for cell in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)]
    told: list[str] = []
    for cell in cells:
        for first, last in re.findall(r"`(\w+\.\d+)`(?: to `(\w+\.\d+)`)?", cell):
            family, _, number = first.partition(".")
            told += [f"{family}.{one:04d}" for one in range(int(number), int((last or first).partition(".")[2]) + 1)]
    assert sorted(told) == sorted(known_codes())


def test_every_automation_that_setup_makes_has_its_page_of_what_to_do(root: Path) -> None:
    page = _page(root, "alerts.md")
    block = BlockDocument(name="b2i-night", block_type_id=uuid4(), block_schema_id=uuid4())
    made = [*recovery_automations([str(uuid4())]), *notice_automations(block, [str(uuid4())], [str(uuid4())])]
    assert len(made) > 5
    assert [one.name for one in made if f"## {one.name}\n" not in page] == []
