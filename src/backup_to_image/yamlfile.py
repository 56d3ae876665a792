"""Files that people write: YAML in, a checked value out, every mistake at once with file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model.orders import HIDDEN

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Placed", "load_file", "load_placed", "mistakes", "read_text", "read_value", "read_yaml"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where it is there: ten times as fast, the same values."""

_NO_WORD = {"literal_error", "string_type"}

M = TypeVar("M", bound=BaseModel)
Loc = tuple[str | int, ...]

_MOST_FIELDS = 20_000
_DEEPEST = 50

# pydantic's own words are for programmers; these are the mistakes that people make in files.
_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a block of keys",
    "model_type": "must be a block of keys",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}

_LIMITS = {
    "less_than_equal": "must be {le} at most",
    "greater_than_equal": "must be {ge} at least",
    "string_pattern_mismatch": "must fit {pattern}",
    "literal_error": "must be {expected}",
}


def read_text(path: Path, what: str) -> str:
    """What stands in the file. Raises UsageError where it is absent or unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such {what}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this {what} cannot be read: {error}.") from None


def read_yaml(path: Path, what: str, *, text: str | None = None) -> tuple[Any, dict[Loc, int]]:
    """The file's content, and the line on which each of its fields stands; of `text` where it was read before.

    Raises UsageError, with the line, where the file is absent, unreadable or no YAML.
    """
    text = read_text(path, what) if text is None else text
    try:
        _check_depth(text)
        loader: Any = _LOADER(text)
        lines: dict[Loc, int] = {}
        problems: list[str] = []
        node = cast("yaml.Node | None", loader.get_single_node())
        if node is None:
            return None, lines
        _note_lines(node, (), lines, problems, path)
        if problems:
            raise UsageError(problems)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: this is no YAML: {getattr(error, 'problem', None) or error}.") from None


class Placed(Generic[M]):
    """What a file says, and where it says it."""

    def __init__(self, path: Path, value: M, lines: dict[Loc, int]) -> None:
        self.path = path
        self.value = value
        self._lines = lines

    def at(self, *loc: str | int) -> str:
        """The place of a field, as mistakes begin with it: file:line: field."""
        return f"{self.path}:{self._lines.get(_known_part(loc, self._lines), 1)}: {'.'.join(str(part) for part in loc)}"


def load_file(path: Path, model: type[M], what: str) -> M:
    """Read one file into its model. Raises UsageError naming every mistake as file:line: field: what is wrong."""
    return load_placed(path, model, what).value


def load_placed(path: Path, model: type[M], what: str, *, text: str | None = None) -> Placed[M]:
    """The same for whoever has more to say about the file. Raises UsageError as `load_file` does."""
    content, lines = read_yaml(path, what, text=text)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}:1: a {what} is a block of keys (name: value), not a {type(content).__name__}.")
    try:
        return Placed(path, model.model_validate(content), lines)
    except ValidationError as error:
        raise UsageError(mistakes(error, path, lines)) from None


def mistakes(error: ValidationError, path: Path | None = None, lines: dict[Loc, int] | None = None) -> list[str]:
    """Every mistake as a line of its own, in the file's order."""
    found: dict[tuple[int, str], None] = {}
    details = error.errors(include_url=False)
    for detail in details:
        loc = _known_part(detail["loc"], lines or {})
        if _of_another_form(detail, loc, details):
            continue
        line = (lines or {}).get(loc, 1)
        place = f"{path}:{line}: " if path else ""
        field = ".".join(str(part) for part in _field(detail["loc"], loc, detail["type"], bool(lines)))
        found[line, f"{place}{field + ': ' if field else ''}{_say(detail)}"] = None
    return [text for _, text in sorted(found, key=lambda item: item[0])]


def read_value(text: str) -> Any:
    """What a line of YAML says that somebody wrote into a form. Raises yaml.YAMLError, for one that is nested too deeply too."""
    _check_depth(text)
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, by either name


def _check_depth(text: str) -> None:
    """Look at what begins and ends before anything is built of it: whatever builds it calls itself, in C until it crashes."""
    depth, loader = 0, _LOADER(text)
    while loader.check_event():
        event: yaml.Event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _note_lines(node: yaml.Node, loc: Loc, lines: dict[Loc, int], problems: list[str], path: Path) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    # Aliases may repeat a part over and over, or be a part of themselves: no file of ours needs that.
    if len(lines) > _MOST_FIELDS or len(loc) > _DEEPEST:
        raise UsageError(f"{path}:{node.start_mark.line + 1}: too many or too deeply nested fields; write it without aliases.")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*loc, str(key.value))
            if here in lines:
                problems.append(f"{path}:{key.start_mark.line + 1}: {'.'.join(map(str, here))}: stands twice")
            lines[here] = key.start_mark.line + 1
            _note_lines(value, here, lines, problems, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*loc, index), lines, problems, path)


def _of_another_form(detail: ErrorDetails, field: Loc, details: list[ErrorDetails]) -> bool:
    """Whether it only says that a block is no word, where a block is right too and its own mistakes are told."""
    if detail["type"] not in _NO_WORD or not isinstance(detail.get("input"), dict) or not field or field == detail["loc"]:
        return False
    return any(other["loc"][: len(field)] == field and len(other["loc"]) > len(field) + 1 for other in details)


def _known_part(loc: Loc, lines: dict[Loc, int]) -> Loc:
    """The longest part of pydantic's location that is really in the file (it also names union branches)."""
    known: Loc = ()
    for part in loc:
        if (*known, part) in lines:
            known = (*known, part)
    return known


def _field(loc: Loc, known: Loc, kind: str, has_lines: bool) -> Loc:
    if not has_lines:
        return loc
    return (*known, loc[-1]) if kind == "missing" and loc else known


def _say(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"])
    if words:
        return words
    limits = detail.get("ctx", {})
    text = detail["msg"].removeprefix("Value error, ")
    if detail["type"] in _LIMITS:
        text = _LIMITS[detail["type"]].format(**limits)
    given = None if detail["type"] == HIDDEN else detail.get("input")
    return f"{text} (not {given!r})" if isinstance(given, str | int | float) and repr(given) not in text else text
