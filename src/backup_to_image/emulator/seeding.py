"""Reads a seed (a company to start with) and refuses mistakes with file and line; `sow` puts it into an empty region.

The format is `seeds/format.yaml`, a JSON Schema with a description beside every key that needs one; `seeds/demo.yaml` is the
example.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from .cloud import Cloud

__all__ = ["Place", "Seed", "SeedError", "load", "sow"]

# Where something stands in a seed: keys and list positions from the top.
Place = tuple[str | int, ...]

# Neither package says what its functions give back.
_YAML: Any = yaml
_JSONSCHEMA: Any = jsonschema
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SeedError(ValueError):
    """A seed that cannot be sown; the message says file, line and what is wrong."""


class Seed:
    """The content of a seed, and where each part of it stands."""

    def __init__(self, name: str, content: Any, node: yaml.Node | None = None) -> None:
        self.name = name
        self.content = content
        self._node = node

    def mistake(self, place: Place, words: str) -> SeedError:
        """An error that points at a place."""
        where = "/".join(str(part) for part in place)
        return SeedError(f"{self.name}:{self.line(place)}: {where + ': ' if where else ''}{words}")

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest thing above it."""
        node = self._node
        line = 1
        for part in place:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def load(source: str | Path | Mapping[str, Any]) -> Seed:
    """A built-in seed by name, a YAML file by path, or content as it is; checked against the format. Raises SeedError."""
    if isinstance(source, Mapping):
        return _checked(Seed("seed", dict(source)))
    return _load_built_in(source) if source in _built_in() else _checked(_read(source))


@cache
def _load_built_in(name: str | Path) -> Seed:
    """The same seed for every region of this process: sowing only reads it."""
    return _checked(_read(name))


def _checked(seed: Seed) -> Seed:
    schema = _YAML.load(files(f"{__package__}.seeds").joinpath("format.yaml").read_bytes(), Loader=_LOADER)
    errors: list[Any] = list(_JSONSCHEMA.Draft202012Validator(schema).iter_errors(seed.content))
    if errors:
        first = min(errors, key=lambda error: seed.line(tuple(error.absolute_path)))
        best = _JSONSCHEMA.exceptions.best_match([first]) or first
        raise seed.mistake(tuple(best.absolute_path), best.message[:300])
    return seed


def _read(source: str | Path) -> Seed:
    built_in = files(f"{__package__}.seeds").joinpath(f"{source}.yaml")
    path = Path(source)
    if isinstance(source, str) and path.name == source and not path.suffix and built_in.is_file():
        name, text = f"{source}.yaml", built_in.read_text(encoding="utf-8")
    else:
        try:
            name, text = str(source), path.read_text(encoding="utf-8")
        except OSError as reason:
            raise SeedError(f"{source}: cannot be read: {reason.strerror}; built-in seeds: {', '.join(_built_in())}") from reason
    try:
        node = _YAML.compose(text, Loader=_LOADER)
        return Seed(name, _YAML.load(text, Loader=_LOADER), node)
    except yaml.MarkedYAMLError as reason:
        line = reason.problem_mark.line + 1 if reason.problem_mark else 1
        raise SeedError(f"{name}:{line}: not YAML: {reason.problem}") from reason


@cache
def _built_in() -> list[str]:
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files(f"{__package__}.seeds").iterdir()
        if entry.name.endswith(".yaml") and entry.name != "format.yaml"
    )


def choose(seed: Seed, place: Place, name: str, among: Mapping[str, Any], what: str) -> Any:
    """The thing of that name, or a mistake that offers the nearest one."""
    if name in among:
        return among[name]
    near = difflib.get_close_matches(name, list(among), n=1)
    hint = f"; did you mean {near[0].rpartition('/')[2]!r}?" if near else ""
    raise seed.mistake(place, f"no {what} named {name.rpartition('/')[2]!r}{hint}")


def sow(cloud: Cloud, source: str | Path | Mapping[str, Any]) -> None:
    """Fill an empty region from a seed. Raises SeedError before anything is kept."""
    from .sowing import Sower  # noqa: PLC0415 - sowing builds on this module

    Sower(cloud, load(source)).sow()
