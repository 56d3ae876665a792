"""Shards of a night: how one is started, and how its run ends. The whole night's run reports; these only say a word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed

from backup_to_image.errors import B2iError, UsageError
from backup_to_image.model.night import NightReport
from backup_to_image.model.policy import Policy
from backup_to_image.night_pages import summary
from backup_to_image.steps.shards import Share
from tasks import pages

__all__ = ["part_ended", "part_failed", "starter"]


def starter(file: str, policy: Policy, night: date) -> Callable[[Share], Awaitable[None]]:
    """What gets a shard of this night to work: a run of the policy's shard deployment, on whichever worker is free."""
    context = FlowRunContext.get()
    told = context.flow_run.parameters.get("project") if context and context.flow_run else None
    # A block crosses to another run by reference alone; where this run has none, the shards' deployment has its own.
    project: dict[str, Any] = {"project": told} if isinstance(told, dict) and "$ref" in told else {}

    async def start(share: Share) -> None:
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
            run = await arun_deployment(
                name,
                parameters=parameters | project,
                timeout=0,
                # The same key gives the run that is there: a night that goes on after a crash starts no shard twice.
                idempotency_key=f"{policy.name}/{night}/{share.number}/{share.attempt}",
            )
        except ObjectNotFound:
            raise UsageError(
                f"limits.shards: there is no deployment {name}.", action="`python -m deployments.setup` makes it."
            ) from None
        get_run_logger().info("shard %s is run %s", share, run.name)

    return start


def part_ended(report: NightReport) -> State[Any]:
    """A shard's end; what its servers came to is for the whole night to judge."""
    return Completed(message=summary(report))


def part_failed(error: B2iError) -> State[Any]:
    """A shard's end when nothing could be done; its servers have failed unless it is retried before the night's deadline."""
    for line in pages.log_lines(error):
        get_run_logger().warning(line)
    return Failed(message=pages.paragraph(error))
