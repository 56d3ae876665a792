"""kill -9 in the middle, as real processes over real sockets; then the same command again: one image, one server, nothing left.

`before`: the request has reached the region and takes effect only after the kill. `after`: it has taken effect, and the answer is
on its way. Each point is a place at which the program may stop for ever.
"""

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Desk, Served

SPEED = 200


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("region"), SPEED) as region:
        yield region


@pytest.fixture
def desk(served: Served, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(served, tmp_path)
    served.disarm()


@pytest.fixture(scope="module")
def spare(served: Served) -> Iterator[str]:
    """Backups that no test has used yet."""
    listed = served.get("cbr", "/v3/{project}/backups", resource_type="OS::Nova::Server", status="available")["backups"]
    names = ("shop-lb", "shop-web-0", "shop-app", "shop-queue", "shop-search", "shop-mail")
    return iter(
        [
            one["id"]
            for one in listed
            if one["resource_name"].startswith(names)
            and not one["extend_info"].get("os_images_data")
            and one["extend_info"].get("contain_system_disk", True)
            and one["name"].startswith("autobk")
        ]
    )


@pytest.fixture
def backup(spare: Iterator[str]) -> str:
    return next(spare)


def before(operation: str, skip: int = 0) -> dict[str, Any]:
    return {"name": "slow", "operation": operation, "skip": skip, "seconds": 0.8}


def after(operation: str, skip: int = 0) -> dict[str, Any]:
    return {"name": "hold", "operation": operation, "skip": skip, "seconds": 1.5}


slow = pytest.mark.slow

CREATE = {
    "the log-in": pytest.param(after("createToken"), marks=slow),
    "looking at the backup": pytest.param(after("getBackup"), marks=slow),
    "before the image": pytest.param(before("createWholeImage")),
    "after the image": pytest.param(after("createWholeImage")),
    "while it is made": pytest.param(after("getImsJob"), marks=slow),
    "looking at the image": pytest.param(after("getImage"), marks=slow),
    "before sharing": pytest.param(before("batchAddImageMembers"), marks=slow),
    "after sharing": pytest.param(after("batchAddImageMembers"), marks=slow),
    "looking at the members": pytest.param(after("listImageMembers", 1), marks=slow),
}


@pytest.mark.parametrize("point", CREATE.values(), ids=CREATE)
def test_an_order_that_is_killed_and_repeated_makes_one_image(desk: Desk, backup: str, point: dict[str, Any]) -> None:
    order = ("create", backup, "--share-with", "dr")
    desk.kill_at(point, *order)
    code, told = desk.run(*order)
    (image,) = desk.served.images_of(backup)
    assert (code, told["image_id"], told["status"], image["status"]) == (0, image["id"], "active", "active"), told
    assert told["shared_with"] == [desk.served.account["second_project"]]


LAUNCH = {
    "the dry run": pytest.param(after("createServers"), marks=slow),
    "before the server": pytest.param(before("createServers", 1)),
    "after the server": pytest.param(after("createServers", 1)),
    "while it is made": pytest.param(after("getEcsJob"), marks=slow),
    "looking at the server": pytest.param(after("getServer"), marks=slow),
}


@pytest.fixture(scope="module")
def image(served: Served, spare: Iterator[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    code, told = Desk(served, tmp_path_factory.mktemp("image")).run("create", next(spare))
    assert code == 0, told
    found: str = told["image_id"]
    return found


@pytest.mark.parametrize(
    ("point", "name"),
    [pytest.param(*one.values, name.replace(" ", "-"), marks=one.marks, id=name) for name, one in LAUNCH.items()],
)
def test_a_launch_that_is_killed_and_repeated_makes_one_server(desk: Desk, image: str, point: dict[str, Any], name: str) -> None:
    order = ("launch", image, "--spec", desk.launch_order(f"killed-{name}"))
    desk.kill_at(point, *order)
    code, told = desk.run(*order)
    if code == 4:  # the server that came after the kill was counted before it could be seen
        code, told = desk.run(*order)
    (server,) = desk.served.servers_called(f"killed-{name}")
    assert (code, told["server_id"], server["status"]) == (0, server["id"], "ACTIVE"), told


TEARDOWN = {
    "before the servers go": pytest.param(before("deleteServers"), marks=slow),
    "after the servers are gone": pytest.param(after("deleteServers")),
    "looking whether they are gone": pytest.param(after("getServer"), marks=slow),
    "before a disk goes": pytest.param(before("deleteVolume")),
    "after a disk is gone": pytest.param(after("deleteVolume"), marks=slow),
    "looking at the addresses": pytest.param(after("listPublicIps", 1), marks=slow),
}


@pytest.mark.parametrize(
    ("point", "name"),
    [pytest.param(*one.values, name.replace(" ", "-"), marks=one.marks, id=name) for name, one in TEARDOWN.items()],
)
def test_a_teardown_that_is_killed_and_repeated_leaves_nothing(desk: Desk, image: str, point: dict[str, Any], name: str) -> None:
    desk.served.switch(system_disk_on_delete="kept")
    called, mark = f"gone-{name}", hashlib.sha256(name.encode()).hexdigest()[:12]
    desk.served.launch(image, called, {"b2i-launch": mark})
    order = ("teardown", mark, "--yes-i-mean", called)
    desk.kill_at(point, *order)
    code, told = desk.run(*order)
    assert (code, told["left_behind"]) == (0, []), told
    assert desk.served.servers_called(called) == []
    assert desk.served.disks_called(called) == []


def test_two_processes_at_once_make_one_image_and_both_end_well(desk: Desk, backup: str) -> None:
    both = [desk.start("create", backup) for _ in range(2)]
    ended = [desk.end(process) for process in both]
    (image,) = desk.served.images_of(backup)
    assert [code for code, _ in ended] == [0, 0], ended
    assert {told["image_id"] for _, told in ended} == {image["id"]}
    assert sorted(told["outcome"] for _, told in ended) == ["adopted", "made"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=slow)])
def test_a_signal_ends_in_order_with_its_own_exit_code_and_the_next_run_goes_on(
    desk: Desk, backup: str, number: signal.Signals, code: int
) -> None:
    held = desk.served.arm(**after("getImsJob"))
    process = desk.start("create", backup)
    desk.served.await_strike(held)
    process.send_signal(number)
    ended, told = desk.end(process)
    assert (ended, told["outcome"], told["error"]["code"]) == (code, "still_running", "b2i.interrupted")
    ended, told = desk.run("create", backup)
    assert (ended, told["image_id"]) == (0, desk.served.images_of(backup)[0]["id"])
