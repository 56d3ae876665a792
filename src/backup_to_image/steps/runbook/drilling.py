"""The servers of a drill: from before their launch until nothing is left of them, whatever becomes of the run meanwhile."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime, timedelta

from backup_to_image.journal import hold
from backup_to_image.model import Image, LaunchOrder
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.drills import drill_standing, surely
from backup_to_image.steps.launching.teardown import find_launch
from backup_to_image.steps.orders import OrderedDrill, close, keep_open
from backup_to_image.steps.runbook.acts import TakeDown

__all__ = ["KEPT_FOR", "DrillServer"]

KEPT_FOR = timedelta(minutes=30)
"""So long after its run was last seen at work a drill's server is still left to it; then the reconciler takes it down."""
_OTHERS = timedelta(minutes=10)
"""How long another drill of the same image is waited for."""


class DrillServer:
    """One server of a drill. While it is held, no other drill of the same image and name touches it, and the journal knows it."""

    def __init__(self, image_id: str, name: str, ctx: Context, *, mark: str | None = None) -> None:
        self.image_id = image_id
        self._name = name
        self._ctx = ctx
        self._stack: AsyncExitStack | None = None
        self.mark = mark
        """Its launch id, once that is known."""

    async def hold(self, until: datetime) -> None:
        """Keep others away from it, and the reconciler until then. Raises StillRunning where another drill is at it."""
        if self._stack is None:
            name = f"{self._name} of {self.image_id}"
            stack = AsyncExitStack()
            deadline = self._ctx.deadline(_OTHERS)
            await stack.enter_async_context(hold(self._ctx.journal, "drill", self._ctx.project_id, name, deadline=deadline))
            self._stack = stack
        await self.keep(until)

    async def ready(self, image: Image, order: LaunchOrder, until: datetime) -> str:
        """Its launch id, written down before anything is launched; what an earlier run was taking down goes first."""
        await self.hold(until)
        before, mark = self.mark, (await drill_standing(image, order, self._ctx)).mark
        self.mark = mark
        await self.keep(until)
        if before and before != mark:  # nothing is left of that one, or it would be gone on with
            await self._end(before)
        return mark

    async def keep(self, until: datetime) -> None:
        """Keep it in the journal for so long. Raises JournalError."""
        if self.mark:
            await keep_open(self._order(self.mark), self._ctx, until=until)

    async def is_there(self) -> bool:
        """Whether the cloud still has it."""
        return bool(self.mark and (await find_launch(self.mark, self._ctx)).servers)

    async def take_down(self, act: TakeDown) -> tuple[str, ...]:
        """Take it down although somebody stops that meanwhile; says what stays behind, which the reconciler goes on with."""
        left: tuple[str, ...] = ()
        if self.mark:
            left = await surely(act(self.mark, self._ctx))
            await self._end(self.mark, left=bool(left))
        await self.let_go()
        return left

    async def let_go(self) -> None:
        """Leave it as it is, to whoever comes next."""
        if self._stack:
            await self._stack.aclose()
            self._stack = None

    async def _end(self, mark: str, *, left: bool = False) -> None:
        record = await keep_open(self._order(mark), self._ctx, until=self._ctx.clock.now())
        await close(record, self._ctx, state="late" if left else None)

    def _order(self, mark: str) -> OrderedDrill:
        return OrderedDrill(launch_id=mark, image_id=self.image_id)
