"""A night that is killed, once or again and again: the same command ends it as if nothing had happened, and makes nothing twice.

Its points are those that undisturbed nights pass, as for every other command. Since two servers are at work at a time, not every
night passes all of them: a night that ends before it came to the point where it was to die is begun anew, elsewhere.
"""

import os
import random
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kills.child import Point
from tests.kills.conftest import Company
from tests.kills.matrix import Death, points_of, points_of_several, survive_all, that_differ, written_out
from tests.support.served import Desk, Served

Tell = Callable[[object], None]

SPEED = 40
"""An image takes three seconds."""
SERVERS = 16
LOOKS = 4
"""So many nights go by undisturbed, to find the points."""
USUALLY = 15.0
"""Seconds that a night takes when nobody kills it: sixteen images, four at a time."""


def wait_and_kill(desk: Desk, after: float) -> None:
    process = desk.start("nightly", "policy.yaml")
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def made(served: Served) -> Counter[str]:
    """How many images there are of each backup, and whether the region ever heard of one that it had."""
    images = served.get("ims", "/v2/cloudimages", __whole_image="true", owner=served.account["project_id"])["images"]
    return Counter(image["__backup_id"] for image in images)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [1, 2, 4])
def test_a_night_that_is_killed_at_any_time_is_ended_by_the_same_command(tmp_path: Path, tell: Tell, kills: int) -> None:
    chance = random.Random()  # noqa: S311 - chance, not a secret; what it was is told
    with Served(tmp_path, SPEED) as served:
        desk = Desk(served, tmp_path)
        before = made(served)
        policy: dict[str, Any] = {"name": "nightly", "limits": {"images_at_once": 4}}
        policy["servers"] = {"tags": {"backup-to-image": "yes"}, "exclude": ["shop-app-02"]}
        (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
        moments = [round(chance.uniform(0.5, USUALLY / kills), 2) for _ in range(kills)]
        for moment in moments:
            wait_and_kill(desk, moment)
        began = time.monotonic()
        code, told = desk.run("nightly", "policy.yaml", within=200)
        tell(f"A night of {SERVERS} killed after {moments} s, ended in {time.monotonic() - began:.1f} s more")
        assert (code, told["servers"]) == (0, SERVERS), told
        assert len(told["made"]) + len(told["adopted"]) == SERVERS
        new = made(served) - before  # a server may have had the image of its newest backup before
        assert set(new.values()) == {1}
        assert len(new) >= SERVERS - 1
        asked = [one["status"] for one in served.requests() if one["operationId"] == "createWholeImage"]
        assert asked == [200] * len(new)


@pytest.fixture
def leftovers(nights: Company) -> Iterator[None]:
    """System disks outlive their servers, so that the end of a drill has more to do."""
    nights.served.switch(system_disk_on_delete="kept")
    yield
    nights.served.switch(system_disk_on_delete="deleted")


def points(nights: Company, tell: Tell) -> list[Point]:
    found = points_of_several("nightly", nights.people[:LOOKS])
    always = sum(times == LOOKS for times in found.values())
    tell(written_out("nightly", found) + f"\n{always} of these {len(found)} were in each of {LOOKS} nights.")
    return list(found)


def one_of_each_kind(found: list[Point]) -> list[Point]:
    """Everything that a night does, at one of the places where it does it.

    What changes something is there before, in and after it. Looks are the same thing before and after, and so are leases and
    claims, which end with their process: each of these is there once; so is a record that is torn, which is one not written.
    """
    chosen: dict[tuple[str, str], Point] = {}
    for point in sorted(found, key=lambda one: zlib.crc32(str(one).encode())):
        changes = any(f"{other.since} ".startswith(f"{point.what} ") for other in found)
        alike = not changes or point.what.startswith(("lease ", "claim "))
        kind = ("", "torn") if point.phase == "torn" else (point.what, "" if alike else point.phase)
        chosen.setdefault(kind, point)
    return list(chosen.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("leftovers")
def test_a_night_that_is_killed_once_at_everything_that_it_does_and_repeated_ends_as_if_nothing_had_happened(
    nights: Company, tell: Tell
) -> None:
    chosen = one_of_each_kind(that_differ(points(nights, tell)))
    tally = survive_all("nightly", nights.people, map(Death, chosen))
    tell(tally)
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("leftovers")
def test_a_night_that_is_killed_at_any_point_and_repeated_ends_as_if_nothing_had_happened(nights: Company, tell: Tell) -> None:
    tally = survive_all("nightly", nights.people, map(Death, points(nights, tell)))
    tell(tally)
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("leftovers")
def test_a_night_whose_repetition_is_killed_too_ends_as_if_nothing_had_happened(nights: Company, tell: Tell) -> None:
    seed = int(os.environ.get("PROVE_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)  # noqa: S311 - it guards nothing
    found, _ = points_of("nightly", nights.people[0])
    far = len(found)
    deaths = [Death(chance.randint(1, far), then=chance.randint(1, far)) for _ in range(far // 2)]
    tally = survive_all("nightly", nights.people, deaths)
    tell(f"Killed twice (PROVE_SEED={seed}): {tally}")
    assert not tally.failures, "\n".join(tally.failures)
