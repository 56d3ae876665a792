"""Tasks on runbooks: the look whether one could be run, and each thing that a run does."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from prefect import task

from backup_to_image.evidence import report_on
from backup_to_image.forms import RunbookCheckForm
from backup_to_image.model import Image, LaunchDelivery, LaunchOrder
from backup_to_image.model.readiness import Readiness
from backup_to_image.model.recovery import RunbookRun, RunMode
from backup_to_image.model.runbook import RunbookStep
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching import drills
from backup_to_image.steps.runbook import acts, hooks, readiness
from backup_to_image.steps.runbook.file import RunbookFile
from backup_to_image.told.told import Told
from tasks.events import rpo_breached, server_launched
from tasks.policy import NO_RETRY, RETRY

__all__ = ["check_readiness", "do_step", "launch_one", "take_down", "verify_evidence"]


@task(name="check readiness", task_run_name="check readiness of {file.runbook.name}", **RETRY)
async def check_readiness(file: RunbookFile, order: RunbookCheckForm, ctx: Context) -> Readiness:
    """Whether each server could be brought back now, and all of them together. Makes nothing."""
    seen = await readiness.check_readiness(file, ctx, modes=order.modes)
    if file.runbook.targets.rpo:
        rpo_breached("runbook", file.runbook.name, file.runbook.targets.rpo, seen.too_old)
    return seen


@task(name="verify evidence", task_run_name="verify {path.name}", **NO_RETRY)
async def verify_evidence(path: Path, head: str) -> Told:
    """What a record tells, and whether it and its whole chain are as they were written."""
    return await asyncio.to_thread(report_on, path, verified=True, head=head)


@task(name="launch server", task_run_name="launch server {order.name}", **RETRY)
async def launch_one(image: Image, order: LaunchOrder, ctx: Context, *, mode: RunMode, deadline: datetime) -> LaunchDelivery:
    """One server of a run, ACTIVE and probed; launched unless it is there already."""
    launched = await acts.launch_one(image, order, ctx, mode=mode, deadline=deadline)
    server_launched(launched)
    return launched


@task(name="take down", task_run_name="take down {mark}", **RETRY)
async def take_down(mark: str, ctx: Context) -> tuple[str, ...]:
    """Remove a drill's server with its disks and addresses; says what stays behind."""
    return await drills.take_down(mark, ctx)


@task(name="step", task_run_name="{group}: {step.words}", **NO_RETRY)
async def do_step(step: RunbookStep, run: RunbookRun, group: str, ctx: Context) -> str:
    """A call or a command of the runbook; says what came of it."""
    return await hooks.do_step(step, run, group, ctx)
