"""Who follows a run is told every line of it once, in order, however many come at a time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Running

from backup_to_image.cli.prefect_door import Follower, follow, prefect_server
from backup_to_image.clock import FakeClock
from backup_to_image.errors import B2iError

pytestmark = pytest.mark.usefixtures("server")


@flow
def talkative() -> None:
    """Never run; its runs are written by hand."""


async def say(run: FlowRun, lines: list[str], client: PrefectClient) -> None:
    now = datetime.now(UTC)
    told = [
        LogCreate(
            name="prefect.flow_runs",
            level=logging.INFO,
            message=line,
            timestamp=now + timedelta(microseconds=number),  # pyright: ignore[reportArgumentType] - Prefect's own datetime type is one
            flow_run_id=run.id,
        )
        for number, line in enumerate(lines)
    ]
    await client.create_logs(told)


async def test_of_a_run_that_says_more_in_a_moment_than_a_server_tells_at_once_every_line_is_told() -> None:
    lines = [f"server {number} has its image" for number in range(450)]
    told: list[str] = []
    async with get_client() as client:
        run = await client.create_flow_run(talkative, state=Completed())
        await say(run, lines, client)
        ended = await Follower(client, FakeClock(), told.append).follow(run)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert told == lines


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("All connection attempts failed"),
        httpx.HTTPStatusError("", request=httpx.Request("GET", "http://x"), response=httpx.Response(503)),
    ],
    ids=["not there", "in trouble"],
)
async def test_a_server_that_is_away_for_a_while_is_waited_for_and_that_is_said_once(
    trouble: httpx.HTTPError, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    async with prefect_server() as client:
        run = await client.create_flow_run(talkative, state=Completed())
        await say(run, ["all done"], client)
        read, left = client.read_flow_run, iter([trouble] * 200)

        async def away_for_200_seconds(run_id: UUID) -> FlowRun:
            for one in left:
                raise one
            return await read(run_id)

        monkeypatch.setattr(client, "read_flow_run", away_for_200_seconds)
        ended = await Follower(client, FakeClock(), told.append).follow(run)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert [line.partition(" (")[0] for line in told] == [
        "the Prefect server does not answer",
        "all done",
        "the Prefect server answers again",
    ]
    assert "asking it again until" in told[0]


async def test_a_server_that_stays_away_is_given_up_with_what_goes_on_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = FakeClock(), list[str]()
    begun = clock.now()

    async def away(_: UUID) -> FlowRun:
        raise httpx.ConnectError("All connection attempts failed")

    async def follow_a_run() -> None:
        async with prefect_server() as client:
            run = await client.create_flow_run(talkative, state=Running())
            monkeypatch.setattr(client, "read_flow_run", away)
            await Follower(client, clock, told.append).follow(run)

    with pytest.raises(B2iError, match="answers no more: All connection attempts failed") as error:
        await follow_a_run()
    assert (error.value.exit_code, error.value.code, len(told)) == (1, "b2i.no-prefect", 1)
    assert "adopts what is there" in error.value.action
    assert clock.now() - begun == timedelta(minutes=5)


async def test_a_run_that_is_deleted_while_it_is_followed_is_told_as_that() -> None:
    async with get_client() as client:
        run = await client.create_flow_run(talkative, state=Running())
        await client.delete_flow_run(run.id)
        with pytest.raises(B2iError, match=f"{run.name} is not there any more") as error:
            await Follower(client, FakeClock(), print).follow(run)
    assert (error.value.exit_code, error.value.code) == (1, "b2i.prefect.deleted")
    assert "adopts what is there" in error.value.action


async def test_lines_that_come_while_it_is_followed_are_told_once_each() -> None:
    first, then = [[f"{part} {number}" for number in range(230)] for part in ("before", "after")]
    told: list[str] = []
    async with get_client() as client:
        run = await client.create_flow_run(talkative, state=Running())
        await say(run, first, client)

        class AllSaid(FakeClock):
            """As soon as the follower waits, the run says the rest and ends."""

            async def sleep(self, seconds: float) -> None:
                there = await client.read_flow_run(run.id)
                if there.state and not there.state.is_final():
                    await say(run, then, client)
                    await client.set_flow_run_state(run.id, Completed())
                await super().sleep(seconds)

        await follow(run, client, told.append, AllSaid())
    assert told[0].startswith(f"ordered run {run.name}: ")
    assert told[1:] == [*first, f"run {run.name}: Running", *then]
