"""Which operation a request means and whether it fits the contract: read from `openapi.yaml`, compiled once for all."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator as _Draft202012Validator

from backup_to_image.contract import openapi

from .wire import Doc, Problem, mapping, sequence

__all__ = ["PORT_ORDER", "Operation", "Router", "fit", "operations"]

# The stubs of jsonschema do not say what a validator yields.
Draft202012Validator: Any = _Draft202012Validator

# The order of the ports: the first is IAM, the others follow.
PORT_ORDER = ("iam", "ims", "ecs", "cbr", "vpc", "evs", "eip")

# Elastic IP has no catalog entry of its own: its calls are served by the VPC endpoint as well (BEHAVIOUR.md 1.2).
_ALSO_SERVES = {"vpc": ("vpc", "eip")}

_METHODS = ("get", "put", "post", "delete", "patch", "head")


@dataclass(slots=True)
class _Parameter:
    name: str
    place: str
    required: bool
    kind: str
    validator: Any


@dataclass(slots=True)
class Operation:
    """One operation of the contract: where it lives and what it accepts."""

    id: str
    service: str
    method: str
    path: str
    secured: bool
    segments: tuple[str, ...]
    parameters: list[_Parameter]
    body: Any
    body_required: bool
    content_types: tuple[str, ...]
    contract: Doc = field(repr=False)

    @property
    def writes(self) -> bool:
        """Changes something in the cloud (needs more than a reader's role)."""
        return self.method not in {"GET", "HEAD"} and self.id not in {"createToken", "queryImagesByTag", "getConsoleOutput"}

    @property
    def native(self) -> bool:
        """OpenStack's own image call, whose refusals are not documented by OTC (BEHAVIOUR.md 3)."""
        return self.service == "ims" and self.path.startswith("/v2/images")

    def check_path(self, given: dict[str, str]) -> Problem | None:
        """The first path parameter that does not fit, if any."""
        for parameter in self.parameters:
            if parameter.place == "path" and (words := _complaint(parameter.validator, given.get(parameter.name, ""))):
                return Problem("path", parameter.name, words[0], words[1])
        return None

    def check_headers(self, given: dict[str, str]) -> Problem | None:
        """The first declared header that is missing or does not fit; headers the contract does not name are let through."""
        for parameter in self.parameters:
            if parameter.place != "header":
                continue
            value = given.get(parameter.name.lower())
            if value is None:
                if parameter.required:
                    return Problem("header", parameter.name, "required", f"header {parameter.name} is missing")
            elif words := _complaint(parameter.validator, value):
                return Problem("header", parameter.name, words[0], words[1])
        return None

    def read_query(self, text: str) -> dict[str, Any] | Problem:
        """The query with the contract's types; a parameter that the contract does not know is a problem."""
        known = {parameter.name: parameter for parameter in self.parameters if parameter.place == "query"}
        values: dict[str, Any] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            parameter = known.get(name)
            if parameter is None:
                return Problem("query", name, "unknown", f"unknown query parameter {name}")
            if parameter.kind == "array":
                values.setdefault(name, []).append(value)
            elif name in values:
                return Problem("query", name, "repeated", f"query parameter {name} given twice")
            else:
                values[name] = _coerce(value, parameter.kind)
        for name, value in values.items():
            if words := _complaint(known[name].validator, value):
                return Problem("query", name, words[0], words[1])
        for name, parameter in known.items():
            if parameter.required and name not in values:
                return Problem("query", name, "required", f"query parameter {name} is missing")
        return values

    def read_body(self, raw: bytes, content_type: str) -> Any | Problem:
        """The body as JSON that fits the contract; None where none was sent and none is needed."""
        if not raw.strip():
            if self.body is not None and self.body_required:
                return Problem("body", "", "required", "request body is missing")
            return None
        if self.body is None:
            return Problem("body", "", "unknown", "this call has no body")
        if content_type.partition(";")[0].strip().lower() not in self.content_types:
            return Problem("content", "Content-Type", "type", f"Content-Type must be {' or '.join(self.content_types)}")
        try:
            value = json.loads(raw)
        except ValueError as reason:
            return Problem("body", "", "json", f"body is not JSON: {reason}")
        for error in self.body.iter_errors(value):
            name = "/".join(str(part) for part in error.absolute_path)
            return Problem("body", name, str(error.validator), f"{name or 'body'}: {error.message[:200]}", value)
        return value


def _complaint(validator: Any, value: Any) -> tuple[str, str] | None:
    for error in validator.iter_errors(value):
        return str(error.validator), str(error.message)[:200]
    return None


def _coerce(value: str, kind: str) -> Any:
    if kind == "boolean" and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if kind == "integer" and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    return value


def _inline(node: Any, document: Doc) -> Any:
    """The schema with its references written out; request schemas are small and never recursive."""
    if (fields := mapping(node)) is not None:
        reference = fields.get("$ref")
        if reference is not None:
            target: Any = document
            for part in str(reference).removeprefix("#/").split("/"):
                target = target[part]
            return _inline(target, document)
        return {key: _inline(value, document) for key, value in fields.items()}
    if (items := sequence(node)) is not None:
        return [_inline(item, document) for item in items]
    return node


@cache
def operations() -> dict[str, Operation]:
    """Every operation of the contract by its operationId, validators compiled."""
    document = openapi()
    found: dict[str, Operation] = {}
    for item in document["paths"].values():
        for method in _METHODS:
            if method in item:
                operation = _read(item[method], method, document)
                found[operation.id] = operation
    return found


def _read(contract: Doc, method: str, document: Doc) -> Operation:
    content: Doc = contract.get("requestBody", {}).get("content", {})
    schema = next((_inline(media["schema"], document) for media in content.values()), None)
    parameters: list[_Parameter] = []
    for given in contract.get("parameters", []):
        declared = _inline(given, document)
        parameters.append(
            _Parameter(
                name=declared["name"],
                place=declared["in"],
                required=bool(declared.get("required")),
                kind=str(declared["schema"].get("type", "string")),
                validator=Draft202012Validator(declared["schema"]),
            )
        )
    return Operation(
        id=contract["operationId"],
        service=contract["x-service"],
        method=method.upper(),
        path=contract["x-path"],
        secured=bool(contract.get("security")),
        segments=tuple(contract["x-path"].strip("/").split("/")),
        parameters=parameters,
        body=None if schema is None else Draft202012Validator(schema),
        body_required=bool(contract.get("requestBody", {}).get("required")),
        content_types=tuple(content),
        contract=contract,
    )


class Router:
    """Finds the operation for a service's method and path; a literal segment beats a parameter."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[int, list[Operation]]] = {}
        for service in PORT_ORDER:
            table = self._tables.setdefault(service, {})
            for operation in operations().values():
                if operation.service in _ALSO_SERVES.get(service, (service,)):
                    table.setdefault(len(operation.segments), []).append(operation)
            for candidates in table.values():
                candidates.sort(key=lambda operation: [segment.startswith("{") for segment in operation.segments])

    def find(self, service: str, method: str, path: str) -> tuple[Operation | None, dict[str, str], bool]:
        """The operation and its path parameters; without one, whether the path exists under another method."""
        given = tuple(path.strip("/").split("/"))
        other_method = False
        for operation in self._tables[service].get(len(given), []):
            values = fit(operation.segments, given)
            if values is None:
                continue
            if operation.method == method:
                return operation, values, True
            other_method = True
        return None, {}, other_method


def fit(segments: tuple[str, ...], given: tuple[str, ...]) -> dict[str, str] | None:
    """The path parameters of a template in a path, both split at slashes; None where they do not fit."""
    if len(segments) != len(given):
        return None
    values: dict[str, str] = {}
    for segment, value in zip(segments, given, strict=True):
        if segment.startswith("{"):
            values[segment[1:-1]] = value
        elif segment != value:
            return None
    return values
