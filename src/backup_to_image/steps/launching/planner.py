"""A launch plan in the making: what is found about an order, one check after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from backup_to_image.errors import CloudError
from backup_to_image.model import Check, LaunchOrder

__all__ = ["LAUNCH_PAGE", "ORDERS_PAGE", "Planner"]

LAUNCH_PAGE = "ECS api-ref/source/apis_recommended/lifecycle_management/creating_an_ecs.rst"
ORDERS_PAGE = "docs/launch-orders.md"
"""Where our own rules of an order stand."""


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


class Planner:
    """One plan in the making: what was resolved, and every reason for and against."""

    def __init__(self, order: LaunchOrder) -> None:
        self.order = order
        self.checks: list[Check] = []

    def passed(self, rule: str, why: str) -> None:
        self.checks.append(Check(rule=f"launch: {rule}", verdict="passed", why=why))

    def warn(self, rule: str, why: str, action: str, *, page: str = "") -> None:
        self.checks.append(Check(rule=f"launch: {rule}", verdict="warned", why=why, action=action, page=page))

    def unknown(self, rule: str, why: str, *, because: CloudError | None = None) -> None:
        told = {"code": because.code, "action": because.action, "waiting_helps": because.retryable} if because else {}
        self.checks.append(Check.model_validate({"rule": f"launch: {rule}", "verdict": "unknowable", "why": why} | told))

    def refuse(
        self, rule: str, why: str, action: str, *, code: str = "", page: str = LAUNCH_PAGE, waiting_helps: bool = False
    ) -> None:
        self.checks.append(
            Check(
                rule=f"launch: {rule}",
                verdict="refused",
                why=why,
                action=action,
                code=code,
                page=page,
                waiting_helps=waiting_helps,
            )
        )

    def one(self, rule: str, wanted: str, things: Iterable[N], *, code: str = "") -> N | None:
        """The one thing of that id or name; a name that several have is refused with their ids."""
        all_of_them = list(things)
        by_id = [thing for thing in all_of_them if thing.id == wanted]
        named = by_id or [thing for thing in all_of_them if thing.name == wanted]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(thing.id for thing in named)
            self.refuse(rule, f"{len(named)} are called {wanted!r}", f"Write the id instead: {ids}.", code=code)
        else:
            known = ", ".join(sorted({thing.name for thing in all_of_them})) or "none"
            self.refuse(rule, f"there is no {wanted!r} in this project", f"There are: {known}.", code=code)
        return None
