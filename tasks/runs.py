"""Tasks on flow runs of our deployments: which are at work, which may start again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Cancelling

from backup_to_image.steps.reconcile import Reconciled
from tasks.policy import MOST_STARTS, NO_RETRY

__all__ = ["LEFT_ALONE", "may_come_back", "night_is_cancelled", "runs_at_work", "start_again", "stop_shards"]

_OURS = DeploymentFilter(tags=DeploymentFilterTags(all_=["b2i"]))
_AT_WORK = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
_MOST = 200
LEFT_ALONE = timedelta(minutes=5)
"""A crashed run that nothing has brought back for so long is not going to be: the automation's own delay is one minute."""
_GIVEN_UP = timedelta(days=7)
_NIGHT_CANCELLED = "Its night was cancelled."


@task(name="runs at work", task_run_name="runs at work", **NO_RETRY)
async def runs_at_work() -> frozenset[str]:
    """The ids of our runs that are at work or about to be; crashed ones that are still to be brought back among them."""
    async with get_client() as client:
        # Those that schedules have made for the next weeks have not begun, and would crowd out the others.
        begun = FlowRunFilterStartTime(is_null_=False)
        working = await _runs(client, FlowRunFilterState(type=FlowRunFilterStateType(any_=_AT_WORK)), begun)
        crashed = await _runs(client, FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])))
    return frozenset(str(run.id) for run in [*working, *(run for run in crashed if may_come_back(run))])


def may_come_back(run: FlowRun, left_alone: timedelta = LEFT_ALONE) -> bool:
    """Whether a crashed run is still to be brought back by the automation. `left_alone`: how long that may take."""
    return _age(run) < left_alone


@task(name="start runs again", task_run_name="start runs again", **NO_RETRY)
async def start_again(orders: tuple[Reconciled, ...], left_alone: timedelta = LEFT_ALONE) -> tuple[str, ...]:
    """Start what gave up waiting and whose order has ended by now, and what crashed and was left; returns the runs' names.

    They adopt what is there, so they end at once, and with their own report. `left_alone`: how long ago a crash must be.
    """
    still_open = {order.run_id for order in orders if order.outcome not in {"finished", "failed"}}
    ours = _of_this_project()
    late = FlowRunFilterState(name=FlowRunFilterStateName(any_=["StillRunning"]))
    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    started: list[str] = []
    async with get_client() as client:
        ended = [run for run in await _runs(client, late) if str(run.id) not in still_open]
        left = [run for run in await _runs(client, crashed) if _age(run) >= left_alone]
        for run in [*ended, *left]:
            if run.run_count >= MOST_STARTS or _age(run) > _GIVEN_UP or not ours(run):
                continue
            await client.set_flow_run_state(run.id, AwaitingRetry(message="Started again by the reconciler."))
            get_run_logger().info("run %s starts again", run.name)
            started.append(run.name)
    return tuple(started)


def _of_this_project() -> Callable[[FlowRun], bool]:
    """Whose runs a reconciler may start again: those with its own block.

    Of other projects' orders it knows nothing, and would take one that is at work there for one that has ended.
    """
    context = FlowRunContext.get()
    block = context.flow_run.parameters.get("project") if context and context.flow_run else None
    if not (isinstance(block, dict) and "$ref" in block):
        return lambda _: True
    return lambda run: run.parameters.get("project") == block


async def stop_shards(night: UUID) -> tuple[str, ...]:
    """Cancel the shards of a night that was cancelled; returns the ids of those that had not ended.

    One that has not begun has no process that would make Cancelled of Cancelling, so it is Cancelled at once. A worker may be
    about to begin it all the same, and Prefect would let it: so each shard asks when it begins whether its night is cancelled
    (`night_is_cancelled`), which it was before anybody looked here.
    """
    of_it = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[night]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_AT_WORK)),
    )
    async with get_client() as client:
        shards = await client.read_flow_runs(flow_run_filter=of_it, limit=_MOST)
        for run in shards:
            begun = run.state_type not in {StateType.SCHEDULED, StateType.PENDING}
            state = Cancelling if begun else Cancelled
            await client.set_flow_run_state(run.id, state(message=_NIGHT_CANCELLED))
    return tuple(str(run.id) for run in shards)


async def night_is_cancelled() -> bool:
    """Whether the run whose part this one is was cancelled, or is being so: nobody waits for the part any more."""
    context = FlowRunContext.get()
    link = context.flow_run.parent_task_run_id if context and context.flow_run else None
    if link is None:
        return False
    async with get_client() as client:
        try:
            night = (await client.read_task_run(link)).flow_run_id
            state = (await client.read_flow_run(night)).state if night else None
        except ObjectNotFound:
            return False
    return state is not None and (state.is_cancelled() or state.is_cancelling())


async def _runs(client: PrefectClient, state: FlowRunFilterState, begun: FlowRunFilterStartTime | None = None) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=state, start_time=begun),
        deployment_filter=_OURS,
        sort=FlowRunSort.START_TIME_DESC,
        limit=_MOST,
    )


def _age(run: FlowRun) -> timedelta:
    """How long the run has been in its state."""
    return datetime.now(UTC) - run.state.timestamp if run.state else timedelta(0)
