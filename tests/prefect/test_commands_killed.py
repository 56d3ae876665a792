"""Runs of single commands that are killed where it hurts: the automations bring them back, and nothing is done twice.

Two die before either is looked at, since it takes a minute until they are brought back. Those of `make prove` die at many places,
and are given again by hand.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.house import House
from tests.support.yard import Came, HandOvers, Launches, Point, Yard, kill_at, places

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds a run's process under /proc"),
]

LAUNCH = places(
    ("createToken", 0), ("getImage", 0), ("createServers", 0), ("createServers", 1), ("getEcsJob", 0), ("getServer", 0)
)
HAND_OVER = places(
    ("createToken", 1), ("listVaults", 0), ("batchAddImageMembers", 0), ("batchUpdateImageMembers", 0), ("getImsJob", 0)
)
BACK = 180.0
"""Seconds within which a killed run has been brought back and has ended."""


@pytest.fixture(scope="module")
def image(house: House) -> str:
    code, said, told = house.local("create", house.backup())
    assert code == 0, told
    return str(said["image_id"])


@pytest.fixture(scope="module")
def handed_over(house: House, image: str, partner: str) -> tuple[str, Counter[str]]:
    """Killed when the cloud had shared it, and nobody knew; and what had been asked for before."""
    before = requests(house)
    run = killed_inside(house, "batchAddImageMembers", 0, "hand-over/an-image", {"image": image}, recipient="partner")
    assert house.cloud.get("ims", f"/v2/images/{image}/members/{partner}")["status"] == "pending"
    return run, before


@pytest.fixture(scope="module")
def launched(house: House, image: str) -> str:
    """Killed when the cloud had begun to make it, and nobody knew."""
    order = {"image": image, "launch": house.launch_order("killed-launch")}
    return killed_inside(house, "createServers", 1, "launch/a-server", order)  # after the cloud's dry run


def requests(house: House) -> Counter[str]:
    return Counter({one: house.asked(one) for one in ("batchAddImageMembers", "batchUpdateImageMembers")})


def killed_inside(house: House, operation: str, skip: int, deployment: str, order: dict[str, str], **blocks: str) -> str:
    """A run whose process is gone after the request has taken effect, and before it is answered."""
    held = house.cloud.arm(name="hold", operation=operation, skip=skip, seconds=3)
    run = house.order_action(deployment, order=order, **blocks)
    house.await_strike(held)
    house.signal_run(run)
    house.await_state(run, "Crashed")
    return run


def passed_through(house: House, run: str) -> None:
    names = [one["name"] for one in house.states(run)]
    assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")


@pytest.mark.usefixtures("launched")
def test_a_hand_over_that_is_killed_between_share_and_accept_is_brought_back_and_ends_with_one_share(
    house: House, image: str, partner: str, handed_over: tuple[str, Counter[str]]
) -> None:
    run, before = handed_over
    house.await_state(run, "Completed", within=BACK)
    passed_through(house, run)
    told = house.came_of(run)
    assert (told["exit_code"], told["content"]["state"], told["content"]["recipient"]) == (0, "accepted", partner), told
    assert house.cloud.get("ims", f"/v2/images/{image}/members/{partner}")["status"] == "accepted"
    assert requests(house) - before == {"batchAddImageMembers": 1, "batchUpdateImageMembers": 1}
    assert partner in house.artifacts(run)["hand-over"]
    assert house.local("hand-over", image, "--to", "partner")[1]["outcome"] == "adopted"


def test_a_launch_that_is_killed_right_after_its_request_is_brought_back_and_ends_with_one_server(
    house: House, launched: str
) -> None:
    house.await_state(launched, "Completed", within=BACK)
    passed_through(house, launched)
    (server,) = house.cloud.servers_called("killed-launch")
    told = house.came_of(launched)
    assert (told["exit_code"], told["outcome"], told["content"]["server_ids"]) == (0, "adopted", [server["id"]]), told
    assert server["status"] == "ACTIVE"
    assert server["id"] in house.artifacts(launched)["launch"]


# -- many places --------------------------------------------------------------------------------------------------------


def once(came: Came) -> None:
    """Given again it was done once, and the last run told the truth about it."""
    if came.trouble:
        raise came.trouble
    site, told = came.yard.site, came.yard.house.came_of(came.runs[-1])
    assert (told["exit_code"], told["outcome"] in {"made", "adopted"}) == (0, True), told
    if isinstance(came.yard, HandOvers):
        partner = site.account["recipient"]["project_id"]
        members = site.cloud.get("ims", f"/v2/images/{came.subject}/members")["members"]
        assert [(one["member_id"], one["status"]) for one in members] == [(partner, "accepted")]
        assert (told["content"]["state"], told["content"]["recipient"]) == ("accepted", partner)
        return
    (server,) = site.cloud.servers_called(came.server)
    assert (told["content"]["server_ids"], server["status"]) == ([server["id"]], "ACTIVE")


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "points"), [(Launches, LAUNCH), (HandOvers, HAND_OVER)], ids=["launch", "hand-over"])
def test_a_command_that_is_killed_at_a_request_and_given_again_is_done_once(
    house: House, kind: type[Yard], points: list[Point]
) -> None:
    with ExitStack() as processes:
        came = kill_at(points, house, processes, kind)
        failures: list[str] = []
        for point, one in came.items():
            try:
                once(one)
            except (AssertionError, ValueError, pytest.fail.Exception) as failure:
                failures.append(f"{point}: {failure}")
        assert not failures, "\n".join(failures)
