"""From a code to cause, action and class. Codes decide; the HTTP status only where no code is known (BEHAVIOUR.md 3)."""

from __future__ import annotations

from backup_to_image.doctor import cbr, ecs, gate, ims, net
from backup_to_image.doctor.rows import Group, Row
from backup_to_image.errors import ErrorClass
from backup_to_image.model import Value

__all__ = ["Diagnosis", "diagnose", "known_codes"]

_TABLE: dict[str, Row] = {**ims.ROWS, **cbr.ROWS, **ecs.ROWS, **net.ROWS, **gate.ROWS}
_BY_LOWER = {code.lower(): code for code in _TABLE}


class Diagnosis(Value):
    """What a refusal means. `group` names the codes that share one action on purpose."""

    code: str | None
    cause: str
    action: str
    error_class: ErrorClass
    group: str | None = None


def known_codes() -> tuple[str, ...]:
    """Every code in the tables."""
    return tuple(_TABLE)


def diagnose(code: str | None, status: int | None = None) -> Diagnosis:
    """Cause, action and class for a code of the cloud, or for an HTTP status where there is no known code."""
    known = _BY_LOWER.get((code or "").strip().lower())
    if known is None:
        return _by_status(code, status)
    error_class, cause, action = _TABLE[known]
    if isinstance(action, Group):
        return Diagnosis(code=known, cause=cause, action=action.action, error_class=error_class, group=action.name)
    return Diagnosis(code=known, cause=cause, action=action, error_class=error_class)


def _by_status(code: str | None, status: int | None) -> Diagnosis:
    """A code that no table knows, or none: a 4xx refuses for good, anything else is trouble of the service."""

    def say(error_class: ErrorClass, cause: str, action: str) -> Diagnosis:
        return Diagnosis(code=code, cause=cause, action=action, error_class=error_class)

    match status:
        case 401:
            return say(ErrorClass.CONFIGURE, "The log-in or token was not taken.", "Check user, password, account and project.")
        case 403:
            return say(
                ErrorClass.CONFIGURE,
                "The rights do not suffice.",
                "Have the role granted to this user; `b2i doctor` shows which.",
            )
        case 404:
            return say(
                ErrorClass.PERMANENT,
                "There is no such thing (any more), or the address is wrong.",
                "Check the id and the region.",
            )
        case 429:
            return say(ErrorClass.WAIT, "Too many requests at a time.", "Wait; requests slow down by themselves.")
        case int() if 400 <= status < 500:
            return say(
                ErrorClass.PERMANENT,
                "The cloud refuses this request.",
                "Read the cloud's words; sending the same again will not help.",
            )
        case int() if status >= 500:
            return say(
                ErrorClass.UNCLEAR, "The service has trouble.", "Try again in some minutes; then report it with the request id."
            )
        case _:
            return say(ErrorClass.UNCLEAR, "This code is in no table.", "Read the cloud's words; report it if it repeats.")
