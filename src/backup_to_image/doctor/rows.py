"""The form of the tables: class, cause, action."""

from __future__ import annotations

from typing import NamedTuple

from backup_to_image.errors import ErrorClass

__all__ = ["C", "Group", "P", "Row", "W", "X"]

W, P, C, X = ErrorClass.WAIT, ErrorClass.PERMANENT, ErrorClass.CONFIGURE, ErrorClass.UNCLEAR


class Group(NamedTuple):
    """Codes that ask for the same to be done. Only members of one group share an action."""

    name: str
    action: str


class Row(NamedTuple):
    """What a code means."""

    error_class: ErrorClass
    cause: str
    action: str | Group
