"""The record of one run: everything that is known of it, what it measured, the record before it, and the hash of it all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from backup_to_image.model import Value
from backup_to_image.model.recovery import Measured, RunbookRun
from backup_to_image.pages.words import short

__all__ = ["FORMAT", "Link", "Nonsense", "Record", "as_text", "compose", "load", "name_of", "read", "value_in"]

FORMAT = "b2i-evidence/1"
_LARGEST = 64 * 1024 * 1024
"""Bytes: a run of a thousand servers takes a few megabytes."""
T = TypeVar("T", bound=BaseModel)


class Nonsense(Exception):
    """It is no record; the message is why, in plain words."""


class Link(Value):
    """A record, and what it has to be."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    sha256: str


class Record(Value):
    """A record as it was found, whole or not."""

    content: dict[str, Any]
    name: str
    """As it says of itself."""
    run_id: str
    ends: int
    """How often the run had ended before."""
    previous: Link | None
    sha256: str
    """As it says of itself."""
    true_sha256: str
    """Of what it holds now."""

    @property
    def whole(self) -> bool:
        return self.sha256 == self.true_sha256

    @property
    def link(self) -> Link:
        return Link(name=self.name, sha256=self.sha256)

    @property
    def run(self) -> RunbookRun:
        """Raises Nonsense where it is of another form."""
        return value_in(self.content, "run", RunbookRun)

    @property
    def measured(self) -> Measured:
        """Raises Nonsense where it is of another form."""
        return value_in(self.content, "measured", Measured)


class _Shape(Value):
    """What every record has, whatever a newer version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    class Run(Value):
        model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
        id: str
        ends: int = 0

    name: str
    run: Run
    previous: Link | None
    sha256: str


def name_of(run: RunbookRun) -> str:
    """What its record is called: shop-drill-20261129-130501-0a1b.json; with a number where the run had ended before."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", run.id[:120]) + (f"-{run.ends + 1}" if run.ends else "") + ".json"


def compose(run: RunbookRun, measured: Measured, previous: Link | None) -> Record:
    """The record of a run, after the one before it."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": name_of(run),
        "previous": previous.model_dump() if previous else None,
        "run": run.model_dump(mode="json"),
        "measured": measured.model_dump(mode="json"),
    }
    return read(as_text(content | {"sha256": _hash_of(content)}))


def as_text(content: Mapping[str, Any]) -> bytes:
    """As it lies in a file: to be read by people too."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def load(path: Path) -> Record:
    """Read a file that should be a record. Raises Nonsense; OSError where it cannot be read at all."""
    if path.exists() and not path.is_file():  # a pipe could be waited on for ever
        raise Nonsense("it is no file")
    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise Nonsense("it is larger than any record")
    return read(text)


def read(text: bytes) -> Record:
    """Raises Nonsense where it is no record; one that was changed is a record still, and not whole."""
    try:
        content = json.loads(text.decode("utf-8", "surrogatepass"), object_pairs_hook=_once, parse_constant=_no_number)
        if not isinstance(content, dict):
            raise Nonsense("it is JSON, and no object")
        content = cast("dict[str, Any]", content)
        if content.get("format") != FORMAT:
            raise Nonsense(f"its format is {short(repr(content.get('format')), 60)}, not {FORMAT!r}")
        true = _hash_of({key: value for key, value in content.items() if key != "sha256"})
        shape = _Shape.model_validate(content)
    except ValidationError as error:
        raise Nonsense(f"its {_place(error)} is not that of a record") from None
    except RecursionError:
        raise Nonsense("it is nested too deeply") from None
    except ValueError as error:
        raise Nonsense(f"it is not JSON: {short(str(error), 120)}") from None
    return Record(
        content=content,
        name=shape.name,
        run_id=shape.run.id,
        ends=shape.run.ends,
        previous=shape.previous,
        sha256=shape.sha256,
        true_sha256=true,
    )


def value_in(content: Mapping[str, Any], key: str, model: type[T]) -> T:
    """A part of a record as the value that it is. Raises Nonsense."""
    try:
        return model.model_validate(content.get(key))
    except (ValidationError, RecursionError) as error:
        where = _place(error) if isinstance(error, ValidationError) else ""
        raise Nonsense(f"its {'.'.join(filter(None, (key, where)))} is not that of a record of this version") from None


def _hash_of(content: Mapping[str, Any]) -> str:
    """Of the canonical JSON: sorted keys, no blanks, UTF-8."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once: of two with one name every reader would take another."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Nonsense("a key stands twice in it")
    return found


def _no_number(name: str) -> Never:
    raise Nonsense(f"{name} stands in it, which is no JSON")


def _place(error: ValidationError) -> str:
    return short(".".join(map(str, error.errors()[0]["loc"])), 80)
