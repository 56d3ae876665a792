"""Several hosts that share nothing but a journal on Valkey: one image, one server, whatever dies, whatever the journal forgets.

Each host is a folder, a home and processes of its own. Processes of one machine know each other's deaths; where a test is about
another host's death, the lease of the dead is rewritten as that host would have written it.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Desk, Served
from tests.support.valkey import Valkey

LEASE = 60.0
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("region"), 200) as region:
        yield region


@pytest.fixture(scope="module")
def spare(served: Served) -> Iterator[str]:
    """Backups that no test has used yet."""
    listed = served.get("cbr", "/v3/{project}/backups", resource_type="OS::Nova::Server", status="available")["backups"]
    fresh = [one for one in listed if not one["extend_info"].get("os_images_data") and one["name"].startswith("autobk")]
    small = ("shop-lb", "shop-web-0", "shop-app", "shop-queue", "shop-search", "shop-mail")
    return iter(
        [
            one["id"]
            for one in fresh
            if one["resource_name"].startswith(small) and one["extend_info"].get("contain_system_disk", True)
        ]
    )


@pytest.fixture
def backup(spare: Iterator[str]) -> str:
    return next(spare)


@pytest.fixture
def server() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def hosts(served: Served, server: Valkey, tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    yield Desk(served, folders[0], journal=server.address), Desk(served, folders[1], journal=server.address)
    served.disarm()


@pytest.fixture(scope="module")
def image(served: Served, spare: Iterator[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    code, told = Desk(served, tmp_path_factory.mktemp("image")).run("create", next(spare))
    assert code == 0, told
    found: str = told["image_id"]
    return found


def before(operation: str, skip: int = 0) -> dict[str, Any]:
    return {"name": "slow", "operation": operation, "skip": skip, "seconds": 0.8}


def after(operation: str, skip: int = 0) -> dict[str, Any]:
    return {"name": "hold", "operation": operation, "skip": skip, "seconds": 1.5}


def only_image(served: Served, backup: str, *ended: tuple[int, dict[str, Any]]) -> None:
    """There is one image of the backup, and everybody ended well with it."""
    (image,) = served.images_of(backup)
    assert image["status"] == "active"
    assert [(code, told["image_id"]) for code, told in ended] == [(0, image["id"])] * len(ended), ended


def died_elsewhere(server: Valkey, *, left: float) -> None:
    """The lease that a dead process has left, as of another host, with this much of its minute still to come."""
    (name,) = server.names("b2i:lease:*")
    lease = json.loads(server.do("GET", name)) | {"host": "elsewhere"}
    server.do("SET", name, json.dumps(lease), "PX", round(left * 1000))


# -- at once ------------------------------------------------------------------------------------------------------------


def test_two_hosts_at_once_make_one_image_and_both_deliver_it(hosts: tuple[Desk, Desk], served: Served, backup: str) -> None:
    both = [host.start("create", backup) for host in hosts]
    ended = [hosts[0].end(process) for process in both]
    only_image(served, backup, *ended)
    assert sorted(told["outcome"] for _, told in ended) == ["adopted", "made"]
    assert not [path for host in hosts for path in host.folder.rglob("journal")], "something lies beside the shared journal"


@slow
def test_two_hosts_at_once_launch_one_server_and_both_deliver_it(hosts: tuple[Desk, Desk], served: Served, image: str) -> None:
    both = [host.start("launch", image, "--spec", host.launch_order("from-two-hosts")) for host in hosts]
    ended = [hosts[0].end(process) for process in both]
    (launched,) = served.servers_called("from-two-hosts")
    assert [(code, told["server_id"]) for code, told in ended] == [(0, launched["id"])] * 2, ended


@slow
def test_ten_processes_of_two_hosts_at_once_make_one_image_and_one_server(
    hosts: tuple[Desk, Desk], served: Served, backup: str
) -> None:
    orders = [(host, host.launch_order("from-ten")) for host in hosts * 5]
    started = [(host, host.start("create", backup, "--launch", order)) for host, order in orders]
    ended = [host.end(process) for host, process in started]
    only_image(served, backup, *ended)
    (launched,) = served.servers_called("from-ten")
    assert {told["server_id"] for _, told in ended} == {launched["id"]}


# -- one of them dies ---------------------------------------------------------------------------------------------------


@slow
def test_what_a_dead_host_was_waiting_for_is_adopted_by_another_at_once(
    hosts: tuple[Desk, Desk], served: Served, backup: str
) -> None:
    here, there = hosts
    here.kill_at(after("getImsJob"), "create", backup)
    began = time.monotonic()
    only_image(served, backup, there.run("create", backup))
    assert time.monotonic() - began < 30


ASKING = [before("createWholeImage"), after("createWholeImage")]


@slow
@pytest.mark.parametrize("point", ASKING, ids=["before", "after"])
def test_an_image_whose_host_died_while_asking_for_it_is_made_once(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, backup: str, point: dict[str, Any]
) -> None:
    here, there = hosts
    here.kill_at(point, "create", backup)
    died_elsewhere(server, left=2)
    only_image(served, backup, there.run("create", backup))


@slow
@pytest.mark.parametrize("point", [before("createServers", 1), after("createServers", 1)], ids=["before", "after"])
def test_a_server_whose_host_died_while_asking_for_it_is_made_once(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, image: str, point: dict[str, Any]
) -> None:
    here, there = hosts
    called = f"died-{point['name']}"
    here.kill_at(point, "launch", image, "--spec", here.launch_order(called))
    died_elsewhere(server, left=2)
    order = ("launch", image, "--spec", there.launch_order(called))
    code, told = there.run(*order)
    if code == 4:  # the server that came after the kill was counted before it could be seen
        code, told = there.run(*order)
    (launched,) = served.servers_called(called)
    assert (code, told["server_id"]) == (0, launched["id"]), told


@slow
def test_what_a_dead_host_asked_for_is_adopted_from_another_without_waiting_for_its_lease(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, backup: str, record_property: Any
) -> None:
    here, there = hosts
    here.kill_at(after("createWholeImage"), "create", backup)
    died_elsewhere(server, left=LEASE)
    began = time.monotonic()
    process = there.start("create", backup)
    out, err = process.communicate(timeout=LEASE + 30)
    assert process.returncode == 0, err
    waited = time.monotonic() - began
    record_property("seconds", round(waited, 1))
    only_image(served, backup, (process.returncode, json.loads(out)))
    assert waited < 30


# -- the journal's server dies ------------------------------------------------------------------------------------------


@slow
def test_a_journal_that_goes_away_before_the_request_stops_it_with_the_reason_and_nothing_is_made(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, backup: str
) -> None:
    here, there = hosts
    held = served.arm(**after("getImageQuota"))
    process = here.start("create", backup)
    served.await_strike(held)
    server.stop()
    code, told = here.end(process)
    assert (code, told["outcome"], told["error"]["code"]) == (2, "failed", "b2i.journal")
    assert "connection refused" in told["error"]["message"]
    assert "Nothing was made" in told["error"]["action"]
    assert served.images_of(backup) == []
    code, told = there.run("create", backup)
    assert (code, told["error"]["code"]) == (2, "b2i.journal")
    server.start()
    only_image(served, backup, there.run("create", backup))


@slow
def test_a_journal_that_goes_away_after_the_request_loses_nothing_and_the_missing_note_is_told(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, backup: str
) -> None:
    here, there = hosts
    held = served.arm(**after("createWholeImage"))
    process = here.start("create", backup)
    served.await_strike(held)
    server.stop()
    out, err = process.communicate(timeout=60)
    told = json.loads(out)
    assert told["outcome"] == "made"
    assert "could not be noted" in err
    assert "connection refused" in err
    server.start()
    only_image(served, backup, (process.returncode, told), there.run("create", backup))


@slow
@pytest.mark.parametrize("point", ASKING, ids=["before", "after"])
def test_a_journal_that_forgets_everything_meanwhile_makes_no_second_image(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, backup: str, point: dict[str, Any]
) -> None:
    here, there = hosts
    held = served.arm(**point)
    first = here.start("create", backup)
    served.await_strike(held)
    server.lose_everything()
    only_image(served, backup, there.run("create", backup), here.end(first))
    server.lose_everything()
    only_image(served, backup, here.run("create", backup))


@slow
def test_a_journal_that_forgets_everything_meanwhile_makes_no_second_server(
    hosts: tuple[Desk, Desk], served: Served, server: Valkey, image: str
) -> None:
    here, there = hosts
    held = served.arm(**after("createServers", 1))
    first = here.start("launch", image, "--spec", here.launch_order("forgotten"))
    served.await_strike(held)
    server.lose_everything()
    ended = [there.run("launch", image, "--spec", there.launch_order("forgotten")), here.end(first)]
    server.lose_everything()
    ended.append(there.run("launch", image, "--spec", "forgotten.yaml"))
    (launched,) = served.servers_called("forgotten")
    assert [(code, told["server_id"]) for code, told in ended] == [(0, launched["id"])] * 3, ended


# -- what is said and what is not ---------------------------------------------------------------------------------------


@slow
def test_a_password_goes_by_the_environment_alone_and_is_seen_nowhere(
    served: Served, server: Valkey, backup: str, tmp_path: Path
) -> None:
    secret = "correct horse battery"
    server.do("ACL", "SETUSER", "robot", "on", f">{secret}", "~b2i:*", "+@all")
    address = server.address.replace("//", "//robot@")
    desk = Desk(served, tmp_path, journal=address)
    code, told = desk.run("create", backup)
    assert (code, told["error"]["code"]) == (2, "b2i.usage")
    assert "B2I_JOURNAL_PASSWORD" in told["error"]["message"]
    desk.environ["B2I_JOURNAL_PASSWORD"] = secret
    process = desk.start("-vv", "create", backup, "--trace", "trace.jsonl")
    out, err = process.communicate(timeout=30)
    only_image(served, backup, (process.returncode, json.loads(out)))
    kept = b"".join(server.do("GET", name) for name in server.names("b2i:record:*"))
    assert secret not in out + err + (tmp_path / "trace.jsonl").read_text() + kept.decode()
    desk.environ["B2I_JOURNAL_PASSWORD"] = f"{secret}!"
    process = desk.start("create", backup)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["error"]["code"]) == (2, "b2i.journal")
    assert secret not in out + err


@slow
def test_a_journal_that_may_forget_is_warned_of_once(served: Served, backup: str, tmp_path: Path) -> None:
    with Valkey(appendonly="no") as forgetful:
        desk = Desk(served, tmp_path, journal=forgetful.address)
        process = desk.start("create", backup)
        out, err = process.communicate(timeout=30)
    only_image(served, backup, (process.returncode, json.loads(out)))
    assert err.count("appendonly yes") == 1
