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
from backup_to_image.steps.accept_offers import AcceptedOffer, AcceptedOffers
from backup_to_image.steps.context import Context
from backup_to_image.steps.offers import Answered, Offer, look_for_answer

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["all_answered", "answer_told", "end_with", "show_offers"]

_RESULTS = {
    "made": "[green]accepted[/]",
    "adopted": "was accepted already",
    "partly": "[yellow]accepted, not to be used[/]",
    "refused": "[bold red]refused[/]",
    "failed": "[bold red]failed[/]",
    "still_running": "[yellow]still running[/]",
    "not_listed": "[dim]not on the list[/]",
}
_WORDS = {"pending": "[yellow]not answered[/]", "accepted": "[green]accepted[/]", "rejected": "rejected"}


def show_offers(offers: tuple[Offer, ...], settings: Settings, output: Output) -> int:
    """Tell what others have shared with this project; returns the exit code."""
    told = [_offer_json(AcceptedOffer(offer=offer), settings) for offer in offers]
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


def all_answered(done: AcceptedOffers, settings: Settings, output: Output) -> int:
    """Tell what became of everything that was offered; returns the exit code. The first failure stands as the error."""
    failures = [one.failure for one in done.wanted if one.failure]
    error: dict[str, Any] | None = None
    if failures:
        first = failures[0]
        action = " ".join(part for part in (first.action, output.go_on(at_once=first.retryable)) if part)
        error = {"code": first.code, "message": first.reason, "action": action, "retryable": first.retryable}
    told = [_offer_json(one, settings) for one in done.offers]
    output.result({"outcome": done.outcome, "offers": told, "error": error})
    if not done.offers:
        output.show("Nothing is shared with this project.")
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for column in ("image", "from project", "result", "why, and what to do"):
        table.add_column(column, overflow="fold")
    for one in done.offers:
        image = one.offer.image
        words = _RESULTS.get(one.result or "", f"left alone: {one.offer.state}")
        table.add_row(f"{escape(image.name)}\n[dim]{image.id}[/]", escape(image.owner), words, escape(_reason(one)))
    output.show(table)
    if not done.wanted:
        output.show("Nothing was left to accept.")
    if error and not output.as_json:
        output.err.print(f"[yellow]{escape(error['message'])}[/]\n[bold]What to do:[/] {escape(error['action'])}")
    return {"made": 0, "adopted": 0, "partly": 5, "still_running": 4, "failed": 1, "refused": 3}[done.outcome]


def _reason(one: AcceptedOffer) -> str:
    if one.failure:
        return f"{one.failure.reason} {one.failure.action}".strip()
    against = [str(check) for check in one.answered.proof if check.verdict == "refused"] if one.answered else []
    return " ".join(against) or ". ".join(part for part in (one.why, one.action) if part)


def _offer_json(one: AcceptedOffer, settings: Settings) -> dict[str, Any]:
    """One offer, the same keys whether it was to be accepted now or only listed."""
    image, answered, offered_at = one.offer.image, one.answered, one.offer.offered_at
    against = [check for check in answered.proof if check.verdict == "refused"] if answered else []
    first = against[0] if against else None
    return {
        "image_id": image.id,
        "image_name": image.name,
        "status": answered.image.status if answered else image.status,
        "sender": image.owner,
        "alias": settings.alias_of(image.owner),
        "state": answered.state if answered else one.offer.state,
        "offered_at": offered_at.isoformat().replace("+00:00", "Z") if offered_at else None,
        "needs_vault": image.backup_id is not None,
        "result": one.result,
        "vault_id": answered.vault_id if answered else None,
        "job_id": answered.job_id if answered else None,
        "proof": [check.model_dump(mode="json") for check in answered.proof] if answered else [],
        "code": one.failure.code if one.failure else first.code or "b2i.partly-done" if first else None,
        "reason": one.failure.reason if one.failure else first.why if first else one.why,
        "action": one.failure.action if one.failure else first.action if first else one.action,
        "retryable": one.failure.retryable if one.failure else first.waiting_helps if first else False,
    }


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
