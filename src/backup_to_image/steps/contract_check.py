"""A cloud's answers beside the documented ones: what is missing, of another type, or on no page. Facts in, differences out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, cast

from jsonschema import Draft202012Validator as _Draft202012Validator

from backup_to_image.contract import openapi
from backup_to_image.model import Value

__all__ = ["Comparison", "Difference", "compare"]

# The stubs of jsonschema do not say what a validator yields.
_Validator: Any = _Draft202012Validator

Schema = Mapping[str, Any]
Kind = Literal["missing", "type", "value", "form", "status", "undocumented"]
_KINDS: dict[str, Kind] = {"required": "missing", "type": "type", "enum": "value", "const": "value"}
_SHOWN = 80


class Difference(Value):
    """One way in which answers differ from the pages. `undocumented` is information: pages lag behind the cloud."""

    kind: Kind
    where: str
    """The field, such as backups[].children[].extend_info; list positions are left out."""
    told: str
    count: int = 1
    """In how many places."""

    @property
    def matters(self) -> bool:
        return self.kind != "undocumented"


class Comparison(Value):
    """One operation: how often it was asked, what it answered, and how that differs."""

    operation: str
    asked: int = 0
    statuses: tuple[int, ...] = ()
    differences: tuple[Difference, ...] = ()
    refused: str = ""
    """The cloud's refusal, where it refused; the form of the refusal is compared too."""
    not_asked: str = ""


def compare(operation: str, answers: Iterable[tuple[int | None, Any]], *, refused: str = "", not_asked: str = "") -> Comparison:
    """Compare an operation's answers (status, body) with its documented responses.

    Raises ValueError for an operation that the contract does not know. No value is told but those of enums.
    """
    asked = list(answers)
    found: dict[tuple[Kind, str, str], int] = {}
    for status, body in asked:
        for difference in _differences(operation, status, body):
            key = (difference.kind, difference.where, difference.told)
            found[key] = found.get(key, 0) + 1
    return Comparison(
        operation=operation,
        asked=len(asked),
        statuses=tuple(sorted({status for status, _ in asked if status is not None})),
        differences=tuple(Difference(kind=kind, where=where, told=told, count=n) for (kind, where, told), n in found.items()),
        refused=refused,
        not_asked=not_asked,
    )


def _differences(operation: str, status: int | None, body: Any) -> Iterator[Difference]:
    if status is None:
        return
    responses = _responses(operation)
    if str(status) not in responses:
        yield Difference(kind="status", where=str(status), told=f"the pages know {', '.join(sorted(responses))}")
        return
    schema = _schema(responses[str(status)])
    if schema is None:
        return
    if not isinstance(body, dict | list):
        yield Difference(kind="form", where="body", told="no JSON")
        return
    whole: dict[str, Any] = {**schema, "components": openapi()["components"]}
    for error in _Validator(whole).iter_errors(body):
        yield _told(error)
    yield from _undocumented(cast("object", body), [schema], "")


def _told(error: Any) -> Difference:
    """One complaint in words that never show what a field holds, unless it should be one of a few known words."""
    where = _where(error.absolute_path)
    kind = _KINDS.get(str(error.validator), "form")
    if kind == "missing":
        names = [name for name in error.validator_value if name not in error.instance]
        at = f"{where}." if where else ""
        return Difference(kind=kind, where=f"{at}{names[0] if names else '?'}", told="required by the pages")
    known = _known_words(error)
    if kind == "value" or known:
        told = f"{json.dumps(error.instance)[:_SHOWN]} is none of {', '.join(known or ['the documented words'])}"
        return Difference(kind="value", where=where, told=told)
    if kind == "type":
        return Difference(kind=kind, where=where, told=f"{_type(error.instance)}, documented as {_either(error.validator_value)}")
    return Difference(kind="form", where=where or "body", told=f"{_type(error.instance)} of another form than documented")


def _known_words(error: Any) -> list[str]:
    """The words that an enum allows, also where it is one of several documented forms; empty where no enum was at fault."""
    if error.validator == "enum":
        return [str(word) for word in error.validator_value]
    if error.validator == "const":
        return [str(error.validator_value)]
    found: list[str] = []
    for inner in error.context or ():
        if inner.validator in {"enum", "const"} and isinstance(error.instance, str):
            found += _known_words(inner)
    return found


def _undocumented(value: Any, schemas: list[Schema], where: str) -> Iterator[Difference]:
    """Fields that no page names, at any depth. Objects that are documented as free maps hold none."""
    forms = [form for schema in schemas for form in _forms(schema)]
    if isinstance(value, list):
        items = [form["items"] for form in forms if isinstance(form.get("items"), dict)]
        if items:
            for entry in cast("list[Any]", value):
                yield from _undocumented(entry, items, f"{where}[]")
        return
    if not isinstance(value, dict):
        return
    named = [cast("Schema", form["properties"]) for form in forms if form.get("properties")]
    maps = [form["additionalProperties"] for form in forms if isinstance(form.get("additionalProperties"), dict)]
    free = any(form.get("additionalProperties") is True for form in forms)
    for name, inner in cast("dict[str, Any]", value).items():
        at = f"{where}.{name}" if where else name
        below = [properties[name] for properties in named if name in properties] or maps
        if below:
            yield from _undocumented(inner, below, at)
        elif named and not free:
            yield Difference(kind="undocumented", where=at, told=_type(inner))


def _forms(schema: Schema) -> Iterator[Schema]:
    """A schema with its references followed and its alternatives side by side."""
    if "$ref" in schema:
        yield from _forms(_target(str(schema["$ref"])))
        return
    yield schema
    for name in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(name, ()):
            yield from _forms(one)


@cache
def _target(reference: str) -> Schema:
    found: Any = openapi()
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


@cache
def _responses(operation: str) -> dict[str, Schema]:
    for item in openapi()["paths"].values():
        for found in item.values():
            if isinstance(found, dict) and cast("Schema", found).get("operationId") == operation:
                return {str(status): response for status, response in cast("dict[str, Any]", found)["responses"].items()}
    raise ValueError(f"the contract has no operation {operation}")


def _schema(response: Schema) -> Schema | None:
    if "$ref" in response:
        response = _target(str(response["$ref"]))
    media = cast("Schema", response.get("content", {})).get("application/json")
    return None if media is None else cast("Schema | None", media.get("schema"))


def _where(path: Iterable[Any]) -> str:
    said = ""
    for step in path:
        said += "[]" if isinstance(step, int) else f".{step}" if said else str(step)
    return said


def _type(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(cast("type[Any]", type(value)), "something")


def _either(types: Any) -> str:
    return str(types) if isinstance(types, str) else " or ".join(cast("list[str]", types))
