"""Who follows a run is told every line of it once, in order, however many come at a time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Running

from backup_to_image.cli.prefect_door import Follower, follow
from backup_to_image.clock import FakeClock

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
