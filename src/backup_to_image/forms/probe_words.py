"""Probes as people write them in one line."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model import Probe
from backup_to_image.yamlfile import mistakes, read_value

__all__ = ["read_probes"]

_FOR_EXAMPLE = "write for example 'tcp: 22', 'http: {port: 8080, path: /health}' or 'console: \"login:\"'"


def read_probes(written: tuple[str, ...], what: str) -> tuple[Probe, ...]:
    """Probes in the form of a launch order, such as `tcp: 22`. Raises UsageError with every mistake at once."""
    found: list[Probe] = []
    problems: list[str] = []
    for one in written:
        try:
            said = read_value(one)
        except yaml.YAMLError:
            problems.append(f"{what} {one!r}: this is no YAML; {_FOR_EXAMPLE}.")
            continue
        if not isinstance(said, dict):
            problems.append(f"{what} {one!r}: this is no probe; {_FOR_EXAMPLE}.")
            continue
        try:
            found.append(Probe.model_validate(said))
        except ValidationError as error:
            problems += [f"{what} {one!r}: {mistake}." for mistake in mistakes(error)]
    if problems:
        raise UsageError(problems)
    return tuple(found)
