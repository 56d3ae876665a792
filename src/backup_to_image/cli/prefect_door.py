"""The way to a Prefect server: reach it, order a run of our deployment, follow it, read what came of it.

Only this module of the command line imports Prefect, and only `--prefect` and the setup import this module.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from backup_to_image.blocks import OtcProject
from backup_to_image.clock import Clock, SystemClock
from backup_to_image.errors import B2iError, UsageError
from backup_to_image.forms import ActionForm, ImageForm, ServerForm, as_text
from backup_to_image.run_results import (
    NIGHT_RESULT_KEY,
    ORDER_RESULT_KEY,
    RESULT_KEY,
    RETENTION_RESULT_KEY,
    SWEEP_RESULT_KEY,
    NightResult,
    RetentionResult,
    RunResult,
    SweepResult,
)
from backup_to_image.steps.context import until
from backup_to_image.told.told import Told

__all__ = [
    "DEPLOYMENT",
    "OF_A_SERVER",
    "SWEEP",
    "Follower",
    "detached",
    "ended_without_a_word",
    "follow",
    "order_action",
    "order_night",
    "order_retention",
    "order_run",
    "order_sweep",
    "page_by_page",
    "prefect_server",
    "read_night",
    "read_result",
    "read_retention",
    "read_sweep",
    "read_told",
    "ui_link",
]

DEPLOYMENT = "image-from-backup/on-demand"
OF_A_SERVER = "image-of-server/of-a-server"
SWEEP = "sweep/every-morning"
T = TypeVar("T")

_SETUP = "`python -m deployments.setup` makes it."
_SETUP_OF_POLICIES = "`python -m deployments.setup` makes one for each policy in the worker's directory (`directories.policies`)."

_PAGE = 200
_LOOK_EVERY = 1.0
_NO_WORKER_AFTER = timedelta(seconds=30)
# Above what Prefect's client waits by itself, a minute.
_AWAY_FOR = timedelta(minutes=5)
# A crashed run is brought back by an automation after 60 s; a second report of the crash may come in between.
_CRASH_GRACE = timedelta(minutes=3)
# The engine's own remarks say nothing about images.
_ENGINE = re.compile(
    r"Beginning flow run|Finished in state|View at|Executing |Running \d+ deployment pull|Deployment step|All deployment"
)


@asynccontextmanager
async def prefect_server() -> AsyncGenerator[PrefectClient]:
    """A client of the server at PREFECT_API_URL, never a server of its own. Raises UsageError where there is none."""
    address = get_current_settings().api.url
    if not address:
        raise UsageError(
            "PREFECT_API_URL is not set, so there is no Prefect server to go to.",
            action="Set it, such as http://127.0.0.1:4200/api. Without --prefect b2i needs no server.",
            code="b2i.no-prefect",
        )
    async with get_client() as client:
        trouble = await client.api_healthcheck()
        if trouble is not None:
            raise UsageError(
                f"The Prefect server at {address} does not answer: {trouble or type(trouble).__name__}.",
                action="Start it or correct PREFECT_API_URL. Without --prefect b2i needs no server.",
                code="b2i.no-prefect",
            )
        try:
            yield client
        except httpx.HTTPError as error:
            why = _away(error)
            if why is not None:
                raise _gone(address, why) from None
            if not isinstance(error, httpx.HTTPStatusError) or error.response.status_code not in {401, 403}:
                raise
            raise UsageError(
                f"The Prefect server at {address} does not let us in ({error.response.status_code}).",
                action="Set PREFECT_API_AUTH_STRING as the server has it, and no PREFECT_API_KEY.",
                code="b2i.no-prefect",
            ) from None


async def page_by_page(read: Callable[..., Awaitable[list[T]]]) -> list[T]:
    """The whole of a list, of which the server gives no more than 200 at a time. `read` takes `limit` and `offset`."""
    found: list[T] = []
    while True:
        page = await read(limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found


def ui_link(path: str) -> str:
    """A page of the UI. With /v2/, since other addresses open the old one."""
    return f"{(get_current_settings().ui_url or '').rstrip('/')}/v2/{path}"


async def order_run(form: ImageForm, block: str, client: PrefectClient) -> FlowRun:
    """Order a new run of the form's deployment, the credentials block by reference. Raises UsageError where one is not there."""
    parameters = {"order": form.model_dump(mode="json"), "project": await _by_reference(block, client)}
    return await _run(OF_A_SERVER if isinstance(form, ServerForm) else DEPLOYMENT, parameters, client, missing=_SETUP)


async def order_action(form: ActionForm, blocks: Mapping[str, str | None], client: PrefectClient) -> FlowRun:
    """Order what a form says, with its deployment's own blocks or those named. Raises UsageError where one is not there."""
    projects = {name: await _by_reference(block, client) for name, block in blocks.items() if block}
    return await _run(form.deployment, {"order": form.model_dump(mode="json")} | projects, client, missing=_SETUP)


def _away(error: httpx.HTTPError) -> str | None:
    """Why nobody answers, in words; None where somebody has answered that this is wrong."""
    if isinstance(error, httpx.TransportError):
        return str(error) or type(error).__name__
    if isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error:
        return f"HTTP {error.response.status_code}"
    return None


def _gone(address: str, why: str) -> B2iError:
    return B2iError(
        f"The Prefect server at {address} answers no more: {why}.",
        action="What was ordered may go on without us. When the server is back, look at the run there, or give the same order "
        "again: it adopts what is there.",
        code="b2i.no-prefect",
    )


async def order_night(policy: str, block: str | None, client: PrefectClient, *, dry_run: bool) -> FlowRun:
    """Order a night of the policy's deployment, with its own block or another one. Raises UsageError where it is not there."""
    parameters = {"dry_run": dry_run} | await _project(block, client)
    return await _run(f"nightly/{policy}", parameters, client, missing=_SETUP_OF_POLICIES)


async def order_retention(policy: str, block: str | None, client: PrefectClient, *, apply: bool) -> FlowRun:
    """Order a run of the policy's retention, with its own block or another one. Raises UsageError where it is not there."""
    parameters = {"apply": apply} | await _project(block, client)
    return await _run(f"retention/{policy}", parameters, client, missing=_SETUP_OF_POLICIES)


async def order_sweep(block: str | None, client: PrefectClient, *, apply: bool, grace: timedelta) -> FlowRun:
    """Order a sweep of the block's project. Raises UsageError where the deployment or the block is not there."""
    parameters = {"apply": apply, "grace": as_text(grace)} | await _project(block, client)
    return await _run(SWEEP, parameters, client, missing=_SETUP)


async def _project(block: str | None, client: PrefectClient) -> dict[str, Any]:
    """The parameter that replaces the deployment's own block; none where none is named."""
    return {"project": await _by_reference(block, client)} if block else {}


async def _by_reference(block: str, client: PrefectClient) -> dict[str, Any]:
    try:
        document = await client.read_block_document_by_name(block, OtcProject.get_block_type_slug(), include_secrets=False)
    except ObjectNotFound:
        raise UsageError(
            f"There is no credentials block {block!r} on the Prefect server.",
            action=f"`python -m deployments.setup` makes the default one; others: {ui_link('blocks/catalog')}.",
        ) from None
    return {"$ref": {"block_document_id": str(document.id)}}


async def _run(name: str, parameters: dict[str, Any], client: PrefectClient, *, missing: str) -> FlowRun:
    try:
        deployment = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise UsageError(f"There is no deployment {name} on the Prefect server.", action=missing) from None
    return await client.create_flow_run_from_deployment(
        deployment.id, parameters=parameters, tags=["ordered-by-b2i"], idempotency_key=str(uuid4())
    )


async def read_result(run_id: UUID, client: PrefectClient) -> RunResult | None:
    """What the run says came of it; None where it ended without a word (killed, cancelled, parameters refused)."""
    found = await _left(run_id, RESULT_KEY, client)
    return RunResult.model_validate_json(found) if found else None


async def read_night(run_id: UUID, client: PrefectClient) -> NightResult | None:
    """The same of a night."""
    found = await _left(run_id, NIGHT_RESULT_KEY, client)
    return NightResult.model_validate_json(found) if found else None


async def read_sweep(run_id: UUID, client: PrefectClient) -> SweepResult | None:
    """The same of a sweep."""
    found = await _left(run_id, SWEEP_RESULT_KEY, client)
    return SweepResult.model_validate_json(found) if found else None


async def read_retention(run_id: UUID, client: PrefectClient) -> RetentionResult | None:
    """The same of a policy's retention."""
    found = await _left(run_id, RETENTION_RESULT_KEY, client)
    return RetentionResult.model_validate_json(found) if found else None


async def read_told(run_id: UUID, client: PrefectClient) -> Told | None:
    """The same of what a form of one command ordered."""
    found = await _left(run_id, ORDER_RESULT_KEY, client)
    return Told.model_validate_json(found) if found else None


async def _left(run_id: UUID, key: str, client: PrefectClient) -> str | None:
    """What the run left for programs under that key, the newest of it."""
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[key])),
        sort=ArtifactSort.CREATED_DESC,
        limit=1,
    )
    return str(found[0].data) if found else None


async def follow(run: FlowRun, client: PrefectClient, tell: Callable[[str], None], clock: Clock | None = None) -> FlowRun:
    """Tell where the run is, and follow it to its end. When it is cancelled, the run goes on, and that is told."""
    tell(f"ordered run {run.name}: {ui_link(f'runs/flow-run/{run.id}')}")
    try:
        return await Follower(client, clock or SystemClock(), tell).follow(run)
    except asyncio.CancelledError:
        tell(detached(run))
        raise


@dataclass
class Follower:
    """Follows one run: tells its changes of state and its log lines as they come."""

    client: PrefectClient
    clock: Clock
    tell: Callable[[str], None]
    _seen: set[UUID] = field(default_factory=set[UUID])
    _newest: datetime | None = None

    async def follow(self, run: FlowRun) -> FlowRun:
        """The run, once it has ended. A crash counts only when nobody brings the run back for three minutes."""
        begun = self.clock.now()
        state, told_of_worker, crashed_at = "", False, None
        while True:
            run = await self._look(run)
            now = self.clock.now()
            if run.state and run.state.name != state:
                state = run.state.name or run.state.type.value
                if not run.state.is_final() or run.state.type is StateType.CRASHED:
                    self.tell(f"run {run.name}: {state}")
            if run.state and run.state.type is StateType.CRASHED:
                crashed_at = crashed_at or now
                if now - crashed_at > _CRASH_GRACE:
                    return run
            elif run.state and run.state.is_final():
                await self.clock.sleep(_LOOK_EVERY)  # the last lines come a little later than the state
                await self._tell_logs(run.id)
                return run
            else:
                crashed_at = None
            waits = run.state is not None and run.state.type is StateType.SCHEDULED and run.run_count == 0
            if waits and not told_of_worker and now - begun > _NO_WORKER_AFTER:
                told_of_worker = True
                self.tell(f"no worker has taken the run yet: `prefect worker start --pool {run.work_pool_name or 'b2i'}`")
            await self.clock.sleep(_LOOK_EVERY)

    async def _look(self, run: FlowRun) -> FlowRun:
        """The run as it is now, its new lines told. A server that is away, as for an upgrade, is waited for."""
        deadline: datetime | None = None
        while True:
            try:
                run = await self.client.read_flow_run(run.id)
                await self._tell_logs(run.id)
            except ObjectNotFound:
                raise B2iError(
                    f"The run {run.name} is not there any more: somebody has deleted it.",
                    action="What it has asked the cloud for goes on. Give the same order again: it adopts what is there.",
                    code="b2i.prefect.deleted",
                ) from None
            except httpx.HTTPError as error:
                why, now = _away(error), self.clock.now()
                if why is None or (deadline and now >= deadline):
                    raise
                if deadline is None:
                    deadline = now + _AWAY_FOR
                    self.tell(f"the Prefect server does not answer ({why}); asking it again {until(deadline)}")
                await self.clock.sleep(_LOOK_EVERY)
            else:
                if deadline:
                    self.tell("the Prefect server answers again")
                return run

    async def _tell_logs(self, run_id: UUID) -> None:
        after = LogFilterTimestamp(after_=self._newest - timedelta(seconds=10)) if self._newest else None  # pyright: ignore[reportArgumentType] - Prefect's own datetime type is one
        of_it = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]), timestamp=after)
        logs = await page_by_page(partial(self.client.read_logs, of_it, sort=LogSort.TIMESTAMP_ASC))
        for log in logs:
            if log.id in self._seen:
                continue
            self._seen.add(log.id)
            self._newest = log.timestamp
            if log.name == "prefect.flow_runs" and not _ENGINE.match(log.message):
                self.tell(log.message)


def ended_without_a_word(run: FlowRun) -> B2iError:
    """The error that stands for a run that left no result: its state's own words."""
    state = run.state
    said = (state.message if state else None) or "without a message"
    name = (state.name if state else None) or "Unknown"
    return B2iError(
        f"The run {run.name} ended as {name}: {said}",
        action=f"Look at {ui_link(f'runs/flow-run/{run.id}')}. Ordering again is harmless: it adopts what is there.",
        code=f"b2i.prefect.{name.lower()}",
    )


def detached(run: FlowRun) -> str:
    """Said when the follower is stopped: the run is not."""
    return f"detached; the run {run.name} goes on: {ui_link(f'runs/flow-run/{run.id}')}"
