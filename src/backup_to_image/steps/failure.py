"""Why one of several things did not come about, where the others go on: an error as a value."""

from __future__ import annotations

from typing import Self

from backup_to_image.errors import B2iError, Refused
from backup_to_image.model import Value

__all__ = ["Failure"]


class Failure(Value):
    """What an error says, without its being raised."""

    code: str
    reason: str
    action: str
    retryable: bool

    @classmethod
    def of(cls, error: B2iError) -> Self:
        """The error's own words; of a refusal the reasons alone, since beside it something may have been made."""
        code, reason = error.code, error.message
        if isinstance(error, Refused):
            refusals = error.report.refusals
            reason = f"Refused: {'; '.join(check.why for check in refusals)}."
            code = refusals[0].code if len(refusals) == 1 and refusals[0].code.startswith("b2i.") else error.code
        return cls(code=code, reason=reason, action=error.action, retryable=error.retryable)
