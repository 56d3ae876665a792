"""Validate an order: every rule looked at, every reason at once, nothing made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backup_to_image.errors import Refused, StillRunning, UsageError
from backup_to_image.model import Backup, Check, ImageOrder, LaunchOrder, Report, Value
from backup_to_image.steps.checks import backup_checks, order_checks, sharing_checks
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.findings import Findings, find_backup, look
from backup_to_image.steps.launching.launched import find_launched
from backup_to_image.steps.launching.plan import plan_for_backup
from backup_to_image.steps.names import image_name
from backup_to_image.steps.orders import OrderedImage
from backup_to_image.steps.sharing import recipients
from backup_to_image.steps.sharing.checks import region_checks
from backup_to_image.waiting import BACKUP, Pace, wait

__all__ = ["Look", "ValidOrder", "check_order", "check_planned", "validate"]

_NAMES = "docs/cli.md"

Look = Callable[[Backup, Context], Awaitable[Findings]]
"""How what is around a backup is found."""


class ValidOrder(Value):
    """An order that nothing speaks against, with what was found on the way."""

    order: ImageOrder
    name: str
    """The image's name."""
    recipients: tuple[str, ...]
    """Project ids."""
    launch: LaunchOrder | None
    findings: Findings
    report: Report

    @property
    def ordered(self) -> OrderedImage:
        """What the journal keeps of it until it has ended."""
        return OrderedImage(
            backup_id=self.findings.backup.id,
            image_name=self.name,
            recipients=self.recipients,
            share_for=self.order.share_for,
            launch=self.launch,
        )


async def validate(order: ImageOrder, ctx: Context, *, look: Look = look) -> ValidOrder:
    """Look at every rule and go on only if none says no.

    Makes nothing and may be repeated. A backup that is still being made is waited for if the order says so (`wait_backup`).
    `look` finds what the rules need to know around the backup; a fleet has it from its lists. Raises Refused with the whole
    report; UsageError where the order cannot even be read.
    """
    report, found, name = await check_order(order, ctx, look=look)
    if found and order.wait_backup and _only_waits_for_the_backup(report):
        await _await_backup(found.backup, order, ctx)
        report, found, name = await check_order(order, ctx, look=look)
    if found is None or not report.ok:
        raise Refused(report)
    chosen = recipients.resolve(order.share_with, ctx.project_id, ctx.settings)
    return ValidOrder(order=order, name=name, recipients=chosen.projects, launch=order.launch, findings=found, report=report)


async def check_order(order: ImageOrder, ctx: Context, *, look: Look = look) -> tuple[Report, Findings | None, str]:
    """The report on an order, refused or not, and what it rests on. Makes nothing."""
    sharing = recipients.resolve(order.share_with, ctx.project_id, ctx.settings)
    backup = await find_backup(order.backup_id, ctx)
    if isinstance(backup, Check):
        checks = [backup, *order_checks(order, _literal_name(order)), *sharing.checks]
        return Report(subject=f"backup {order.backup_id}", checks=tuple(checks)), None, ""
    found = await look(backup, ctx)
    checks, name = await check_planned(order, found, ctx)
    return Report(subject=f"backup {backup.id}", checks=checks), found, name


async def check_planned(order: ImageOrder, found: Findings, ctx: Context) -> tuple[tuple[Check, ...], str]:
    """Every rule about an order and a backup of which all is known, and the image's name; the backup need not exist yet."""
    sharing = recipients.resolve(order.share_with, ctx.project_id, ctx.settings)
    name, name_mistake = _name(order, found.backup)
    checks = [*backup_checks(found, ctx.project_id), *name_mistake, *order_checks(order, name)]
    checks += sharing.checks
    if order.share_with:
        checks += sharing_checks(found, ctx.project_id)
        checks += region_checks(ctx.cloud.region, ctx.settings)
    if order.launch:
        checks += await _launch_checks(order.launch, found, ctx)
    return tuple(checks), name


async def _launch_checks(order: LaunchOrder, found: Findings, ctx: Context) -> tuple[Check, ...]:
    """What speaks against the launch; nothing where its server is there already, which itself takes quota and addresses."""
    if found.image:
        there = (await find_launched(found.image, order, ctx)).servers
        if there:
            names = ", ".join(f"{server.name} ({server.id})" for server in there)
            return (Check(rule="launch: server", verdict="passed", why=f"it is there already and would be adopted: {names}"),)
    return (await plan_for_backup(order, found, ctx)).checks


def _literal_name(order: ImageOrder) -> str | None:
    """The image's name where no backup is needed to know it."""
    return order.name if order.name and "{" not in order.name else None


def _name(order: ImageOrder, backup: Backup) -> tuple[str, list[Check]]:
    try:
        return image_name(order.name, backup), []
    except UsageError as error:
        return image_name(None, backup), [
            Check(rule="image name", verdict="refused", why=error.message, action="Correct the template.", page=_NAMES)
        ]


def _only_waits_for_the_backup(report: Report) -> bool:
    return report.waiting_helps and all(check.rule == "ready" for check in report.refusals)


async def _await_backup(backup: Backup, order: ImageOrder, ctx: Context) -> None:
    deadline = ctx.deadline(order.wait_backup or order.timeout)
    ctx.tell(f"backup {backup.id} is {backup.status}; waiting for it {until(deadline)}")
    try:
        await wait(
            lambda: ctx.cloud.backups.get(backup.id),
            state=lambda seen: seen.status,
            states=BACKUP,
            what=f"The backup {backup.id}",
            deadline=deadline,
            pace=Pace(),
            clock=ctx.clock,
            handle={"backup": backup.id},
            tell=lambda seen, elapsed: ctx.tell(f"backup {seen.id}: {seen.status} after {elapsed.total_seconds():.0f} s"),
        )
    except StillRunning as late:
        late.action = "Run the same command again, with a longer --wait-backup."
        raise
