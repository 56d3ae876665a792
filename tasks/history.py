"""Histories: whatever befalls one server, or one runbook, stands in a row under one key, in a few lines for each run.

Under Artifacts in the UI a key has a page of its own with an entry for each run, newest first; an entry leads to its run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Literal

from backup_to_image.console import Console
from backup_to_image.model import Delivery
from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.night_pages import OUTCOMES
from backup_to_image.run_results import RunResult
from backup_to_image.told.told import Told
from tasks import pages
from tasks.artifacts import Left, history_key

__all__ = ["of_delivery", "of_night", "of_order"]

Rows = Sequence[tuple[str, str | None]]


def of_delivery(result: RunResult, console: Console) -> list[Left]:
    """What one order of an image came to, for its server. Nothing where no server is known, or nothing was asked for."""
    made = result.delivery
    if made is None or not made.server_name:
        return []
    words = pages.title(result) + (f": {made.image_name}" if made.image_name else "")
    rows = [("image", made.image_id and console.link("image", made.image_id, made.image_name or "")), *_backup_row(made, console)]
    if made.launch:
        servers = zip(made.launch.server_names, made.launch.server_ids, strict=False)
        rows.append(("launched", ", ".join(console.link("server", ident, name) for name, ident in servers)))
    why = [result.error.message, result.error.action] if result.error else []
    return [_entry("server", made.server_name, words, rows, *why, made.doubtful and f"Doubtful: {made.doubtful}")]


def of_night(report: NightReport, console: Console) -> list[Left]:
    """What a night came to, for each of its servers. Those with the same name share a row, and their ids tell them apart."""
    return [_of_server(one, report, console) for one in report.servers]


def of_order(told: Told, console: Console) -> list[Left]:
    """What came of an order of one command, for the server or the runbook that it was about."""
    content = told.content
    why = [told.error.message, told.error.action] if told.error else []
    entries: list[Left] = []
    if name := str(content.get("runbook") or ""):
        rows = [("evidence", content.get("evidence") and f"`{content['evidence']}`")]
        rows += [("left behind", ", ".join(content.get("left_behind") or ()))]
        entries.append(_entry("runbook", name, told.title, rows, *why, *told.notes[:2]))
    if name := str(content.get("server_name") or ""):
        rows = [("server", console.link("server", str(content.get("server_id") or ""), name))]
        entries.append(_entry("server", name, told.title, rows, *why))
    return entries


def _of_server(one: ServerNight, report: NightReport, console: Console) -> Left:
    words = f"Night of {report.night}, {report.policy}: {OUTCOMES[one.outcome]}"
    image = one.image_id and console.link("image", one.image_id, one.image_name or "")
    backup = one.backup_id and console.link("backup", one.backup_id)
    rows = [("server", console.link("server", one.server_id, one.server_name)), ("image", image), ("backup", backup)]
    doubtful = one.doubtful and f"Doubtful: {one.doubtful}"
    return _entry("server", one.server_name or one.server_id, words, rows, one.reason, one.action, doubtful)


def _backup_row(made: Delivery, console: Console) -> list[tuple[str, str]]:
    taken = f" of {made.backup_created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if made.backup_created_at else ""
    return [("backup", console.link("backup", made.backup_id) + taken)]


def _entry(kind: Literal["server", "runbook"], name: str, words: str, rows: Rows, *more: str | None) -> Left:
    told = [f"| {what} | {value} |" for what, value in rows if value]
    table = "\n".join(["| | |", "|---|---|", *told]) if told else ""
    text = " ".join(pages.cell(one) for one in more if one)
    page = "\n\n".join(filter(None, (f"# {pages.cell(name)}", f"**{pages.cell(words)}**", text, table)))
    return ("markdown", history_key(kind, name), words, page)
