"""Every event that is sent, with its payload."""

from __future__ import annotations

from typing import Any

from backup_to_image.model.events import EVENTS, Event
from deployments.reference.page import code, table

__all__ = ["events_page"]

_KINDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null"}


def events_page() -> str:
    """All events, in the order of their declaration."""
    names = [(kind, name, when) for kind in EVENTS for name, when in kind.names.items()]
    parts = [
        "# Events",
        (
            "What the flows tell Prefect, for automations and for whoever listens to its event stream. A part in capitals is "
            "filled in. The event feed shows the resource's name and hides the payload, so the key fact stands in the name. "
            "Times are RFC 3339 in UTC, keys are always there, and null where there is nothing to say."
        ),
        "The automations that setup makes of them, and what to do when one speaks: [alerts](../alerts.md).",
        table(
            ("event", "sent when", "payload"),
            [(code(name), when, f"[{_title(kind)}](#{_anchor(kind)})") for kind, name, when in names],
        ),
        *(_kind(one) for one in EVENTS),
    ]
    return "\n\n".join(parts)


def _title(kind: type[Event]) -> str:
    return next(iter(kind.names)).removeprefix("b2i.").replace(".", " ")


def _anchor(kind: type[Event]) -> str:
    return _title(kind).lower().replace(" ", "-")


def _kind(kind: type[Event]) -> str:
    schema = kind.model_json_schema(mode="serialization")
    about = [
        ("events", ", ".join(code(name) for name in kind.names)),
        ("resource", code(kind.resource)),
        ("its name", kind.resource_name),
        *((f"its label {code(label)}", words) for label, words in kind.labels.items()),
    ]
    keys = [(code(name), _type(told, schema), told.get("description", "")) for name, told in schema["properties"].items()]
    return "\n\n".join(
        [f"## {_title(kind)}", f"{kind.__doc__}", table(("", ""), about), table(("key of the payload", "is", "meaning"), keys)]
    )


def _type(told: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in told:
        return " or ".join(_type(one, schema) for one in told["anyOf"])
    if "enum" in told:
        return " or ".join(code(one) for one in told["enum"])
    if "$ref" in told:
        keys = schema["$defs"][told["$ref"].rpartition("/")[2]]["properties"]
        return f"object with {', '.join(code(one) for one in keys)}"
    if told.get("type") == "array":
        return f"list of {_type(told['items'], schema)}"
    if told.get("type") == "object":
        return f"object: name to {_type(told['additionalProperties'], schema)}"
    return "time" if told.get("format") == "date-time" else _KINDS[told["type"]]
