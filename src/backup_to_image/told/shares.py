"""How the owner's side of sharing is told: whom an image is shared with, whatever became of an order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from backup_to_image.errors import B2iError, Refused
from backup_to_image.model import Image
from backup_to_image.run_results import RunError
from backup_to_image.steps.context import Context
from backup_to_image.steps.sharing.owner import Membership, Shares, look_at_shares, what_it_means
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["members_known", "told_shares", "told_unshared"]

_STATES = {"pending": "offered, not answered", "accepted": "accepted", "rejected": "rejected", None: "does not have it"}
_RESULTS = {"made": "done", "adopted": "was so already", "failed": "failed", None: ""}


@asynccontextmanager
async def members_known(image: Image, ctx: Context, known: Fields) -> AsyncGenerator[None]:
    """Whatever goes wrong in here, the image and whom it is shared with then are put into `known`, to be told with the error."""
    known |= {"image_id": image.id, "image_name": image.name, "status": image.status}
    try:
        yield
    except Refused:
        raise
    except B2iError:
        with suppress(B2iError):
            known |= _content(await look_at_shares(image, ctx))
        raise


def told_shares(shares: Shares) -> Told:
    """What came of it. Those that the cloud refused are told with its reason, the first as the error."""
    image = shares.image
    failed = [member for member in shares.members if member.result == "failed"]
    notes = [f"Refused for {one.project_id}: {one.reason}" for one in failed[1:]]
    if not shares.members:
        notes.append(f"{image.name} ({image.id}) is shared with nobody.")
    if image.backup_id is None:
        notes.append("It is no full-ECS image: who accepts it needs no vault.")
    if any(member.status == "pending" for member in shares.members):
        notes.append(f"Next, each recipient with their own log-in: `b2i accept {image.id}`.")
    return Told(
        exit_code={"partly": 5, "failed": 1}.get(shares.outcome or "", 0),
        outcome=shares.outcome,
        title=_title(shares),
        content=_content(shares) | {"report": shares.report.model_dump(mode="json") if shares.report else None},
        grids=(_grid(shares),) if shares.members else (),
        report=shares.report,
        notes=tuple(notes),
        error=_error(failed[0]) if failed else None,
    )


def told_unshared(shares: Shares) -> Told:
    """The same of shares that were to end, with what it means for those who had the image."""
    told, means = told_shares(shares), what_it_means(shares)
    return told.model_copy(update={"content": told.content | {"notes": list(means)}, "notes": (*told.notes, *means)})


def _title(shares: Shares) -> str:
    have = sum(member.status is not None for member in shares.members)
    return f"{shares.image.name} is shared with {have} project{'' if have == 1 else 's'}"


def _content(shares: Shares) -> Fields:
    image = shares.image
    members = [member.model_dump(mode="json") for member in shares.members]
    return {"image_id": image.id, "image_name": image.name, "status": image.status, "members": members}


def _grid(shares: Shares) -> Grid:
    rows = tuple(
        (
            member.project_id,
            member.alias or "",
            _STATES.get(member.status, member.status or ""),
            f"{member.ends_at:%Y-%m-%d %H:%M}" if member.ends_at else "",
            _RESULTS[member.result],
        )
        for member in shares.members
    )
    title = f"{shares.image.name}  {shares.image.id}"
    return Grid(title=title, columns=("project", "alias", "state", "until (UTC)", "result"), rows=rows)


def _error(failed: Membership) -> RunError:
    return RunError(code=failed.code or "", message=failed.reason, action=failed.action, retryable=failed.retryable)
