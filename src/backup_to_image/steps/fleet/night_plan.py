"""What a night is going to do, server by server, and what speaks against the whole of it: before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from backup_to_image.errors import CloudError, Refused, UsageError
from backup_to_image.model import Backup, Check, ImageOrder, Report, Server
from backup_to_image.model.night import FleetMember, NightPlan
from backup_to_image.model.policy import Policy
from backup_to_image.steps.backup_now import Expected, backup_of, check_backup_now
from backup_to_image.steps.checks import order_checks
from backup_to_image.steps.choose import choose_members, choose_servers
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.names import image_name
from backup_to_image.steps.retention.retire import Retirement
from backup_to_image.steps.sharing import recipients
from backup_to_image.steps.survey import Survey
from backup_to_image.steps.validate import check_order

__all__ = ["check_members", "go_or_refuse", "image_order", "plan_night", "plan_night_patiently"]

_AT_ONCE = 8
_OUTAGE, _LOOK_AGAIN = timedelta(minutes=30), timedelta(minutes=1)
"""How long a night waits for lists that cannot be read just now, and how often it looks."""

_PAGE = "docs/policies.md"
_NEEDED = ("servers", "vaults", "backups", "images")
"""Lists without which nobody knows what a policy means."""


async def plan_night(
    policy: Policy, ctx: Context, survey: Survey, *, began: datetime | None = None, retirement: Retirement | None = None
) -> NightPlan:
    """Decide for each server of the policy, from a few lists. Makes nothing and may be repeated.

    `began`: when this night began for the first time, so that a backup that it has made already is not made again. `retirement`:
    what makes room for new images while the night is on.

    What speaks against the night is in `refusals`, not raised: a list that cannot be read, a server or vault that does not exist,
    recipients, tags or names that the cloud would not take, a quota that is too small. A server that is to be backed up first is
    looked at by every rule now, since its backup would cost money.
    """
    servers, vaults = await survey.servers(), await survey.vaults()
    backups, images, quota = await survey.backups(), await survey.images(), await survey.quota()
    unread = survey.unread()
    refusals = [_refused("lists", f"the list of {what} cannot be read: {unread[what]}") for what in _NEEDED if what in unread]
    chosen = choose_servers(policy.servers, servers, vaults)
    members = choose_members(policy, chosen.servers, backups, images, vaults, now=ctx.clock.now(), began=began)
    members = tuple([await _before_backup(member, policy, ctx, survey) for member in members])
    if not refusals:
        refusals += chosen.mistakes
        if not members and not chosen.mistakes:
            why = "no server fits `servers`, so the night would do nothing"
            refusals.append(_refused("servers", why, "Correct it, or switch the policy off."))
    refusals += _against_every_order(policy, members, ctx)
    new = [member.server_id for member in members if member.action in {"make", "back_up"}]
    try:
        rolling = retirement if policy.retention.when == "rolling" else None
        going = await rolling.replaced(new) if rolling else {}
    except CloudError as error:
        going = dict[str, int]()
        refusals.append(_refused("retention", error.message.rstrip("."), error.action, code=error.code))
    # An image goes as soon as its server's new one is good, so those in flight are beside all that were there.
    making_room = sum(count > 0 for count in going.values())
    needed = min(len(new), len(new) - making_room + policy.limits.images_at_once)
    notes = [f"the image quota cannot be read: {unread['image quota']}"] if "image quota" in unread else []
    if quota and quota.free is not None and needed > quota.free:
        why = f"room is needed for {needed} more images, and the quota of {quota.limit} leaves room for {quota.free}"
        action = f"Ask for a quota of at least {quota.used + needed}, or let `b2i retention` make room."
        refusals.append(_refused("quota", why, action))
    return NightPlan(
        policy=policy.name,
        members=members,
        quota=quota,
        needed=needed,
        going=sum(going.values()),
        refusals=tuple(refusals),
        notes=tuple(notes),
    )


async def plan_night_patiently(
    policy: Policy,
    ctx: Context,
    survey: Callable[[], Survey],
    *,
    began: datetime | None = None,
    retirement: Retirement | None = None,
) -> tuple[NightPlan, Survey]:
    """The plan, from lists that can be read: nobody is awake to start a night again after an outage of some minutes."""
    patience = ctx.deadline(min(_OUTAGE, policy.limits.deadline / 4))
    while True:
        lists = survey()
        plan = await plan_night(policy, ctx, lists, began=began, retirement=retirement)
        if not lists.may_be_read_later(_NEEDED) or ctx.clock.now() + _LOOK_AGAIN > patience:
            return plan, lists
        told = "; ".join(f"the list of {what} cannot be read: {why}" for what, why in lists.unread().items() if what in _NEEDED)
        ctx.tell(f"{policy.name}: {told}; looking again every minute, {until(patience)}")
        await ctx.clock.sleep(_LOOK_AGAIN.total_seconds())


async def check_members(plan: NightPlan, policy: Policy, ctx: Context, survey: Survey) -> NightPlan:
    """The plan, with every server whose image would be made looked at by every rule: what the night would refuse, told before.

    One request for each of them. Makes nothing.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def checked(member: FleetMember) -> FleetMember:
        if member.action != "make" or member.backup is None or member.backup.status != "available":
            return member
        async with gate:
            try:
                report, _, _ = await check_order(image_order(policy, member.backup), ctx, look=survey.look)
            except CloudError as error:
                return member.model_copy(update={"action": "refuse", "reason": error.message, "code": error.code})
        return _unless_refused(member, report)

    members = tuple(await asyncio.gather(*(checked(member) for member in plan.members)))
    return plan.model_copy(update={"members": members})


async def _before_backup(member: FleetMember, policy: Policy, ctx: Context, survey: Survey) -> FleetMember:
    if member.action != "back_up" or member.server is None:
        return member
    vault = (await survey.vaults()).get(member.vault_id or "")
    expected = Expected(server=member.server, vault=vault)
    order = image_order(policy, backup_of(expected, ctx))
    return _unless_refused(member, await check_backup_now(expected, order, ctx, look=survey.look))


def _unless_refused(member: FleetMember, report: Report) -> FleetMember:
    if report.ok:
        return member
    refused = report.refusals
    words = {
        "reason": "; ".join(check.why for check in refused),
        "code": next((check.code for check in refused if check.code), ""),
        "advice": " ".join(dict.fromkeys(check.action for check in refused if check.action)),
    }
    return member.model_copy(update={"action": "refuse"} | words)


def image_order(policy: Policy, backup: Backup, *, timeout: timedelta | None = None) -> ImageOrder:
    """What the policy orders for one server; without a time limit, for looking alone."""
    left = timeout or policy.limits.deadline
    return ImageOrder(
        backup_id=backup.id,
        name=policy.image.name,
        description=policy.image.description,
        tags=policy.image.tags,
        share_with=policy.share_with,
        timeout=left,
        wait_backup=min(policy.backup.wait, left),
        policy=policy.name,
    )


def go_or_refuse(plan: NightPlan) -> None:
    """Raises Refused with every reason at once where something speaks against the night."""
    if plan.refusals:
        raise Refused(Report(subject=f"policy {plan.policy}", checks=plan.refusals))


def _refused(rule: str, why: str, action: str = "", *, code: str = "") -> Check:
    return Check(rule=rule, verdict="refused", why=why, action=action, code=code, page=_PAGE)


def _against_every_order(policy: Policy, members: tuple[FleetMember, ...], ctx: Context) -> Iterator[Check]:
    """What is wrong with every order of the policy alike is told once, and not as a thousand failures."""
    sample = next((member.backup for member in members if member.backup), None)
    name: str | None = None
    try:
        name = image_name(policy.image.name, sample or _planned(members, ctx))
    except UsageError as error:
        yield _refused("name", f"image.{error.message.rstrip('.')}", error.action)
    order = ImageOrder(
        backup_id=sample.id if sample else "", name=name, description=policy.image.description, tags=policy.image.tags
    )
    checks = [*order_checks(order, name), *recipients.resolve(policy.share_with, ctx.project_id, ctx.settings).checks]
    yield from (check for check in checks if check.verdict == "refused")


def _planned(members: tuple[FleetMember, ...], ctx: Context) -> Backup:
    """What a name is filled in with where the night makes its backups itself."""
    server = next((member.server for member in members if member.server), None)
    return backup_of(Expected(server=server or Server(id="", name="server", status="ACTIVE"), vault=None), ctx)
