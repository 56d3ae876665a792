"""Tasks on backups."""

from __future__ import annotations

from prefect import task

from backup_to_image.errors import Refused
from backup_to_image.model import ImageOrder, Report
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look as look_around
from backup_to_image.steps.validate import Look, ValidOrder, check_order, validate
from tasks.policy import RETRY

__all__ = ["check_backup", "validate_backup"]


@task(name="validate backup", task_run_name="validate backup {order.backup_id}", **RETRY)
async def validate_backup(order: ImageOrder, ctx: Context, look: Look = look_around) -> ValidOrder:
    """Look at every rule before anything is made. Raises Refused with every reason at once."""
    return await validate(order, ctx, look=look)


@task(name="check backup", task_run_name="check backup {order.backup_id}", **RETRY)
async def check_backup(order: ImageOrder, ctx: Context) -> Report:
    """The same, for its report alone. Raises Refused."""
    report, _, _ = await check_order(order, ctx)
    if not report.ok:
        raise Refused(report)
    return report
