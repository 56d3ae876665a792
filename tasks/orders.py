"""Tasks on orders that have not ended."""

from __future__ import annotations

from collections.abc import Collection

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from backup_to_image.steps.context import Context
from backup_to_image.steps.reconcile import Reconciled
from backup_to_image.steps.reconcile import reconcile as finish_what_was_begun
from tasks import pages
from tasks.events import order_told
from tasks.policy import RETRY

__all__ = ["look_after_orders", "reconciled"]

OPEN_ORDERS_KEY = "open-orders"


@task(name="look after open orders", task_run_name="look after open orders", **RETRY)
async def look_after_orders(ctx: Context, busy: Collection[str]) -> tuple[Reconciled, ...]:
    """Finish what was begun, tell the rest. Orders of runs that are at work are left to them."""
    told = await finish_what_was_begun(ctx, busy=busy)
    for order in told:
        if order.news:
            order_told(order)
    return told


async def reconciled(orders: tuple[Reconciled, ...], started: tuple[str, ...]) -> State[tuple[Reconciled, ...]]:
    """The run's end: one page of open orders, which has a history, and the sum of it as the state's words."""
    words = pages.orders_sentence(orders, started)
    await acreate_markdown_artifact(pages.orders_page(orders, started), key=OPEN_ORDERS_KEY, description=words)
    return Completed(message=words, data=orders)
