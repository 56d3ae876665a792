"""Sweep and retention through their flows: told first, deleted where that is ordered, and never more than a run has planned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import Event
from prefect.flow_engine import run_flow_async
from prefect.states import AwaitingRetry, Cancelled

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.emulator.ims_create import activate
from backup_to_image.emulator.making import image_document
from backup_to_image.forms import OrderForm
from backup_to_image.run_results import RETENTION_RESULT_KEY, SWEEP_RESULT_KEY, RetentionResult, SweepResult
from flows.image_from_backup import image_from_backup
from flows.retention import retention
from flows.sweep import sweep
from tasks.cancelled import report_cancelled_retention, report_cancelled_sweep
from tests.prefect.test_flow import asked, came_of, pages

pytestmark = pytest.mark.usefixtures("server")

Account = dict[str, Any]
Heard = Callable[[], Awaitable[list[Event]]]
WriteIt = Callable[..., str]
DAY = 86400
SERVER = "shop-lb-01"
"""It has five nightly backups, a day apart, of 20 GB each."""


def advance(region: Emulator, seconds: float) -> None:
    cast("FakeClock", region.cloud.clock).advance(seconds)


def there(region: Emulator, image: str) -> bool:
    advance(region, 60)
    region.tick()
    return region.cloud.get("image", image) is not None


def image_of(region: Emulator, backup: dict[str, Any], name: str, **changes: Any) -> str:
    """An image of ours, made in no time."""
    cloud = region.cloud
    image = cloud.new("image", image_document(backup, project=backup["project"], name=name, created_at=cloud.stamp()))
    activate(cloud, image, cloud.now())
    image.update({"tags": {"b2i-source": backup["resource_id"]} | changes.pop("tags", {}), **changes})
    cloud.save("image", image)
    return str(image["id"])


def members(region: Emulator, image: str) -> list[str]:
    return [one["project"] for one in region.cloud.walk("image-member", image_id=image)]


def dead_images(region: Emulator, account: Account, count: int = 1) -> list[str]:
    backups = [region.cloud.get("backup", one) for one in account["backups"]["available"][:count]]
    return [image_of(region, one, f"dead-{number}", status="killed") for number, one in enumerate(backups) if one]


def old_images(region: Emulator, count: int) -> list[str]:
    """Images of the newest nights of one server, the newest first."""
    found = [one for one in region.cloud.walk("backup") if one["resource_name"] == SERVER and one["auto"]]
    newest_first = sorted(found, key=lambda one: str(one["created_at"]), reverse=True)[:count]
    return [image_of(region, one, one["name"], tags={"b2i-policy": "nightly-lb"}) for one in newest_first]


@pytest.fixture
def policy(settings_file: Path) -> WriteIt:
    """Write a policy into the worker's directory; returns the file's name."""

    def write(**rules: Any) -> str:
        content = {"name": "nightly-lb", "servers": {"names": [SERVER]}, "retention": {"max_deletions": 100} | rules}
        file = settings_file.parent / "policies" / "nightly-lb.yaml"
        file.write_text(yaml.safe_dump(content))
        return file.name

    return write


async def swept(state: State[Any]) -> SweepResult:
    return SweepResult.model_validate_json((await pages(state))[SWEEP_RESULT_KEY])


async def retired(state: State[Any]) -> RetentionResult:
    return RetentionResult.model_validate_json((await pages(state))[RETENTION_RESULT_KEY])


def reads(region: Emulator) -> bool:
    return {one["method"] for one in region.requests if one["operationId"] != "createToken"} <= {"GET"}


async def known_for_a_day(project: Any, region: Emulator) -> None:
    await sweep(project, return_state=True)
    advance(region, DAY + 1)


async def cancelled(state: State[Any], flow: Any, hook: Any, **parameters: Any) -> None:
    """What Prefect does in another process when the run has been cancelled."""
    assert state.state_details.flow_run_id
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
    await hook(flow, run.model_copy(update={"parameters": parameters}), Cancelled())


# -- the sweep ----------------------------------------------------------------------------------------------------------


async def test_what_is_seen_for_the_first_time_is_told_and_stays_and_a_day_later_it_goes_with_apply_alone(
    project: Any, account: Account, region: Emulator, events: Heard
) -> None:
    (dead,) = dead_images(region, account)
    first = await sweep(project, apply=True, return_state=True)
    assert (first.name, there(region, dead)) == ("Completed", True)
    assert "1 seen for the first time" in (first.message or "")
    advance(region, DAY)

    looked = await sweep(project, return_state=True)
    assert (looked.name, reads(region)) == ("Checked", True)
    assert "1 due" in (looked.message or "")
    assert "Nothing was removed" in (looked.message or "")

    done = await sweep(project, apply=True, return_state=True)
    assert (done.name, there(region, dead)) == ("Completed", False)
    assert (done.message or "").startswith("Removed 1 image (140 GB)")
    result = await swept(done)
    assert result.swept
    assert (result.exit_code, [one.id for one in result.swept.removed]) == (0, [dead])
    assert dead in (await pages(done))["sweep"]
    assert [one.resource["b2i.outcome"] for one in await events() if one.event == "b2i.sweep.finished"] == ["done"] * 3


async def test_a_share_that_was_given_for_a_day_through_the_form_is_ended_by_the_sweep(
    project: Any, account: Account, region: Emulator
) -> None:
    form = OrderForm(backup_id=account["backups"]["available"][0], share_with=["dr"], share_for="1d")
    made = await image_from_backup(form, project, return_state=True)
    assert made.is_completed(), made.message
    image = (await came_of(made)).image_id
    assert members(region, image) == [account["second_project"]]

    assert "Nothing to sweep" in ((await sweep(project, apply=True, return_state=True)).message or "")
    advance(region, 2 * DAY + 60)
    done = await sweep(project, apply=True, return_state=True)
    assert "Removed 1 share" in (done.message or "")
    assert members(region, image) == []


async def test_what_is_new_when_something_else_goes_is_told_as_new(project: Any, account: Account, region: Emulator) -> None:
    (old,) = dead_images(region, account)
    await known_for_a_day(project, region)
    second = region.cloud.get("backup", account["backups"]["available"][1])
    assert second
    new = image_of(region, second, "new", status="killed")
    result = await swept(await sweep(project, apply=True, return_state=True))
    assert result.swept
    assert {one.id: one.action for one in result.swept.found} == {old: "removed", new: "marked"}


async def test_something_that_was_to_go_and_is_left_is_no_green_and_the_rest_goes(
    project: Any, account: Account, region: Emulator, events: Heard
) -> None:
    dead = dead_images(region, account, 2)
    await known_for_a_day(project, region)
    region.faults.arm("forbidden", operation="deleteImage", skip=1, times=None)
    state = await sweep(project, apply=True, return_state=True)
    assert (state.name, state.is_failed()) == ("PartlyDone", True)
    assert sorted(there(region, one) for one in dead) == [False, True]
    result = await swept(state)
    assert result.swept
    assert (result.exit_code, len(result.swept.left), len(result.swept.removed)) == (5, 1, 1)
    assert result.swept.left[0].reason in (await pages(state))["sweep"].replace("\\|", "|")
    assert [one.resource["b2i.outcome"] for one in await events() if one.event == "b2i.sweep.finished"] == ["done", "partly"]


async def test_a_cancelled_sweep_says_what_is_gone_by_then(project: Any, account: Account, region: Emulator) -> None:
    dead_images(region, account, 2)
    await known_for_a_day(project, region)
    region.faults.arm("forbidden", operation="deleteImage", skip=1, times=None)
    state = await sweep(project, apply=True, return_state=True)  # half of it is done: as far as a cancelled one came

    await cancelled(state, sweep, report_cancelled_sweep, project=project, apply=True)
    assert "1 of 2 are gone (image dead-" in (await pages(state))["sweep"]
    result = await swept(state)
    assert result.swept
    assert (result.exit_code, len(result.swept.removed)) == (4, 1)


async def test_a_sweep_that_is_cancelled_before_it_removed_anything_says_so(project: Any, region: Emulator) -> None:
    state = await sweep(project, return_state=True)
    await cancelled(state, sweep, report_cancelled_sweep, project=project)
    assert "before it removed anything" in (await pages(state))["sweep"]
    assert (await swept(state)).exit_code == 1


async def test_a_grace_time_that_is_none_is_told_before_anything_is_asked(project: Any, region: Emulator) -> None:
    state = await sweep(project, apply=True, grace="a day", return_state=True)
    assert state.is_failed()
    assert "grace: 'a day' is no duration" in (state.message or "")
    assert not region.requests
    assert (await swept(state)).exit_code == 2


# -- retention ----------------------------------------------------------------------------------------------------------


async def again(state: State[Any], flow: Any, **parameters: Any) -> State[Any]:
    """The same run, started once more: as Retry does, or the automation after a crash."""
    assert state.state_details.flow_run_id
    async with get_client() as client:
        await client.set_flow_run_state(state.state_details.flow_run_id, AwaitingRetry(), force=True)
        run: FlowRun = await client.read_flow_run(state.state_details.flow_run_id)
    ended: State[Any] = await run_flow_async(flow, flow_run=run, parameters=parameters, return_type="state")
    return ended


async def test_without_apply_the_page_tells_each_decision_with_its_rule_and_nothing_is_deleted(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    newest, *older = old_images(region, 3)
    state = await retention(policy(), project, return_state=True)
    assert (state.name, reads(region)) == ("Checked", True)
    assert "1 image to stay; 2 to go" in (state.message or "")
    assert "Nothing was deleted" in (state.message or "")
    page = (await pages(state))["retention-nightly-lb"]
    assert all(
        word in page for word in (newest, *older, "newest good", "no rule keeps it", "go back to their CBR policy", "40 GB")
    )
    result = await retired(state)
    assert result.plan
    assert (result.exit_code, {one.decision.image_id for one in result.plan.delete}) == (0, set(older))


async def test_with_apply_what_no_rule_keeps_is_deleted_and_the_page_says_what_became_of_it(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    newest, *older = old_images(region, 3)
    state = await retention(policy(delete_backup="always"), project, apply=True, return_state=True)
    assert state.name == "Completed", state.message
    assert [there(region, one) for one in (newest, *older)] == [True, False, False]
    assert "2 images deleted, 2 backups with them (40 GB)" in (state.message or "")
    result = await retired(state)
    assert result.done
    assert set(result.done.deleted) == set(older)
    assert "deleted; backup deleted" in (await pages(state))["retention-nightly-lb"]
    (event,) = [one for one in await events() if one.event == "b2i.retention.finished"]
    assert (event.resource.id, event.resource["b2i.outcome"]) == ("b2i.policy.nightly-lb", "done")


async def test_a_run_that_is_started_again_and_again_deletes_no_more_than_its_first_plan(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    old_images(region, 4)
    name = policy(max_deletions=1)
    first = await retention(name, project, apply=True, return_state=True)
    assert first.name == "Completed"
    second = await again(first, retention, policy=name, project=project, apply=True)
    assert (second.name, asked(region, "deleteImage")) == ("Completed", 1)
    assert "0 images deleted" in (second.message or "")
    await retention(name, project, apply=True, return_state=True)
    assert asked(region, "deleteImage") == 2, "another run has a plan of its own"


async def test_a_deletion_that_is_refused_is_left_with_the_clouds_words_and_no_green(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    old_images(region, 3)
    region.faults.arm("forbidden", operation="deleteImage", skip=1, times=None)
    state = await retention(policy(), project, apply=True, return_state=True)
    assert (state.name, (await retired(state)).exit_code) == ("PartlyDone", 5)
    assert "1 image deleted" in (state.message or "")
    assert "1 left" in (state.message or "")

    await cancelled(state, retention, report_cancelled_retention, policy="nightly-lb.yaml", project=project, apply=True)
    result = await retired(state)
    assert (result.exit_code, len(result.gone)) == (4, 1)
    page = (await pages(state))["retention-nightly-lb"]
    assert "1 of 2 images are gone" in page
    assert "still there" in page


async def test_a_deletion_that_is_granted_and_not_over_is_finished_by_the_same_run(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    _, old = old_images(region, 2)
    name = policy()
    region.faults.arm("delete-ignored", times=1)
    late = await retention(name, project, apply=True, return_state=True)
    assert (late.name, (await retired(late)).exit_code, there(region, old)) == ("StillRunning", 4, True)
    assert "1 not over" in (late.message or "")

    done = await again(late, retention, policy=name, project=project, apply=True)
    assert (done.name, there(region, old)) == ("Completed", False)
    assert "1 image deleted" in (done.message or "")


async def test_a_list_that_cannot_be_read_decides_nothing_and_calls_for_somebody(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    old_images(region, 3)
    region.faults.arm("forbidden", operation="listBackups", times=None)
    state = await retention(policy(), project, apply=True, return_state=True)
    assert (state.name, asked(region, "deleteImage")) == ("Failed", 0)
    assert "Retention decides nothing" in (state.message or "")
    assert (await retired(state)).exit_code == 1
    (event,) = [one for one in await events() if one.event == "b2i.retention.finished"]
    assert event.resource["b2i.outcome"] == "failed"


async def test_a_policy_of_retention_is_a_file_of_the_workers_directory(project: Any, policy: WriteIt) -> None:
    policy()
    state = await retention("../b2i.yaml", project, return_state=True)
    assert "none of the worker's: nightly-lb.yaml" in (state.message or "")
    assert (await retired(state)).exit_code == 2
