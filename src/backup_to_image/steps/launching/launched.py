"""The servers of a launch order that are there already: known by their marks, whatever the journal has kept or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import TypeAdapter, ValidationError

from backup_to_image.journal import Record
from backup_to_image.model import Image, LaunchOrder, Server, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.plan import Mode
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG, launch_id

__all__ = ["ANOTHER_FACT", "RUNS_FACT", "Standing", "find_launched", "launch_marks", "servers_of"]

ANOTHER_FACT = "another"
"""Whether this generation was begun by `another`."""
RUNS_FACT = "runs"
_MOST_RUNS = 50
_RUNS: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])
_GENERATIONS = 64
"""How many repetitions of one order are told apart without the journal."""


_NAME_OF_EVERY_DRILL = 40
"""So much of an order's name at least stands in its servers' names, drills of several at a time too."""


class Standing(Value):
    """What is known of a launch order's servers before anything is asked for."""

    mark: str
    noted: Record
    servers: tuple[Server, ...] = ()
    runs: dict[str, int] = {}
    """Flow runs that have had a server of this order, and which generation. A run that is started again has no other one."""
    outdated: bool = False
    """Whether it is an earlier generation than the journal's, which is not to be written over."""

    def had_by(self, run_id: str | None) -> bool:
        """Whether this is what that flow run has had."""
        return run_id is not None and self.runs.get(run_id) == self.noted.generation

    def runs_with(self, run_id: str | None) -> dict[str, int]:
        """The runs, that one among them from now on; the latest alone where there are many."""
        return dict(list((self.runs | ({run_id: self.noted.generation} if run_id else {})).items())[-_MOST_RUNS:])


async def find_launched(
    image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover", another: bool = False
) -> Standing:
    """This order's servers as the cloud has them, and the journal's note. Makes nothing.

    Every generation's mark is looked for, so that a lost journal does not make a second server. `another` begins the next
    generation, but only after the present one has ended: repeated after a crash, or because a probe was silent, it goes on with
    the one it began. A flow run that has had a server of this order is told of that one, however it stands.
    """
    base = launch_id(ctx.project_id, image.id, order.name, mode)
    noted = await ctx.journal.read("launch", ctx.project_id, base) or _blank(base, ctx)
    marks = launch_marks(image.id, order.name, ctx, mode=mode)
    marked = [(marks[mark], server) async for mark, server in _marked(order.name, ctx) if mark in marks]
    runs, outdated = _runs(noted), False
    had = runs.get(ctx.run_id) if ctx.run_id and mode == "failover" else None
    newest = max((number for number, _ in marked), default=noted.generation)
    if newest > noted.generation:
        noted = _blank(base, ctx, newest)
    ended = noted.state in {"done", "none"} or (noted.state == "partly" and noted.facts.get(ANOTHER_FACT) is not True)
    there = any(number == noted.generation for number, _ in marked)
    if had is not None:
        outdated = had < noted.generation
        noted = _blank(base, ctx, had) if outdated else noted
    elif noted.state == "gone" or (another and ended and there):
        noted = _blank(base, ctx, noted.generation + 1)
    return Standing(
        mark=launch_id(ctx.project_id, image.id, order.name, mode, noted.generation),
        noted=noted,
        servers=tuple(server for number, server in marked if number == noted.generation),
        runs=runs,
        outdated=outdated,
    )


def launch_marks(image_id: str, name: str, ctx: Context, *, mode: Mode) -> dict[str, int]:
    """Every launch id that an order of this name may have had for this image, with its generation."""
    return {launch_id(ctx.project_id, image_id, name, mode, number): number for number in range(_GENERATIONS)}


async def _marked(name: str, ctx: Context) -> AsyncIterator[tuple[str, Server]]:
    """Servers with a launch's mark. The name only narrows the list; the mark decides. ERROR counts: it is there and is billed."""
    async for server in ctx.cloud.servers.list(name=name[:_NAME_OF_EVERY_DRILL]):
        mark = server.tags.get(LAUNCH_TAG) or server.tags.get(DRILL_TAG)
        if mark and server.status != "DELETED":
            yield mark, server


async def servers_of(mark: str, name: str, ctx: Context) -> tuple[Server, ...]:
    """The servers of this name that carry this mark."""
    return tuple([server async for one, server in _marked(name, ctx) if one == mark])


def _runs(noted: Record) -> dict[str, int]:
    try:
        return _RUNS.validate_python(noted.facts.get(RUNS_FACT, {}))
    except ValidationError:
        return {}


def _blank(base: str, ctx: Context, generation: int = 0) -> Record:
    return Record(
        kind="launch", project_id=ctx.project_id, name=base, state="none", written_at=ctx.clock.now(), generation=generation
    )
