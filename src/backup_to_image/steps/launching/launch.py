"""Launch servers from an image: look for those of this order first, then plan, ask the cloud's own dry run, and launch once.

The cloud refuses no second server, so what makes it one is ours: a launch id in the server's tags, an intent in the journal
before the request, and after an unclear answer a look by mark until the settle time has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from backup_to_image.errors import ApiError, B2iError, CloudError, ErrorClass, Refused, StillRunning
from backup_to_image.journal import JournalError, Lease, Record, hold
from backup_to_image.model import Check, Image, Job, LaunchDelivery, LaunchOrder, LaunchPlan, LaunchRequest, Report, Server
from backup_to_image.steps.context import Context, until
from backup_to_image.steps.launching.await_launch import await_launch, told_left
from backup_to_image.steps.launching.launched import ANOTHER_FACT, RUNS_FACT, Standing, find_launched, servers_of
from backup_to_image.steps.launching.plan import Mode, plan_launch
from backup_to_image.steps.launching.surroundings import Surroundings
from backup_to_image.steps.launching.verified import with_proof
from backup_to_image.steps.names import DRILL_TAG, LAUNCH_TAG, drill_name, launch_id
from backup_to_image.steps.once import job_failed, note_sent, pause_or_raise, send, server_job, settle
from backup_to_image.steps.orders import OrderedLaunch, ordered
from backup_to_image.waiting import quiet

__all__ = ["check_launch", "launch_server", "launch_within", "preview_launch", "resume_launch"]

_LOOK_EVERY = 10.0
_USED_FACT = "servers_used"
_COUNTED = {"ACTIVE", "BUILD", "REBOOT", "SHUTOFF"}
_DRY_RUN = "launch: cloud's dry run"
_DRY_RUN_PAGE = "ECS api-ref/source/apis_recommended/lifecycle_management/creating_ecss.rst"
_REFUSALS = {ErrorClass.PERMANENT, ErrorClass.CONFIGURE}


async def launch_server(
    image: Image,
    order: LaunchOrder,
    ctx: Context,
    *,
    mode: Mode = "failover",
    another: bool = False,
    patience: timedelta = timedelta(hours=1),
    told: Callable[[LaunchDelivery], None] | None = None,
) -> LaunchDelivery:
    """The server of this order, ACTIVE and probed; launched if it is not there yet.

    Safe to repeat at any time, by two processes at once too: the same order, image and project is the same server, until a proven
    teardown or `another` begins the next. Raises Refused with every reason before anything is made; JobFailed with the cloud's
    reason; StillRunning where the deadline passes or the answer to the launch stays unclear. Probes that do not answer are told
    in the delivery (`outcome` partly), not raised. An image of ours whose every probe answered is marked as verified. `told`
    passes the delivery on before the launch is noted as over: whoever orders `another`, and is killed before he has heard of it,
    gets that one from the same order, not the one after it.
    """
    wanted = OrderedLaunch(image_id=image.id, order=order, mode=mode, another=another)
    async with ordered(wanted, ctx, patience=patience) as deadline:
        standing, delivery = await _launch_once(image, order, ctx, mode=mode, another=another, deadline=deadline)
        delivery = await with_proof(delivery, image, ctx)
        if told:
            told(delivery)
        await _note_end(standing, delivery, ctx, mode)
    return delivery


async def launch_within(image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode, deadline: datetime) -> LaunchDelivery:
    """What `launch_server` does, as a part of an order that the journal keeps already: its end is that order's."""
    standing, delivery = await _launch_once(image, order, ctx, mode=mode, another=False, deadline=deadline)
    await _note_end(standing, delivery, ctx, mode)
    return delivery


async def _launch_once(
    image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode, another: bool, deadline: datetime
) -> tuple[Standing, LaunchDelivery]:
    base = launch_id(ctx.project_id, image.id, order.name, mode)
    if not another and await ctx.journal.read("launch", ctx.project_id, base):
        # Adopting needs no lease, which a killed run on another host would hold for a minute.
        standing = await find_launched(image, order, ctx, mode=mode)
        there = await _resumed(standing, image, order, ctx, deadline)
        if there is not None:
            return standing, there
    async with hold(ctx.journal, "launch", ctx.project_id, base, deadline=deadline) as lease:
        standing = await find_launched(image, order, ctx, mode=mode, another=another)
        servers, job_id = standing.servers, standing.noted.job_id
        adopted = bool(servers) or await _goes_on(standing, ctx)
        if not adopted:
            _check_not_removed(standing, order, ctx)
        if servers:
            ctx.tell(f"launch {standing.mark}: {', '.join(server.name for server in servers)} is there already; adopting")
        elif not adopted:
            if standing.noted.state == "intent":
                # Since the request went out for the last time: it may have been refused for an hour before it was taken.
                since = standing.noted.written_at
                with _under_way(standing.mark):
                    servers = await _settle(standing.mark, order, ctx, lease, since=since, deadline=deadline)
                    if not servers and not another:  # a person who orders one more has looked
                        await _check_nothing_made(standing.noted, order, ctx, deadline)
            adopted = bool(servers)
            if not servers:
                if failed := await _failed_job(standing, ctx):
                    why, left = f"{failed.error_code}: {failed.fail_reason}", await told_left(failed, order, ctx)
                    ctx.tell(f"the last launch failed ({why}); launching anew. {left}".strip())
                job_id = await _launch(image, order, mode, standing, ctx, lease, deadline, another=another)
    with _under_way(standing.mark):
        delivery = await await_launch(
            image, order, ctx, mark=standing.mark, job_id=job_id, servers=servers, adopted=adopted, deadline=deadline
        )
    return standing, delivery


async def resume_launch(
    image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover", deadline: datetime
) -> LaunchDelivery | None:
    """The servers that an earlier run has launched, waited for and probed; None where there is nothing to go on with.

    Launches nothing. Raises as `launch_server` does, and JobFailed where the launch has ended badly since.
    """
    standing = await find_launched(image, order, ctx, mode=mode)
    delivery = await _resumed(standing, image, order, ctx, deadline)
    if delivery is not None:
        delivery = await with_proof(delivery, image, ctx)
        await _note_end(standing, delivery, ctx, mode)
    elif job := await _failed_job(standing, ctx):
        raise job_failed(f"The launch of {order.name}", job, hint=await told_left(job, order, ctx))
    return delivery


async def _resumed(
    standing: Standing, image: Image, order: LaunchOrder, ctx: Context, deadline: datetime
) -> LaunchDelivery | None:
    if standing.servers:
        ctx.tell(f"launch {standing.mark}: {', '.join(server.name for server in standing.servers)} is there already; adopting")
    elif not await _goes_on(standing, ctx):
        return None
    mark, there, job_id = standing.mark, standing.servers, standing.noted.job_id
    with _under_way(mark):
        return await await_launch(image, order, ctx, mark=mark, job_id=job_id, servers=there, adopted=True, deadline=deadline)


async def preview_launch(
    image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover", another: bool = False
) -> LaunchPlan:
    """The plan of a launch with the request exactly as it would be sent, marks included. Launches nothing, takes no lease."""
    plan = await check_launch(image, order, ctx, mode=mode)
    standing = await find_launched(image, order, ctx, mode=mode, another=another)
    request = _marked(plan.request, order, mode, standing.mark) if plan.request else None
    there = ", ".join(f"{server.name} ({server.id})" for server in standing.servers)
    checks = plan.checks
    if there:  # it takes quota and addresses itself, and nothing more is made
        checks = (Check(rule="launch: server", verdict="passed", why=f"it is there already and would be adopted: {there}"),)
    return plan.model_copy(update={"request": request, "checks": checks})


async def check_launch(
    image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode = "failover", around: Surroundings | None = None
) -> LaunchPlan:
    """The plan of a launch, asked of the cloud's own dry run too where nothing else speaks against it. Launches nothing.

    What the dry run refuses is one of the plan's refusals. `around`: what is read once for several plans. Raises CloudError where
    it gives no clear answer.
    """
    plan = await plan_launch(order, image, ctx, mode=mode, around=around)
    deadline = ctx.deadline(timedelta(minutes=10))
    while plan.ok and plan.request:
        try:
            await ctx.cloud.servers.launch(plan.request, dry_run=True)
        except ApiError as refusal:
            if refusal.error_class not in _REFUSALS:
                await pause_or_raise(refusal, ctx, deadline)
                continue
            check = Check(
                rule=_DRY_RUN,
                verdict="refused",
                why=f"the cloud says no: {refusal.words or refusal.message}",
                action=refusal.action,
                code=refusal.code or "",
                page=_DRY_RUN_PAGE,
            )
        else:
            why = "the cloud takes the request; it looks at form and mandatory fields only"
            check = Check(rule=_DRY_RUN, verdict="passed", why=why)
        return plan.model_copy(update={"checks": (*plan.checks, check)})
    return plan


async def _launch(
    image: Image,
    order: LaunchOrder,
    mode: Mode,
    standing: Standing,
    ctx: Context,
    lease: Lease,
    deadline: datetime,
    *,
    another: bool,
) -> str | None:
    mark, noted = standing.mark, standing.noted
    ready = await _ready_request(image, order, mode, mark, ctx)
    first_intent = ctx.clock.now()

    async def intent() -> Record:
        new: dict[str, Any] = {"state": "intent", "mark": mark, "job_id": None, "first_intent_at": first_intent}
        facts = {_USED_FACT: await _servers_used(ctx), ANOTHER_FACT: another, RUNS_FACT: standing.runs_with(_bound(mode, ctx))}
        return noted.model_copy(update=new | {"facts": facts})

    async def request() -> tuple[str | None, tuple[str, ...]]:
        return await ctx.cloud.servers.launch(ready, guard=lease.still_mine)

    while True:
        record, answer = await send(request, intent, ctx, lease, deadline=deadline)
        if answer is not None:
            job_id, server_ids = answer
            await note_sent(record, ctx, job_id=job_id, server_ids=server_ids)
            ctx.tell(f"launch {mark}: job {job_id} accepted for {order.name}, waiting {until(deadline)}")
            return job_id
        ctx.tell(f"launch {mark}: no clear answer; looking for the server before anything is sent again")
        with _under_way(mark):
            if await _settle(mark, order, ctx, lease, since=ctx.clock.now(), deadline=deadline):
                return None
            await _check_nothing_made(record, order, ctx, deadline)


def _bound(mode: Mode, ctx: Context) -> str | None:
    """The flow run that has no other server of this order than the one it has now. Drills come and go in a run."""
    return ctx.run_id if mode == "failover" else None


def _check_not_removed(standing: Standing, order: LaunchOrder, ctx: Context) -> None:
    """Whoever removes a server wants it gone: a run that is started again launches no other. Raises Refused."""
    ended = standing.outdated or standing.noted.state in {"done", "partly", "gone"}
    if standing.had_by(ctx.run_id) and ended:
        check = Check(
            rule="launch: once",
            verdict="refused",
            why=f"this run has launched {order.name} before (launch {standing.mark}), and its server has been removed since",
            action="If another one is wanted, order it with a new run: Copy to new run, or `b2i launch`.",
            code="b2i.removed-since",
            page="docs/how-to-launch.md",
        )
        raise Refused(Report(subject=f"launch order {order.name}", checks=(check,)))


@contextmanager
def _under_way(mark: str) -> Generator[None]:
    """Whatever goes wrong from here on, a server may have been asked for: the error names the launch that finds it."""
    try:
        yield
    except B2iError as error:
        error.handle = {"launch": mark} | error.handle
        raise


async def _check_nothing_made(noted: Record, order: LaunchOrder, ctx: Context, deadline: datetime) -> None:
    """Go on only if the count of servers is what it was before the request: the second witness, beside the list by mark.

    Where others have launched meanwhile, such as the neighbours in a runbook's group, it has to be the number of servers that the
    list shows. Raises StillRunning where it is neither or cannot be read: one may be on its way that no list shows.
    """
    before, used = noted.facts.get(_USED_FACT), await _servers_used(ctx)
    if used is not None and ctx.clock.now() < deadline and (used == before or await _all_to_be_seen(used, ctx)):
        return
    counted = f"{_number(before)} counted before, {_number(used)} now"
    raise _not_seen(noted.mark, order, deadline, f"asked for, and no server with its mark to be seen; {counted}")


def _number(servers: int | None) -> str:
    return "servers could not be" if servers is None else f"{servers} servers"


def _not_seen(mark: str, order: LaunchOrder, deadline: datetime, seen: str) -> StillRunning:
    return StillRunning(
        f"The launch of {order.name}",
        last_seen=seen,
        deadline=deadline,
        handle={"launch": mark},
        check=f"Look for {order.name} in the console; the same command adopts it by its tag {LAUNCH_TAG}.{mark}. "
        "If it is not there, `b2i launch` with `--another` launches it.",
    )


async def _ready_request(image: Image, order: LaunchOrder, mode: Mode, mark: str, ctx: Context) -> LaunchRequest:
    """The request, once our plan and the cloud's own dry run have nothing against it. Raises Refused with every reason."""
    plan = await check_launch(image, order, ctx, mode=mode)
    report = Report(subject=f"launch order {order.name}", checks=plan.checks)
    if not report.ok:
        raise Refused(report)
    if plan.request is None:
        raise _unplanned(order, plan)
    return _marked(plan.request, order, mode, mark)


def _marked(request: LaunchRequest, order: LaunchOrder, mode: Mode, mark: str) -> LaunchRequest:
    """The request with what its servers are known by again; a drill's are called so, too."""
    if mode == "drill":
        drill = {"name": drill_name(order.name, mark, order.count), "tags": request.tags | {DRILL_TAG: mark}}
        return request.model_copy(update=drill)
    return request.model_copy(update={"tags": request.tags | {LAUNCH_TAG: mark}})


def _unplanned(order: LaunchOrder, plan: LaunchPlan) -> CloudError:
    """Nothing speaks against the order, but what it names could not be looked up: the cloud's trouble, not the order's."""
    unread = [check for check in plan.checks if check.verdict == "unknowable" and check.code]
    why = "; ".join(f"{check.rule.removeprefix('launch: ')} {check.why}" for check in unread)
    return CloudError(
        f"The launch of {order.name} could not be planned, and nothing was launched: {why}.",
        action=next((check.action for check in unread if check.action), "Run the same command again."),
        code=next((check.code for check in unread if check.code), None),
        retryable=bool(unread) and all(check.waiting_helps for check in unread),
    )


async def _settle(
    mark: str, order: LaunchOrder, ctx: Context, lease: Lease, *, since: datetime, deadline: datetime
) -> tuple[Server, ...]:
    found = await settle(
        lambda: servers_of(mark, order.name, ctx),
        ctx,
        lease,
        since=since,
        within=ctx.settings.settle.server,
        every=_LOOK_EVERY,
        deadline=deadline,
        late=lambda seen: _not_seen(mark, order, deadline, seen),
    )
    return found or ()


async def _servers_used(ctx: Context) -> int | None:
    try:
        return (await ctx.cloud.servers.limits()).servers.used
    except CloudError:
        return None


async def _all_to_be_seen(used: int, ctx: Context) -> bool:
    """Whether the list shows every server that is counted. One that is going may be counted no more, and is not taken for one."""
    try:
        seen = [server async for server in ctx.cloud.servers.list()]
    except CloudError:
        return False
    sure = [server for server in seen if server.status in _COUNTED and server.task_state != "deleting"]
    return len(sure) == used == await _servers_used(ctx)


async def _goes_on(standing: Standing, ctx: Context) -> bool:
    """Whether the job of an earlier run is still at it, or has made servers that are merely not listed yet."""
    noted = standing.noted
    job = await server_job(noted, ctx) if noted.state in {"sent", "done", "partly"} else None
    if job is None or job.status == "FAIL":
        return False
    if job.status == "SUCCESS":
        # All it made is gone again: somebody has removed it, so the order is free.
        return any([await quiet(ctx.cloud.servers.find(server_id)) for server_id in job.server_ids or noted.server_ids])
    ctx.tell(f"launch {standing.mark}: job {job.id} of an earlier run goes on")
    return True


async def _failed_job(standing: Standing, ctx: Context) -> Job | None:
    """The job of the launch that an earlier run asked for, if it has ended badly."""
    noted = standing.noted
    job = await server_job(noted, ctx) if noted.state == "sent" else None
    return job if job and job.status == "FAIL" else None


async def _note_end(standing: Standing, delivery: LaunchDelivery, ctx: Context, mode: Mode) -> None:
    """Keep how it ended: what is only partly there is what the same order goes on with."""
    if standing.outdated:
        return
    try:
        noted = await ctx.journal.read("launch", ctx.project_id, standing.noted.name)
        if noted is None or noted.generation != standing.noted.generation:
            noted = standing.noted.model_copy(update={"mark": standing.mark})
        facts = noted.facts | {RUNS_FACT: standing.runs_with(_bound(mode, ctx))}
        state = "partly" if delivery.outcome == "partly" else "done"
        await ctx.journal.write(noted.model_copy(update={"state": state, "facts": facts}))
    except JournalError as error:
        ctx.tell(error.message)
