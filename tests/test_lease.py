"""The right to make one thing: one holder at a time, lost after a minute of silence, free at once when its process is gone."""

import asyncio
import json
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from backup_to_image.clock import SystemClock
from backup_to_image.errors import StillRunning
from backup_to_image.journal import Journal, Lease, hold
from backup_to_image.model.shared_place import SharedPlace
from tests.support.laid import Laid


@pytest.fixture
async def journal(laid: Laid) -> AsyncIterator[Journal]:
    async with laid.journal() as journal:
        yield journal


class Holding(Protocol):
    def __call__(self, name: str = ..., *, patience: float = ...) -> AbstractAsyncContextManager[Lease]:
        """`patience`: in lengths of a lease."""
        ...


@pytest.fixture
def holding(journal: Journal, laid: Laid) -> Holding:
    def take(name: str = "backup-1", *, patience: float = 60) -> AbstractAsyncContextManager[Lease]:
        deadline = journal.clock.now() + timedelta(seconds=patience * laid.seconds)
        return hold(journal, "image", "ab" * 16, name, deadline=deadline, seconds=laid.seconds)

    return take


async def test_of_many_at_once_one_holds_it_and_the_others_follow(journal: Journal, laid: Laid, holding: Holding) -> None:
    inside, most, fences = 0, 0, []

    async def one() -> None:
        nonlocal inside, most
        async with holding() as lease:
            inside += 1
            most = max(most, inside)
            fences.append(lease.fence)
            await journal.clock.sleep(laid.seconds / 12)
            await lease.check()
            inside -= 1

    await asyncio.gather(*(one() for _ in range(12)))
    assert most == 1
    assert fences == sorted(set(fences)), "each holder's fence is higher than the one before"


async def test_different_things_are_held_at_the_same_time(laid: Laid, holding: Holding) -> None:
    async with holding("a"), holding("b"):
        assert len(laid.leases()) == 2


async def test_whoever_waits_longer_than_his_deadline_is_told_that_the_other_is_at_work(holding: Holding) -> None:
    async with holding() as lease:
        with pytest.raises(StillRunning):
            async with holding(patience=3):
                pytest.fail("two hold it")
        await lease.check()


async def test_a_holder_that_slept_for_longer_than_a_minute_has_lost_it_before_it_makes_anything(
    journal: Journal, laid: Laid, holding: Holding
) -> None:
    async with holding() as sleeper:
        laid.stand_still(journal.clock)
        async with holding() as other:
            assert other.fence > sleeper.fence
            with pytest.raises(StillRunning):
                await sleeper.check()
            await other.check()
        with pytest.raises(StillRunning):
            await sleeper.check()


async def test_a_lease_is_still_held_after_a_wait_that_it_was_renewed_beside(
    journal: Journal, laid: Laid, holding: Holding
) -> None:
    """A request that waits for its turn, throttled, for longer than a lease lasts."""
    async with holding() as lease:
        await lease.check()
        for _ in range(9):
            await journal.clock.sleep(laid.seconds / 4)
        lease.still_mine()


async def test_a_late_holder_does_not_release_what_another_holds(journal: Journal, laid: Laid, holding: Holding) -> None:
    sleeper = holding()
    await sleeper.__aenter__()
    laid.stand_still(journal.clock)
    async with holding() as other:
        await sleeper.__aexit__(None, None, None)
        await other.check()


async def test_it_is_free_again_after_an_error_inside(laid: Laid, holding: Holding) -> None:
    with pytest.raises(ZeroDivisionError):
        async with holding():
            raise ZeroDivisionError
    async with holding(patience=0) as lease:
        await lease.check()


def _hold_and_die(place: Path | SharedPlace) -> None:
    import os

    async def die() -> None:
        journal = Journal.at(place)
        async with hold(journal, "image", "ab" * 16, "backup-1", deadline=journal.clock.now() + timedelta(hours=1)):
            os._exit(0)

    asyncio.run(die())


async def test_a_holder_whose_process_is_gone_holds_nothing(laid: Laid) -> None:
    """Real time: nobody waits out the minute of a process that was killed on this host."""
    async with laid.journal(SystemClock()) as journal:
        process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(laid.place,))
        process.start()
        await asyncio.to_thread(process.join)
        (left,) = laid.leases().values()
        began = journal.clock.now()
        async with hold(journal, "image", "ab" * 16, "backup-1", deadline=began + timedelta(minutes=1)) as lease:
            assert (journal.clock.now() - began).total_seconds() < 10
            assert lease.fence > json.loads(left)["fence"]


async def test_a_holder_on_another_host_is_believed_until_its_time_is_over(
    journal: Journal, laid: Laid, holding: Holding
) -> None:
    async with holding():
        ((name, content),) = laid.leases().items()
    elsewhere = json.loads(content) | {"host": "elsewhere", "process": 1}
    laid.plant_lease(name, json.dumps(elsewhere).encode(), ends=True)
    began = journal.clock.now()
    async with holding():
        waited = (journal.clock.now() - began).total_seconds()
    assert 0.8 * laid.seconds < waited < 1.5 * laid.seconds


async def test_a_lost_lease_is_lost_although_nobody_took_it_since(laid: Laid, journal: Journal, holding: Holding) -> None:
    async with holding() as lease:
        laid.stand_still(journal.clock)
        with pytest.raises(StillRunning):
            lease.still_mine()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"until": "never"}',
        b'{"fence": "x"}',
        b'{"nonce": "x", "until": "2099-01-01T00:00:00"}',
        b'{"nonce": "x", "host": "elsewhere"}',
    ],
)
async def test_a_lease_that_is_damaged_or_has_no_end_is_free(laid: Laid, holding: Holding, content: bytes) -> None:
    async with holding():
        (name,) = laid.leases()
    laid.plant_lease(name, content, ends=False)
    async with holding(patience=0) as lease:
        await lease.check()
