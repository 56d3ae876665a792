"""What can go wrong, as a tree. Every leaf says what happened, to what, what it means and what to do next.

    B2iError
    ├── UsageError            the order, a file or the settings are wrong; every mistake at once            exit 2
    │   └── LoginRefused      the cloud does not take these credentials; never tried a second time          exit 2
    ├── Refused               a check said no before anything was made; carries the whole report            exit 3
    ├── CloudError            the cloud failed it, or cannot be reached                                      exit 1
    │   ├── ApiError          an answer that refuses, with the cloud's own code and words
    │   │   ├── NotFound      the thing is not there (any more)
    │   │   ├── AlreadyUsed   the backup has its image: look again and adopt it
    │   │   ├── Throttled     too many requests or tasks; nothing was done
    │   │   └── Denied        token, project or rights
    │   ├── NoAnswer          nothing was heard, so whether it took effect is not known
    │   ├── BadAnswer         an answer that does not fit the contract
    │   ├── JobFailed         an accepted job ended in FAIL, or what it made is dead
    │   └── UnknownState      a state that no table knows; shown instead of waited on
    ├── StillRunning          the deadline passed, the cloud works on; the same command resumes             exit 4
    └── PartlyDone            made, but a later step failed; what exists is named                            exit 5

Why an own tree: callers decide by what may be done next (try again, adopt, wait, ask an operator), and neither HTTP statuses nor
httpx's classes tell that (CBR refuses for good with 500, IMS throttles with 400, ECS says 202 and starts nothing).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from backup_to_image.model import Delivery, Report

__all__ = [
    "AlreadyUsed",
    "ApiError",
    "B2iError",
    "BadAnswer",
    "CloudError",
    "Denied",
    "ErrorClass",
    "JobFailed",
    "LoginRefused",
    "NoAnswer",
    "NotFound",
    "PartlyDone",
    "Refused",
    "StillRunning",
    "Throttled",
    "UnknownState",
    "UsageError",
]


class ErrorClass(StrEnum):
    """What a cloud code asks of us (BEHAVIOUR.md section 15)."""

    WAIT = "W"  # wait and send the same again
    PERMANENT = "P"  # this input will never do
    CONFIGURE = "C"  # rights, quota or configuration: an operator must act
    UNCLEAR = "X"  # trouble of the service: a few more tries, then report


class B2iError(Exception):
    """Anything this project raises on purpose; `str()` is fit for an operator's eyes."""

    exit_code: ClassVar[int] = 1
    outcome: ClassVar[Literal["refused", "failed", "still_running", "partly"]] = "failed"
    """The word of `outcome` in a result that this error ends."""
    code: str = "b2i.failed"
    retryable: bool = False
    option: str = ""
    """What the command that goes on needs besides the words that it had."""

    def __init__(self, message: str, *, action: str = "", code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.action = action
        self.handle: dict[str, str] = {}
        """What the cloud was asked to make and may be making, by kind: backup, job, image, server, launch."""
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} {self.action}".strip()


class UsageError(B2iError):
    """The order, a file or the settings are wrong; nothing was made."""

    exit_code = 2
    code = "b2i.usage"

    def __init__(self, problems: str | Iterable[str], *, action: str = "", code: str | None = None) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems), action=action, code=code)


class LoginRefused(UsageError):
    """The cloud does not take these credentials. Not tried again: repeated failures lock the user (BEHAVIOUR.md 1.1)."""

    code = "b2i.login-refused"


class Refused(B2iError):
    """Checks said no before anything was made or billed."""

    exit_code = 3
    outcome = "refused"
    code = "b2i.refused"

    def __init__(self, report: Report) -> None:
        self.report = report
        refusals = report.refusals
        super().__init__(
            "Refused: " + "; ".join(check.why for check in refusals) + ". Nothing was made.",
            action=" ".join(dict.fromkeys(check.action for check in refusals if check.action)),
            retryable=report.waiting_helps,
        )


class CloudError(B2iError):
    """The cloud failed it or cannot be reached."""

    code = "b2i.cloud"


class ApiError(CloudError):
    """An answer that refuses. `code` and `words` are the cloud's; `error_class` says what may be done."""

    def __init__(
        self,
        *,
        operation: str,
        status: int,
        code: str | None,
        words: str,
        error_class: ErrorClass,
        cause: str = "",
        action: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        subject: str = "",
    ) -> None:
        self.operation = operation
        self.status = status
        self.cloud_code = code
        self.words = words
        self.error_class = error_class
        self.cause = cause
        self.request_id = request_id
        self.retry_after = retry_after
        self.subject = subject
        said = f"{code or f'HTTP {status}'}: {words}" if words else (code or f"HTTP {status}")
        about = f" for {subject}" if subject else ""
        trace = f" (request {request_id})" if request_id else ""
        super().__init__(
            f"{operation}{about} was refused: {said}{trace}." + (f" {cause}" if cause else ""),
            action=action,
            code=code or f"http.{status}",
            retryable=error_class is ErrorClass.WAIT,
        )


class NotFound(ApiError):
    """The thing asked for is not there (any more)."""


class AlreadyUsed(ApiError):
    """The backup has a full-ECS image already: look again and adopt it."""


class Throttled(ApiError):
    """Too many requests or tasks at a time; the cloud did nothing."""


class Denied(ApiError):
    """The token, its project or its rights do not suffice."""


class NoAnswer(CloudError):
    """Nothing was heard. `sent` false: the request never left, so nothing was made; true: nobody knows yet."""

    code = "b2i.no-answer"
    retryable = True

    def __init__(self, operation: str, reason: str, *, sent: bool, address: str = "") -> None:
        self.operation = operation
        self.sent = sent
        at = f" from {address}" if address else ""
        meaning = "It may have taken effect all the same." if sent else "The request did not get through."
        super().__init__(
            f"{operation} got no answer{at}: {reason}. {meaning}",
            action="Run the same command again: it first looks for what is there."
            if sent
            else "Check the address, the network and HTTPS_PROXY/NO_PROXY.",
        )


class BadAnswer(CloudError):
    """An answer that does not fit the contract, so acting on it would be guessing."""

    code = "b2i.bad-answer"

    def __init__(self, operation: str, what: str, *, request_id: str | None = None) -> None:
        self.operation = operation
        trace = f" (request {request_id})" if request_id else ""
        super().__init__(
            f"{operation} answered what the contract does not know: {what}{trace}.",
            action="Run `b2i doctor --contract` and, if it repeats, report its output.",
        )


class JobFailed(CloudError):
    """An accepted job ended in FAIL, or what it made is dead. `code` and `reason` are the cloud's."""

    def __init__(
        self,
        what: str,
        *,
        code: str | None,
        reason: str,
        error_class: ErrorClass = ErrorClass.UNCLEAR,
        cause: str = "",
        action: str = "",
        job_id: str | None = None,
        option: str = "",
    ) -> None:
        self.what = what
        self.option = option
        self.cloud_code = code
        self.reason = reason
        self.error_class = error_class
        self.job_id = job_id
        by = f" (job {job_id})" if job_id else ""
        said = ": ".join(part for part in (code, reason) if part) or "the cloud gave no reason"
        super().__init__(
            f"{what} failed in the cloud{by}: {said}." + (f" {cause}" if cause else ""),
            action=action,
            code=code or "b2i.job-failed",
            retryable=error_class is ErrorClass.WAIT,
        )


class UnknownState(CloudError):
    """A state that no table knows. Waiting on it could be for ever, so it shows itself."""

    code = "b2i.unknown-state"

    def __init__(self, what: str, state: str, known: Iterable[str]) -> None:
        self.what = what
        self.state = state
        super().__init__(
            f"{what} is in state {state!r}, which is none of {', '.join(sorted(known))}.",
            action="Look at it in the console; the same command resumes.",
        )


class StillRunning(B2iError):
    """The deadline passed and the cloud works on. Nothing is lost: the same command resumes with what is named here."""

    exit_code = 4
    outcome = "still_running"
    code = "b2i.still-running"
    retryable = True

    def __init__(
        self, what: str, *, last_seen: str, deadline: datetime | None, handle: dict[str, str] | None = None, check: str = ""
    ) -> None:
        self.what = what
        self.last_seen = last_seen
        self.deadline = deadline
        ids = ", ".join(f"{kind} {ident}" for kind, ident in (handle or {}).items())
        until = f" by {deadline:%Y-%m-%d %H:%M:%S} UTC" if deadline else ""
        super().__init__(
            f"{what} is still running in the cloud: {last_seen}, not finished{until}" + (f" ({ids})." if ids else "."),
            action=check or "Run the same command again to go on waiting.",
        )
        self.handle = handle or {}


class PartlyDone(B2iError):
    """Made, but a later step failed. `delivery` names what exists; `cause` is the step's own error."""

    exit_code = 5
    outcome = "partly"
    code = "b2i.partly-done"

    def __init__(self, step: str, delivery: Delivery, cause: B2iError) -> None:
        self.step = step
        self.delivery = delivery
        self.cause = cause
        self.option = cause.option
        super().__init__(
            f"The image {delivery.image_id} is there, but {step} did not finish: {cause.message}",
            action=cause.action or "Run the same command again: it adopts what exists and does the rest.",
            code=cause.code,
            retryable=cause.retryable,
        )
