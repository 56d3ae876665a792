"""How the recipient's side of sharing is told: what is offered, and what became of an answer."""

from __future__ import annotations

from backup_to_image.model import Report
from backup_to_image.run_results import RunError
from backup_to_image.settings import Settings
from backup_to_image.steps.offers import Answered, Offer
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["offer_known", "told_answer", "told_offers"]

_WORDS = {"pending": "not answered"}


def offer_known(offer: Offer) -> Fields:
    """The image and its sender, to be told with an error."""
    image = offer.image
    return {"image_id": image.id, "image_name": image.name, "status": image.status, "sender": image.owner, "state": offer.state}


def told_offers(offers: tuple[Offer, ...], settings: Settings) -> Told:
    """What others have shared with this project."""
    aliases = {ident.lower(): alias for alias, ident in settings.projects.items()}
    waiting = [offer for offer in offers if offer.state == "pending"]
    notes = () if offers else ("Nothing is shared with this project.",)
    if waiting:
        notes = (f"Next: `b2i accept {waiting[0].image.id}`, or `b2i reject`.",)
    return Told(
        exit_code=0,
        title=f"{len(offers)} image{'' if len(offers) == 1 else 's'} shared with this project, {len(waiting)} not answered",
        content={"offers": [_fields(offer, aliases.get(offer.image.owner.lower())) for offer in offers]},
        grids=(_grid(offers, aliases),) if offers else (),
        notes=notes,
    )


def told_answer(answered: Answered) -> Told:
    """What came of an answer, and how it was proven."""
    image = answered.image
    against = next((check for check in answered.proof if check.verdict == "refused"), None)
    error = against and RunError(
        code="b2i.partly-done",
        message=f"It is {answered.state}, but {against.why}.",
        action=against.action,
        retryable=against.waiting_helps,
    )
    content = {
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
    }
    pairs = (
        ("image", f"{image.name}  {image.id}"),
        ("from project", image.owner),
        ("vault", answered.vault_id),
        ("job", answered.job_id),
    )
    if answered.state == "accepted":
        note = f"Next: `b2i launch {image.id} --spec SPEC.yaml` proves that it boots. It cannot be shared on."
    else:
        note = f"While it is shared, `b2i accept {image.id}` takes it all the same."
    title = f"{answered.state.capitalize()}{' before' if answered.adopted else ''}"
    return Told(
        exit_code=5 if against else 0,
        outcome=answered.outcome,
        title=f"{title}: {image.name}",
        content=content,
        grids=(Grid.of(title, pairs),),
        report=answered.report,
        proof=Report(subject=f"{image.name}, as its recipient", checks=answered.proof),
        notes=(note,),
        error=error,
    )


def _fields(offer: Offer, alias: str | None) -> Fields:
    return {
        "image_id": offer.image.id,
        "image_name": offer.image.name,
        "status": offer.image.status,
        "sender": offer.image.owner,
        "alias": alias,
        "state": offer.state,
        "offered_at": offer.offered_at.isoformat().replace("+00:00", "Z") if offer.offered_at else None,
        "needs_vault": offer.image.backup_id is not None,
    }


def _grid(offers: tuple[Offer, ...], aliases: dict[str, str]) -> Grid:
    rows: list[tuple[str, ...]] = []
    for offer in offers:
        alias = aliases.get(offer.image.owner.lower())
        sender = f"{offer.image.owner}{f' ({alias})' if alias else ''}"
        when = f"{offer.offered_at:%Y-%m-%d %H:%M}" if offer.offered_at else ""
        rows.append((offer.image.name, offer.image.id, sender, when, _WORDS.get(offer.state, offer.state)))
    return Grid(columns=("image", "id", "from project", "offered (UTC)", "state"), rows=tuple(rows))
