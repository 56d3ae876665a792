"""Probes as people write them in one line."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model import Probe

__all__ = ["read_probes"]


def read_probes(written: tuple[str, ...], what: str) -> tuple[Probe, ...]:
    """Probes in the form of a launch order, such as `tcp: 22`. Raises UsageError with every mistake at once."""
    found: list[Probe] = []
    problems: list[str] = []
    for one in written:
        try:
            found.append(Probe.model_validate(yaml.safe_load(one)))
        except yaml.YAMLError:
            problems.append(f"{what} {one!r}: this is no YAML; write for example 'tcp: 22'.")
        except ValidationError as error:
            mistake = error.errors()[0]
            where = ".".join(str(part) for part in mistake["loc"])
            words = mistake["msg"].removeprefix("Value error, ")
            problems.append(f"{what} {one!r}: {f'{where}: ' if where else ''}{words}.")
    if problems:
        raise UsageError(problems)
    return tuple(found)
