"""The form of a deployment: titles for people, and nothing asked for that the deployment says itself."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

__all__ = ["form_of"]


def form_of(flow: Flow[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The form's schema. `parameters`: what the deployment gives of it.

    The browser shows a parameter's title as its label, and begins a Quick run at once where nothing is required. So what the
    deployment gives whole is not required of people, who may still change it; what it gives in part is.
    """
    schema = parameter_schema(flow).model_dump(mode="json", exclude_unset=True)
    for name, shown in schema["properties"].items():
        shown["title"] = name.replace("_", " ").capitalize()
    given = {name for name, value in parameters.items() if _whole(schema, name, value)}
    return {**schema, "required": [name for name in schema.get("required", ()) if name not in given]}


def _whole(schema: dict[str, Any], name: str, value: Any) -> bool:
    """Whether a value is all that the parameter needs: a runbook's name is not all that a failover needs."""
    meant = str(schema["properties"].get(name, {}).get("$ref", "")).rpartition("/")[2]
    if not meant or "$ref" in value:  # a plain value, or a saved block
        return True
    return set(schema["definitions"][meant].get("required", ())) <= set(value)
