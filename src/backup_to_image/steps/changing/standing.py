"""What is known of a change of OS before anything is asked for: the journal's note, held against the server itself.

The proof of a change is the system disk: it is a new one, with a new id (BEHAVIOUR.md 12). What it was before is written down
with the intent, so that after a kill or a lost answer a look at the server tells whether the request took effect.
"""

from __future__ import annotations

from typing import Literal

from backup_to_image.journal import Record
from backup_to_image.model import Server, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.once import server_job

__all__ = [
    "DATA",
    "KIND",
    "NEW",
    "OLD",
    "OLD_IMAGE",
    "WAS",
    "Standing",
    "being_changed",
    "data_disks",
    "find_change",
    "had_by",
    "runs_with",
    "system_disk",
    "took_effect",
]

KIND = "change-os"
OLD, NEW, DATA, WAS, OLD_IMAGE = "old_system_disk", "new_system_disk", "data_disks", "status_before", "image_before"
RUNS, _MOST_RUNS = "runs", 50
"""Facts of the record: disks, status and image as they were when the request went out, and the disk that came."""


class Standing(Value):
    """What is known of one server's change to one image."""

    state: Literal["new", "under_way", "done"]
    noted: Record
    server: Server


async def find_change(server: Server, image_id: str, ctx: Context, *, again: bool = False) -> Standing:
    """How far this change has got, as the server and its job show. Asks for nothing; raises trouble that passes.

    `again` begins the next change only when the last one has ended, and once for each flow run, however often it is started.
    """
    noted = await ctx.journal.read(KIND, ctx.project_id, server.id) or _blank(server, ctx)
    mine = noted.image_id == image_id
    again = again and not had_by(ctx.run_id, noted)
    if mine and await _goes_on(noted, server, ctx):
        return Standing(state="under_way", noted=noted, server=server)
    ended = noted.state in {"done", "partly"}
    if mine and ended and not again and system_disk(server) == noted.facts.get(NEW):
        return Standing(state="done", noted=noted, server=server)
    return Standing(state="new", noted=noted, server=server)


def had_by(run_id: str | None, noted: Record) -> bool:
    """Whether that flow run has asked for a change of this server."""
    return run_id is not None and run_id in noted.ids(RUNS)


def runs_with(run_id: str | None, noted: Record) -> list[str]:
    """The runs that have, that one among them from now on; the latest alone where there are many."""
    runs = dict.fromkeys(noted.ids(RUNS))
    if run_id:
        runs[run_id] = None
    return list(runs)[-_MOST_RUNS:]


async def _goes_on(noted: Record, server: Server, ctx: Context) -> bool:
    if noted.state not in {"intent", "sent"}:
        return False
    job = await server_job(noted, ctx)
    return took_effect(server, noted) if job is None else job.status != "FAIL"


def took_effect(server: Server, noted: Record) -> bool:
    """Whether the request that is noted with its intent has done something: the disk is another one, or is being replaced."""
    here, before = system_disk(server), noted.facts.get(OLD)
    return (
        (here is not None and here != before)
        or being_changed(server)
        or (server.status == "ERROR" and noted.facts.get(WAS) != "ERROR")
    )


def being_changed(server: Server) -> bool:
    """Whether its system disk is just being replaced."""
    return server.status == "REBUILD" or (server.task_state or "").lower().startswith("rebuild")


def system_disk(server: Server) -> str | None:
    """The id of the disk that it boots from; None where none is to be seen."""
    return next((disk.id for disk in server.disks if disk.boot_index == 0), None)


def data_disks(server: Server) -> tuple[str, ...]:
    return tuple(disk.id for disk in server.disks if disk.boot_index != 0)


def _blank(server: Server, ctx: Context) -> Record:
    return Record(kind=KIND, project_id=ctx.project_id, name=server.id, state="none", written_at=ctx.clock.now())
