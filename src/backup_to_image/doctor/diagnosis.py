"""From a code to cause, action and class. Codes decide; the HTTP status only where no code is known (BEHAVIOUR.md 3)."""

from __future__ import annotations

from backup_to_image.doctor.tables import table
from backup_to_image.errors import ErrorClass
from backup_to_image.model import Value

__all__ = ["Diagnosis", "diagnose", "known_codes"]


class Diagnosis(Value):
    """What a refusal means. `group` names the codes that share one action on purpose."""

    code: str | None
    cause: str
    action: str
    error_class: ErrorClass
    group: str | None = None


_REFUSES = Diagnosis(
    code=None,
    cause="The cloud refuses this request.",
    action="Read the cloud's words; sending the same again will not help.",
    error_class=ErrorClass.PERMANENT,
)
_TROUBLE = Diagnosis(
    code=None,
    cause="The service has trouble.",
    action="Try again in some minutes; then report it with the request id.",
    error_class=ErrorClass.UNCLEAR,
)
_UNKNOWN = Diagnosis(
    code=None,
    cause="This code is in no table.",
    action="Read the cloud's words; report the code if it repeats.",
    error_class=ErrorClass.UNCLEAR,
)
_BY_STATUS = {
    401: Diagnosis(
        code=None,
        cause="The log-in or token was not taken.",
        action="Check user, password, account and project.",
        error_class=ErrorClass.CONFIGURE,
    ),
    403: Diagnosis(
        code=None,
        cause="The rights do not suffice.",
        action="Have the role granted to this user; `b2i doctor` shows which is missing.",
        error_class=ErrorClass.CONFIGURE,
    ),
    404: Diagnosis(
        code=None,
        cause="There is no such thing (any more), or the address is wrong.",
        action="Check id, project and region.",
        error_class=ErrorClass.PERMANENT,
    ),
    429: Diagnosis(
        code=None,
        cause="Too many requests at a time.",
        action="Wait; this client slows down by itself.",
        error_class=ErrorClass.WAIT,
    ),
}


def known_codes() -> tuple[str, ...]:
    """Every code in the tables."""
    return tuple(row.code for row in table().values())


def diagnose(code: str | None, status: int | None = None) -> Diagnosis:
    """Cause, action and class for a code of the cloud, or for an HTTP status where there is no known code.

    A 4xx without a known code refuses for good, a 5xx is trouble of the service; nothing at all is unclear.
    """
    row = table().get((code or "").strip().lower())
    if row:
        return Diagnosis(code=row.code, cause=row.cause, action=row.action, error_class=row.error_class, group=row.group)
    if status is None or status < 400:
        return _UNKNOWN.model_copy(update={"code": code})
    found = _BY_STATUS.get(status) or (_REFUSES if status < 500 else _TROUBLE)
    return found.model_copy(update={"code": code})
