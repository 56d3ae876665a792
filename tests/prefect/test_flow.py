"""The flow's promises, through the flow, against the emulated cloud."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.events import Event
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL
from pydantic import SecretStr

from backup_to_image.emulator import Emulator
from backup_to_image.errors import NoAnswer, PartlyDone, Refused, StillRunning
from backup_to_image.forms import OrderForm
from backup_to_image.model import Delivery, ImageOrder
from backup_to_image.run_results import RESULT_KEY, RunResult
from flows.image_from_backup import image_from_backup
from tasks.backups import validate_backup
from tasks.cancelled import look_behind
from tasks.pages import result_page

pytestmark = pytest.mark.usefixtures("server")

Account = dict[str, Any]


async def run(form: OrderForm, project: Any) -> State[Any]:
    return await image_from_backup(form, project, return_state=True)


async def came_of(state: State[Any]) -> Any:
    return await state.aresult(raise_on_failure=False)


async def pages(state: State[Any]) -> dict[str, str]:
    """The run's artifacts by key, the newest of each."""
    run_id = state.state_details.flow_run_id
    assert run_id
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])))
    return {artifact.key: str(artifact.data) for artifact in sorted(found, key=lambda one: str(one.created))}


def asked(region: Emulator, *operations: str) -> int:
    return sum(request["operationId"] in operations for request in region.requests)


async def test_a_backup_becomes_an_image_that_is_shared_and_launched(
    project: Any, account: Account, region: Emulator, events: Callable[[], Awaitable[list[Event]]]
) -> None:
    state = await run(OrderForm(backup_id=account["backups"]["available"][0], share_with=["dr"], launch="shop.yaml"), project)

    delivery = await came_of(state)
    assert isinstance(delivery, Delivery)
    assert (state.name, delivery.outcome, delivery.status) == ("Completed", "made", "active")
    assert delivery.shared_with == (account["second_project"],)
    assert delivery.launch is not None
    assert delivery.launch.server_names == ("shop-restored",)
    image = region.cloud.get("image", delivery.image_id or "")
    assert image is not None
    assert image["status"] == "active"
    assert asked(region, "createWholeImage") == 1
    assert [step.step for step in delivery.steps] == ["validate", "create", "wait", "share", "launch"]
    assert state.message is not None
    assert delivery.image_id in state.message
    told = {event.event: event.resource.name or "" for event in await events()}
    assert set(told) == {"b2i.image.created", "b2i.image.shared", "b2i.server.launched"}
    assert delivery.image_name in told["b2i.image.created"]
    shown = await pages(state)
    assert delivery.image_id in shown["image-from-backup"]
    assert RunResult.model_validate_json(shown[RESULT_KEY]).delivery == delivery
    async with get_client() as client:
        seen = await client.read_flow_run(state.state_details.flow_run_id)
    assert (seen.name, seen.tags) == (f"image of {delivery.backup_id}", ["made"])


async def test_a_refused_order_names_every_reason_in_state_log_and_page_and_makes_nothing(
    project: Any,
    account: Account,
    region: Emulator,
    caplog: pytest.LogCaptureFixture,
    events: Callable[[], Awaitable[list[Event]]],
) -> None:
    with caplog.at_level(logging.INFO, "prefect"):
        state = await run(
            OrderForm(backup_id=account["backups"]["volume"], share_with=["nobody"], tags=[f"k{n}=v" for n in range(5)]), project
        )

    refusal = await came_of(state)
    assert isinstance(refusal, Refused)
    assert state.name == "Refused"
    assert state.is_failed()
    reasons = refusal.report.refusals
    assert len(reasons) >= 2
    shown = await pages(state)
    for check in reasons:
        assert state.message is not None
        assert check.why in state.message
        assert any(check.why in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    rows = [line for line in shown["image-from-backup-checks"].splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(refusal.report.checks)
    assert "\n" not in state.message
    assert not any(record.exc_info for record in caplog.records), "a refusal is no accident: no traceback"
    assert asked(region, "createWholeImage") == 0
    assert RunResult.model_validate_json(shown[RESULT_KEY]).exit_code == 3
    (told,) = await events()
    assert told.event == "b2i.image.refused"


async def test_the_same_order_twice_is_one_image_and_one_server(project: Any, account: Account, region: Emulator) -> None:
    form = OrderForm(backup_id=account["backups"]["available"][1], share_with=["dr"], launch="shop.yaml")
    first = await came_of(await run(form, project))
    again: Any = await image_from_backup(form, project)

    assert again.outcome == "adopted"
    assert (again.image_id, again.launch.server_ids) == (first.image_id, first.launch.server_ids)
    assert again.shared_with == first.shared_with
    assert asked(region, "createWholeImage") == 1
    launches = [r for r in region.requests if r["operationId"] in {"createServers", "createServersV11"} and r["status"] == 200]
    assert len(launches) == 1


async def test_a_wait_that_is_over_ends_as_still_running_and_the_same_order_goes_on(
    project: Any, account: Account, region: Emulator
) -> None:
    region.faults.arm("job-stuck", operation="createWholeImage", seconds=1200)
    form = OrderForm(backup_id=account["backups"]["available"][2], timeout_minutes=5)
    late = await run(form, project)

    assert (late.name, late.is_failed()) == ("StillRunning", True)
    on = f"Go on with Retry in this run's menu, or `b2i create {form.backup_id}`."
    assert (late.message or "").endswith(f"Waiting helps: yes. {on}")
    assert f"**{on}**" in (await pages(late))["image-from-backup"]
    assert isinstance(await came_of(late), StillRunning)
    result = RunResult.model_validate_json((await pages(late))[RESULT_KEY])
    assert (result.exit_code, result.outcome) == (4, "still_running")
    assert result.handle["backup"] == account["backups"]["available"][2]

    region.cloud.clock.advance(3600)  # type: ignore[attr-defined]
    done = await run(form, project)
    assert done.name == "Completed"
    assert asked(region, "createWholeImage") == 1


async def test_an_image_whose_sharing_failed_is_named_and_is_no_green(project: Any, account: Account, region: Emulator) -> None:
    region.faults.arm("forbidden", operation=["batchAddImageMembers", "addImageMember"], times=None)
    state = await run(OrderForm(backup_id=account["backups"]["available"][3], share_with=["dr"]), project)

    partly = await came_of(state)
    assert isinstance(partly, PartlyDone)
    assert (state.name, state.is_failed()) == ("PartlyDone", True)
    assert state.message is not None
    assert partly.delivery.image_id in state.message
    result = RunResult.model_validate_json((await pages(state))[RESULT_KEY])
    assert (result.exit_code, result.delivery) == (5, partly.delivery)


async def test_only_checking_makes_nothing(project: Any, account: Account, region: Emulator) -> None:
    state = await run(OrderForm(backup_id=account["backups"]["available"][0], dry_run=True), project)

    assert (state.name, state.is_completed()) == ("Checked", True)
    assert {request["method"] for request in region.requests if request["operationId"] != "createToken"} == {"GET"}
    with pytest.raises(Refused):
        await image_from_backup(OrderForm(backup_id=account["backups"]["volume"], dry_run=True), project)
    shown = await pages(state)
    assert "image-from-backup-checks" in shown
    assert RunResult.model_validate_json(shown[RESULT_KEY]).outcome is None


async def test_a_password_of_asterisks_is_refused_before_it_is_sent(project: Any, account: Account, region: Emulator) -> None:
    hidden = project.model_copy(update={"password": SecretStr("********")}).inside(region)
    state = await run(OrderForm(backup_id=account["backups"]["available"][0]), hidden)

    assert state.name == "Failed"
    assert "asterisks" in (state.message or "")
    assert not region.requests


@pytest.mark.parametrize("fault", ["forbidden", "reset-before"])
async def test_a_cancelled_run_whose_cloud_tells_nothing_names_its_backup_and_the_reason(
    project: Any, account: Account, region: Emulator, fault: str
) -> None:
    backup = account["backups"]["available"][0]
    region.faults.arm(fault, operation="createToken", times=None)
    left = await look_behind(OrderForm(backup_id=backup), project, run_id="none")

    result = RunResult.of(left)
    assert (result.exit_code, result.outcome, result.handle) == (4, "still_running", {"backup": backup})
    assert left.unread["the cloud"]
    page = result_page(result)
    assert backup in page
    assert left.unread["the cloud"] in page
    assert "Retry" in page


async def test_a_cancelled_check_asked_for_nothing_whatever_others_have_made(project: Any, account: Account) -> None:
    backup = account["backups"]["available"][0]
    assert (await run(OrderForm(backup_id=backup), project)).name == "Completed"

    result = RunResult.of(await look_behind(OrderForm(backup_id=backup, dry_run=True), project, run_id="none"))
    assert (result.exit_code, result.outcome) == (1, "failed")
    assert "nothing was made" in result_page(result)


async def test_a_run_that_was_started_too_often_ends_by_itself(
    project: Any, account: Account, region: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "11")
    state = await run(OrderForm(backup_id=account["backups"]["available"][0]), project)

    assert "started 11 times" in (state.message or "")
    assert not region.requests


async def test_an_outage_is_tried_again_and_ends_without_a_traceback(
    project: Any, account: Account, region: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0
    at_once = validate_backup.with_options(retry_delay_seconds=0, retry_jitter_factor=0.0)

    @flow
    async def only_validate() -> str:
        nonlocal looks
        async with project.connect() as ctx:
            region.faults.arm("reset-before", operation="getBackup", times=None)
            before = asked(region, "getBackup")
            try:
                await at_once(ImageOrder(backup_id=account["backups"]["available"][0]), ctx)
            except NoAnswer as silence:
                looks = asked(region, "getBackup") - before
                return silence.message
        return "it was there"

    assert "got no answer" in await only_validate()
    once = looks // 4
    assert looks == 4 * once >= 4, "one try and three retries of the task, each with the client's own"
    assert not any(record.exc_info for record in caplog.records)


async def test_no_secret_is_in_the_database_or_in_the_home_of_prefect(project: Any, account: Account) -> None:
    keys = project.model_copy(
        update={
            "password": SecretStr(""),
            "username": "",
            "domain_name": "",
            "access_key": account["ak"],
            "secret_key": SecretStr(account["sk"]),
        }
    )
    assert project._region
    await run(OrderForm(backup_id=account["backups"]["available"][0], share_with=["dr"]), project)
    await run(OrderForm(backup_id=account["backups"]["available"][0]), keys.inside(project._region))
    await run(OrderForm(backup_id=account["backups"]["volume"]), project)
    await project.asave("secretive", overwrite=True)

    file = Path(PREFECT_SERVER_DATABASE_CONNECTION_URL.value().partition(":///")[2])
    with sqlite3.connect(file) as database:
        kept = "\n".join(database.iterdump()).encode()
    assert account["backups"]["volume"].encode() in kept, "this is the database of these runs"
    kept += b"".join(one.read_bytes() for one in PREFECT_HOME.value().rglob("*") if one.is_file() and one.suffix != ".db")
    assert project.tokens
    for secret in (account["password"], account["sk"], *project.tokens):
        assert secret.encode() not in kept


async def test_requests_that_wait_for_the_cloud_are_told_in_the_flows_log(
    project: Any, account: Account, region: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    region.faults.arm("throttled-429", operation="getImsJob", skip=1, retry_after=900)
    with caplog.at_level(logging.INFO, "prefect"):
        state = await run(OrderForm(backup_id=account["backups"]["available"][0]), project)

    assert state.is_completed()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("prefect.flow_runs")]
    (waits,) = [line for line in lines if "to take requests again" in line]
    assert "Retry-After 900 s, of which 300 s are kept" in waits
    assert any(line.startswith("requests no longer wait, after 5 min") for line in lines)
