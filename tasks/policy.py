"""Which errors are worth another try of a task, how often and when; and how often a run may be started."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from backup_to_image.errors import ApiError, B2iError, NoAnswer

__all__ = ["MOST_STARTS", "NO_RETRY", "RETRY", "check_starts", "is_transient", "may_retry"]

MOST_STARTS = 10
"""Starts of one flow run, by hand or by the automation that brings crashed runs back: what kills it ten times kills it again."""

_MOST_RETRIES = 3


def is_transient(error: object) -> bool:
    """Whether the same call may do better in a minute. The cloud's codes decide; a refusal, a failed job or a deadline never."""
    return isinstance(error, ApiError | NoAnswer) and error.retryable


def may_retry(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Prefect's question before each retry.

    The count is kept here and not in `retries`: a task that has used up Prefect's own count writes a traceback into the log.
    """
    return run.run_count <= _MOST_RETRIES and is_transient(state.data)


# The client repeats reads for some seconds by itself; a task waits longer, for an outage of minutes.
RETRY: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": _MOST_RETRIES + 1,
    "retry_delay_seconds": [15, 60, 180],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_retry,
}
NO_RETRY: dict[str, Any] = {"cache_policy": NO_CACHE}


def check_starts() -> None:
    """Stop a run that was started too often: without a limit, what crashes would be brought back for ever. Raises B2iError."""
    starts = int(flow_run.run_count or 1)  # pyright: ignore[reportUnknownArgumentType] - the runtime module is untyped
    if starts > MOST_STARTS:
        raise B2iError(
            f"This run was started {starts} times, {MOST_STARTS} are the most.",
            action="Look at the worker's log for what kills it, then order again with a new run: it adopts what is there.",
            code="b2i.started-too-often",
        )
