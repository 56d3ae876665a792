"""How the recipient's side of sharing is told: what is offered, and what became of an answer."""

from __future__ import annotations

from backup_to_image.model import Report
from backup_to_image.run_results import RunError
from backup_to_image.settings import Settings
from backup_to_image.steps.sharing.accept_offers import AcceptedOffer, AcceptedOffers
from backup_to_image.steps.sharing.offers import Answered, Offer
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["offer_known", "told_all_offers", "told_answer", "told_offers"]

_WORDS = {"pending": "not answered"}
_RESULTS = {
    "made": "accepted",
    "adopted": "was accepted already",
    "partly": "accepted, not to be used",
    "refused": "refused",
    "failed": "failed",
    "still_running": "still running",
    "not_listed": "not on the list",
}
_EXIT_CODES = {"made": 0, "adopted": 0, "partly": 5, "still_running": 4, "failed": 1, "refused": 3}


def offer_known(offer: Offer) -> Fields:
    """The image and its sender, to be told with an error."""
    image = offer.image
    return {"image_id": image.id, "image_name": image.name, "status": image.status, "sender": image.owner, "state": offer.state}


def told_offers(offers: tuple[Offer, ...], settings: Settings) -> Told:
    """What others have shared with this project."""
    waiting = [offer for offer in offers if offer.state == "pending"]
    notes = () if offers else ("Nothing is shared with this project.",)
    if waiting:
        notes = (f"Next: `b2i accept {waiting[0].image.id}`, or `b2i reject`.",)
    return Told(
        exit_code=0,
        title=f"{len(offers)} image{'' if len(offers) == 1 else 's'} shared with this project, {len(waiting)} not answered",
        content={"offers": [_fields(AcceptedOffer(offer=offer), settings) for offer in offers]},
        grids=(_grid(offers, settings),) if offers else (),
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


def told_all_offers(done: AcceptedOffers, settings: Settings) -> Told:
    """What became of everything that was offered. The first failure stands as the error."""
    failure = next((one.failure for one in done.wanted if one.failure), None)
    accepted = sum(one.answered is not None for one in done.wanted)
    rows = tuple(
        (
            f"{one.offer.image.name}\n{one.offer.image.id}",
            one.offer.image.owner,
            _RESULTS.get(one.result or "", f"left alone: {one.offer.state}"),
            _reason(one),
        )
        for one in done.offers
    )
    notes = [] if done.offers else ["Nothing is shared with this project."]
    notes += [] if done.wanted or not done.offers else ["Nothing was left to accept."]
    return Told(
        exit_code=_EXIT_CODES[done.outcome],
        outcome=done.outcome,
        title=f"{accepted} of {len(done.offers)} offers accepted",
        content={"offers": [_fields(one, settings) for one in done.offers]},
        grids=(Grid(columns=("image", "from project", "result", "why, and what to do"), rows=rows),) if rows else (),
        notes=tuple(notes),
        error=failure and RunError(**failure.model_dump(exclude={"reason"}), message=failure.reason),
    )


def _reason(one: AcceptedOffer) -> str:
    if one.failure:
        return f"{one.failure.reason} {one.failure.action}".strip()
    against = [str(check) for check in one.answered.proof if check.verdict == "refused"] if one.answered else []
    return " ".join(against) or ". ".join(part for part in (one.why, one.action) if part)


def _fields(one: AcceptedOffer, settings: Settings) -> Fields:
    """One offer, the same keys whether it was to be accepted now or only listed."""
    image, answered, offered_at = one.offer.image, one.answered, one.offer.offered_at
    first = next((check for check in answered.proof if check.verdict == "refused"), None) if answered else None
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


def _grid(offers: tuple[Offer, ...], settings: Settings) -> Grid:
    rows: list[tuple[str, ...]] = []
    for offer in offers:
        alias = settings.alias_of(offer.image.owner)
        sender = f"{offer.image.owner}{f' ({alias})' if alias else ''}"
        when = f"{offer.offered_at:%Y-%m-%d %H:%M}" if offer.offered_at else ""
        rows.append((f"{offer.image.name}\n{offer.image.id}", sender, when, _WORDS.get(offer.state, offer.state)))
    return Grid(columns=("image", "from project", "offered (UTC)", "state"), rows=tuple(rows))
