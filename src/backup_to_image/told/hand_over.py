"""How the handing over of an image is told, seen from both sides."""

from __future__ import annotations

from backup_to_image.model import Report
from backup_to_image.run_results import RunError
from backup_to_image.settings import Settings
from backup_to_image.steps.sharing.hand_over import HandedOver
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["recipient_known", "told_hand_over"]


def recipient_known(project: str, settings: Settings) -> Fields:
    """Who was to get the image, to be told with an error."""
    return {"recipient": project, "alias": settings.alias_of(project)}


def told_hand_over(done: HandedOver) -> Told:
    """What came of both sides, and how it was proven."""
    image, answered = done.shares.image, done.answered
    member = next(one for one in done.shares.members if one.project_id == done.recipient)
    error = _error(done)
    content = {
        "image_id": image.id,
        "image_name": image.name,
        "status": answered.image.status if answered else image.status,
        "recipient": done.recipient,
        "alias": member.alias,
        "state": answered.state if answered else member.status,
        "ends_at": member.model_dump(mode="json")["ends_at"],
        "members": [one.model_dump(mode="json") for one in done.shares.members],
        "vault_id": answered.vault_id if answered else None,
        "job_id": answered.job_id if answered else None,
        "proof": [check.model_dump(mode="json") for check in answered.proof] if answered else [],
    }
    pairs = (
        ("image", f"{image.name}  {image.id}"),
        ("to project", f"{done.recipient}{f' ({member.alias})' if member.alias else ''}"),
        ("until", f"{member.ends_at:%Y-%m-%d %H:%M} UTC, when `b2i sweep --apply` ends it" if member.ends_at else None),
        ("vault", answered.vault_id if answered else None),
        ("job", answered.job_id if answered else None),
    )
    title = "Shared, not accepted" if answered is None else f"Handed over{' before' if done.outcome == 'adopted' else ''}"
    note = f"Next, with the recipient's log-in: `b2i launch {image.id} --spec SPEC.yaml` proves that it boots."
    return Told(
        exit_code=5 if error else 0,
        outcome=done.outcome,
        title=f"{title}: {image.name}",
        content=content,
        grids=(Grid.of(title, pairs),),
        report=done.report,
        proof=Report(subject=f"{image.name}, as its recipient", checks=answered.proof) if answered else None,
        notes=(note,) if answered else (),
        error=error,
    )


def _error(done: HandedOver) -> RunError | None:
    """Why it is not accepted, or what speaks against using it; both leave it shared."""
    failure, shared = done.failure, f"It is shared with {done.recipient}"
    if failure:
        message = f"{shared}, but not accepted there: {failure.reason}"
        return RunError(code=failure.code, message=message, action=failure.action, retryable=failure.retryable)
    against = next((check for check in done.answered.proof if check.verdict == "refused"), None) if done.answered else None
    return against and RunError(
        code="b2i.partly-done",
        message=f"{shared} and accepted, but {against.why}.",
        action=against.action,
        retryable=against.waiting_helps,
    )
