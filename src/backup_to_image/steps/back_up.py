"""Back servers up now: one run of their vault, asked for once, until each server has its backup or the reason why not.

A run cannot be stopped, has no client token, and costs money each time (BEHAVIOUR.md 4.4). So its name is in the journal before
the request leaves, and on every backup that it makes: after a lost answer or a kill the run is looked for by that name, and never
blindly asked for again. What cannot be backed up is told in the cloud's words instead of waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from backup_to_image.doctor import diagnose
from backup_to_image.errors import ApiError, B2iError, CloudError, ErrorClass, JobFailed, NotFound, StillRunning, UnknownState
from backup_to_image.journal import JournalError, Lease, Record, hold
from backup_to_image.model import Backup, RestorePoint, SkippedResource, Value
from backup_to_image.steps.context import Context, minutes, until
from backup_to_image.steps.findings import CLOCK_SLACK
from backup_to_image.steps.leftovers import Leftover, Leftovers
from backup_to_image.steps.names import backup_run_name, made_by_us
from backup_to_image.steps.once import note_sent, send, settle
from backup_to_image.waiting import BACKUP, RESTORE_POINT, Pace, States, passes, quiet, wait

__all__ = ["BackedUp", "asked_for", "back_up", "keep", "left_of_backup", "use_up"]

RUN, USED = "backup", "used-backup"
"""Kinds of journal records: a run of ours, by its name; and the last backups of a server that finished orders have used up."""
_ORDER, _VAULT, _SKIPPED, _BACKUP, _EARLIER = "order", "vault", "skipped", "backup", "earlier"
_MOST_EARLIER = 20
_DESCRIPTION = "made by backup-to-image for an image of the server"
_COMING = frozenset({"waiting_protect", "protecting"})
_LOOK_EVERY = 5.0
_A_RUN_IS_OVER_AFTER = timedelta(days=1)
"""A run of another order that began longer ago is not looked at: whatever it made, it is nothing of now."""
_FORGET_AFTER = timedelta(days=7)

# Several backups are awaited as one thing: each has its own table (waiting.BACKUP), here is only whether all have ended.
_ALL = States("The backup run", success=frozenset({"settled"}), pending=frozenset({"protecting"}), failure=frozenset())


class BackedUp(Value):
    """What came of one server: its new backup with its disks, or why it has none."""

    server_id: str
    server_name: str = ""
    outcome: Literal["made", "adopted", "skipped", "failed", "late"]
    """adopted: an earlier run of the same order had it made. skipped: the cloud left it out of the run. late: it is still being
    made, or nobody knows yet whether it is."""
    backup: Backup | None = None
    backup_id: str | None = None
    """Also of a backup that failed or is still being made."""
    restore_point_id: str | None = None
    code: str | None = None
    reason: str = ""
    """Why not, in the cloud's words where it gave some."""
    action: str = ""
    waiting_helps: bool = False
    deadline: datetime | None = None

    def need(self) -> Backup:
        """The backup. Raises JobFailed with the cloud's reason, StillRunning with the handle."""
        if self.backup:
            return self.backup
        raise self.why_not(self.server_name)

    def why_not(self, server_name: str) -> JobFailed | StillRunning:
        """Why there is none: the cloud's reason, or that it is still being made, with the handle."""
        what = f"The backup of server {server_name or self.server_id}"
        ids = {"backup": self.backup_id, "restore point": self.restore_point_id}
        handle = {kind: ident for kind, ident in ids.items() if ident}
        if self.outcome == "late":
            return StillRunning(what, last_seen=self.reason, deadline=self.deadline, handle=handle, check=self.action)
        if self.restore_point_id and not self.backup_id:
            what += f" (restore point {self.restore_point_id})"
        ours = not self.code or self.code.startswith(("b2i.", "http."))  # then the reason says it all
        cause = "" if ours else diagnose(self.code).cause
        failure = JobFailed(what, code=None if ours else self.code, reason=self.reason, cause=cause, action=self.action)
        failure.code = self.code or failure.code
        failure.retryable, failure.handle = self.waiting_helps, handle
        return failure


class _Run(Value):
    """A backup run that the cloud has taken."""

    name: str
    point_id: str
    server_ids: tuple[str, ...]
    """Those of its servers that are wanted here."""
    since: datetime
    adopted: bool
    skipped: tuple[SkippedResource, ...] = ()


async def back_up(
    server_ids: Sequence[str],
    vault_id: str,
    ctx: Context,
    *,
    order: str,
    deadline: datetime,
    since: datetime,
    told: Callable[[BackedUp], object] | None = None,
) -> tuple[BackedUp, ...]:
    """Each server's new backup, ready to become an image, or why it has none; in the order in which they were named.

    Safe to repeat at any time, by two processes at once too. `order` says for what the backups are: a run that an earlier process
    of the same order has begun or gone on with is adopted if that was not before `since`, unless `use_up` has said that the order
    had its good of it; a run of anybody's order that is still at work is adopted too, since the cloud makes no second backup
    beside it. The journal decides that, and the cloud confirms it. `told` hears of every server as soon as it has ended. A cloud
    that is busy is waited for until the deadline. Raises JournalError before anything was asked for; all else is told server by
    server.
    """
    wanted = tuple(dict.fromkeys(server_ids))
    ended: dict[str, BackedUp] = {}

    def end(one: BackedUp) -> None:
        ended[one.server_id] = one
        if told:
            told(one)

    runs: list[_Run] = []
    try:
        async with hold(ctx.journal, RUN, ctx.project_id, vault_id, deadline=deadline) as lease:
            await _adopt(wanted, vault_id, ctx, lease, runs, order=order, since=since, deadline=deadline)
            left = _without(wanted, runs)
            if left:
                runs.append(await _ask_once(left, vault_id, ctx, lease, order=order, deadline=deadline))
    except (CloudError, StillRunning) as error:
        for server_id in _without(wanted, runs):
            end(_refused(server_id, error, deadline))
    left_out = {one.id: one for run in runs for one in run.skipped}
    busy = await _at_work(left_out.values(), ctx)
    for server_id, one in left_out.items():
        there = busy.get(server_id)
        if there and there.restore_point_id and made_by_us(there):
            # Ours, and the journal does not know of it: begun by a process with another journal, or with one that is lost.
            point_id, since = there.restore_point_id, there.created_at or ctx.clock.now()
            runs.append(_Run(name=there.name, point_id=point_id, server_ids=(server_id,), since=since, adopted=True))
        else:
            end(_skipped(one, there))
            ctx.tell(f"server {one.name or one.id} was not backed up: {_said(one.code, one.reason)}")
    await asyncio.gather(*(_Waiting(run, ctx, deadline, end).until_settled() for run in runs if run.server_ids))
    return tuple(ended[server_id] for server_id in wanted)


async def use_up(backup: Backup, ctx: Context) -> None:
    """The order that this backup was made for has ended well: the same order begins with a new one from now on."""
    try:
        used = await ctx.journal.read(USED, ctx.project_id, backup.resource_id)
        known = _used_in(used)
        if backup.id in known:
            return  # a flow run that is retried after its good end
        record = Record(
            kind=USED,
            project_id=ctx.project_id,
            name=backup.resource_id,
            state="done",
            written_at=ctx.clock.now(),
            facts={_BACKUP: backup.id, _EARLIER: list(known[:_MOST_EARLIER])},
        )
        await ctx.journal.write(record)
    except JournalError as error:
        ctx.tell(error.message)


async def keep(backup: Backup, ctx: Context) -> None:
    """The order that this backup was made for is not over: whoever goes on with it soon, goes on with this backup."""
    try:
        for noted in await _runs_of({backup.resource_id}, ctx):
            if noted.job_id and noted.job_id == backup.restore_point_id:
                await ctx.journal.write(noted)
    except JournalError as error:
        ctx.tell(error.message)


async def asked_for(server_id: str, ctx: Context, *, order: str, since: datetime) -> bool:
    """Whether the journal knows of a run of this order, not left before `since`, of which it has not had its good yet."""
    used = await ctx.journal.read(USED, ctx.project_id, server_id)
    return any(
        _of_order(noted, order, since) and (used is None or used.written_at < noted.written_at)
        for noted in await _runs_of({server_id}, ctx)
    )


async def left_of_backup(server_id: str, ctx: Context) -> Leftovers:
    """What the newest run over this server has made of it so far: for whoever was stopped meanwhile."""
    noted = next(iter(await _runs_of({server_id}, ctx)), None)
    seen: list[Leftover] = []
    if noted:
        listed = ctx.cloud.backups.list(server_id=server_id, since=_began(noted) - CLOCK_SLACK)
        seen = [
            Leftover(kind="backup", id=one.id, name=one.name, status=one.status, made_at=one.created_at)
            async for one in listed
            if one.name.startswith(noted.name)
        ]
        seen = seen or [Leftover(kind="backup", name=noted.name, status="asked for, not to be seen yet")]
    return Leftovers(things=tuple(seen), seen_at=ctx.clock.now())


# -- asking -------------------------------------------------------------------------------------------------------------


async def _ask_once(
    servers: tuple[str, ...], vault_id: str, ctx: Context, lease: Lease, *, order: str, deadline: datetime
) -> _Run:
    """Ask for one run over these servers; after an unclear answer look for it by its name until the settle time has passed."""
    began = ctx.clock.now()
    name = backup_run_name(ctx.project_id, vault_id, servers, began)

    async def intent() -> Record:
        return Record(
            kind=RUN,
            project_id=ctx.project_id,
            name=name,
            state="intent",
            written_at=ctx.clock.now(),
            first_intent_at=began,
            deadline=deadline,
            server_ids=servers,
            facts={_ORDER: order, _VAULT: vault_id},
        )

    async def request() -> RestorePoint:
        return await ctx.cloud.restore_points.create(
            vault_id, servers, name=name, description=_DESCRIPTION, guard=lease.still_mine
        )

    while True:
        noted, point = await send(request, intent, ctx, lease, deadline=deadline)
        if point is None:
            ctx.tell(f"no clear answer to the request for backup run {name}; looking for it before anything is sent again")
            point_id = await _find_run(noted, ctx, lease, since=ctx.clock.now(), deadline=deadline)
            if point_id is None:
                if ctx.clock.now() >= deadline:
                    raise _not_seen(name, deadline, "asked for, but not to be seen")
                continue
            point = RestorePoint(id=point_id, status="protecting", vault_id=vault_id)
        await _note(noted, point, ctx)
        many = f"{len(servers)} server{'s' if len(servers) > 1 else ''}"
        ctx.tell(f"backup run {name} of {many} was accepted (restore point {point.id}), waiting {until(deadline)}")
        skipped = tuple(one for one in point.skipped if one.id in servers)
        out = {one.id for one in skipped}
        taken = tuple(server_id for server_id in servers if server_id not in out)
        return _Run(name=name, point_id=point.id, server_ids=taken, since=began, adopted=False, skipped=skipped)


async def _find_run(noted: Record, ctx: Context, lease: Lease, *, since: datetime, deadline: datetime) -> str | None:
    """The restore point of a run whose answer nobody has heard; None where it has proven not to exist."""
    vault_id = str(noted.facts.get(_VAULT) or "") or None
    only = noted.server_ids[0] if len(noted.server_ids) == 1 else None

    async def look() -> str | None:
        listed = ctx.cloud.backups.list(server_id=only, vault_id=vault_id, since=_began(noted) - CLOCK_SLACK)
        async for backup in listed:
            if backup.name.startswith(noted.name) and backup.restore_point_id:
                return backup.restore_point_id
        return None

    return await settle(
        look,
        ctx,
        lease,
        since=since,
        within=ctx.settings.settle.image,
        every=_LOOK_EVERY,
        deadline=deadline,
        late=lambda seen: _not_seen(noted.name, deadline, seen),
    )


def _not_seen(name: str, deadline: datetime, seen: str) -> StillRunning:
    check = f"Look for backups called {name} in CBR; the same command adopts them."
    return StillRunning(f"The backup run {name}", last_seen=seen, deadline=deadline, check=check)


async def _note(noted: Record, point: RestorePoint, ctx: Context) -> None:
    skipped = {_SKIPPED: [one.id for one in point.skipped]}
    told = noted.model_copy(update={"facts": noted.facts | skipped})
    await note_sent(told, ctx, job_id=point.id, server_ids=noted.server_ids)


# -- what was asked for before ------------------------------------------------------------------------------------------


async def _runs_of(servers: Collection[str], ctx: Context) -> list[Record]:
    """Our runs over any of these servers that the journal knows of, the newest first."""
    known = [
        one for one in await ctx.journal.records(RUN) if one.project_id == ctx.project_id and set(one.server_ids) & set(servers)
    ]
    return sorted((one for one in known if one.state in {"intent", "sent"}), key=_began, reverse=True)


def _began(noted: Record) -> datetime:
    return noted.first_intent_at or noted.written_at


def _of_order(noted: Record, order: str, since: datetime) -> bool:
    """Whether a run is this order's, and somebody was at it since then: every run that goes on with it notes that."""
    return noted.facts.get(_ORDER) == order and noted.written_at >= since


async def _adopt(
    wanted: Sequence[str],
    vault_id: str,
    ctx: Context,
    lease: Lease,
    runs: list[_Run],
    *,
    order: str,
    since: datetime,
    deadline: datetime,
) -> None:
    """Add the runs of earlier processes that give these servers what is wanted, each server from its newest one."""
    left = set(wanted)
    now = ctx.clock.now()
    for noted in await _runs_of(wanted, ctx):
        if noted.written_at < now - _FORGET_AFTER:
            await ctx.journal.forget(noted)
            continue
        its_own = _of_order(noted, order, since)
        mine = [server_id for server_id in wanted if server_id in left and server_id in noted.server_ids]
        if not mine or (not its_own and _began(noted) < now - _A_RUN_IS_OVER_AFTER):
            continue
        point_id = noted.job_id
        if point_id is None:
            point_id = await _find_run(noted, ctx, lease, since=noted.written_at, deadline=deadline)
            if point_id is None:
                await ctx.journal.forget(noted)  # it has made nothing
                continue
            await _note(noted, RestorePoint(id=point_id, status="protecting", vault_id=vault_id), ctx)
        chosen = await _still_good(mine, noted, point_id, ctx, its_own=its_own)
        if chosen:
            left -= set(chosen)
            if its_own and noted.job_id:
                await ctx.journal.write(noted)  # somebody is at it again
            runs.append(_Run(name=noted.name, point_id=point_id, server_ids=chosen, since=_began(noted), adopted=True))


async def _still_good(servers: Iterable[str], noted: Record, point_id: str, ctx: Context, *, its_own: bool) -> tuple[str, ...]:
    """Those of the servers whose backup in this run is still to be had."""
    listed = {one.resource_id: one async for one in ctx.cloud.backups.list(restore_point_id=point_id)}
    coming, out = False, set(noted.ids(_SKIPPED))
    if any(server_id not in listed for server_id in servers):
        point = await _restore_point(point_id, ctx)
        # One that is done may hold a backup that no list shows yet.
        settling = its_own and ctx.clock.now() < noted.written_at + ctx.settings.settle.image
        fine = RESTORE_POINT.pending | RESTORE_POINT.success if settling else RESTORE_POINT.pending
        coming = point is not None and point.status in fine
        out |= {one.id for one in point.skipped} if point else set()
    good: list[str] = []
    for server_id in servers:
        backup = listed.get(server_id)
        if backup is None:
            fits = coming and server_id not in out
        elif backup.status in _COMING:
            fits = True
        else:
            fits = its_own and backup.status in BACKUP.success | BACKUP.pending and not await _used(backup, ctx)
        if fits:
            good.append(server_id)
            state = backup.status if backup else "on its way"
            ago = minutes(ctx.clock.now() - _began(noted))
            ctx.tell(f"server {server_id}: a backup was asked for {ago} ago by an earlier run ({state}); going on with it")
    return tuple(good)


async def _restore_point(point_id: str, ctx: Context) -> RestorePoint | None:
    """None where it is gone. Trouble is raised: what cannot be looked at is not gone."""
    try:
        return await ctx.cloud.restore_points.get(point_id)
    except NotFound:
        return None


async def _used(backup: Backup, ctx: Context) -> bool:
    return backup.id in _used_in(await ctx.journal.read(USED, ctx.project_id, backup.resource_id))


def _used_in(noted: Record | None) -> tuple[str, ...]:
    """The backups that were used up, the last one first."""
    if noted is None:
        return ()
    last = noted.facts.get(_BACKUP)
    return (*([last] if isinstance(last, str) else []), *noted.ids(_EARLIER))


# -- waiting ------------------------------------------------------------------------------------------------------------


class _Waiting:
    """One run and those of its servers whose end nobody has seen yet."""

    def __init__(self, run: _Run, ctx: Context, deadline: datetime, end: Callable[[BackedUp], None]) -> None:
        self.run = run
        self.ctx = ctx
        self.deadline = deadline
        self.end = end
        self.left = dict.fromkeys(run.server_ids, "asked for, not to be seen yet")
        """The servers, each with what was seen of it last."""
        self.seen: dict[str, Backup] = {}
        self.missing_since: datetime | None = None

    async def until_settled(self) -> None:
        """Until every server has ended, or the deadline."""
        try:
            await wait(
                self.look,
                state=str,
                states=_ALL,
                what=f"The backup run {self.run.name}",
                deadline=self.deadline,
                pace=Pace(),
                clock=self.ctx.clock,
                since=self.run.since,
                look_first=self.run.adopted,
            )
        except StillRunning:
            for server_id, last_seen in self.left.items():
                self.end(self.about(server_id, outcome="late", reason=last_seen, waiting_helps=True))
        except CloudError as error:
            for server_id in self.left:
                refused = _refused(server_id, error, self.deadline)
                self.end(refused.model_copy(update={"restore_point_id": self.run.point_id}))

    async def look(self) -> str | None:
        """One look at all of them; trouble that passes by itself is no news."""
        try:
            listed = {one.resource_id: one async for one in self.ctx.cloud.backups.list(restore_point_id=self.run.point_id)}
            for server_id in [one for one in self.left if one in listed]:
                await self.look_at(server_id, listed[server_id])
            if any(server_id not in listed for server_id in self.left):
                await self.look_for_missing()
        except CloudError as error:
            if not passes(error):
                raise
            return None
        return "protecting" if self.left else "settled"

    async def look_at(self, server_id: str, backup: Backup) -> None:
        self.seen[server_id], self.left[server_id] = backup, f"it is {backup.status}"
        try:
            verdict = BACKUP.verdict(backup.status)
        except UnknownState as strange:
            self.over(self.about(server_id, outcome="failed", code=strange.code, reason=strange.message, action=strange.action))
            return
        if verdict:
            whole = await self.ctx.cloud.backups.get(backup.id)  # a list does not tell the disks
            self.over(self.about(server_id, outcome="adopted" if self.run.adopted else "made", backup=whole))
        elif verdict is False:
            told = await quiet(self.ctx.cloud.backups.why_failed(backup))
            reason = (told.reason if told else "") or f"it is {backup.status}, and the cloud gave no reason"
            known = diagnose(told.code if told else None)
            action = f"Backup {backup.id} can only be deleted. {known.action}".strip()
            self.over(self.about(server_id, outcome="failed", code=told.code if told else None, reason=reason, action=action))

    async def look_for_missing(self) -> None:
        """Servers that no list shows: left out of the run after all, if it is over and stays so for the settle time."""
        point = await _restore_point(self.run.point_id, self.ctx)
        if point is not None and RESTORE_POINT.verdict(point.status) is None:
            return
        now, out = self.ctx.clock.now(), {one.id: one for one in point.skipped} if point else {}
        self.missing_since = self.missing_since or now
        for server_id in [one for one in self.left if one not in self.seen]:
            if server_id in out:
                self.over(_skipped(out[server_id], None))
            elif now >= self.missing_since + self.ctx.settings.settle.image:
                state = f"is {point.status}" if point else "is gone"
                reason = f"restore point {self.run.point_id} {state} and holds no backup of it"
                self.over(self.about(server_id, outcome="failed", reason=reason, action="Run the same command again."))

    def about(self, server_id: str, **more: Any) -> BackedUp:
        backup = self.seen.get(server_id)
        return BackedUp(
            server_id=server_id,
            server_name=backup.resource_name if backup else "",
            backup_id=backup.id if backup else None,
            restore_point_id=self.run.point_id,
            deadline=self.deadline,
            **more,
        )

    def over(self, one: BackedUp) -> None:
        del self.left[one.server_id]
        self.end(one)
        name, took = one.server_name or one.server_id, minutes(self.ctx.clock.now() - self.run.since)
        if one.backup:
            self.ctx.tell(f"backup {one.backup.id} of server {name} is available after {took}")
        else:
            self.ctx.tell(f"server {name} has no backup: {_said(one.code, one.reason)}")


async def _at_work(left_out: Collection[SkippedResource], ctx: Context) -> Mapping[str, Backup]:
    """The backups that are being made of servers that a run left out for now, by server."""
    if not any(diagnose(one.code).error_class is ErrorClass.WAIT for one in left_out):
        return {}

    async def look() -> dict[str, Backup]:
        return {one.resource_id: one async for one in ctx.cloud.backups.list(status=sorted(_COMING)) if one.kind == "server"}

    return await quiet(look()) or {}


def _skipped(one: SkippedResource, at_work: Backup | None) -> BackedUp:
    known = diagnose(one.code)
    action = known.action
    if at_work:
        action = f"Backup {at_work.id} of it is being made: `b2i create {at_work.id} --wait-backup 2h` takes that one."
    return BackedUp(
        server_id=one.id,
        server_name=one.name,
        outcome="skipped",
        backup_id=at_work.id if at_work else None,
        code=one.code,
        reason=one.reason or "the cloud left it out of the run and gave no reason",
        action=action,
        waiting_helps=known.error_class is ErrorClass.WAIT,
    )


def _refused(server_id: str, error: B2iError, deadline: datetime) -> BackedUp:
    """What stopped the whole run, told of one of its servers."""
    late = isinstance(error, StillRunning)
    reason = error.words if isinstance(error, ApiError) and error.words else error.message
    return BackedUp(
        server_id=server_id,
        outcome="late" if late else "failed",
        code=None if late else error.code,
        reason=f"{error.what}: {error.last_seen}" if isinstance(error, StillRunning) else reason,
        action=error.action,
        waiting_helps=error.retryable,
        deadline=deadline,
    )


def _without(wanted: Sequence[str], runs: Sequence[_Run]) -> tuple[str, ...]:
    """Those of the servers that no run has anything to do with."""
    known = {server_id for run in runs for server_id in (*run.server_ids, *(one.id for one in run.skipped))}
    return tuple(server_id for server_id in wanted if server_id not in known)


def _said(code: str | None, reason: str) -> str:
    return f"{code}: {reason}" if code else reason
