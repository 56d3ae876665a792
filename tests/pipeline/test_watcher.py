"""Many images waited for at once: one list call answers all waits, and what befalls one of them is no matter of the others."""

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from backup_to_image.emulator.ims_create import activate
from backup_to_image.emulator.jobs import end, fail_with
from backup_to_image.errors import B2iError, JobFailed, StillRunning, UnknownState
from backup_to_image.model import Delivery
from backup_to_image.steps.context import Context
from backup_to_image.steps.pipeline import image_from_backup
from tests.support.region import Region, image_order

MANY = 12


@pytest.fixture
def backups(region: Region) -> list[str]:
    """One usable backup of each of a dozen servers that run."""
    stopped = {server["id"] for server in region.things("server", status="SHUTOFF")}
    used = {image["backup_id"] for image in region.things("image")}
    found = {
        backup["resource_id"]: backup["id"]
        for backup in region.things("backup", status="available", project=region.account["project_id"])
        if backup["resource_type"] == "OS::Nova::Server"
        and backup["contain_system_disk"]
        and backup["id"] not in used
        and backup["resource_id"] not in stopped
        and not (backup["bms"] or backup["os"] is None or any(disk["encrypted"] for disk in backup["disks"]))
    }
    assert len(found) >= MANY
    return list(found.values())[:MANY]


class Told:
    """The lines that people read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


async def make(region: Region, backups: list[str], *, told: Told | None = None, **timeouts: Any) -> list[Any]:
    """Each of these backups into an image, all at once over one connection; what became of each, errors too.

    `timeouts`: by the place of the backup in the list, as `at_3=`.
    """
    async with region.context() as connected:
        ctx = Context(connected.cloud, connected.journal, connected.settings, tell=told)
        orders = [image_order(backup, timeout=timeouts.get(f"at_{at}", timedelta(hours=1))) for at, backup in enumerate(backups)]
        return await asyncio.gather(*(image_from_backup(order, ctx) for order in orders), return_exceptions=True)


def while_waiting(region: Region) -> Counter[str | None]:
    """What was asked once everything had been ordered."""
    ordered = max(asked.at for asked in region.sent("createWholeImage"))
    return Counter(asked.operation for asked in region.asked if asked.at > ordered)


def all_made(region: Region, ended: list[Any], backups: list[str]) -> None:
    assert [one for one in ended if not isinstance(one, Delivery)] == []
    for delivery, backup in zip(ended, backups, strict=True):
        (image,) = region.images_of(backup)
        assert (delivery.backup_id, delivery.image_id, image["status"]) == (backup, image["id"], "active")
    assert len(region.sent("createWholeImage")) == len(backups)


def at_the_first_list(region: Region, do: Any) -> None:
    """Let something happen while the first list for all waits is under way."""
    done: list[str] = []

    def once(asked: Any) -> None:
        if asked.operation == "listCloudImages" and len(region.sent("createWholeImage")) == MANY and not done:
            done.append(asked.operation)
            do()

    region.watchers.append(once)


# -- what it costs ------------------------------------------------------------------------------------------------------


async def test_one_list_for_all_and_one_job_for_each(region: Region, backups: list[str]) -> None:
    all_made(region, await make(region, backups), backups)
    asked = while_waiting(region)
    assert asked["getImsJob"] == MANY, "each image's job is asked once, at the end: both must say so"
    assert asked["getImage"] == 0
    assert asked["listCloudImages"] <= 8
    assert set(asked) == {"getImsJob", "listCloudImages"}


async def test_lists_keep_their_distance_however_the_waits_fall(region: Region, backups: list[str]) -> None:
    """Waits that began one after the other, each with its own beat, and no history that tells when to look."""
    for image in region.things("image"):
        region.emulator.cloud.remove("image", image["id"])

    async def later(at: int, backup: str, ctx: Context) -> Delivery:
        await ctx.clock.sleep(at * 1.7)
        return await image_from_backup(image_order(backup), ctx)

    async with region.context() as ctx:
        ended = await asyncio.gather(*(later(at, backup, ctx) for at, backup in enumerate(backups)))
    all_made(region, list(ended), backups)
    ordered = max(asked.at for asked in region.sent("createWholeImage"))
    times = [asked.at for asked in region.sent("listCloudImages") if asked.at > ordered]
    assert all(later - earlier >= 3 for earlier, later in pairwise(times))


async def test_an_image_that_is_stuck_among_hundreds_of_newer_ones_does_not_make_the_lists_longer(
    region: Region, backups: list[str]
) -> None:
    region.emulator.switches["names"] = "free"
    region.arm("job-stuck", operation="createWholeImage")
    stuck, *others = backups
    async with region.context() as ctx:
        waits = asyncio.create_task(image_from_backup(image_order(stuck, timeout=timedelta(hours=3)), ctx))
        await ctx.clock.sleep(60)
        free = [one["id"] for one in region.things("backup", status="available") if not region.images_of(one["id"])]
        for number, backup in enumerate(one for one in free if one not in backups):
            region.make_image_by_hand(backup, f"newer {number}")
        await ctx.clock.sleep(60)
        region.forget()
        ended = await asyncio.gather(*(image_from_backup(image_order(backup), ctx) for backup in others))
        all_made(region, list(ended), others)
        asked = while_waiting(region)
        with pytest.raises(StillRunning):
            await waits
    assert asked["listCloudImages"] <= 20, "a request each"
    assert asked["getImsJob"] <= len(others) + 12


async def test_after_the_others_have_gone_the_last_one_asks_for_itself_again(region: Region, backups: list[str]) -> None:
    region.arm("job-stuck", operation="createWholeImage", seconds=600)
    all_made(region, await make(region, backups), backups)
    ordered = max(asked.at for asked in region.sent("createWholeImage"))
    alone = [asked.operation for asked in region.asked if asked.at > ordered + 300]
    assert set(alone) <= {"getImsJob", "getImage", "getBackup", "listCloudImages"}
    assert alone.count("getImsJob") > alone.count("listCloudImages")


# -- one leaves, the others stay ----------------------------------------------------------------------------------------


async def test_each_wait_has_its_own_deadline_and_names_it_with_what_was_waited_for(region: Region, backups: list[str]) -> None:
    region.arm("job-stuck", operation="createWholeImage", times=None)
    begun = region.clock.now()
    limits = {f"at_{at}": timedelta(minutes=3 + at) for at in range(MANY)}
    ended = await make(region, backups, **limits)
    for at, (late, backup) in enumerate(zip(ended, backups, strict=True)):
        assert isinstance(late, StillRunning)
        (image,) = region.images_of(backup)
        assert image["name"] in late.message
        assert late.handle["backup"] == backup
        assert late.handle["job"] in late.message
        assert f"not finished by {begun + timedelta(minutes=3 + at):%Y-%m-%d %H:%M:%S} UTC" in late.message
        assert "saving" in late.message or "RUNNING" in late.message


async def test_a_deadline_that_passes_ends_one_wait_alone(region: Region, backups: list[str]) -> None:
    ended = await make(region, backups, at_4=timedelta(seconds=50))
    assert isinstance(ended.pop(4), StillRunning)
    assert all(isinstance(one, Delivery) for one in ended)


@pytest.mark.parametrize("victims", [[0], [5], [11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], ids=str)
async def test_a_wait_that_is_cancelled_disturbs_nobody_even_in_the_middle_of_the_list(
    region: Region, backups: list[str], victims: list[int]
) -> None:
    at_the_first_list(region, lambda: region.arm("slow", operation="listCloudImages", seconds=8))
    async with region.context() as ctx:
        tasks = [asyncio.create_task(image_from_backup(image_order(backup), ctx)) for backup in backups]

        def stop() -> None:
            for victim in victims:
                tasks[victim].cancel()

        at_the_first_list(region, stop)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for at, one in enumerate(ended):
        assert isinstance(one, asyncio.CancelledError if at in victims else Delivery), one


async def test_a_failed_job_is_told_by_its_own_wait_with_the_clouds_reason(region: Region, backups: list[str]) -> None:
    region.arm("job-fails", operation="createWholeImage", skip=3, code="IMG.0195", reason="no OS version")
    region.arm("image-killed", operation="createWholeImage", skip=6, code="IMG.0061", reason="internal trouble")
    ended = await make(region, backups)
    failed = [one for one in ended if not isinstance(one, Delivery)]
    assert all(isinstance(one, JobFailed) for one in failed)
    assert [(one.cloud_code, one.reason) for one in failed] == [("IMG.0195", "no OS version"), ("IMG.0061", "internal trouble")]


async def test_a_job_that_fails_and_leaves_its_image_as_it_was_is_noticed_all_the_same(
    region: Region, backups: list[str]
) -> None:
    """Another image that is stuck keeps the list going for half an hour, and the list says `saving`."""
    region.arm("job-stuck", operation="createWholeImage", times=2)
    cloud, begun = region.emulator.cloud, region.clock.now()
    failed_at: list[timedelta] = []

    def fail() -> None:
        (image,) = region.images_of(backups[0])
        (job,) = [job for job in region.things("ims-job") if job["detail"].get("image_id") == image["id"]]
        end(cloud, job, cloud.now(), fail_with("IMG.0195", "no OS version"))

    async def one(ctx: Context) -> None:
        with pytest.raises(JobFailed, match="no OS version"):
            await image_from_backup(image_order(backups[0], timeout=timedelta(minutes=40)), ctx)
        failed_at.append(region.clock.now() - begun)

    at_the_first_list(region, fail)
    async with region.context() as ctx:
        others = [image_from_backup(image_order(backup, timeout=timedelta(minutes=30)), ctx) for backup in backups[1:]]
        stuck, *made = (await asyncio.gather(one(ctx), *others, return_exceptions=True))[1:]
    assert isinstance(stuck, StillRunning)
    assert all(isinstance(delivery, Delivery) for delivery in made)
    assert failed_at[0] < timedelta(minutes=6)


async def test_a_state_that_no_table_knows_ends_its_own_wait_alone(region: Region, backups: list[str]) -> None:
    at_the_first_list(region, lambda: region.arm("unknown-enum", operation="getImsJob"))
    ended = await make(region, backups)
    (strange,) = [one for one in ended if not isinstance(one, Delivery)]
    assert isinstance(strange, UnknownState)


async def test_a_source_that_is_started_meanwhile_makes_its_own_image_doubtful_alone(region: Region, backups: list[str]) -> None:
    stopped = region.account["backups"]["server_stopped"]
    region.arm("source-started", operation="createWholeImage")
    told = Told()
    ended = await make(region, [stopped, *backups], told=told)
    assert [bool(one.doubtful) for one in ended] == [True] + [False] * MANY
    assert len([line for line in told.lines if "was started" in line]) == 1
    (image,) = region.images_of(stopped)
    assert "b2i-doubtful" in image["tags"]


# -- what the list gets wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("late-listing", {"seconds": 60}),
        ("late-listing", {"seconds": 3000}),
        ("doubled-page", {"operation": "listCloudImages"}),
        ("shifting-page", {"operation": "listCloudImages"}),
        ("unknown-fields", {"operation": "listCloudImages"}),
        ("clock-skew", {"seconds": 7200.0}),
        ("clock-skew", {"seconds": -7200.0}),
        ("success-before-active", {"operation": "createWholeImage"}),
        ("slow", {"operation": "listCloudImages", "seconds": 30}),
    ],
    ids=str,
)
async def test_a_list_that_is_late_wrong_or_slow_loses_no_finisher(
    region: Region, backups: list[str], fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, times=None, **how)
    begun = region.clock.now()
    all_made(region, await make(region, backups), backups)
    assert region.clock.now() - begun < timedelta(minutes=6)


@pytest.mark.parametrize("fault", ["error-500", "html-502", "error-503", "reset-before", "truncated-json", "throttled-429"])
async def test_trouble_of_one_list_is_no_news_for_all_and_no_reason_to_ask_one_by_one(
    region: Region, backups: list[str], fault: str
) -> None:
    at_the_first_list(region, lambda: region.arm(fault, operation="listCloudImages", times=2))
    all_made(region, await make(region, backups), backups)
    assert while_waiting(region)["getImsJob"] == MANY


@pytest.mark.parametrize("job_tells", ["late", "early"])
@pytest.mark.parametrize("fault", ["forbidden", "error-503", "truncated-json"])
async def test_where_no_list_is_to_be_had_each_image_is_asked_for_by_itself(
    region: Region, backups: list[str], fault: str, job_tells: str
) -> None:
    told = Told()
    at_the_first_list(region, lambda: region.arm(fault, operation="listCloudImages", times=None))
    region.emulator.switches["image_id_in_job"] = job_tells
    all_made(region, await make(region, backups, told=told), backups)
    assert len([line for line in told.lines if "asking for each image by itself" in line]) == 1


def test_a_wait_that_is_alone_goes_by_its_job_where_images_may_not_be_listed(region: Region, backups: list[str]) -> None:
    """With nothing known of earlier ones it looks often, and beside the job for the image too."""
    for image in region.things("image"):
        region.emulator.cloud.remove("image", image["id"])
    armed: list[str] = []

    def forbid(asked: Any) -> None:
        if asked.operation == "getImsJob" and not armed:
            armed.append(region.emulator.faults.arm("forbidden", operation="listCloudImages", times=None))

    region.watchers.append(forbid)
    ended = region.b2i("create", backups[0])
    assert (ended.code, ended.told["outcome"]) == (0, "made"), ended.err
    assert any(asked.status == 403 for asked in region.sent("listCloudImages"))


async def test_a_refused_list_is_tried_again_later_and_told_once_however_long_that_lasts(
    region: Region, backups: list[str]
) -> None:
    told = Told()
    region.arm("job-stuck", operation="createWholeImage", times=None)
    at_the_first_list(region, lambda: region.arm("forbidden", operation="listCloudImages", times=None))
    region.emulator.switches["image_id_in_job"] = "early"
    ended = await make(region, backups, told=told)
    assert all(isinstance(one, StillRunning) for one in ended)
    assert 4 <= sum(asked.status == 403 for asked in region.sent("listCloudImages")) <= 8
    assert len([line for line in told.lines if "asking for each image by itself" in line]) == 1


@pytest.mark.parametrize("jump", [-3600, 3600, 2.9])
async def test_a_clock_that_is_put_back_or_forward_makes_no_old_list_look_new(
    region: Region, backups: list[str], jump: float
) -> None:
    async with region.context() as ctx:
        with ctx.watch.image(backups[0]) as place, ctx.watch.image(backups[1]):
            await place.look()
            before = len(region.sent("listCloudImages"))
            region.clock.advance(jump)
            await place.look()
    assert len(region.sent("listCloudImages")) - before == (1 if abs(jump) > 3 else 0)


async def test_an_image_that_is_active_while_its_job_still_runs_is_not_green_and_costs_a_job_call_a_beat_at_most(
    region: Region, backups: list[str]
) -> None:
    region.arm("job-stuck", operation="createWholeImage")
    cloud = region.emulator.cloud

    def early() -> None:
        (image,) = region.images_of(backups[0])
        activate(cloud, image, cloud.now())

    at_the_first_list(region, early)
    ended = await make(region, backups, at_0=timedelta(minutes=20))
    assert isinstance(ended[0], StillRunning)
    assert all(isinstance(one, Delivery) for one in ended[1:])
    assert while_waiting(region)["getImsJob"] <= MANY + 50


@pytest.mark.parametrize("seconds", [500, 5000])
async def test_a_list_that_hangs_pushes_nobody_past_the_deadline_by_more_than_a_requests_time(
    region: Region, backups: list[str], seconds: int
) -> None:
    at_the_first_list(region, lambda: region.arm("slow", operation="listCloudImages", seconds=seconds, times=None))
    over: list[timedelta] = []

    async def one(backup: str, minutes: int, ctx: Context) -> None:
        with pytest.raises(B2iError) as late:
            await image_from_backup(image_order(backup, timeout=timedelta(minutes=minutes)), ctx)
        assert isinstance(late.value, StillRunning)
        assert late.value.deadline
        over.append(region.clock.now() - late.value.deadline)

    async with region.context() as ctx:
        await asyncio.gather(*(one(backup, 1 + at // 4, ctx) for at, backup in enumerate(backups)))
    assert max(over) <= timedelta(seconds=60)
    assert len(over) == MANY


# -- adopted ------------------------------------------------------------------------------------------------------------


async def test_what_an_earlier_run_began_is_taken_up_by_all_waits_at_once(region: Region, backups: list[str]) -> None:
    limits = {f"at_{at}": timedelta(seconds=30) for at in range(MANY)}
    assert all(isinstance(one, StillRunning) for one in await make(region, backups, **limits))
    region.clock.advance(600)
    region.forget()
    begun = region.clock.now()
    ended = await make(region, backups)
    assert [(one.outcome, one.status) for one in ended] == [("adopted", "active")] * MANY
    assert region.clock.now() - begun < timedelta(seconds=30)
    assert region.writes == []


async def test_the_image_of_an_earlier_attempt_is_not_taken_for_the_new_one(region: Region, backups: list[str]) -> None:
    first = backups[0]
    region.arm("image-killed", operation="createWholeImage")
    async with region.context() as ctx:
        with pytest.raises(JobFailed):
            await image_from_backup(image_order(first), ctx)
        region.clock.advance(300)
        region.arm("late-listing", seconds=60, times=None)  # for a minute, the dead one is all that there is to be seen
        again = image_from_backup(image_order(first), ctx, after_failure=True)
        ended = await asyncio.gather(again, *(image_from_backup(image_order(backup), ctx) for backup in backups[1:]))
    assert [one.status for one in ended] == ["active"] * MANY
    assert sorted(image["status"] for image in region.images_of(first)) == ["active", "killed"]
