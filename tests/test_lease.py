"""The right to make one thing: one holder at a time, lost after a minute of silence, free at once when its process is gone."""

import asyncio
import json
import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.errors import StillRunning
from backup_to_image.journal import LEASE_SECONDS, Journal, hold

Leases = Callable[[], list[Path]]


@pytest.fixture
async def journal(tmp_path: Path) -> Journal:
    return await Journal.at(tmp_path / "journal", clock=FakeClock()).open()


@pytest.fixture
def leases(journal: Journal) -> Leases:
    """The files of the leases there are."""
    return lambda: list(Path(journal.place).glob("*.lease"))


def holding(journal: Journal, name: str = "backup-1", minutes: float = 60) -> object:
    return hold(journal, "image", "ab" * 16, name, deadline=journal.clock.now() + timedelta(minutes=minutes))


def advance(journal: Journal, seconds: float) -> None:
    assert isinstance(journal.clock, FakeClock)
    journal.clock.advance(seconds)


async def test_of_many_at_once_one_holds_it_and_the_others_follow(journal: Journal) -> None:
    inside, most, fences = 0, 0, []

    async def one() -> None:
        nonlocal inside, most
        async with holding(journal) as lease:  # type: ignore[attr-defined] - an async context manager
            inside += 1
            most = max(most, inside)
            fences.append(lease.fence)
            await journal.clock.sleep(5)
            await lease.check()
            inside -= 1

    await asyncio.gather(*(one() for _ in range(12)))
    assert most == 1
    assert fences == sorted(set(fences)), "each holder's fence is higher than the one before"


async def test_different_things_are_held_at_the_same_time(journal: Journal, leases: Leases) -> None:
    async with holding(journal, "a"), holding(journal, "b"):  # type: ignore[attr-defined] - async context managers
        assert len(leases()) == 2


async def test_whoever_waits_longer_than_his_deadline_is_told_that_the_other_is_at_work(journal: Journal) -> None:
    async with holding(journal) as lease:  # type: ignore[attr-defined] - an async context manager

        async def renew() -> None:
            for _ in range(20):
                await journal.clock.sleep(20)
                await lease.check()

        renewing = asyncio.create_task(renew())
        with pytest.raises(StillRunning):
            async with holding(journal, minutes=5):  # type: ignore[attr-defined] - an async context manager
                pytest.fail("two hold it")
        renewing.cancel()


async def test_a_holder_that_slept_for_longer_than_a_minute_has_lost_it_before_it_makes_anything(journal: Journal) -> None:
    async with holding(journal) as sleeper:  # type: ignore[attr-defined] - an async context manager
        advance(journal, LEASE_SECONDS + 1)
        async with holding(journal) as other:  # type: ignore[attr-defined] - an async context manager
            assert other.fence > sleeper.fence
            with pytest.raises(StillRunning):
                await sleeper.check()
            await other.check()
        with pytest.raises(StillRunning):
            await sleeper.check()


async def test_a_late_holder_does_not_release_what_another_holds(journal: Journal) -> None:
    sleeper = holding(journal)
    await sleeper.__aenter__()  # type: ignore[attr-defined] - an async context manager
    advance(journal, LEASE_SECONDS + 1)
    async with holding(journal) as other:  # type: ignore[attr-defined] - an async context manager
        await sleeper.__aexit__(None, None, None)  # type: ignore[attr-defined] - an async context manager
        await other.check()


async def test_it_is_free_again_after_an_error_inside(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError):
        async with holding(journal):  # type: ignore[attr-defined] - an async context manager
            raise ZeroDivisionError
    began = journal.clock.now()
    async with holding(journal):  # type: ignore[attr-defined] - an async context manager
        assert journal.clock.now() == began


def _hold_and_die(folder: str) -> None:
    import os

    async def die() -> None:
        journal = Journal.at(folder)
        async with hold(journal, "image", "ab" * 16, "backup-1", deadline=journal.clock.now() + timedelta(hours=1)):
            os._exit(0)

    asyncio.run(die())


async def test_a_holder_whose_process_is_gone_holds_nothing(tmp_path: Path) -> None:
    """Real time: nobody waits out the minute of a process that was killed on this host."""
    journal = await Journal.at(tmp_path / "journal").open()
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(journal.place,))
    process.start()
    await asyncio.to_thread(process.join)
    began = journal.clock.now()
    async with hold(journal, "image", "ab" * 16, "backup-1", deadline=began + timedelta(minutes=1)):
        assert (journal.clock.now() - began).total_seconds() < 10


async def test_a_holder_on_another_host_is_believed_until_its_time_is_over(journal: Journal, leases: Leases) -> None:
    async with holding(journal):  # type: ignore[attr-defined] - an async context manager
        (path,) = leases()
        told = json.loads(path.read_text()) | {"host": "elsewhere", "process": 1}
    path.write_text(json.dumps(told))
    began = journal.clock.now()
    async with holding(journal):  # type: ignore[attr-defined] - an async context manager
        assert timedelta(seconds=50) < journal.clock.now() - began < timedelta(seconds=70)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"until": "never"}', '{"fence": "x"}', '{"nonce": "x", "until": "2099-01-01T00:00:00"}']
)
async def test_a_damaged_lease_is_free(journal: Journal, leases: Leases, content: str) -> None:
    async with holding(journal):  # type: ignore[attr-defined] - an async context manager
        (path,) = leases()
    path.write_text(content)
    async with holding(journal) as lease:  # type: ignore[attr-defined] - an async context manager
        await lease.check()
