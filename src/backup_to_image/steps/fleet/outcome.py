"""What came of each server of a night, and of the whole of it, in the words of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime

from backup_to_image.errors import B2iError, JobFailed, PartlyDone, Refused, StillRunning
from backup_to_image.model import Backup, Delivery
from backup_to_image.model.night import FleetMember, NightOutcome, NightPlan, NightReport, ServerNight
from backup_to_image.model.policy import Policy
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.last_night import KeptNight

__all__ = ["delivered", "failed", "failed_after", "not_served", "outcome_of", "report_of"]


def not_served(member: FleetMember) -> ServerNight:
    """It was skipped or refused, and why."""
    return ServerNight(
        server_id=member.server_id,
        server_name=member.server_name,
        outcome="skipped" if member.action == "skip" else "failed",
        reason=member.reason,
        code=member.code or ("" if member.action == "skip" else "b2i.refused"),
        action=member.advice,
        backup_id=member.backup.id if member.backup else None,
        backup_created_at=member.backup.created_at if member.backup else None,
    )


def delivered(member: FleetMember, delivery: Delivery) -> ServerNight:
    """It has its image."""
    return ServerNight(
        server_id=member.server_id,
        server_name=member.server_name,
        outcome="made" if delivery.outcome == "made" else "adopted" if delivery.outcome == "adopted" else "partly",
        reason=member.reason,
        backup_id=delivery.backup_id,
        backup_created_at=delivery.backup_created_at,
        image_id=delivery.image_id,
        image_name=delivery.image_name,
        doubtful=delivery.doubtful,
        shared_with=delivery.shared_with,
    )


def failed(member: FleetMember, error: B2iError) -> ServerNight:
    """The cloud's code and words, and what to do; with the image where there is one already."""
    there = delivered(member, error.delivery) if isinstance(error, PartlyDone) else not_served(member)
    backup = member.backup
    return there.model_copy(
        update={
            "outcome": "partly" if isinstance(error, PartlyDone) else "late" if isinstance(error, StillRunning) else "failed",
            "reason": error.message,
            "code": _code(error),
            "action": _what_to_do(error, backup),
            "backup_id": backup.id if backup else there.backup_id,
            "image_id": there.image_id or error.handle.get("image"),
        }
    )


def failed_after(told: ServerNight, error: B2iError) -> ServerNight:
    """The image is there; verifying it or letting older ones go failed."""
    late = "late" if isinstance(error, StillRunning) else "partly"
    return told.model_copy(update={"outcome": late, "reason": error.message, "code": _code(error), "action": error.action})


def _what_to_do(error: B2iError, backup: Backup | None) -> str:
    """An option of a single order is told with its command: a night has no such option."""
    if not error.option or backup is None:
        return error.action
    return error.action.replace(f"`{error.option}`", f"`b2i create {backup.id} {error.option}`")


def _code(error: B2iError) -> str:
    """The cloud's own where there is one: of a refusal, the first that the cloud would give."""
    if isinstance(error, Refused):
        return next((check.code for check in error.report.refusals if check.code), error.code)
    if isinstance(error, JobFailed) and error.cloud_code:
        return error.cloud_code
    return error.code


def report_of(
    servers: tuple[ServerNight, ...],
    policy: Policy,
    plan: NightPlan,
    kept: KeptNight,
    ctx: Context,
    *,
    night: date,
    began: datetime,
    requests: int,
    notes: tuple[str, ...],
    retired: Sequence[str] = (),
    left: Sequence[str] = (),
) -> NightReport:
    """The night up to now. `left`: what its drills have left behind, for which somebody pays whatever its images are like."""
    outcome = outcome_of(servers, policy)
    return NightReport(
        policy=policy.name,
        night=night.isoformat(),
        project_id=ctx.project_id,
        outcome="partly" if left and outcome in {"made", "adopted"} else outcome,
        began_at=began,
        ended_at=ctx.clock.now(),
        deadline=kept.deadline,
        servers=servers,
        requests=requests,
        images_at_once=policy.limits.images_at_once,
        quota=plan.quota,
        retired=tuple(retired),
        left_behind=tuple(dict.fromkeys(left)),
        notes=notes,
    )


def outcome_of(servers: tuple[ServerNight, ...], policy: Policy) -> NightOutcome:
    """A night in a word, by the policy's own measure."""
    counted = Counter(one.outcome for one in servers)
    bad = sum(one.bad for one in servers)
    there = counted["made"] + counted["adopted"] + counted["partly"]
    if bad > policy.failed_when.more_than.of(len(servers)) or not (there or counted["late"]):
        return "failed"
    if counted["failed"] or counted["partly"]:
        return "partly"
    if counted["late"]:
        return "still_running"
    return "made" if counted["made"] else "adopted"
