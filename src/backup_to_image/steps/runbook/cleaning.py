"""Take down whatever drills of a runbook have left: what its runs know of, and servers by a drill's mark and name."""

from __future__ import annotations

from datetime import timedelta

from backup_to_image.journal import hold
from backup_to_image.model import Server, Value
from backup_to_image.model.recovery import RunbookRun
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.drills import surely
from backup_to_image.steps.names import DRILL_TAG, drill_name
from backup_to_image.steps.runbook.acts import Acts
from backup_to_image.steps.runbook.drilling import DrillServer
from backup_to_image.steps.runbook.file import RunbookFile
from backup_to_image.steps.runbook.ledger import Ledger, lease_of, runs_of
from backup_to_image.steps.runbook.run import Keep, end_run
from backup_to_image.steps.runbook.stock import read_stock

__all__ = ["Cleaned", "clean_up"]

_OTHERS = timedelta(seconds=90)


class Cleaned(Value):
    """What was taken down, and what stays behind."""

    runs: tuple[RunbookRun, ...] = ()
    """Drills that were unfinished, and have ended by this."""
    servers: tuple[str, ...] = ()
    """Servers that no run knew of, by name."""
    left_behind: tuple[str, ...] = ()


async def clean_up(file: RunbookFile, ctx: Context, *, keep: Keep, acts: Acts | None = None, by: str = "") -> Cleaned:
    """Take down what drills of this runbook have left, and nothing that has no drill's mark. Safe to repeat.

    Raises StillRunning where a drill of it is at work: stop that instead. Raises CloudError, JournalError.
    """
    acts = acts or Acts()
    kind, name = lease_of(file.runbook.name, "drill")
    async with hold(ctx.journal, kind, ctx.project_id, name, deadline=ctx.deadline(_OTHERS)):
        ended: list[RunbookRun] = []
        for run in await runs_of(ctx.journal, project_id=ctx.project_id, runbook=file.runbook.name, mode="drill"):
            if run.state != "done" or run.left_behind:
                why = f"cleaned up by {by}" if by else "cleaned up"
                ended.append(await surely(end_run(file, Ledger(run, ctx.journal), ctx, acts, keep, why=why)))
        names, left = list[str](), [one for run in ended for one in run.left_behind]
        for server in await _strays(file, ctx):
            names.append(server.name)
            stray = DrillServer(server.image_id or "", server.name, ctx, mark=server.tags[DRILL_TAG])
            left += await stray.take_down(acts.take_down)
    return Cleaned(runs=tuple(ended), servers=tuple(names), left_behind=tuple(left))


async def _strays(file: RunbookFile, ctx: Context) -> list[Server]:
    """Servers that a drill of this runbook has launched, as their marks and names say."""
    stock = await read_stock(ctx)
    names = {server.name or server.source for _, server in file.runbook.servers}
    names |= {stock.name_of(ident) for _, server in file.runbook.servers for ident in stock.ids_of(server.source)} - {""}
    found: list[Server] = []
    async for server in ctx.cloud.servers.list():
        mark = server.tags.get(DRILL_TAG)
        if mark and server.status != "DELETED" and any(server.name == drill_name(name, mark, 1) for name in names):
            found.append(server)
    return found
