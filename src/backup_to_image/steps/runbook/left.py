"""What a run of a runbook has in the cloud, for whoever has stopped it. Makes nothing."""

from __future__ import annotations

from backup_to_image.model.recovery import RunMode
from backup_to_image.steps.context import Context
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG
from backup_to_image.steps.runbook.file import RunbookFile
from backup_to_image.steps.runbook.ledger import runs_of

__all__ = ["look_for_run"]


async def look_for_run(file: RunbookFile, mode: RunMode, ctx: Context) -> Leftovers:
    """The servers of its last run that are there, by the launch ids that it has noted. Raises CloudError, JournalError."""
    left = Leftovers(seen_at=ctx.clock.now())
    runs = await runs_of(ctx.journal, project_id=ctx.project_id, runbook=file.runbook.name, mode=mode)
    if not runs:
        return left
    marks = {server.launch_id for _, server in runs[-1].servers if server.launch_id}
    there = [
        Leftover(kind="server", id=server.id, name=server.name, status=server.status)
        async for server in ctx.cloud.servers.list()
        if marks & {server.tags.get(DRILL_TAG), server.tags.get(LAUNCH_TAG)} and server.status != "DELETED"
    ]
    return left.model_copy(update={"things": tuple(there)})
