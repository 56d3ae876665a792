"""Tasks on orders that have not ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from backup_to_image.errors import B2iError
from backup_to_image.steps.context import Context
from backup_to_image.steps.reconcile import Reconciled
from backup_to_image.steps.reconcile import reconcile as finish_what_was_begun
from tasks import pages
from tasks.artifacts import console_of_this_run
from tasks.events import order_told
from tasks.policy import RETRY

__all__ = ["look_after_orders", "not_reconciled", "reconciled"]

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
    page = pages.with_lists(pages.orders_page(orders, started), console_of_this_run())
    await acreate_markdown_artifact(page, key=OPEN_ORDERS_KEY, description=words)
    return Completed(message=words, data=orders)


async def not_reconciled(error: B2iError) -> State[Any]:
    """The run's end when the orders could not even be read, or nobody was let in."""
    logger = get_run_logger()
    for line in pages.log_lines(error):
        logger.warning(line)
    words = pages.paragraph(error)
    await acreate_markdown_artifact(f"# Not looked at\n\n{words}", key=OPEN_ORDERS_KEY, description="Not looked at")
    return Failed(message=words)
