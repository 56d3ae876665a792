"""How `accept` and `reject` tell what is offered, and what became of an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from backup_to_image.cli.output import pairs, report_table
from backup_to_image.model import Report
from backup_to_image.settings import Settings
from backup_to_image.steps.context import Context
from backup_to_image.steps.offers import Answered, Offer, look_for_answer

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["answer_told", "end_with", "show_offers"]

_WORDS = {"pending": "[yellow]not answered[/]", "accepted": "[green]accepted[/]", "rejected": "rejected"}


def show_offers(offers: tuple[Offer, ...], settings: Settings, output: Output) -> int:
    """Tell what others have shared with this project; returns the exit code."""
    aliases = {ident.lower(): alias for alias, ident in settings.projects.items()}
    told = [
        {
            "image_id": offer.image.id,
            "image_name": offer.image.name,
            "status": offer.image.status,
            "sender": offer.image.owner,
            "alias": aliases.get(offer.image.owner.lower()),
            "state": offer.state,
            "offered_at": offer.offered_at.isoformat().replace("+00:00", "Z") if offer.offered_at else None,
            "needs_vault": offer.image.backup_id is not None,
        }
        for offer in offers
    ]
    output.result({"offers": told})
    if not offers:
        output.show("Nothing is shared with this project.")
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for column in ("image", "from project", "offered (UTC)", "state"):
        table.add_column(column, overflow="fold")
    for offer, one in zip(offers, told, strict=True):
        sender = f"{one['sender']}{' (' + str(one['alias']) + ')' if one['alias'] else ''}"
        when = f"{offer.offered_at:%Y-%m-%d %H:%M}" if offer.offered_at else ""
        state = _WORDS.get(offer.state, escape(offer.state))
        table.add_row(f"{escape(offer.image.name)}\n[dim]{offer.image.id}[/]", escape(sender), when, state)
    output.show(table)
    waiting = [offer for offer in offers if offer.state == "pending"]
    if waiting:
        output.show(f"Next: `b2i accept {waiting[0].image.id}`, or `b2i reject`.")
    return 0


@asynccontextmanager
async def answer_told(offer: Offer, ctx: Context, output: Output) -> AsyncGenerator[None]:
    """Whatever goes wrong in here, the image and its sender are told beside the error."""
    image = offer.image
    known = {"image_id": image.id, "image_name": image.name, "status": image.status, "sender": image.owner, "state": offer.state}
    output.blank |= known
    async with output.naming_what_is_left(lambda: look_for_answer(image, ctx)):
        yield


def end_with(answered: Answered, output: Output) -> int:
    """Tell what came of it, and how it was proven; returns the exit code."""
    image = answered.image
    against = [check for check in answered.proof if check.verdict == "refused"]
    error: dict[str, Any] | None = None
    if against:
        first = against[0]
        action = " ".join(part for part in (first.action, output.go_on(at_once=first.waiting_helps)) if part)
        message = f"It is {answered.state}, but {first.why}."
        error = {"code": "b2i.partly-done", "message": message, "action": action, "retryable": first.waiting_helps}
    output.result(
        {
            "outcome": answered.outcome,
            "image_id": image.id,
            "image_name": image.name,
            "status": image.status,
            "sender": image.owner,
            "state": answered.state,
            "adopted": answered.adopted,
            "vault_id": answered.vault_id,
            "job_id": answered.job_id,
            "proof": [check.model_dump(mode="json") for check in answered.proof],
            "report": answered.report.model_dump(mode="json") if answered.report else None,
            "error": error,
        }
    )
    rows = [
        ("image", f"{image.name}  {image.id}"),
        ("from project", image.owner),
        ("vault", answered.vault_id),
        ("job", answered.job_id),
    ]
    output.show(pairs(f"{answered.state.capitalize()}{' before' if answered.adopted else ''}", rows))
    output.show(report_table(Report(subject=f"{image.name}, as its recipient", checks=answered.proof)))
    if answered.state == "accepted":
        output.show(f"Next: `b2i launch {image.id} --spec SPEC.yaml` proves that it boots. It cannot be shared on.")
    else:
        output.show(f"While it is shared, `b2i accept {image.id}` takes it all the same.")
    if error and not output.as_json:
        output.err.print(f"[yellow]{escape(error['message'])}[/]\n[bold]What to do:[/] {escape(error['action'])}")
    return 5 if against else 0
