"""Shards of a night: how one is started, what becomes of it, and how its run ends. The whole night's run reports on them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Failed

from backup_to_image.errors import B2iError, UsageError
from backup_to_image.model.night import NightReport
from backup_to_image.model.policy import Policy
from backup_to_image.night_pages import summary
from backup_to_image.steps.fleet.shards import Fate, Share, Workers
from tasks import pages
from tasks.policy import MOST_STARTS
from tasks.runs import LEFT_ALONE, may_come_back

__all__ = ["part_cancelled", "part_ended", "part_failed", "workers_of"]

_STOPPING = 330
"""Seconds until Prefect's server ends a run that is being cancelled and that nobody else ends; and some more."""
_NO_WORKER = "Start one more worker (`python -m deployments.worker`), or give one room for more runs (`--limit`)."
_ONE_JOURNAL = "All workers of a shared night need the same journal: `journal:` in their b2i.yaml."


def workers_of(file: str, policy: Policy, night: date, *, left_alone: timedelta = LEFT_ALONE) -> Workers:
    """Who does the shards of this night: runs of the policy's shard deployment, on whichever workers are free.

    `left_alone`: a run that crashed longer ago is not going to be brought back.
    """
    runs: dict[int, UUID] = {}

    async def start(share: Share) -> None:
        run = await _begin(share, file, policy, night, left_alone)
        runs[share.number] = run.id
        get_run_logger().info("shard %s is run %s", share, run.name)

    async def fates(shares: Sequence[Share]) -> Mapping[int, Fate]:
        wanted = {share.number: runs[share.number] for share in shares if share.number in runs}
        if not wanted:
            return {}
        try:
            async with get_client() as client:
                these = FlowRunFilter(id=FlowRunFilterId(any_=list(wanted.values())))
                found = {run.id: run for run in await client.read_flow_runs(flow_run_filter=these)}
        except httpx.HTTPError as error:
            get_run_logger().debug("what became of the shards cannot be seen just now: %r", error)
            return {}
        return {number: _fate(found.get(run_id), left_alone) for number, run_id in wanted.items()}

    return Workers(start=start, fates=fates)


async def _begin(share: Share, file: str, policy: Policy, night: date, left_alone: timedelta) -> FlowRun:
    """The run of a shard: the one that is there, or a new one where that has ended. It has left no report, or nobody would ask.

    The same key gives the run that is there: a night that goes on after a crash starts no shard twice. A shard that was started
    too often is left as it is.
    """
    key = f"{policy.name}/{night}/{share.number}/{share.attempt}"
    run = await _run_of(key, share, file, policy, night)
    for again in range(2, MOST_STARTS + 1):
        if run.state and run.state.is_cancelling():
            run = await _stopped(run)
        if not _is_over(run, left_alone):
            break
        run = await _run_of(f"{key}/{again}", share, file, policy, night)
    return run


async def _run_of(key: str, share: Share, file: str, policy: Policy, night: date) -> FlowRun:
    context = FlowRunContext.get()
    told = context.flow_run.parameters.get("project") if context and context.flow_run else None
    # A block crosses to another run by reference alone; where this run has none, the shards' deployment has its own.
    project: dict[str, Any] = {"project": told} if isinstance(told, dict) and "$ref" in told else {}
    parameters: dict[str, Any] = {
        "policy": file,
        "night": night.isoformat(),
        "number": share.number,
        "of": share.of,
        "attempt": share.attempt,
        "deadline": share.deadline.isoformat(),
    }
    name = f"nightly-shard/{policy.name}"
    try:
        return await arun_deployment(name, parameters=parameters | project, timeout=0, idempotency_key=key)
    except ObjectNotFound:
        raise UsageError(
            f"limits.shards: there is no deployment {name}.", action="`python -m deployments.setup` makes it."
        ) from None


async def _stopped(run: FlowRun) -> FlowRun:
    """A run that is being cancelled, once it has ended."""
    get_run_logger().info("run %s is being cancelled; waiting for its end", run.name)
    async with get_client() as client:
        for _ in range(_STOPPING):
            run = await client.read_flow_run(run.id)
            if not (run.state and run.state.is_cancelling()):
                break
            await asyncio.sleep(1)
    return run


def _is_over(run: FlowRun, left_alone: timedelta) -> bool:
    return run.state is not None and run.state.is_final() and not (run.state.is_crashed() and may_come_back(run, left_alone))


def _fate(run: FlowRun | None, left_alone: timedelta) -> Fate:
    """What became of a shard's run that has left no report."""
    if run is None:
        return Fate(state="ended", reason="its run was deleted")
    state, said = run.state, (run.state.message or "").rstrip(".") if run.state else ""
    if state is None or state.type in {StateType.SCHEDULED, StateType.PENDING}:
        name = state.name if state else "without a state"
        return Fate(state="waiting", reason=f"no worker has begun its run {run.name} ({name})", action=_NO_WORKER)
    if not state.is_final():
        return Fate(state="at_work")
    if state.is_completed():
        return Fate(state="ended", reason=f"its run {run.name} is Completed, and not in this run's journal", action=_ONE_JOURNAL)
    if state.is_crashed() and may_come_back(run, left_alone):
        return Fate(state="at_work", reason=f"its run {run.name} has crashed: {said}")
    left = " and was not brought back" if state.is_crashed() else ""
    return Fate(state="ended", reason=f"its run {run.name} is {state.name}{left}: {said or 'no reason was given'}")


def part_ended(report: NightReport) -> State[Any]:
    """A shard's end; what its servers came to is for the whole night to judge."""
    return Completed(message=summary(report))


def part_failed(error: B2iError) -> State[Any]:
    """A shard's end when nothing could be done; its servers have failed unless it is retried while its night waits for others."""
    for line in pages.log_lines(error):
        get_run_logger().warning(line)
    return Failed(message=pages.paragraph(error))


def part_cancelled() -> State[Any]:
    """A shard's end where its night was cancelled before it began."""
    return Cancelled(message="Its night was cancelled before it began.")
