"""How `hand-over` tells what came of both sides of a share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from backup_to_image.cli.output import pairs, report_table
from backup_to_image.model import Report
from backup_to_image.steps.hand_over import HandedOver

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["end_with"]


def end_with(done: HandedOver, output: Output) -> int:
    """Tell what came of it, and how it was proven; returns the exit code."""
    image, answered = done.shares.image, done.answered
    member = next(one for one in done.shares.members if one.project_id == done.recipient)
    error = _error(done, output)
    output.result(
        {
            "outcome": done.outcome,
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
            "report": done.report.model_dump(mode="json"),
            "error": error,
        }
    )
    rows = [
        ("image", f"{image.name}  {image.id}"),
        ("to project", f"{done.recipient}{f' ({member.alias})' if member.alias else ''}"),
        ("until", f"{member.ends_at:%Y-%m-%d %H:%M} UTC, when `b2i sweep --apply` ends it" if member.ends_at else None),
        ("vault", answered.vault_id if answered else None),
        ("job", answered.job_id if answered else None),
    ]
    title = "Shared, not accepted" if answered is None else f"Handed over{' before' if done.outcome == 'adopted' else ''}"
    output.show(pairs(title, rows))
    if answered:
        output.show(report_table(Report(subject=f"{image.name}, as its recipient", checks=answered.proof)))
        output.show(f"Next, with the recipient's log-in: `b2i launch {image.id} --spec SPEC.yaml` proves that it boots.")
    if error and not output.as_json:
        output.err.print(f"[yellow]{escape(error['message'])}[/]\n[bold]What to do:[/] {escape(error['action'])}")
    return 5 if error else 0


def _error(done: HandedOver, output: Output) -> dict[str, Any] | None:
    """Why it is not accepted, or what speaks against using it; both leave it shared."""
    failure, shared = done.failure, f"It is shared with {done.recipient}"
    if failure:
        action = " ".join(part for part in (failure.action, output.go_on(at_once=failure.retryable)) if part)
        message = f"{shared}, but not accepted there: {failure.reason}"
        return {"code": failure.code, "message": message, "action": action, "retryable": failure.retryable}
    against = [check for check in done.answered.proof if check.verdict == "refused"] if done.answered else []
    if not against:
        return None
    first = against[0]
    action = " ".join(part for part in (first.action, output.go_on(at_once=first.waiting_helps)) if part)
    message = f"{shared} and accepted, but {first.why}."
    return {"code": "b2i.partly-done", "message": message, "action": action, "retryable": first.waiting_helps}
