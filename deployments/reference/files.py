"""The files that people write, key by key, as their JSON Schemas have them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from deployments.reference.page import anchor, code, list_of, table
from deployments.schemas import schema_of

__all__ = ["KINDS", "file_page"]


class _Kind(NamedTuple):
    page: str
    schema: str
    title: str
    says: str


KINDS = (
    _Kind(
        "settings",
        "b2i",
        "Settings: b2i.yaml",
        "What each of them is for, with clouds.yaml and `OS_*`: [configuration](../configuration.md).",
    ),
    _Kind("policy", "policy", "Keys of a policy", "With examples, and what holds between keys: [policies](../policies.md)."),
    _Kind("launch-order", "launch-order", "Keys of a launch order", "With examples: [launch orders](../launch-orders.md)."),
    _Kind("runbook", "runbook", "Keys of a runbook", "With examples, and what holds between keys: [runbooks](../runbooks.md)."),
)
_LENGTH = r"^\d+(\.\d+)?[smhd]$"
Schema = dict[str, Any]


def file_page(kind: _Kind) -> str:
    """One kind of file: its own keys, then those of each block in it."""
    schema: Schema = json.loads(schema_of(kind.schema))
    places = _places(schema)
    parts = [
        f"# {kind.title}",
        (
            f"Every key with its default. {kind.says} Unknown keys are mistakes; a length of time is written `90s`, `2m`, `1h`"
            f" or `1d`. Editors complete and check the keys by [the schema](../../deployments/schemas/{kind.schema}.json)."
        ),
        "## The file",
        _keys(schema, schema, places),
    ]
    for name, found in places.items():
        block: Schema = schema["$defs"][name]
        also = f" The same keys: {list_of(found[1:])}." if found[1:] else ""
        parts += [f"## {found[0]}", f"{' '.join(block.get('description', '').split())}{also}"]
        parts.append(_keys(block, schema, places) if "properties" in block else f"Written as {_type(block, places)}.")
    return "\n\n".join(part for part in parts if part)


def _places(schema: Schema) -> dict[str, list[str]]:
    """Each block of the schema with the keys under which it stands, the first of which leads to it from the file's own keys."""
    found: dict[str, list[str]] = {}

    def look(part: Schema, prefix: str) -> None:
        for key, told in part.get("properties", {}).items():
            for name in _blocks(told):
                first = name not in found
                found.setdefault(name, []).append(prefix + key)
                if first:
                    look(schema["$defs"][name], f"{prefix}{key}.")

    look(schema, "")
    return found


def _blocks(told: Any) -> list[str]:
    if isinstance(told, dict):
        return [told["$ref"].rpartition("/")[2]] if "$ref" in told else [name for one in told.values() for name in _blocks(one)]
    return [name for one in told for name in _blocks(one)] if isinstance(told, list) else []


def _keys(block: Schema, schema: Schema, places: dict[str, list[str]]) -> str:
    needed = set(block.get("required", []))
    rows = [
        (code(key), _type(told, places), "needed" if key in needed else _default(told), _meaning(told, schema))
        for key, told in block["properties"].items()
    ]
    return table(("key", "is", "default", "meaning"), rows)


def _meaning(told: Schema, schema: Schema) -> str:
    """What the key says of itself, else what its block says."""
    blocks = [schema["$defs"][name].get("description", "") for name in _blocks(told)]
    return told.get("description", "") or " ".join(blocks)


def _default(told: Schema) -> str:
    value = told.get("default")
    if isinstance(value, dict) and value and _blocks(told):
        return "as below"
    if value in (None, [], {}):
        return "none"
    return code(value if isinstance(value, str) else json.dumps(value)) if value != "" else "empty"


def _type(told: Schema, places: dict[str, list[str]]) -> str:
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(_type(one, places) for one in told["anyOf"] if one.get("type") != "null"))
    if "$ref" in told:
        place = places[told["$ref"].rpartition("/")[2]][0]
        return f"[{place}](#{anchor(place)})"
    if "enum" in told or "const" in told:
        return ", ".join(code(one) for one in told.get("enum", [told.get("const")]))
    if told.get("type") == "array":
        return f"list of {_type(told['items'], places)}"
    if told.get("type") == "object":
        return f"name to {_type(told['additionalProperties'], places)}"
    return _plain(told)


def _plain(told: Schema) -> str:
    if told.get("pattern") == _LENGTH:
        return "length of time"
    if told.get("format") in {"date-time", "ipv4", "path"}:
        return {"date-time": "time", "ipv4": "IPv4 address", "path": "path"}[told["format"]]
    words = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`", "number": "number"}[told["type"]]
    least, most = told.get("minimum"), told.get("maximum")
    if least is not None:
        return f"{words}, {least} to {most}" if most is not None else f"{words}, at least {least}"
    if "maxLength" in told:
        return f"{words}, at most {told['maxLength']} characters"
    return words
