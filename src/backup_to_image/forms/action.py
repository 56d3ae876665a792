"""What every form of one command has: what it is about, and the command that orders the same from a terminal."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from backup_to_image.errors import UsageError
from backup_to_image.forms.fields import LENGTH, field, length

__all__ = ["ActionForm", "PatientForm", "patience"]

_SPELLED = {"launch": "--spec", "name": "--yes-i-mean", "probes": "--probe"}
"""Options that are called otherwise than their fields."""


class ActionForm(BaseModel, ABC):
    """One command of `b2i` as a form. The same order again adopts what is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)  # what is pasted brings blanks along

    verb: ClassVar[str]
    """The command's name, which is also the flow's."""
    deployment: ClassVar[str]
    """Which deployment of the flow does it."""

    @property
    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """The command's arguments and options."""

    @property
    def command(self) -> str:
        """The same order from a terminal."""
        return shlex.join(("b2i", self.verb, *self.words))

    @classmethod
    def options(cls) -> dict[str, str]:
        """How the form calls what is an option of the command: what the steps say to do is said for a terminal."""
        return {_SPELLED.get(name, f"--{name.replace('_', '-')}"): one.title or name for name, one in cls.model_fields.items()}

    def check(self) -> None:
        """Everything in the form that cannot be read. Raises UsageError with every mistake at once."""
        problems: list[str] = []
        for read in self._reads():
            try:
                read()
            except UsageError as error:
                problems += error.problems
        if problems:
            raise UsageError(problems, action="Nothing was made. Correct the form: Copy to new run keeps what was filled in.")

    def _reads(self) -> tuple[Callable[[], object], ...]:
        """What has to be read before anything is asked of the cloud."""
        return ()


class PatientForm(ActionForm):
    """One that waits for what it has asked for."""

    timeout: str

    def _reads(self) -> tuple[Callable[[], object], ...]:
        return (*super()._reads(), lambda: self.patience)

    @property
    def patience(self) -> timedelta:
        """How long to wait. Raises UsageError."""
        return length(self.timeout or type(self).model_fields["timeout"].default, "Wait for it")


def patience(position: int, default: str, description: str) -> Any:
    """The field that says how long to wait."""
    return field(position, "Wait for it", f"{description} Such as 10m or 2h.", default, pattern=LENGTH)
