"""Suspended runs of runbooks that nobody resumes: what was answered elsewhere, and what nobody has answered in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from backup_to_image.model.recovery import Answer
from backup_to_image.steps.runbook.ledger import Ledger, find_run
from tasks import approvals
from tests.support.region import Region
from tests.support.runbooks import DRILL, WEB


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.close()


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[UUID, Answer]]:
    """Which flow runs were resumed, and with which answer."""
    done: list[tuple[UUID, Answer]] = []

    async def resume(run_id: UUID, answer: Answer) -> bool:
        done.append((run_id, answer))
        return True

    monkeypatch.setattr(approvals, "_resume", resume)
    return done


def suspended(region: Region, **step: Any) -> None:
    """A drill that asks before its only group."""
    group = {"name": "web", "before": [{"approve": "Is the data right?"} | step], "servers": [{"source": WEB}]}
    told = {"name": "shop", "drill": DRILL, "defaults": {"flavor": region.account["flavor"]}, "groups": [group]}
    (region.folder / "shop.yaml").write_text(yaml.safe_dump(told))
    assert region.b2i("runbook", "drill", "shop.yaml", "--no-wait").code == 4


def woken(region: Region, flow_run: UUID | None) -> tuple[str, ...]:
    """What the reconciler wakes, where that flow run is at the drill."""

    async def look() -> tuple[str, ...]:
        async with region.context() as ctx:
            run = await find_run("shop", ctx.journal)
            await Ledger(run, ctx.journal).change(flow_run=str(flow_run) if flow_run else None)
            return await approvals.wake_runs.fn(ctx)

    return asyncio.run(look())


@pytest.fixture(autouse=True)
def _log(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no run whose log it could be."""
    monkeypatch.setattr(approvals, "get_run_logger", logging.getLogger)


def test_what_a_command_has_answered_wakes_the_run_and_what_is_still_open_does_not(
    region: Region, resumed: list[tuple[UUID, Answer]]
) -> None:
    flow_run = uuid4()
    suspended(region)
    assert woken(region, flow_run) == ()
    assert region.b2i("runbook", "approve", "shop", "--by", "ada").code == 0
    (name,) = woken(region, flow_run)
    ((which, answer),) = resumed
    assert (which, answer.said, answer.by, name.startswith("shop-drill-")) == (flow_run, "go", "ada", True)


def test_when_its_time_is_over_the_runbooks_own_word_is_kept_as_nobodys_and_the_run_goes_on(
    region: Region, resumed: list[tuple[UUID, Answer]]
) -> None:
    flow_run = uuid4()
    suspended(region, timeout="30m", when_silent="skip")
    region.clock.advance(1700)
    assert woken(region, flow_run) == ()
    region.clock.advance(200)
    assert len(woken(region, flow_run)) == 1
    ((_, answer),) = resumed
    assert (answer.said, answer.how) == ("skip", "nobody")
    ended = region.b2i("runbook", "drill", "shop.yaml", "--no-wait")
    assert (ended.code, ended.told["groups"][0]["state"]) == (5, "skipped")


def test_a_run_that_no_flow_run_is_at_is_left_alone(region: Region, resumed: list[tuple[UUID, Answer]]) -> None:
    suspended(region, timeout="30m")
    region.clock.advance(2000)
    assert (woken(region, None), resumed) == ((), [])
