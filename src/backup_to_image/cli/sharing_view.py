"""How `share` and `unshare` tell whom an image is shared with, whatever becomes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from backup_to_image.errors import B2iError, Refused
from backup_to_image.model import Image
from backup_to_image.steps.context import Context
from backup_to_image.steps.sharing import Shares, look_at_shares, look_for_shares

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["end_with", "members_told"]

_STATES = {"pending": "offered, not answered", "accepted": "accepted", "rejected": "rejected", None: "does not have it"}
_RESULTS = {"made": "[green]done[/]", "adopted": "was so already", "failed": "[bold red]failed[/]", None: ""}


@asynccontextmanager
async def members_told(image: Image, ctx: Context, output: Output) -> AsyncGenerator[None]:
    """Whatever goes wrong in here, the image and whom it is shared with then are told beside the error."""
    output.blank |= {"image_id": image.id, "image_name": image.name, "status": image.status}
    try:
        async with output.naming_what_is_left(lambda: look_for_shares(image, ctx)):
            yield
    except Refused:
        raise
    except B2iError:
        with suppress(B2iError):
            output.blank |= _as_json(await look_at_shares(image, ctx))
        raise


def end_with(shares: Shares, output: Output) -> int:
    """Tell what came of it; returns the exit code. Those that the cloud refused are told with its reason, the first as error."""
    failed = [member for member in shares.members if member.result == "failed"]
    error: dict[str, Any] | None = None
    if failed:
        first = failed[0]
        action = " ".join(part for part in (first.action, output.go_on(at_once=first.retryable)) if part)
        error = {"code": first.code, "message": first.reason, "action": action, "retryable": first.retryable}
    report = shares.report.model_dump(mode="json") if shares.report else None
    output.result({**_as_json(shares), "outcome": shares.outcome, "report": report, "error": error})
    image = shares.image
    if shares.members:
        output.show(_table(shares))
    else:
        output.show(f"{escape(image.name)} ({image.id}) is shared with nobody.")
    if image.backup_id is None:
        output.show("It is no full-ECS image: who accepts it needs no vault.")
    if any(member.status == "pending" for member in shares.members):
        output.show(f"Next, each recipient with their own log-in: `b2i accept {image.id}`.")
    if error and not output.as_json:
        for member in failed:
            output.err.print(f"[red]{escape(member.reason)}[/]")
        output.err.print(f"[bold]What to do:[/] {escape(error['action'])}")
    return {"partly": 5, "failed": 1}.get(shares.outcome or "", 0)


def _as_json(shares: Shares) -> dict[str, Any]:
    image = shares.image
    members = [member.model_dump(mode="json") for member in shares.members]
    return {"image_id": image.id, "image_name": image.name, "status": image.status, "members": members}


def _table(shares: Shares) -> Table:
    image = shares.image
    table = Table(title=f"{image.name}  {image.id}", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("project", "alias", "state", "until (UTC)", "result"):
        table.add_column(column, overflow="fold")
    for member in shares.members:
        table.add_row(
            member.project_id,
            escape(member.alias or ""),
            _STATES.get(member.status, member.status),
            f"{member.ends_at:%Y-%m-%d %H:%M}" if member.ends_at else "",
            _RESULTS[member.result],
        )
    return table
