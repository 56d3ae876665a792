"""So many images at a time as the policy allows and the cloud takes, in the order in which they were asked for."""

import asyncio
from datetime import timedelta

import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.steps.window import NoPlace, Window


class Cloud:
    """Takes so many image tasks at a time, other people's among them; each lasts a minute."""

    def __init__(self, clock: FakeClock, takes: int) -> None:
        self.clock = clock
        self.takes = takes
        self.running = self.most = self.refusals = 0
        self.done: list[int] = []

    async def make(self, number: int, window: Window, *, under_way: bool = False) -> None:
        deadline = self.clock.now() + timedelta(hours=5)
        async with window.turn(under_way=under_way) as turn, turn.place(waits=not under_way, deadline=deadline):
            while self.running >= self.takes:
                self.refusals += 1
                await window.await_room("IMG.0060", 30, deadline)
            self.running += 1
            self.most = max(self.most, self.running)
            await self.clock.sleep(60)
            self.running -= 1
        self.done.append(number)


async def all_of(cloud: Cloud, window: Window, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(cloud.make(number, window))


async def test_never_more_than_the_window_has_and_in_order() -> None:
    clock = FakeClock()
    cloud, window = Cloud(clock, takes=100), Window(4, clock)
    began = clock.now()
    await all_of(cloud, window, 40)
    assert (cloud.most, window.at_work, cloud.refusals) == (4, 0, 0)
    assert cloud.done == sorted(cloud.done)
    assert (clock.now() - began).total_seconds() == 600, "no place stood empty"


async def test_a_cloud_that_takes_fewer_is_asked_little_more_often_than_it_has_images_made() -> None:
    clock = FakeClock()
    lines: list[str] = []
    cloud, window = Cloud(clock, takes=10), Window(40, clock, tell=lines.append)
    await all_of(cloud, window, 200)
    assert len(cloud.done) == 200
    assert cloud.most == 10
    # Thirty hear of it at the beginning; then one asks for each that has ended, and one a minute tries whether there is more.
    assert cloud.refusals < 80
    assert lines, "people are told why it goes slower"


async def test_the_window_grows_again_when_there_is_room() -> None:
    clock = FakeClock()
    cloud, window = Cloud(clock, takes=5), Window(20, clock)

    async def others_leave() -> None:
        await clock.sleep(300)
        cloud.takes = 100

    async with asyncio.TaskGroup() as group:
        group.create_task(others_leave())
        group.create_task(all_of(cloud, window, 300))
    assert window.size == 20
    assert cloud.most > 15


async def test_what_the_cloud_works_on_already_takes_a_place_and_waits_for_none() -> None:
    clock = FakeClock()
    cloud, window = Cloud(clock, takes=100), Window(2, clock)
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(cloud.make(number, window, under_way=True))
        for number in range(4, 8):
            group.create_task(cloud.make(number, window))
    assert cloud.most == 4, "four were under way, and nobody came on top of them"
    assert cloud.done[:4] == [0, 1, 2, 3]


async def test_whoever_gets_no_place_by_the_deadline_hears_that_nothing_was_made() -> None:
    clock = FakeClock()
    window = Window(1, clock)
    deadline = clock.now() + timedelta(minutes=5)
    async with window.place(waits=True, deadline=deadline):
        with pytest.raises(NoPlace, match="Nothing was made"):
            async with window.place(waits=True, deadline=deadline):
                pass
        assert clock.now() == deadline
    assert window.at_work == 0


async def test_whoever_is_called_off_while_waiting_leaves_no_place_taken() -> None:
    clock = FakeClock()
    window = Window(1, clock)
    deadline = clock.now() + timedelta(hours=1)

    async def wait() -> None:
        async with window.turn() as turn, turn.place(waits=True, deadline=deadline):
            await clock.sleep(10)

    async with window.place(waits=True, deadline=deadline):
        called_off = [asyncio.create_task(wait()) for _ in range(3)]
        stays = asyncio.create_task(wait())
        await clock.sleep(1)
        for task in called_off:
            task.cancel()
        await asyncio.gather(*called_off, return_exceptions=True)
    await stays
    assert window.at_work == 0


async def test_only_a_few_are_looked_at_ahead_of_their_place() -> None:
    clock = FakeClock()
    window = Window(2, clock)
    deadline = clock.now() + timedelta(hours=1)
    looked_at = 0

    async def one() -> None:
        nonlocal looked_at
        async with window.turn() as turn:
            looked_at += 1
            async with turn.place(waits=True, deadline=deadline):
                await clock.sleep(60)

    tasks = [asyncio.create_task(one()) for _ in range(50)]
    await clock.sleep(30)
    assert looked_at == 2 + 8
    await asyncio.gather(*tasks)
    assert looked_at == 50


async def test_where_the_quota_is_tight_the_next_begins_when_an_old_image_is_gone() -> None:
    clock = FakeClock()
    cloud, window = Cloud(clock, takes=100), Window(4, clock, beside=2)
    deadline, most, beside = clock.now() + timedelta(hours=5), 0, 0

    async def one(number: int) -> None:
        nonlocal most, beside
        async with window.turn() as turn, turn.place(waits=True, deadline=deadline):
            beside += 1
            most = max(most, beside)
            await clock.sleep(60)
        await clock.sleep(240)  # its drill, and its old image goes
        beside -= 1
        turn.leave()
        cloud.done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(one(number))
    assert (most, sorted(cloud.done), window.at_work) == (2, [0, 1, 2, 3, 4, 5], 0)


async def test_who_waits_for_a_backup_takes_no_room_from_the_others() -> None:
    clock = FakeClock()
    cloud, window = Cloud(clock, takes=100), Window(4, clock, beside=1)
    deadline = clock.now() + timedelta(hours=5)

    async def slow() -> None:
        async with window.turn(at_once=True) as turn:
            await clock.sleep(3600)
            async with turn.place(waits=True, deadline=deadline):
                turn.leave()

    async def quick(number: int) -> None:
        async with window.turn() as turn, turn.place(waits=True, deadline=deadline):
            cloud.done.append(round((clock.now() - began).total_seconds()))
            await clock.sleep(60)
        turn.leave()

    began = clock.now()
    async with asyncio.TaskGroup() as group:
        group.create_task(slow())
        for number in range(3):
            group.create_task(quick(number))
    assert cloud.done == [0, 60, 120]


async def test_room_that_never_comes_ends_with_the_night() -> None:
    clock = FakeClock()
    window = Window(4, clock, beside=1)
    deadline = clock.now() + timedelta(minutes=10)
    async with window.turn() as first, first.place(waits=True, deadline=deadline), window.turn() as second:
        with pytest.raises(NoPlace):
            async with second.place(waits=True, deadline=deadline):
                pass
