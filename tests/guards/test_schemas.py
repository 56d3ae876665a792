"""The published schemas are those of the models: what an editor approves of, the project reads, and the other way round."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from deployments.schemas import FILES, FOLDER, schema_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads(schema_of(name)) for name in FILES}
WRITTEN: dict[str, dict[str, Any]] = {
    "launch-order": {"name": "a", "network": {"vpc": "v", "subnet": "s"}, "probes": [{"tcp": 2222, "timeout": "5m"}]},
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


@pytest.mark.parametrize("name", FILES)
def test_every_default_may_be_written_as_the_schema_tells_it(name: str) -> None:
    found = list(defaults(SCHEMAS[name]))
    assert found
    for where, part in found:
        within = {"$defs": SCHEMAS[name].get("$defs", {}), **part}
        assert Draft202012Validator(within).is_valid(part["default"]), f"{where}: {part['default']!r}"
