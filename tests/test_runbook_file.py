"""A runbook is read with every mistake at its line, and says of each server what it is launched with."""

from pathlib import Path

import pytest

from backup_to_image.errors import UsageError
from backup_to_image.model import LaunchOrder
from backup_to_image.steps.launching.plan import Mode
from backup_to_image.steps.runbook.file import launch_order, read_runbook

WHOLE = """\
name: shop
defaults: {flavor: same-as-source, login: {key_pair: ops}, tags: {purpose: recovery}}
drill: {network: {vpc: drill-vpc, subnet: drill-net}, tags: {purpose: drill}, probes: [{console: "login:"}]}
failover: {network: {vpc: shop-vpc, subnet: shop-net, security_groups: [shop-sg]}}
groups:
  - name: database
    servers:
      - source: shop-db-01
        probes: [{tcp: 2222}]
  - name: application
    needs: [database]
    servers:
      - {source: shop-app-01, name: shop-app}
      - source: shop-app-02
        launch: {flavor: {vcpus: 4, ram_gb: 8}}
        failover: {network: {subnet: shop-app-net, fixed_ip: 10.0.0.5}, login: null}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as told:
        read_runbook(write(folder, text))
    return [problem.removeprefix(f"{folder}/") for problem in told.value.problems]


def orders(folder: Path, text: str, mode: Mode) -> dict[str, LaunchOrder]:
    book = read_runbook(write(folder, text)).runbook
    return {server.source: launch_order(book, server, mode) for _, server in book.servers}


def test_what_stands_nearest_to_a_server_holds_and_what_is_said_of_drills_holds_in_every_drill(tmp_path: Path) -> None:
    real, drill = orders(tmp_path, WHOLE, "failover"), orders(tmp_path, WHOLE, "drill")
    assert (real["shop-db-01"].name, real["shop-app-01"].name) == ("shop-db-01", "shop-app")
    assert [probe.name for probe in real["shop-db-01"].probes] == ["tcp:2222"]
    assert [probe.name for probe in drill["shop-db-01"].probes] == ["console:login:"]
    assert real["shop-app-01"].network.security_groups == ("shop-sg",)
    assert (drill["shop-app-01"].network.subnet, drill["shop-app-01"].tags) == ("drill-net", {"purpose": "drill"})
    last = real["shop-app-02"]
    assert (last.network.vpc, last.network.subnet, str(last.network.fixed_ip)) == ("shop-vpc", "shop-app-net", "10.0.0.5")
    assert (last.flavor, last.login.key_pair) == (
        LaunchOrder.model_validate(
            {"name": "x", "network": {"vpc": "v", "subnet": "s"}, "flavor": {"vcpus": 4, "ram_gb": 8}}
        ).flavor,
        None,
    )
    assert drill["shop-app-02"].network.fixed_ip is None


def test_a_runbook_is_run_as_what_every_server_has_a_network_for(tmp_path: Path) -> None:
    assert read_runbook(write(tmp_path, WHOLE)).modes == ("failover", "drill")
    drills = WHOLE.replace("failover: {network: {vpc: shop-vpc, subnet: shop-net, security_groups: [shop-sg]}}\n", "")
    drills = drills.replace("        failover: {network: {subnet: shop-app-net, fixed_ip: 10.0.0.5}, login: null}\n", "")
    assert read_runbook(write(tmp_path, drills)).modes == ("drill",)


def test_all_mistakes_are_told_at_once_each_at_its_line(tmp_path: Path) -> None:
    text = """\
name: two words
colour: red
images: {pick: oldest}
groups:
  - name: database
    before: [{approve: "ok?", manual: "do it"}, {http: {url: "http://user:secret@host/"}}, {command: [], when_silent: go}]
    servers: [{source: shop-db-01, probes: [{tcp: 0}]}]
"""
    told = problems(tmp_path, text)
    assert [one.partition(" ")[0] for one in told] == [
        "shop.yaml:1:",
        "shop.yaml:2:",
        "shop.yaml:3:",
        *["shop.yaml:6:"] * 3,
        "shop.yaml:7:",
    ]
    assert "secret" not in " ".join(told), "what may be a password is not repeated"


def test_what_the_file_as_a_whole_gets_wrong_is_told_at_once_too(tmp_path: Path) -> None:
    text = """\
name: shop
drill: {network: {vpc: drill-vpc}}
groups:
  - {name: one, needs: [two], servers: [{source: shop-db-01}]}
  - {name: two, needs: [one, three], servers: [{source: shop-db-01}, {source: shop-db-02, name: shop-db-01}]}
  - {name: two}
"""
    assert problems(tmp_path, text) == [
        "shop.yaml:5: groups.1.servers.0.source: 'shop-db-01' comes back in group one already",
        "shop.yaml:5: groups.1.servers.1.name: 'shop-db-01' is the name of another server, in group one",
        "shop.yaml:6: groups.2.name: 'two' is the name of another group",
        "shop.yaml:5: groups.1.needs: there is no group 'three'; there are one, two",
        "shop.yaml:3: groups: these groups wait for each other: one needs two needs one",
        "shop.yaml:4: groups.0.servers.0: drill: network.subnet: is missing",
        "shop.yaml:5: groups.1.servers.0: drill: network.subnet: is missing",
        "shop.yaml:5: groups.1.servers.1: drill: network.subnet: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: shop\ngroups: [{name: one, then: [{manual: switch DNS}]}]\n", "groups: no group has a server"),
        ("name: shop\ngroups: []\n", "groups: no group has a server"),
        ("name: shop\ngroups: [{name: a, needs: [a], servers: [{source: x}]}]\n", "wait for each other: a needs a"),
        ("name: shop\ngroups: [{name: a, servers: [{source: x}]}]\n", "failover: network: is missing"),
        ("name: shop\nimages: {before: 2026-03-09}\ngroups: [{name: a}]\n", "images.before: "),
        (
            "name: shop\ngroups: [{name: a, servers: [{source: x, probes: [], launch: {probes: []}}]}]\n",
            "probes: stand here and under launch",
        ),
        (
            "name: shop\ngroups: [{name: a, then: [{http: {url: 'http://h/'}, when_silent: go}]}]\n",
            "steps that people answer",
        ),
    ],
)
def test_a_runbook_that_could_not_be_run_is_a_mistake(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in problem for problem in problems(tmp_path, text))


def test_people_are_waited_for_longer_than_machines(tmp_path: Path) -> None:
    steps = "[{approve: ok?}, {command: [notify]}, {manual: x, timeout: 10m}]"
    text = WHOLE.replace("    needs: [database]\n", f"    needs: [database]\n    before: {steps}\n")
    (_, application) = read_runbook(write(tmp_path, text)).runbook.groups
    assert [str(step.patience) for step in application.before] == ["4:00:00", "0:05:00", "0:10:00"]
    assert [step.when_silent for step in application.before] == ["stop"] * 3
