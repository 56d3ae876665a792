"""The commands that faults strike, and every step of theirs, found by running them once without any."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.faults.judge import Judge, Order
from tests.support.region import Asked, Region

__all__ = ["SCENARIOS", "Scenario", "Step", "launch_file", "prepared", "steps"]

HOUR = timedelta(hours=1)
PROBE = {"console": "login:", "timeout": "1m"}
IN_THE_CREATE = timedelta(minutes=20) + timedelta(minutes=10) + HOUR + timedelta(minutes=1)
"""--timeout for the image, ten minutes for the sharing, an hour for the server, a minute for its probe."""

AFTER_THE_NIGHT = timedelta(minutes=30)
"""Until a drill's server is gone, however late it comes: the settle time of servers, and twenty minutes for its teardown."""


@dataclass(frozen=True)
class Scenario:
    """One command in one situation: `prepare` brings it about and says what is then ordered."""

    prepare: Callable[[Judge], Order]


@dataclass(frozen=True)
class Step:
    """A request of a command, told from others of its kind: the one that is struck after so many have passed."""

    operation: str
    skip: int
    when: str
    """Between which changes it is asked, and which of several looks it is."""
    writes: bool
    refused: bool

    def __str__(self) -> str:
        return f"{self.operation}-{self.when}"


def launch_file(region: Region, **changes: Any) -> str:
    """A launch order with everything: an address, a disk that grows, a probe."""
    return region.write_launch(
        **({"public_ip": {}, "data_disks": [{"source": "/dev/vdb", "size_gb": 120}], "probes": [PROBE]} | changes)
    )


def _whole_job(judge: Judge) -> Order:
    region = judge.region
    backup = region.account["backups"]["available"][0]
    arguments = ("create", backup, "--share-with", "dr", "--launch", launch_file(region), "--timeout", "20m")
    return Order(
        arguments,
        backup=backup,
        share=(region.account["second_project"],),
        called="shop-restored",
        probes=1,
        within=IN_THE_CREATE,
    )


def _done_before(judge: Judge) -> Order:
    order = _whole_job(judge)
    assert judge.run(order).code == 0
    return order


def _stopped_source(judge: Judge) -> Order:
    backup = judge.region.account["backups"]["server_stopped"]
    judge.excused.add(judge.region.named("server", "shop-report-01")["id"])
    return Order(("create", backup, "--timeout", "20m"), backup=backup, within=timedelta(minutes=20))


def _young_backup(judge: Judge) -> Order:
    region = judge.region
    backup = region.account["backups"]["available"][0]
    due = region.emulator.cloud.due(90)
    region.change("backup", region.emulator.cloud.get("backup", backup) or {}, status="protecting", due=due)
    within = timedelta(minutes=30)
    return Order(("create", backup, "--wait-backup", "10m", "--timeout", "20m"), backup=backup, within=within)


def _newest_of_server(judge: Judge) -> Order:
    del judge
    return Order(("create", "--server", "shop-mail-01", "--newest", "--timeout", "20m"), within=timedelta(minutes=20))


def _backed_up_now(judge: Judge) -> Order:
    region = judge.region

    def take_as_long_each_time(asked: Asked) -> None:
        """An image takes as long as its backup's id says, and the id of a new backup is another one each time."""
        if asked.operation == "createWholeImage":
            for job in region.things("ims-job", status="INIT"):
                region.change("ims-job", job, remaining=115.0)

    region.answered.append(take_as_long_each_time)
    words = ("create", "--server", "shop-mail-01", "--backup-now", "--wait-backup", "10m", "--timeout", "20m")
    return Order(words, backs_up=True, within=timedelta(minutes=30))


def _launch_alone(judge: Judge) -> Order:
    region = judge.region
    backup = region.account["backups"]["available"][0]
    image = judge.run(Order(("create", backup), backup=backup, within=2 * HOUR)).told["image_id"]
    return Order(
        ("launch", image, "--spec", launch_file(region, count=2), "--timeout", "30m"),
        called="shop-restored",
        count=2,
        probes=1,
        within=timedelta(minutes=31),
    )


def _one_more(judge: Judge) -> Order:
    order = _launch_alone(judge)
    judge.servers_ordered = 2
    assert judge.run(order).code == 0
    judge.servers_ordered = 4
    return order.plus("--another")


def _two(judge: Judge) -> Order:
    judge.servers_ordered = 2
    return _launch_alone(judge)


def _teardown(judge: Judge) -> Order:
    region = judge.region
    judge.servers_ordered = 2
    launch_id = judge.run(_launch_alone(judge)).told["launch_id"]
    # What outlives its server has to be found and removed one by one.
    region.emulator.switches.update(system_disk_on_delete="kept", delete_bodies="arrive")
    for address in region.things("publicip"):
        region.change("publicip", address, delete_on_termination=False)
    return Order(("teardown", launch_id, "--yes-i-mean", "shop-restored"), launch_id=launch_id, within=timedelta(minutes=20))


def _teardown_of_the_rest(judge: Judge) -> Order:
    """The servers are gone, since somebody removed them; their disks and addresses are still there."""
    region, order = judge.region, _teardown(judge)
    with region.killing("deleteServers"):
        region.b2i(*order.arguments)
    cloud = region.emulator.cloud
    for address in region.things("publicip"):
        region.change("publicip", address, port_id=None, status="DOWN")
    for server in judge.launched():
        for disk in region.things("volume", server_id=server["id"]):
            region.change("volume", disk, server_id=None, device=None, status="available")
        cloud.remove("server", server["id"])
    return order


def _drilled(judge: Judge) -> Order:
    """A night of one server: its image is made, launched as a drill, asked, marked, and the drill's server goes again."""
    region = judge.region
    # What outlives its server has to be found and removed one by one.
    region.emulator.switches.update(system_disk_on_delete="kept")
    network = {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}
    region.write_launch(name="shop-drill", network=network, public_ip={}, probes=[PROBE])
    policy = {
        "name": "nightly",
        "servers": {"names": ["shop-mail-01"]},
        "verify": {"sample": 1, "launch": "launch.yaml"},
        "limits": {"deadline": "1h"},
    }
    (region.folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    return Order(("nightly", "policy.yaml"), backup=_newest(judge, "shop-mail-01"), within=HOUR + AFTER_THE_NIGHT)


def _newest(judge: Judge, server: str) -> str:
    backups = [one for one in judge.region.things("backup") if one["resource_name"] == server and one["status"] == "available"]
    found: str = max(backups, key=lambda one: one["created_at"])["id"]
    return found


def _changed_os(judge: Judge) -> Order:
    """A running server of somebody's gets the system disk of an image that was made before."""
    region = judge.region
    backup = region.account["backups"]["available"][0]
    image = judge.run(Order(("create", backup), backup=backup, within=2 * HOUR)).told["image_id"]
    server = region.named("server", "shop-web-02")
    # What the command changes: the server, its system disk, and the disks' place on it.
    judge.excused |= {server["id"], *server["volumes"]}
    judge.disks_of[server["id"]] = tuple(server["volumes"])
    words = ("--accept-data-disks-unchanged", "--yes-i-mean", "shop-web-02", "--stop", "--timeout", "30m")
    asked = ("--probe", "{console: 'login:', timeout: 1m}")
    return Order(("change-os", server["id"], image, *words, *asked), changes=server["id"], within=timedelta(minutes=31))


def _share(judge: Judge) -> Order:
    """An image that is there, with two projects, for a time."""
    region = judge.region
    backup = region.account["backups"]["available"][0]
    image = judge.run(Order(("create", backup), backup=backup, within=2 * HOUR)).told["image_id"]
    both = (region.account["second_project"], region.account["recipient"]["project_id"])
    words = ("share", image, "dr", "partner", "--share-for", "30d")
    return Order(words, share=both, image=image, standing="offered", within=timedelta(minutes=10))


def _unshare(judge: Judge) -> Order:
    order = _share(judge)
    assert judge.run(order).code == 0
    return replace(order, arguments=("unshare", *order.arguments[1:4]), standing="gone")


def _accept(judge: Judge) -> Order:
    """By the recipient's own log-in."""
    order = _share(judge)
    assert judge.run(order).code == 0
    words = ("accept", str(order.image), "--cloud", "partner", "--timeout", "20m")
    return replace(order, arguments=words, share=order.share[1:], standing="accepted", within=timedelta(minutes=40))


def _accept_all(judge: Judge) -> Order:
    """A full-ECS image and a plain one, of a sender who is trusted."""
    order, region = _accept(judge), judge.region
    projects = {"dr": region.account["second_project"], "partner": region.account["recipient"]["project_id"]}
    region.write_settings(projects=projects, accept_from=[region.account["project_id"]])
    plain = region.named("image", "base-ubuntu-hardened")["id"]
    assert judge.run(Order(("share", plain, "partner"), share=order.share, image=plain, standing="offered")).code == 0
    words = ("accept", "--all", "--cloud", "partner", "--timeout", "20m")
    return replace(order, arguments=words, besides=(plain,))


def _hand_over(judge: Judge) -> Order:
    """By the log-ins of both sides."""
    order = _share(judge)
    words = ("hand-over", str(order.image), "--to", "partner", "--share-for", "30d", "--timeout", "20m")
    return replace(order, arguments=words, share=order.share[1:], standing="accepted", within=timedelta(minutes=40))


SCENARIOS: dict[str, Scenario] = {
    "whole job": Scenario(_whole_job),
    "whole job again": Scenario(_done_before),
    "source stopped": Scenario(_stopped_source),
    "backup still being made": Scenario(_young_backup),
    "newest of a server": Scenario(_newest_of_server),
    "backed up now": Scenario(_backed_up_now),
    "launch of two": Scenario(_two),
    "two more": Scenario(_one_more),
    "teardown": Scenario(_teardown),
    "teardown of the rest": Scenario(_teardown_of_the_rest),
    "night with a drill": Scenario(_drilled),
    "change of OS": Scenario(_changed_os),
    "share": Scenario(_share),
    "unshare": Scenario(_unshare),
    "accept": Scenario(_accept),
    "accept --all": Scenario(_accept_all),
    "hand-over": Scenario(_hand_over),
}


@contextmanager
def prepared(name: str, folder: Path) -> Iterator[tuple[Judge, Order]]:
    """A fresh region in which this scenario's command may be run."""
    random.seed(0)  # pauses are jittered: the same ones every time, or a step would be another one
    region = Region(folder)
    try:
        judge = Judge(region)
        yield judge, SCENARIOS[name].prepare(judge)
    finally:
        region.close()


@cache
def steps(name: str) -> tuple[Step, ...]:
    """The steps of a scenario's command where nothing goes wrong, in their order.

    Requests are told apart by what has been changed before them; of many looks at one thing, the first, the second and the last.
    """
    with tempfile.TemporaryDirectory() as folder, prepared(name, Path(folder)) as (judge, order):
        first = len(judge.region.asked)
        assert judge.run(order).code == 0
        asked = judge.region.asked[first:]
    passed: dict[str, int] = {}
    phases: dict[tuple[str, str], list[tuple[int, int | None]]] = {}
    after = "first"
    for one in asked:
        operation = one.operation or ""
        phases.setdefault((operation, after), []).append((passed.get(operation, 0), one.status))
        passed[operation] = passed.get(operation, 0) + 1
        if one.method != "GET" and operation not in {"createToken", "getConsoleOutput"}:
            after = f"after-{operation}{'' if one.writes else '-dry'}"
    found: list[Step] = []
    for (operation, when), looks in phases.items():
        chosen = dict.fromkeys([0, min(1, len(looks) - 1), len(looks) - 1])
        for number in chosen:
            skip, status = looks[number]
            which = "" if len(looks) == 1 else f"-{'first' if not number else 'last' if number == len(looks) - 1 else 'second'}"
            writes = any(one.writes for one in asked if one.operation == operation)
            found.append(Step(operation, skip, when + which, writes, (status or 0) >= 400))
    return tuple(found)
