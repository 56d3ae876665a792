"""kill -9 wherever b2i can die, then the same command again: one image, one server, the right members, a true report.

The points are found by looking on while an undisturbed run goes by: before each request, after its effect, after its answer;
before, inside and after each write of the journal. Polls of the same kind in a row count once.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from tests.kills.child import Point
from tests.kills.conftest import Company
from tests.kills.errands import MIXED, RECOVERY, SINGLE
from tests.kills.matrix import Death, points_of, survive_all, that_differ, written_out

Tell = Callable[[object], None]

DEADLIEST = [
    Point("", what, phase)
    for what, phases in {
        "record image": ("before", "after"),
        "createWholeImage": ("before", "effect", "answer"),
        "batchAddImageMembers": ("effect",),
        "record launch": ("torn",),
        "createServers": ("before", "effect", "answer"),
    }.items()
    for phase in phases
]


ORDERS = ("create", "launch")
"""What is billed when it is made twice: these are killed at every point."""
LOOKS_FIRST = {"change-os"}
"""Commands that look at so much before they write down anything that being killed there is tried at random moments alone."""


@pytest.fixture
def leftovers(company: Company) -> Iterator[None]:
    """System disks outlive their servers, so that a teardown has more to do."""
    company.served.switch(system_disk_on_delete="kept")
    yield
    company.served.switch(system_disk_on_delete="deleted")


def test_the_deadliest_kills_of_an_order_that_is_repeated_make_one_image_and_one_server(company: Company, tell: Tell) -> None:
    tally = survive_all("create", company.people, map(Death, DEADLIEST))
    tell(tally)
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_deadliest_kills_of_shares_and_drills_end_as_if_nothing_had_happened(company: Company, tell: Tell) -> None:
    """Inside and after each request that changes something, and after each word of the journal."""
    for command in MIXED:
        points, _ = points_of(command, company.people[0])
        deadly = [
            one
            for one in that_differ(points)
            if one.what.startswith(("batch", "createServers", "deleteServers", "record ")) and one.phase != "torn"
        ]
        tally = survive_all(command, company.people, map(Death, deadly))
        tell(tally)
        assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", ["runbook drill", "runbook failover"])
@pytest.mark.usefixtures("leftovers")
def test_the_deadliest_kills_of_a_recovery_launch_no_server_twice_and_forget_none(
    company: Company, tell: Tell, command: str
) -> None:
    """Inside and after each request that changes something, and after each word of the journal."""
    points, _ = points_of(command, company.people[0])
    deadly = [
        one for one in that_differ(points) if one.what in {"createServers", "deleteServers"} or one.what.startswith("record ")
    ]
    tally = survive_all(command, company.people, [Death(one) for one in deadly if one.phase != "torn"])
    tell(f"{tally}; it has {len(points)} points")
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("command", "choose"),
    [pytest.param(command, list, marks=pytest.mark.slow, id=command) for command in ORDERS]
    + [pytest.param(one, that_differ, marks=pytest.mark.slow, id=f"{one}, each state") for one in SINGLE if one not in ORDERS]
    + [pytest.param(one, list, marks=pytest.mark.prove, id=one) for one in (*SINGLE, *MIXED, *RECOVERY) if one not in ORDERS],
)
@pytest.mark.usefixtures("leftovers")
def test_a_command_that_is_killed_at_any_point_and_repeated_ends_as_if_nothing_had_happened(
    company: Company, tell: Tell, command: str, choose: Callable[[list[Point]], list[Point]]
) -> None:
    points, _ = points_of(command, company.people[0])
    points = choose([point for point in points if command not in LOOKS_FIRST or point.since != "the start"])
    tell(written_out(command, points))
    tally = survive_all(command, company.people, map(Death, points))
    tell(tally)
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_exists_is_adopted_within_30_seconds_of_the_next_start_with_the_settle_times_that_people_have(
    company: Company, tell: Tell
) -> None:
    """From the moment on at which the cloud has heard the request; before it nothing exists, and b2i looks for minutes."""
    points, _ = points_of("create", company.people[0])
    made = {"createWholeImage", "createServers"}
    heard = [point for point in points if (point.what in made and point.phase != "before") or point.since in made]
    for person in company.people:
        person.settle()
    tally = survive_all("create", company.people, map(Death, heard))
    for person in company.people:
        person.settle(image="8s", server="8s")
    tell(f"With settle times as people have them, {tally}")
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.longest < 30


@pytest.fixture
def keys(company: Company) -> Iterator[None]:
    """Every second person signs his requests with a key pair."""
    for person in company.people[::2]:
        person.sign(by_key=True)
    yield
    for person in company.people[::2]:
        person.sign(by_key=False)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("command", "share"),
    [pytest.param(command, 0.1, marks=pytest.mark.slow, id=f"{command}, a few") for command in ("create", "teardown")]
    + [pytest.param(command, 1.0, marks=pytest.mark.prove, id=f"{command}, many") for command in (*SINGLE, *MIXED, *RECOVERY)],
)
@pytest.mark.usefixtures("leftovers", "keys")
def test_a_command_whose_repetition_is_killed_too_ends_as_if_nothing_had_happened(
    company: Company, tell: Tell, command: str, share: float
) -> None:
    chance, seed = _chance()
    points, _ = points_of(command, company.people[0])
    far = len(points)
    deaths = [Death(chance.randint(1, far), then=chance.randint(1, far)) for _ in range(round(share * far))]
    tally = survive_all(command, company.people, deaths)
    tell(f"Killed twice (PROVE_SEED={seed}): {tally}")
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", [*SINGLE, *MIXED, *RECOVERY])
@pytest.mark.usefixtures("leftovers")
def test_a_command_that_is_killed_at_any_moment_and_repeated_ends_as_if_nothing_had_happened(
    company: Company, tell: Tell, command: str
) -> None:
    chance, seed = _chance()
    _, usually = points_of(command, company.people[0])
    number = int(os.environ.get("PROVE_KILLS", "200")) // len((*SINGLE, *MIXED, *RECOVERY))
    deaths = [Death(chance.random()) for _ in range(number)]
    tally = survive_all(command, company.people, deaths, usually=usually)
    tell(f"At random times (PROVE_SEED={seed}): {tally}")
    assert not tally.failures, "\n".join(tally.failures)


def _chance() -> tuple[random.Random, int]:
    """Chance that can be had again: its seed is told, and taken from the environment where it is named there."""
    seed = int(os.environ.get("PROVE_SEED") or random.SystemRandom().randrange(10**6))
    return random.Random(seed), seed  # noqa: S311 - it guards nothing
