"""What the forms have in common: fields in their order, lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.model import Duration

__all__ = ["LENGTH", "Tag", "as_text", "field", "length"]

LENGTH = r"^(\d+(\.\d+)?[smhd])?$"
"""A length of time, or nothing."""
_LENGTH: TypeAdapter[timedelta] = TypeAdapter(Duration)

Tag = Annotated[str, Field(pattern=r"^[^=\s]+=[^=\s]*$")]


def field(position: int, title: str, description: str, default: Any = ..., **rules: Any) -> Any:
    """One field of a form; the UI shows them by position, and the description rather than the rules."""
    return Field(default, title=title, description=description, json_schema_extra={"position": position}, **rules)


def length(text: str, what: str) -> timedelta:
    """A length of time as people write it, such as 24h. Raises UsageError that names what it is of."""
    try:
        return _LENGTH.validate_python(text.strip())
    except ValidationError as error:
        raise UsageError(f"{what}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None


def as_text(wanted: timedelta) -> str:
    """The same the other way."""
    return str(_LENGTH.dump_python(wanted, mode="json"))
