"""The reference pages know every command, option, JSON key, setting, key of a file, fault, switch and code of ours."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from backup_to_image.cli import main
from backup_to_image.emulator.faults import CATALOGUE
from backup_to_image.emulator.switches import SWITCHES
from backup_to_image.model import LaunchOrder
from backup_to_image.model.policy import Amount, Policy, VerifyRule, WhichServers
from backup_to_image.settings import Settings
from backup_to_image.steps import checkup

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
    options = [spelled for one in command.params if isinstance(one, click.Option) for spelled in one.opts]
    assert [option for option in options if f"`{option}" not in text and f" {option}`" not in text] == []


@pytest.mark.parametrize(
    "name",
    [
        *("doctor", "validate", "create", "share", "unshare", "accept", "reject", "hand-over", "launch", "change-os", "export"),
        *("board", "sweep"),
    ],
)
def test_every_key_of_a_commands_json_is_documented(root: Path, name: str) -> None:
    blank: dict[str, Any] = import_module(f"backup_to_image.cli.{name.replace('-', '_')}").BLANK
    section = _section(_page(root, "cli.md"), name)
    assert [key for key in blank if f"`{key}`" not in section] == []


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


def test_every_fault_and_every_switch_with_its_values_is_documented(root: Path) -> None:
    page = _page(root, "emulator.md")
    named = [*CATALOGUE, *(word for switch in SWITCHES for word in (switch.name, *switch.values))]
    assert [name for name in named if f"`{name}`" not in page] == []


def test_every_code_of_ours_is_documented(root: Path) -> None:
    page = _page(root, "errors.md")
    sources = (path.read_text(encoding="utf-8") for path in (root / "src").rglob("*.py"))
    codes = {code for source in sources for code in re.findall(r'"(b2i\.[a-z-]+)"', source)} - {"b2i.yaml"}
    assert len(codes) > 10
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []


def test_every_action_that_doctor_names_stands_in_a_policy_or_the_table(root: Path) -> None:
    page = _page(root, "permissions.md")
    actions = {one.action for one in (*checkup._READS.values(), *checkup._CHANGES)}
    assert [action for action in sorted(actions) if page.count(action) < 2] == []
