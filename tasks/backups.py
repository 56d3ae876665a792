"""Tasks on backups: whether one may become an image, which one a server's order takes, and one that is made now."""

from __future__ import annotations

from prefect import task

from backup_to_image.errors import Refused
from backup_to_image.model import Backup, ImageOrder, Report
from backup_to_image.steps.backup_now import check_backup_now as check_expected
from backup_to_image.steps.backup_now import expect
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look as look_around
from backup_to_image.steps.of_server import take_new_backup, take_newest_backup
from backup_to_image.steps.select import newest_backup
from backup_to_image.steps.validate import Look, ValidOrder, check_order, validate
from tasks.policy import RETRY

__all__ = ["back_up_now", "check_backup", "check_backup_now", "check_newest_backup", "find_newest_backup", "validate_backup"]


@task(name="validate backup", task_run_name="validate backup {order.backup_id}", **RETRY)
async def validate_backup(order: ImageOrder, ctx: Context, look: Look = look_around) -> ValidOrder:
    """Look at every rule before anything is made. Raises Refused with every reason at once."""
    return await validate(order, ctx, look=look)


@task(name="check backup", task_run_name="check backup {order.backup_id}", **RETRY)
async def check_backup(order: ImageOrder, ctx: Context) -> Report:
    """The same, for its report alone. Raises Refused."""
    report, _, _ = await check_order(order, ctx)
    return _passed(report)


@task(name="find newest backup", task_run_name="find newest backup of {server}", **RETRY)
async def find_newest_backup(server: str, ctx: Context) -> str:
    """The id of the server's newest backup that can become an image; when the run is started again, the same one."""
    return await take_newest_backup(server, ctx)


@task(name="back up now", task_run_name="back up {server} now", **RETRY)
async def back_up_now(server: str, order: ImageOrder, ctx: Context) -> Backup:
    """A backup of the server that is made now, once nothing speaks against its image; when the run is started again, the same."""
    return await take_new_backup(server, order, ctx)


@task(name="check newest backup", task_run_name="check newest backup of {server}", **RETRY)
async def check_newest_backup(server: str, order: ImageOrder, ctx: Context) -> Report:
    """Whether the server's newest backup may become an image. Raises Refused."""
    order = order.model_copy(update={"backup_id": (await newest_backup(server, ctx)).id})
    report, _, _ = await check_order(order, ctx)
    return _passed(report)


@task(name="check backup now", task_run_name="check a backup of {server} now", **RETRY)
async def check_backup_now(server: str, order: ImageOrder, ctx: Context) -> Report:
    """Whether the server may be backed up now and that backup become an image. Raises Refused."""
    return _passed(await check_expected(await expect(server, ctx), order, ctx))


def _passed(report: Report) -> Report:
    if not report.ok:
        raise Refused(report)
    return report
