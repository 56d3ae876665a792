"""Whether a runbook could be run now: each server's image, its age, its launch, room for all together. Makes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from backup_to_image.errors import CloudError, UsageError
from backup_to_image.model import Check, Flavor, LaunchPlan, Subnet
from backup_to_image.model.readiness import Pick, Readiness, ServerReadiness, speaks_against
from backup_to_image.model.runbook import Runbook, RunbookServer
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import look
from backup_to_image.steps.launching.launch import check_launch
from backup_to_image.steps.launching.plan import Mode, plan_for_backup
from backup_to_image.steps.launching.room import addresses_in, quota_checks
from backup_to_image.steps.launching.surroundings import Surroundings
from backup_to_image.steps.names import VERIFIED_TAG
from backup_to_image.steps.runbook.file import RunbookFile, launch_order
from backup_to_image.steps.runbook.kept import keep_readiness
from backup_to_image.steps.runbook.pick import pick_images
from backup_to_image.steps.runbook.stock import read_stock

__all__ = ["check_readiness"]

_PAGE = "docs/runbooks.md"
_AT_ONCE = 8
_RUN_AS: dict[Mode, str] = {"drill": "as a drill", "failover": "for real"}


async def check_readiness(file: RunbookFile, ctx: Context, *, modes: Sequence[Mode] | None = None) -> Readiness:
    """Every rule for every server, as drill and for real, with the cloud's own dry run; and room for all of them together.

    Makes, launches and calls nothing, safe to repeat; what it came to is kept for the board. Lists are read once, whatever the
    number of servers; each server costs its backup and a dry run for each mode. Raises JournalError, and UsageError where the
    file allows none of `modes` (None: all); what the cloud does not tell is a check that could not be looked at.
    """
    book, around = file.runbook, Surroundings(ctx)
    wanted: tuple[Mode, ...] = tuple(mode for mode in file.modes if modes is None or mode in modes)
    if not wanted:
        words = " nor ".join(_RUN_AS[mode] for mode in modes or ())
        raise UsageError(
            f"{file.path}: this runbook cannot be run {words}: it does not say where its servers would go.",
            action=f"Write `{(modes or ('drill',))[0]}: {{network: ...}}` into it.",
        )
    stock = await read_stock(ctx)
    picks, together = pick_images(book, stock, now=ctx.clock.now())
    with_image = sum(pick.image is not None for pick in picks)
    ctx.tell(f"{with_image} of {len(picks)} servers have an image; planning their launches")
    gate = asyncio.Semaphore(_AT_ONCE)

    async def planned(pick: Pick, server: RunbookServer, mode: Mode) -> LaunchPlan | Check | None:
        async with gate:
            return await _plan(book, pick, server, mode, around, ctx)

    rows = [(pick, server) for pick, (_, server) in zip(picks, book.servers, strict=True)]
    plans = {
        mode: await asyncio.gather(*(planned(pick, server, mode) for pick, server in rows))  # one mode's lists serve the other
        for mode in wanted
    }
    servers = tuple(_server(pick, [(mode, plans[mode][number]) for mode in wanted], ctx) for number, (pick, _) in enumerate(rows))
    checks = [*together, *[check for mode in wanted for check in await _room(mode, plans[mode], around)]]
    checks += [*_images_room(picks, await _image_quota(picks, ctx)), *_worker_checks(book, ctx)]
    checks += await _rights(wanted, ctx)
    seen = Readiness(runbook=book.name, modes=wanted, at=ctx.clock.now(), servers=servers, checks=tuple(checks))
    if set(wanted) == set(file.modes):
        await keep_readiness(seen, ctx)
    return seen


async def _plan(
    book: Runbook, pick: Pick, server: RunbookServer, mode: Mode, around: Surroundings, ctx: Context
) -> LaunchPlan | Check | None:
    """The plan of its launch; None where there is nothing to launch it from."""
    try:
        order = launch_order(book, server, mode, name=pick.server_name)
    except ValidationError:  # the file is whole, so it can only be the name that its source has
        why = f"its source is called {pick.server_name!r}, and a new server's name is of letters, digits, `_`, `.` and `-` alone"
        action = "Write a `name` beside its `source`."
        return Check(rule="name", verdict="refused", why=why, action=action, page=_PAGE)
    try:
        if pick.image is not None:
            return await check_launch(pick.image, order, ctx, mode=mode, around=around)
        if pick.backup is not None:
            return await plan_for_backup(
                order, await look(await ctx.cloud.backups.get(pick.backup.id), ctx), ctx, mode=mode, around=around
            )
    except CloudError as error:
        return Check(
            rule="launch",
            verdict="unknowable",
            why=f"its launch could not be planned: {error.message}",
            action=error.action,
            code=error.code,
            waiting_helps=error.retryable,
        )
    return None


def _server(pick: Pick, plans: Sequence[tuple[Mode, LaunchPlan | Check | None]], ctx: Context) -> ServerReadiness:
    checks = list(pick.checks)
    for mode, plan in plans:
        found = plan.checks if isinstance(plan, LaunchPlan) else (plan,) if plan else ()
        checks += [check.model_copy(update={"rule": f"{mode}: {check.rule.removeprefix('launch: ')}"}) for check in found]
    against = [check for check in checks if speaks_against(check)]
    refused = any(check.verdict == "refused" for check in against)
    image = pick.image
    return ServerReadiness(
        group=pick.group,
        source=pick.source,
        server_id=pick.server_id,
        server_name=pick.server_name,
        state="not_ready" if refused else "unsure" if against else "ready",
        image_id=image.id if image else None,
        image_name=image.name if image else None,
        make_from=pick.backup.id if pick.backup and image is None else None,
        taken_at=pick.taken_at,
        age_s=round((ctx.clock.now() - pick.taken_at).total_seconds()) if pick.taken_at else None,
        verified_on=image.tags.get(VERIFIED_TAG) if image else None,
        checks=tuple(checks),
    )


# -- the set as a whole -------------------------------------------------------------------------------------------------


async def _room(mode: Mode, plans: Iterable[LaunchPlan | Check | None], around: Surroundings) -> list[Check]:
    """Quotas and addresses for all servers together: each by itself may well have room."""
    requests = [plan.request for plan in plans if isinstance(plan, LaunchPlan) and plan.request]
    if not requests:
        return []
    try:
        flavors = {flavor.id: flavor for flavor in await around.flavors()}
        limits, subnets, there = await around.limits(), await around.subnets(), await around.servers()
    except CloudError as error:
        why = f"quotas and addresses could not be read: {error.message}"
        return [Check(rule=f"{mode}: room", verdict="unknowable", why=why, code=error.code, action=error.action)]
    taken: list[Flavor] = [flavors[one.flavor_id] for one in requests if one.flavor_id in flavors]
    checks = list(quota_checks(limits, taken, f"{mode}: quota of the set"))
    need = Counter(one.subnet_ids[0] for one in requests if one.fixed_ip is None)
    checks += [
        _addresses(mode, subnet, count, addresses_in(subnet, there)) for subnet in subnets if (count := need.get(subnet.id, 0))
    ]
    twice = sorted(ip for ip, count in Counter(one.fixed_ip for one in requests if one.fixed_ip).items() if count > 1)
    if twice:
        why, action = f"several servers are to have {', '.join(twice)}", "Give each server an address of its own."
        checks.append(
            Check(rule=f"{mode}: fixed addresses", verdict="refused", why=why, action=action, code="Ecs.0010", page=_PAGE)
        )
    return checks


def _addresses(mode: Mode, subnet: Subnet, need: int, free: int | None) -> Check:
    rule = f"{mode}: addresses of the set"
    if free is None:
        return Check(rule=rule, verdict="unknowable", why=f"the cloud does not tell the size of subnet {subnet.name}")
    servers = "1 server goes" if need == 1 else f"{need} servers go"
    seen = f"{servers} into subnet {subnet.name}, where {max(0, free)} addresses are free as far as servers tell"
    if free < need:
        action = "Choose a larger subnet, or spread the groups."
        return Check(rule=rule, verdict="refused", why=seen, action=action, code="Ecs.0012", page=_PAGE)
    return Check(rule=rule, verdict="passed", why=seen)


async def _image_quota(picks: Iterable[Pick], ctx: Context) -> int | CloudError | None:
    """How many more images there may be; None where nobody asks, or there is no limit."""
    if not any(pick.image is None and pick.backup for pick in picks):
        return None
    try:
        quota = (await ctx.cloud.images.quota()).get("image")
    except CloudError as error:
        return error
    return quota.free if quota else None


def _images_room(picks: Iterable[Pick], free: int | CloudError | None) -> list[Check]:
    need = sum(pick.image is None and pick.backup is not None for pick in picks)
    if not need or free is None:
        return []
    if isinstance(free, CloudError):
        why = f"the quota of images could not be read: {free.message}"
        return [Check(rule="image quota", verdict="unknowable", why=why, code=free.code, action=free.action)]
    why = f"{need} images would be made first, and {max(0, free)} more may exist"
    if free < need:
        action = "Ask for a larger quota, or delete images: `b2i retention`."
        return [Check(rule="image quota", verdict="refused", why=why, action=action, code="IMG.0015", page=_PAGE)]
    return [Check(rule="image quota", verdict="passed", why=why)]


async def _rights(modes: Sequence[Mode], ctx: Context) -> list[Check]:
    """Whether the log-in may read what nothing else here reads: without it a drill could not prove that nothing is left."""
    if "drill" not in modes:
        return []
    missing: list[str] = []
    for what, reading in (("disks", _any_disk(ctx)), ("public addresses", ctx.cloud.public_ips.list())):
        try:
            await reading
        except CloudError as error:
            missing.append(f"{what}: {error.message.rstrip('.')}")
    if missing:
        why = f"a drill could not prove that nothing is left: {'; '.join(missing)}"
        action = "`b2i doctor` says which right is missing."
        return [Check(rule="rights", verdict="unknowable", why=why, action=action, code="b2i.unread", page=_PAGE)]
    why = "all that a run reads may be read; rights to change something cannot be tried, `b2i doctor` names them"
    return [Check(rule="rights", verdict="passed", why=why)]


async def _any_disk(ctx: Context) -> None:
    async for _ in ctx.cloud.disks.list():
        return


def _worker_checks(book: Runbook, ctx: Context) -> list[Check]:
    """What this host has to allow, and how often people are asked."""
    steps = [step for group in book.groups for step in (*group.before, *group.then)]
    allowed = ctx.settings.allowed_commands
    checks: list[Check] = []
    for program in dict.fromkeys(step.command[0] for step in steps if step.command):
        if program in allowed:
            checks.append(Check(rule="commands", verdict="passed", why=f"{program} is allowed here"))
            continue
        where = ctx.settings.file or "b2i.yaml"
        why, action = f"{program} is not allowed on this host", f"Add it to `allowed_commands` in {where}, or take the step out."
        checks.append(
            Check(rule="commands", verdict="refused", why=why, action=action, code="b2i.command-not-allowed", page=_PAGE)
        )
    if asked := [step for step in steps if step.asks]:
        often = {1: "once", 2: "twice"}.get(len(asked), f"{len(asked)} times")
        why = f"people are asked {often}: {'; '.join(step.words for step in asked)}"
        checks.append(Check(rule="people", verdict="passed", why=why))
    return checks
