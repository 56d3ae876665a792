"""What the whole night's run knows of its shards, from a Prefect server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from backup_to_image.model.policy import Policy
from backup_to_image.steps.fleet.shards import Fate, Share
from flows.nightly_shard import nightly_shard
from tasks.runs import LEFT_ALONE, night_is_cancelled, stop_shards
from tasks.shards import workers_of

pytestmark = pytest.mark.usefixtures("server")

NIGHT = date(2026, 11, 25)
DEADLINE = datetime(2026, 11, 26, 4, 30, tzinfo=UTC)


class Stage:
    """A policy's shard deployment that no worker serves, and a night that has started one shard of it."""

    def __init__(self, client: PrefectClient) -> None:
        self.client = client
        self.policy = Policy.model_validate({"name": f"shared-{uuid4().hex[:8]}", "servers": {"names": ["*"]}})
        self.left_alone = LEFT_ALONE
        self.share = Share(number=1, of=1, attempt="first", deadline=DEADLINE)

    async def deploy(self) -> None:
        flow_id = await self.client.create_flow_from_name(nightly_shard.name)
        await self.client.create_deployment(flow_id, self.policy.name, enforce_parameter_schema=False)

    async def begun(self, *states: State[Any]) -> tuple[UUID, Mapping[int, Fate]]:
        """A night begins the shard, whose run goes through these states then: the night, and what it knows of the shard."""

        @flow
        async def night() -> tuple[UUID, Mapping[int, Fate]]:
            from prefect.runtime import flow_run

            workers = workers_of("shared.yaml", self.policy, NIGHT, left_alone=self.left_alone)
            await workers.start(self.share)
            run = (await self.runs())[-1]
            for state in states:
                await self.client.set_flow_run_state(run.id, state, force=True)
            return UUID(str(flow_run.id)), await workers.fates([self.share])

        return await night()

    async def runs(self) -> list[FlowRun]:
        """Those of the shard, oldest first."""
        deployment = await self.client.read_deployment_by_name(f"{nightly_shard.name}/{self.policy.name}")
        found = [one for one in await self.client.read_flow_runs(limit=200) if one.deployment_id == deployment.id]
        return sorted(found, key=lambda one: one.created or DEADLINE)


@pytest.fixture
async def stage() -> Any:
    async with get_client() as client:
        made = Stage(client)
        await made.deploy()
        yield made


@pytest.mark.parametrize(
    ("states", "fate", "words"),
    [
        ([], "waiting", "no worker has begun its run"),
        ([Pending()], "waiting", "no worker has begun its run"),
        ([Running()], "at_work", ""),
        ([Running(), Cancelling()], "at_work", ""),
        ([Running(), Crashed(message="Process exited with status code: -9")], "at_work", "status code: -9"),
        ([Running(), Crashed(), AwaitingRetry()], "waiting", "AwaitingRetry"),
        ([Running(), Failed(message="The login is wrong.")], "ended", "is Failed: The login is wrong"),
        ([Cancelled(message="by Jim")], "ended", "is Cancelled: by Jim"),
        ([Running(), Completed()], "ended", "not in this run's journal"),
    ],
    ids=lambda value: "-".join(one.name for one in value) or "Scheduled" if isinstance(value, list) else "",
)
async def test_the_night_knows_whether_a_shard_may_still_report(
    stage: Stage, states: list[State[Any]], fate: str, words: str
) -> None:
    _, fates = await stage.begun(*states)
    assert fates[1].state == fate
    assert words in fates[1].reason
    assert ("worker" in fates[1].action) == (fate == "waiting" or "journal" in words)


async def test_a_crashed_shard_that_nothing_has_brought_back_has_ended_and_the_night_begins_it_anew(stage: Stage) -> None:
    stage.left_alone = timedelta(0)
    _, fates = await stage.begun(Running(), Crashed(message="killed."))
    assert (fates[1].state, "was not brought back: killed" in fates[1].reason) == ("ended", True)
    await stage.begun()
    assert len(await stage.runs()) == 2


async def test_a_shard_whose_run_is_gone_has_ended(stage: Stage) -> None:
    @flow
    async def night() -> Mapping[int, Fate]:
        workers = workers_of("shared.yaml", stage.policy, NIGHT)
        await workers.start(stage.share)
        await stage.client.delete_flow_run((await stage.runs())[0].id)
        return await workers.fates([stage.share])

    assert (await night())[1].reason == "its run was deleted"


@pytest.mark.slow
async def test_a_night_that_goes_on_takes_the_run_that_is_at_work_and_begins_anew_what_has_ended(stage: Stage) -> None:
    await stage.begun(Running())
    await stage.begun(Failed())
    assert len(await stage.runs()) == 1
    await stage.begun(Running(), Crashed())
    await stage.begun()
    assert len(await stage.runs()) == 2, "one that has crashed just now is brought back"


@pytest.mark.slow
async def test_a_cancelled_night_ends_at_once_what_has_not_begun_and_tells_what_has(stage: Stage) -> None:
    for states, after in [
        ([], StateType.CANCELLED),
        ([Pending()], StateType.CANCELLED),
        ([Running(), Crashed(), AwaitingRetry()], StateType.CANCELLED),
        ([Running()], StateType.CANCELLING),
    ]:
        night, _ = await stage.begun(*states)
        run = (await stage.runs())[-1]
        assert await stop_shards(night) == (str(run.id),)
        assert (await stage.client.read_flow_run(run.id)).state_type == after
        await stage.client.set_flow_run_state(run.id, Cancelled(), force=True)


@pytest.mark.parametrize(
    ("state", "cancelled"), [(Running(), False), (Cancelling(), True), (Cancelled(), True), (Crashed(), False)]
)
async def test_a_shard_that_begins_all_the_same_asks_whether_its_night_is_cancelled(
    stage: Stage, state: State[Any], cancelled: bool
) -> None:
    """A worker that had it in hand lets it run, and Prefect does not mind."""
    night, _ = await stage.begun()
    (run,) = await stage.runs()
    await stage.client.set_flow_run_state(night, state, force=True)
    if cancelled:
        await stop_shards(night)

    @flow
    async def shard() -> bool:
        return await night_is_cancelled()

    from prefect.flow_engine import run_flow_async

    assert await run_flow_async(shard, flow_run=await stage.client.read_flow_run(run.id)) is cancelled
