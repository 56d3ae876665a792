"""A night's promises, through the flow, against the emulated cloud."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import Event
from prefect.flow_engine import run_flow_async
from prefect.states import Scheduled

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.forms import policy_named
from backup_to_image.model.night import NightReport
from backup_to_image.run_results import NIGHT_RESULT_KEY, NightResult
from backup_to_image.steps.fleet.night import survey_for
from backup_to_image.steps.fleet.night_plan import plan_night
from backup_to_image.steps.fleet.shards import attempt_of, keep_shared_out, share_out
from backup_to_image.steps.survey import Survey
from flows.nightly import nightly
from flows.nightly_shard import nightly_shard
from flows.reconcile import reconcile
from tests.prefect.test_flow import asked, pages

pytestmark = pytest.mark.usefixtures("server")

WriteIt = Callable[..., str]
Heard = Callable[[], Awaitable[list[Event]]]


@pytest.fixture
def policy(settings_file: Path) -> WriteIt:
    """Write a policy into the worker's directory; returns the file's name."""

    def write(**keys: Any) -> str:
        content = {"name": "nightly-web", "servers": {"names": ["shop-web-0?"]}} | keys
        file = settings_file.parent / "policies" / f"{content['name']}.yaml"
        file.write_text(yaml.safe_dump(content))
        return file.name

    return write


async def run(project: Any, policy: str, **parameters: Any) -> State[Any]:
    return await nightly(policy, project, **parameters, return_state=True)


async def result_of(state: State[Any]) -> NightResult:
    return NightResult.model_validate_json((await pages(state))[NIGHT_RESULT_KEY])


async def seen(state: State[Any]) -> FlowRun:
    assert state.state_details.flow_run_id
    async with get_client() as client:
        return await client.read_flow_run(state.state_details.flow_run_id)


async def verbs(state: State[Any]) -> Counter[str]:
    """How often each verb was a task of this run."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[(await seen(state)).id]))
    async with get_client() as client:
        found = await client.read_task_runs(flow_run_filter=this)
    return Counter(" ".join(one.name.split()[:2]) for one in found)


async def writer_of(key: str, image: str) -> Any:
    """Whose task wrote the entry about that image. Prefect writes tasks down a moment after they began."""
    async with get_client() as client:
        entries = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
        (entry,) = [one for one in entries if image in str(one.data)]
        task = TaskRunFilter(id=TaskRunFilterId(any_=[entry.task_run_id or uuid4()]))
        for _ in range(100):
            if found := await client.read_task_runs(task_run_filter=task):
                return found[0].flow_run_id
            await asyncio.sleep(0.1)
    return None


async def nights_heard(events: Heard) -> list[Event]:
    return [one for one in await events() if one.event == "b2i.night.finished"]


async def run_of(begins: datetime, project: Any, policy: str) -> State[Any]:
    """A run that was to start then, and only starts now."""
    async with get_client() as client:
        late = await client.create_flow_run(nightly, state=Scheduled(scheduled_time=begins))
    ended: State[Any] = await run_flow_async(
        nightly,
        flow_run=late,
        parameters={"policy": policy, "project": project, "dry_run": False, "night": ""},
        return_type="state",
    )
    return ended


async def test_a_night_makes_an_image_of_every_server_one_task_per_verb_and_server_and_one_event(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    state = await run(project, policy(), night="2026-11-25")

    assert state.name == "Completed", state.message
    report = await state.aresult()
    assert isinstance(report, NightReport)
    assert (report.outcome, report.night, len(report.with_outcome("made"))) == ("made", "2026-11-25", 4)
    assert asked(region, "createWholeImage") == 4
    told = await result_of(state)
    assert (told.exit_code, told.report) == (0, report)
    shown = await pages(state)
    assert "night-nightly-web" in shown
    assert all(one.server_name in shown["board-nightly-web"] for one in report.servers)
    (event,) = await nights_heard(events)
    assert (event.resource.id, event.resource["b2i.outcome"]) == ("b2i.policy.nightly-web", "made")
    assert event.payload["counts"] == {"made": 4}
    assert event.payload["summary"] == state.message
    run_of_it = await seen(state)
    assert (run_of_it.name, run_of_it.tags) == ("night of nightly-web.yaml", ["made"])
    assert "\n" not in (state.message or "")


async def test_a_nights_page_has_its_own_artifacts_alone_and_each_servers_history_leads_to_the_task_that_wrote_it(
    project: Any, policy: WriteIt
) -> None:
    state = await run(project, policy())
    assert set(await pages(state)) == {"night-nightly-web", NIGHT_RESULT_KEY, "board-nightly-web"}  # the UI shows any 200
    report = (await result_of(state)).report
    assert report
    writers = {await writer_of(f"server-{one.server_name}", str(one.image_id)) for one in report.servers}
    assert writers == {state.state_details.flow_run_id}


async def test_servers_that_would_come_back_with_too_old_a_state_are_an_event_of_their_own(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    file = policy(backup={"newest_within": "26h", "make_one": "never"})
    await run(project, file)
    assert not [one for one in await events() if one.event == "b2i.rpo.breached"]
    region.cloud.clock.advance(3 * 86400)  # and nobody backs anything up
    await run(project, file)
    (event,) = [one for one in await events() if one.event == "b2i.rpo.breached"]
    assert event.resource.id == "b2i.policy.nightly-web"
    assert (event.payload["policy"], event.payload["allowed_s"]) == ("nightly-web", 50 * 3600)
    assert {one["server_name"] for one in event.payload["servers"]} == {f"shop-web-0{number}" for number in range(1, 5)}
    assert all(one["age_s"] > 3 * 86400 for one in event.payload["servers"])
    assert "50 h are allowed" in event.payload["summary"]


async def test_a_server_whose_image_fails_is_told_and_the_others_have_theirs(
    project: Any, region: Emulator, policy: WriteIt, events: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    region.faults.arm("job-fails", operation="createWholeImage")
    with caplog.at_level(logging.INFO, "prefect"):
        state = await run(project, policy(failed_when={"more_than": 1}))

    assert (state.name, state.is_failed()) == ("PartlyDone", True)
    report = (await result_of(state)).report
    assert report
    assert (len(report.with_outcome("made")), len(report.with_outcome("failed"))) == (3, 1)
    (failed,) = report.with_outcome("failed")
    assert failed.server_name in (state.message or "")
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["partly"]
    assert any(failed.server_name in record.getMessage() for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records), "one server's failure is no accident: no traceback"


async def test_more_failures_than_the_policy_allows_are_a_failed_night(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    region.faults.arm("job-fails", operation="createWholeImage")
    state = await run(project, policy(failed_when={"more_than": 0}))
    assert (state.name, (await result_of(state)).exit_code) == ("Failed", 5)
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["failed"]


async def test_the_same_night_again_adopts_everything_and_asks_for_nothing(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    await run(project, policy())
    again = await run(project, policy())
    report = (await result_of(again)).report
    assert report
    assert (again.name, report.outcome, len(report.with_outcome("adopted"))) == ("Completed", "adopted", 4)
    assert asked(region, "createWholeImage") == 4


async def test_a_dry_run_makes_nothing_tells_every_server_and_calls_nobody(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    state = await run(project, policy(), dry_run=True)
    plan = (await result_of(state)).plan
    assert plan
    assert (state.name, state.is_completed(), len(plan.members)) == ("Checked", True, 4)
    page = (await pages(state))["night-nightly-web"]
    assert all(member.server_name in page for member in plan.members)
    assert {request["method"] for request in region.requests if request["operationId"] != "createToken"} == {"GET"}
    assert await nights_heard(events) == []


@pytest.mark.parametrize(
    ("keys", "name", "word"),
    [
        ({"servers": {"names": ["nobody-*"]}}, "Refused", "no server fits"),
        ({"share_with": ["nobody"]}, "Refused", "'nobody'"),
        ({"colour": "red"}, "Failed", "nightly-web.yaml:1: colour"),
    ],
)
async def test_what_speaks_against_the_whole_night_is_told_once_with_the_reason_and_somebody_is_called(
    project: Any, region: Emulator, policy: WriteIt, events: Heard, keys: dict[str, Any], name: str, word: str
) -> None:
    state = await run(project, policy(**keys))
    assert (state.name, state.is_failed()) == (name, True)
    assert word in (state.message or "")
    assert word in (await pages(state))["night-nightly-web"]
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == [name.lower()]
    assert asked(region, "createWholeImage") == 0


@pytest.mark.parametrize("name", ["nightly-gone.yaml", "../b2i.yaml", "/etc/passwd"])
async def test_a_policy_is_a_file_of_the_workers_directory_and_no_other(
    project: Any, region: Emulator, policy: WriteIt, events: Heard, name: str
) -> None:
    policy()
    state = await run(project, name)
    assert state.is_failed()
    assert "none of the worker's: nightly-web.yaml" in (state.message or "")
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["failed"]


async def test_a_wrong_log_in_calls_somebody_and_shows_no_secret(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    from pydantic import SecretStr

    wrong = project.model_copy(update={"password": SecretStr("Wrong-Password-1")}).inside(region)
    state = await run(wrong, policy())
    assert state.is_failed()
    assert "Wrong-Password-1" not in str(await pages(state)) + (state.message or "")
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["failed"]


async def test_a_mistake_of_our_own_calls_somebody_too(
    project: Any, policy: WriteIt, events: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Survey, "servers", None)
    state = await run(project, policy())
    assert state.is_failed()
    assert "b2i itself made a mistake" in (await pages(state))["night-nightly-web"]
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["failed"]


async def test_what_is_only_late_ends_as_still_running_and_turns_green_when_the_cloud_is_done(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    keys: dict[str, Any] = {"limits": {"deadline": "1m"}, "failed_when": {"more_than": 10}}
    state = await run(project, policy(**keys))
    assert (state.name, state.is_failed()) == ("StillRunning", True)
    assert (await result_of(state)).exit_code == 4

    cast("FakeClock", region.cloud.clock).advance(3600)
    told = await (await reconcile(project, return_state=True)).aresult()
    assert {(order.outcome, order.run_id) for order in told} == {("finished", str((await seen(state)).id))}

    again = await run(project, policy(**keys))
    assert (again.name, asked(region, "createWholeImage")) == ("Completed", 4)
    assert [event.resource["b2i.outcome"] for event in await nights_heard(events)] == ["still_running", "adopted"]


async def test_the_policys_directory_may_hold_broken_files_without_harm_to_a_night(
    project: Any, policy: WriteIt, settings_file: Path
) -> None:
    (settings_file.parent / "policies" / "broken.yaml").write_text("name: [")
    state = await run(project, policy())
    assert state.name == "Completed"
    assert "board-nightly-web" in await pages(state)


async def test_the_whole_night_is_kept_as_one_html_file_where_the_worker_has_a_directory_for_evidence(
    project: Any, policy: WriteIt, settings_file: Path
) -> None:
    settings = yaml.safe_load(settings_file.read_text())
    settings["directories"]["evidence"] = "evidence"
    settings_file.write_text(yaml.safe_dump(settings))
    state = await run(project, policy(), night="2026-11-25")
    file = settings_file.parent / "evidence" / "night-nightly-web-2026-11-25.html"
    assert "shop-web-01" in file.read_text()
    assert str(file) in (await pages(state))["night-nightly-web"]


# -- a shard of a night -------------------------------------------------------------------------------------------------


async def test_a_shard_makes_and_drills_its_own_of_what_its_night_has_shared_out(
    project: Any, region: Emulator, policy: WriteIt, settings_file: Path
) -> None:
    keys: dict[str, Any] = {"limits": {"shards": 2}, "failed_when": {"more_than": 9}}
    name = policy(servers={"names": ["shop-*-01"]}, verify={"launch": "../launch/shop.yaml"}, **keys)
    deadline = region.cloud.clock.now() + timedelta(hours=6)
    attempt = attempt_of(deadline)
    shard: dict[str, Any] = {"number": 1, "of": 2, "attempt": attempt, "deadline": deadline, "night": deadline.date()}
    alone = await nightly_shard(name, project, **shard, return_state=True)
    assert (alone.name, "the same journal" in (alone.message or "")) == ("Failed", True)

    async with project.connect() as ctx:
        wanted = policy_named(name, ctx.settings).policy
        plan = await plan_night(wanted, ctx, survey_for(wanted, ctx))
        shared = share_out(wanted, plan, attempt=attempt)
        mine = shared.part_of(plan, shared.shares(deadline)[0]).with_action("make")
        shared = shared.model_copy(update={"sample": (mine[0].server_id,)})
        await keep_shared_out(wanted, shared, ctx)
    state = await nightly_shard(name, project, **shard, return_state=True)
    assert state.name == "Completed", state.message
    assert 0 < asked(region, "createWholeImage") < len(plan.members)
    assert (state.message or "").count("b2i.not-verified") == 1, "that drill may not begin where its source is"


# -- which night --------------------------------------------------------------------------------------------------------


async def test_a_date_that_is_none_is_told(project: Any, policy: WriteIt) -> None:
    state = await run(project, policy(), night="tonight")
    assert "'tonight' is no date" in (state.message or "")


async def test_a_night_that_begins_after_midnight_is_still_the_night_of_its_schedule(
    project: Any, region: Emulator, policy: WriteIt
) -> None:
    now = region.cloud.clock.now()
    begins = (now - timedelta(days=1)).replace(hour=22, minute=30)
    state = await run_of(begins, project, policy(schedule="30 22 * * *", timezone="UTC"))
    report = (await result_of(state)).report
    assert report
    assert now < begins + timedelta(days=1), "the emulated day begins before 22:30"
    assert report.night == begins.date().isoformat()


async def test_of_several_missed_nights_the_newest_is_done_once_whichever_run_comes_first(
    project: Any, region: Emulator, policy: WriteIt, events: Heard
) -> None:
    newest = (region.cloud.clock.now() - timedelta(days=1)).replace(hour=22, minute=30)
    name = policy(schedule="30 22 * * *", timezone="UTC")
    ends = [await run_of(newest - timedelta(days=days), project, name) for days in (3, 2, 1, 0)]

    first, *others, last = ends
    report = (await result_of(first)).report
    assert report
    assert (first.name, report.night, len(report.with_outcome("made"))) == ("Completed", newest.date().isoformat(), 4)
    assert [(state.name, state.is_cancelled()) for state in others] == [("Superseded", True)] * 2
    assert last.name == "Completed", "the newest night's own run adopts what is there"
    assert asked(region, "createWholeImage") == 4
    assert [event.payload["night"] for event in await nights_heard(events)] == [newest.date().isoformat()] * 2
