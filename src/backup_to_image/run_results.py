"""What runs leave behind at Prefect's door, as JSON: what `b2i --prefect` prints, and the exit code that it gives."""

from __future__ import annotations

from typing import Self

from backup_to_image.errors import B2iError, PartlyDone, Refused
from backup_to_image.model import Delivery, Outcome, Report, Value
from backup_to_image.model.night import NightPlan, NightReport
from backup_to_image.model.swept import Swept
from backup_to_image.steps.leftovers import Leftovers
from backup_to_image.steps.retention.retire import Retired, RetirementPlan

__all__ = [
    "NIGHT_RESULT_KEY",
    "ORDER_RESULT_KEY",
    "RESULT_KEY",
    "RETENTION_RESULT_KEY",
    "SWEEP_RESULT_KEY",
    "NightResult",
    "RetentionResult",
    "RunError",
    "RunResult",
    "SweepResult",
]

RESULT_KEY = "image-from-backup-result"
"""Key of the artifact in which a run leaves its RunResult: Prefect's own results could be read by the worker alone."""
NIGHT_RESULT_KEY = "nightly-result"
"""The same of a night: its NightResult."""
SWEEP_RESULT_KEY = "sweep-result"
ORDER_RESULT_KEY = "order-result"
"""Of every order of one command, such as a share or a launch: its Told."""
RETENTION_RESULT_KEY = "retired-result"
"""Unlike `retention-...`, which is the page of a policy, whatever its name."""


class RunError(Value):
    """What went wrong, as every door of this project tells it."""

    code: str
    message: str
    action: str = ""
    retryable: bool = False

    @classmethod
    def of(cls, error: B2iError) -> Self:
        return cls(code=error.code, message=error.message, action=error.action, retryable=error.retryable)

    @classmethod
    def of_cancelled(cls, words: str, *, at_work: bool) -> Self:
        """What stands for an error where somebody cancelled."""
        goes_on = "What the cloud was asked to make, it goes on making." if at_work else "The cloud was asked for nothing."
        action = "Retry the run, or give the same order again: it adopts what is there and goes on." if at_work else ""
        return cls(code="b2i.cancelled", message=f"{words} {goes_on}", action=action, retryable=at_work)

    @classmethod
    def of_cancelled_deletion(cls, words: str) -> Self:
        """The same where things were to go."""
        action = "The next run looks at everything again and goes on."
        return cls(
            code="b2i.cancelled", message=f"{words} What the cloud was asked to delete, it goes on deleting.", action=action
        )


class RunResult(Value):
    """What came of one run: what `b2i --prefect create` prints, and the exit code that the local door would have given."""

    exit_code: int
    outcome: Outcome | None = None
    """None: only checked, nothing speaks against it."""
    delivery: Delivery | None = None
    report: Report | None = None
    error: RunError | None = None
    handle: dict[str, str] = {}
    """What is still at work in the cloud, by kind: backup, job, image, server, launch."""
    leftovers: Leftovers | None = None
    """Of a cancelled run: all that its order had in the cloud when it stopped."""

    @classmethod
    def of(cls, came: Delivery | Report | B2iError | Leftovers) -> Self:
        """The result of a delivery, of a check that made nothing, of an error, or of a run that was cancelled."""
        if isinstance(came, Delivery):
            partly = came.outcome == "partly"
            return cls(exit_code=5 if partly else 0, outcome=came.outcome, delivery=came, report=came.report)
        if isinstance(came, Report):
            return cls(exit_code=0, outcome=None, report=came)
        if isinstance(came, Leftovers):
            return cls._of_cancelled(came)
        error = RunError.of(came)
        delivery = came.delivery if isinstance(came, PartlyDone) else None
        return cls(
            exit_code=came.exit_code,
            outcome=came.outcome,
            delivery=delivery,
            report=came.report if isinstance(came, Refused) else delivery.report if delivery else None,
            error=error,
            handle=came.cause.handle if isinstance(came, PartlyDone) else came.handle,
        )

    @classmethod
    def _of_cancelled(cls, left: Leftovers) -> Self:
        """Nobody waits any more and the cloud works on: as after a deadline, the same order resumes."""
        at_work = bool(left.made or left.unread)
        error = RunError.of_cancelled("The run was cancelled.", at_work=at_work)
        outcome: Outcome = "still_running" if at_work else "failed"
        return cls(exit_code=4 if at_work else 1, outcome=outcome, error=error, handle=left.handle, leftovers=left)


class NightResult(Value):
    """What came of one night in Prefect: what `b2i --prefect nightly` prints, and its exit code."""

    exit_code: int
    outcome: Outcome | None = None
    """None: only planned, nothing speaks against it."""
    report: NightReport | None = None
    plan: NightPlan | None = None
    error: RunError | None = None

    @classmethod
    def of(cls, came: NightReport | NightPlan | B2iError) -> Self:
        """The result of a night, of a dry run, or of an error that kept the night from beginning."""
        if isinstance(came, NightReport):
            return cls(exit_code=came.exit_code, outcome=came.outcome, report=came)
        if isinstance(came, NightPlan):
            return cls(exit_code=3 if came.refusals else 0, outcome="refused" if came.refusals else None, plan=came)
        error = RunError.of(came)
        return cls(exit_code=came.exit_code, outcome=came.outcome, error=error)

    @classmethod
    def of_cancelled(cls, words: str, *, at_work: bool) -> Self:
        """Nobody waits any more and the cloud works on: as after a deadline, the same night resumes."""
        error = RunError.of_cancelled(words, at_work=at_work)
        return cls(exit_code=4 if at_work else 1, outcome="still_running" if at_work else "failed", error=error)


class SweepResult(Value):
    """What came of one sweep in Prefect: what `b2i --prefect sweep` prints, and its exit code."""

    exit_code: int
    swept: Swept | None = None
    error: RunError | None = None

    @classmethod
    def of(cls, came: Swept | B2iError) -> Self:
        """The result of a sweep, or of an error that kept it from looking."""
        if isinstance(came, Swept):
            return cls(exit_code=came.exit_code, swept=came)
        return cls(exit_code=came.exit_code, error=RunError.of(came))

    @classmethod
    def of_cancelled(cls, so_far: Swept | None, words: str) -> Self:
        """`so_far`: what is gone by now; None where nothing was to go."""
        return cls(exit_code=4 if so_far else 1, swept=so_far, error=RunError.of_cancelled_deletion(words))


class RetentionResult(Value):
    """What came of a policy's retention in Prefect: what `b2i --prefect retention` prints, and its exit code."""

    exit_code: int
    plan: RetirementPlan | None = None
    done: Retired | None = None
    """None: only planned."""
    gone: tuple[str, ...] = ()
    """Of a run that was cancelled: those images of the plan that are not there any more."""
    error: RunError | None = None

    @classmethod
    def of(cls, came: RetirementPlan | B2iError, done: Retired | None = None) -> Self:
        """The result of a plan and of what was done of it, or of an error."""
        if isinstance(came, RetirementPlan):
            return cls(exit_code=done.exit_code if done else 0, plan=came, done=done)
        return cls(exit_code=came.exit_code, error=RunError.of(came))

    @classmethod
    def of_cancelled(cls, plan: RetirementPlan | None, gone: tuple[str, ...], words: str) -> Self:
        """`plan`: what was to go; None where nothing was begun."""
        error = RunError.of_cancelled_deletion(words)
        return cls(exit_code=4 if plan else 1, plan=plan, gone=gone, error=error)
