"""The published schemas are those of the models: what an editor approves of, the project reads, and the other way round."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model.policy import Policy
from backup_to_image.steps.policy_file import read_policy
from backup_to_image.steps.runbook.file import read_runbook
from deployments.schemas import FILES, FOLDER, schema_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "deployments" / "policies").glob("*.yaml"))
RUNBOOKS = sorted((ROOT / "deployments" / "runbooks").glob("*.yaml"))
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads(schema_of(name)) for name in FILES}
WRITTEN: dict[str, dict[str, Any]] = {
    "launch-order": {"name": "a", "network": {"vpc": "v", "subnet": "s"}, "probes": [{"tcp": 2222, "timeout": "5m"}]},
    "policy": {"name": "a", "servers": {"names": ["*"]}, "backup": {"newest_within": "26h"}, "failed_when": {"more_than": 3}},
    "runbook": {
        "name": "a",
        "targets": {"rto": "1h"},
        "failover": {"network": {"vpc": "v", "subnet": "s"}},
        "groups": [{"name": "one", "before": [{"approve": "ok?"}], "servers": [{"source": "x", "probes": [{"tcp": 22}]}]}],
    },
    "b2i": {"projects": {"dr": "0123456789abcdef0123456789abcdef"}, "settle": {"image": "2m"}, "journal": "journal"},
}


def approves(name: str, content: object) -> bool:
    return Draft202012Validator(SCHEMAS[name]).is_valid(content)


def defaults(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every part of a schema that names a default, with its place."""
    if isinstance(node, dict):
        if "default" in node and where.rpartition(".")[0].endswith("properties"):
            yield where, node
        for key, value in node.items():
            yield from defaults(value, f"{where}.{key}")


@pytest.mark.parametrize("name", FILES)
def test_the_published_schema_is_the_models(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == schema_of(name), "run `python -m deployments.schemas`"
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", FILES)
def test_an_editor_approves_of_what_the_project_reads_and_of_no_unknown_key(name: str) -> None:
    FILES[name][0].model_validate(WRITTEN[name])
    assert approves(name, WRITTEN[name])
    assert not approves(name, WRITTEN[name] | {"unheard_of": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "two words"),
        ("network", {"vpc": "v"}),
        ("system_disk", {"size_gb": 1025}),
        ("data_disks", [{"source": "/dev/vdb", "type": "FLOPPY"}]),
        ("probes", [{"tcp": 2222, "timeout": 90}]),
        ("count", 0),
    ],
)
def test_an_editor_shows_the_mistakes_that_the_project_would_refuse(key: str, value: object) -> None:
    assert not approves("launch-order", WRITTEN["launch-order"] | {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "two words"),
        ("backup", {"newest_within": 26}),
        ("backup", {"make_one": "sometimes"}),
        ("verify", {"sample": 2}),
        ("verify", "all"),
        ("retention", {"max_deletions": "five"}),
        ("retention", {"weekdays": 3}),
        ("limits", {"images_at_once": 41}),
    ],
)
def test_an_editor_shows_the_mistakes_in_a_policy_that_the_project_would_refuse(key: str, value: object) -> None:
    written = WRITTEN["policy"] | {key: value}
    assert not approves("policy", written)
    with pytest.raises(ValidationError):
        Policy.model_validate(written)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "two words"),
        ("images", {"pick": "oldest"}),
        ("images", {"skew": 30}),
        ("on_failure", "go on"),
        ("groups", []),
        ("groups", [{"name": "one", "before": [{"http": {"url": "http://user:secret@host/"}}]}]),
        ("groups", [{"name": "one", "before": [{"command": []}]}]),
        ("failover", {"network": {"vlan": "v"}}),
    ],
)
def test_an_editor_shows_the_mistakes_in_a_runbook_that_the_project_would_refuse(key: str, value: object, tmp_path: Path) -> None:
    written = WRITTEN["runbook"] | {key: value}
    assert not approves("runbook", written)
    (tmp_path / "runbook.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(UsageError):
        read_runbook(tmp_path / "runbook.yaml")


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_every_example_of_a_runbook_is_read_and_can_be_drilled_and_an_editor_approves_of_it(path: Path) -> None:
    assert read_runbook(path).modes == ("failover", "drill")
    assert approves("runbook", yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_of_a_policy_is_read_with_what_it_names_and_an_editor_approves_of_it(path: Path) -> None:
    policy = read_policy(path)
    assert (policy.drill is None) == (policy.policy.verify == "none")
    assert approves("policy", yaml.safe_load(path.read_text(encoding="utf-8")))
    assert not policy.policy.retention.apply, "an example that is copied must not delete"


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "deployments" / "policies").rglob("*.yaml")), *RUNBOOKS], ids=lambda path: path.name
)
def test_the_first_line_of_an_example_leads_an_editor_to_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    kind = {"launch": "launch-order", "runbooks": "runbook"}.get(path.parent.name, "policy")
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve() == FOLDER / f"{kind}.json"


def test_the_whole_example_says_every_key_of_a_policy() -> None:
    whole = yaml.safe_load((ROOT / "deployments" / "policies" / "nightly-shop.yaml").read_text(encoding="utf-8"))
    assert set(whole) == set(Policy.model_fields)


@pytest.mark.parametrize("name", FILES)
def test_every_default_may_be_written_as_the_schema_tells_it(name: str) -> None:
    found = list(defaults(SCHEMAS[name]))
    assert found
    for where, part in found:
        within = {"$defs": SCHEMAS[name].get("$defs", {}), **part}
        assert Draft202012Validator(within).is_valid(part["default"]), f"{where}: {part['default']!r}"
