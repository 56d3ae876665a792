"""The reconciler, through its flow: what was left is finished, late runs start again, live and foreign ones are left alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import Event
from prefect.flow_engine import run_flow_async
from prefect.states import Crashed, Failed, Running, Scheduled

from backup_to_image.blocks import OtcProject
from backup_to_image.emulator import Emulator
from backup_to_image.errors import StillRunning
from backup_to_image.model import ImageOrder
from backup_to_image.steps.pipeline import image_from_backup
from deployments.setup import set_up
from flows.reconcile import reconcile
from tasks.runs import start_again
from tests.prefect.test_flow import asked, pages

pytestmark = pytest.mark.usefixtures("server")

Account = dict[str, Any]
DEPLOYMENT = "image-from-backup/on-demand"
RECONCILER = "reconcile/every-ten-minutes"


async def a_run(state: State[Any], deployment: str = DEPLOYMENT) -> FlowRun:
    """A run of a deployment that got into this state somehow."""
    parameters = {"order": {"backup_id": "any"}} if deployment == DEPLOYMENT else {}
    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        run = await client.create_flow_run_from_deployment(found.id, parameters=parameters)
        await client.set_flow_run_state(run.id, state, force=True)
        return await client.read_flow_run(run.id)


async def state_of(run: FlowRun) -> str:
    async with get_client() as client:
        found = (await client.read_flow_run(run.id)).state
    return found.name or "" if found else ""


async def give_up(run: FlowRun, backup: str, project: Any, region: Emulator) -> None:
    """The run orders an image and its time is over before the image is there."""
    region.faults.arm("job-stuck", operation="createWholeImage", seconds=4000)
    async with project.connect() as ctx:
        ctx.run_id = str(run.id)
        with pytest.raises(StillRunning):
            await image_from_backup(ImageOrder(backup_id=backup, timeout=timedelta(minutes=10), share_with=("dr",)), ctx)


@pytest.fixture(autouse=True)
async def deployments(server: str, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_AUTH_URL", account["auth_url"])
    monkeypatch.setenv("OS_USERNAME", account["user"])
    monkeypatch.setenv("OS_PASSWORD", account["password"])
    monkeypatch.setenv("OS_USER_DOMAIN_NAME", account["domain_name"])
    monkeypatch.setenv("OS_PROJECT_NAME", account["project_name"])
    await set_up()


@flow
async def only_start_again() -> tuple[str, ...]:
    """As if every crash were long ago."""
    return await start_again((), left_alone=timedelta(0))


async def test_a_late_run_starts_again_when_the_cloud_is_done_and_not_before(
    project: Any, account: Account, region: Emulator, events: Callable[[], Awaitable[list[Event]]]
) -> None:
    run = await a_run(Failed(name="StillRunning"))
    await give_up(run, account["backups"]["available"][0], project, region)
    early = await reconcile(project, return_state=True)
    assert (early.name, await state_of(run)) == ("Completed", "StillRunning")
    assert "past the deadline" in (early.message or "")
    region.cloud.clock.advance(8000)  # type: ignore[attr-defined]
    done = await reconcile(project, return_state=True)
    assert await state_of(run) == "AwaitingRetry"
    assert run.name in (done.message or "")
    shown = (await pages(done))["open-orders"]
    assert account["backups"]["available"][0] in shown
    assert "is Normal, shared with" in shown
    assert asked(region, "createWholeImage") == 1
    assert [event.event for event in await events()] == ["b2i.order.overdue", "b2i.order.finished"]


async def test_a_late_run_of_another_project_is_left_to_the_reconciler_of_that_project(
    project: Any, account: Account, region: Emulator
) -> None:
    mine = await a_run(Failed(name="StillRunning"))
    async with get_client() as client:
        found = await client.read_deployment_by_name(DEPLOYMENT)
        block = await OtcProject(**{one: account[one] for one in ("auth_url", "project_name")}).asave("elsewhere", overwrite=True)
        order = {"order": {"backup_id": "any"}, "project": {"$ref": {"block_document_id": str(block)}}}
        theirs = await client.create_flow_run_from_deployment(found.id, parameters=order)
        await client.set_flow_run_state(theirs.id, Failed(name="StillRunning"), force=True)
    run = await a_run(Scheduled(), RECONCILER)  # its block is the deployment's, by reference
    done: State[Any] = await run_flow_async(reconcile, flow_run=run, parameters={"project": project}, return_type="state")
    assert done.is_completed(), done.message
    assert (await state_of(mine), await state_of(theirs)) == ("AwaitingRetry", "StillRunning")
    async with get_client() as client:
        for one in (mine, theirs):
            await client.delete_flow_run(one.id)


async def test_the_order_of_a_run_at_work_is_left_to_it(project: Any, account: Account, region: Emulator) -> None:
    run = await a_run(Running())
    await give_up(run, account["backups"]["available"][1], project, region)
    before = asked(region, "getImsJob", "getImage")
    told = await (await reconcile(project, return_state=True)).aresult()
    assert [order.outcome for order in told if order.run_id == str(run.id)] == ["busy"]
    assert asked(region, "getImsJob", "getImage") == before
    async with get_client() as client:
        await client.delete_flow_run(run.id)


async def test_a_crashed_run_that_nothing_brings_back_starts_again_and_a_fresh_crash_is_left_to_the_automation(
    project: Any,
) -> None:
    fresh = await a_run(Crashed())
    await reconcile(project, return_state=True)
    assert await state_of(fresh) == "Crashed"
    assert fresh.name in await only_start_again()
    assert await state_of(fresh) == "AwaitingRetry"


async def test_runs_of_other_peoples_deployments_are_never_touched(project: Any) -> None:
    @flow
    async def theirs() -> None: ...

    async with get_client() as client:
        await client.create_deployment(await client.create_flow(theirs), "foreign", tags=["theirs"])
    runs = [await a_run(Crashed(), "theirs/foreign"), await a_run(Failed(name="StillRunning"), "theirs/foreign")]
    await reconcile(project, return_state=True)
    await only_start_again()
    assert [await state_of(run) for run in runs] == ["Crashed", "StillRunning"]


async def test_nothing_open_is_a_green_run_that_says_so(project: Any, region: Emulator) -> None:
    done = await reconcile(project, return_state=True)
    assert done.is_completed()
    assert {request["method"] for request in region.requests if request["operationId"] != "createToken"} <= {"GET"}


async def test_a_wrong_log_in_is_told_in_plain_words(project: Any, region: Emulator) -> None:
    from pydantic import SecretStr

    wrong = project.model_copy(update={"password": SecretStr("Wrong-Password-1")}).inside(region)
    state = await reconcile(wrong, return_state=True)
    assert state.is_failed()
    assert "Wrong-Password-1" not in (state.message or "")
