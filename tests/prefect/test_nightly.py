"""A night's promises, through the flow, against the emulated cloud."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.objects import State
from prefect.events import Event

from backup_to_image.emulator import Emulator
from backup_to_image.form import NIGHT_RESULT_KEY, NightResult
from backup_to_image.model.night import NightReport
from flows.nightly import nightly
from tests.prefect.test_flow import asked, pages

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("server")]


@pytest.fixture
def policy(settings_file: Path) -> Callable[..., str]:
    """Write a policy into the worker's directory; returns the file's name."""

    def write(**keys: Any) -> str:
        content = {"name": "nightly-web", "servers": {"names": ["shop-web-0?"]}, "backup": {"newest_within": "30d"}} | keys
        file = settings_file.parent / "policies" / f"{content['name']}.yaml"
        file.write_text(yaml.safe_dump(content))
        return file.name

    return write


async def run(project: Any, policy: str, **parameters: Any) -> State[Any]:
    return await nightly(policy, project, **parameters, return_state=True)


async def result_of(state: State[Any]) -> NightResult:
    return NightResult.model_validate_json((await pages(state))[NIGHT_RESULT_KEY])


async def task_names(state: State[Any]) -> Counter[str]:
    """How often each verb was run in this night."""
    run_id = state.state_details.flow_run_id
    assert run_id
    async with get_client() as client:
        found = await client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])), task_run_filter=TaskRunFilter()
        )
    return Counter(" ".join(one.name.split()[:2]) for one in found)


async def test_a_night_makes_an_image_of_every_server_one_task_per_verb_and_server(
    project: Any, region: Emulator, policy: Callable[..., str], events: Callable[[], Awaitable[list[Event]]]
) -> None:
    state = await run(project, policy(), night="2026-11-25")

    assert state.name == "Completed", state.message
    report = await state.aresult()
    assert isinstance(report, NightReport)
    assert (report.outcome, report.night, len(report.with_outcome("made"))) == ("made", "2026-11-25", 4)
    assert asked(region, "createWholeImage") == 4
    told = await result_of(state)
    assert (told.exit_code, told.report) == (0, report)
    assert "night-nightly-web" in await pages(state)
    (event,) = [one for one in await events() if one.event == "b2i.night.finished"]
    assert event.resource.id == "b2i.policy.nightly-web"
    assert event.resource["b2i.outcome"] == "made"
    assert event.payload["counts"] == {"made": 4}
    async with get_client() as client:
        seen = await client.read_flow_run(state.state_details.flow_run_id)
    assert (seen.name, seen.tags) == ("night of nightly-web.yaml", ["made"])
