"""One launch order, at most one server: what is asked for, what comes back, what is adopted, what fails and how it is told."""

import asyncio
import errno
import socket
from typing import Any

import pytest

from backup_to_image.errors import Refused
from backup_to_image.model import LaunchDelivery
from backup_to_image.steps.launching.launch import launch_server
from backup_to_image.steps.launching.teardown import find_launch, tear_down
from tests.support.lost import answer_lost
from tests.support.region import Asked, Ended, Region, launch_order

KEYS = {"outcome", "launch_id", "server_id", "image_id", "adopted", "probes", "error"}


def launch(region: Region, image: str, *arguments: str, **order: Any) -> Ended:
    return region.b2i("launch", image, "--spec", region.write_launch(**order), *arguments)


def launches(region: Region) -> list[Asked]:
    return [asked for asked in region.sent("createServers") if asked.writes]


# -- what is made -------------------------------------------------------------------------------------------------------


def test_the_request_is_exactly_what_the_order_says_with_our_mark(region: Region, image: str) -> None:
    ended = launch(
        region,
        image,
        availability_zone="eu-de-01",
        login={"key_pair": "ops"},
        system_disk={"type": "SAS", "size_gb": 60},
        data_disks=[{"source": "/dev/vdb", "type": "SSD", "size_gb": 150}],
        tags={"purpose": "drill"},
    )
    assert ended.code == 0
    (asked,) = launches(region)
    told = asked.body["server"]
    account = region.account
    backup = region.emulator.cloud.get("backup", account["backups"]["available"][0])
    assert backup
    assert {key: told[key] for key in ("name", "imageRef", "flavorRef", "vpcid", "availability_zone", "key_name")} == {
        "name": "shop-restored",
        "imageRef": image,
        "flavorRef": account["flavor"],
        "vpcid": account["vpc"],
        "availability_zone": "eu-de-01",
        "key_name": "ops",
    }
    assert [nic["subnet_id"] for nic in told["nics"]] == [account["subnet"]]
    assert [group["id"] for group in told["security_groups"]] == [account["security_group"]]
    assert told["root_volume"] == {"volumetype": "SAS", "size": 60}
    (disk,) = told["data_volumes"]
    assert (disk["volumetype"], disk["size"]) == ("SSD", 150)
    assert disk["extendparam"]["snapshotId"] in {backup["disks"][1]["snapshot_id"], backup["disks"][1]["volume_id"]}
    assert sorted(told["tags"]) == sorted(["purpose.drill", f"b2i-launch.{ended.told['launch_id']}"])


def test_the_server_comes_up_with_its_data_disks_and_every_id_is_told(region: Region, image: str) -> None:
    ended = launch(region, image)
    (server,) = region.launched()
    told = ended.told
    assert set(told) >= KEYS
    assert (ended.code, told["outcome"], told["adopted"], told["error"]) == (0, "made", False, None)
    assert (told["server_id"], told["image_id"]) == (server["id"], image)
    assert server["tags"]["b2i-launch"] == told["launch_id"]
    assert told["addresses"] == [server["nics"][0]["ip"]]
    assert [region.emulator.cloud.get("volume", one)["size"] for one in server["volumes"]] == [40, 100]  # type: ignore[index] - it is there


@pytest.mark.parametrize("source", ["/dev/vdb", "volume_id", "snapshot_id"])
def test_a_data_disk_is_named_by_device_disk_or_snapshot(region: Region, image: str, source: str) -> None:
    backup = region.emulator.cloud.get("backup", region.account["backups"]["available"][0])
    assert backup
    named = source if source.startswith("/") else backup["disks"][1][source]
    assert launch(region, image, data_disks=[{"source": named, "size_gb": 120}]).code == 0
    (server,) = region.launched()
    assert [region.emulator.cloud.get("volume", one)["size"] for one in server["volumes"]] == [40, 120]  # type: ignore[index] - it is there


def test_names_and_ids_mean_the_same(region: Region, image: str) -> None:
    network = {"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["shop-sg"]}
    first = launch(region, image, network=network)
    again = launch(region, image)
    assert (first.code, again.told["outcome"], again.told["server_id"]) == (0, "adopted", first.told["server_id"])


def test_same_as_source_means_the_flavor_of_the_source_even_after_it_is_gone(region: Region, image: str) -> None:
    region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])
    assert launch(region, image, flavor="same-as-source").code == 0
    assert launches(region)[0].body["server"]["flavorRef"] == "s3.large.2"


def test_the_smallest_flavor_on_sale_is_found_by_need(region: Region, image: str) -> None:
    assert launch(region, image, flavor={"vcpus": 3, "ram_gb": 12}).code == 0
    assert launches(region)[0].body["server"]["flavorRef"] == "s3.xlarge.4"


def test_several_servers_of_one_order_are_all_named_and_all_probed(region: Region, image: str) -> None:
    region.listens = True
    ended = launch(region, image, count=3, probes=[{"tcp": 2222}])
    assert ended.code == 0
    assert sorted(ended.told["server_ids"]) == sorted(server["id"] for server in region.launched())
    assert len(ended.told["probes"]) == 3
    assert {probe["server_id"] for probe in ended.told["probes"]} == set(ended.told["server_ids"])
    region.forget()
    again = launch(region, image, count=3)
    assert (again.told["outcome"], sorted(again.told["server_ids"])) == ("adopted", sorted(ended.told["server_ids"]))
    assert region.writes == []


def test_a_public_address_comes_with_the_server(region: Region, image: str) -> None:
    ended = launch(region, image, public_ip={"bandwidth_mbit": 10})
    (address,) = region.things("publicip")
    assert (ended.code, address["port_id"]) == (0, region.launched()[0]["nics"][0]["port_id"])
    assert address["address"] in ended.told["addresses"]


@pytest.mark.parametrize("building", ["hidden_first", "absent", "shown"])
@pytest.mark.parametrize("taken", ["200", "202"])
def test_a_server_may_show_early_or_late_and_the_order_may_be_taken_in_two_ways(
    region: Region, image: str, building: str, taken: str
) -> None:
    region.emulator.switches.update(building_server=building, taken_status=taken)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)


# -- a dry run ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_exact_request_and_each_disks_fate_and_launches_nothing(region: Region, image: str) -> None:
    ended = launch(region, image, "--dry-run", data_disks=[{"source": "/dev/vdb", "size_gb": 150}])
    plan = ended.told["plan"]
    assert (ended.code, ended.told["server_id"]) == (0, None)
    assert plan["request"]["name"] == "shop-restored"
    assert [(disk["system"], disk["becomes"]) for disk in plan["disks"]] == [(True, "SSD"), (False, "SSD, 150 GB instead of 100")]
    assert (region.writes, region.launched()) == ([], [])


def test_people_see_the_plan_too(region: Region, image: str) -> None:
    shown = region.b2i("launch", image, "--spec", region.write_launch(), "--dry-run", json=False)
    for words in ("restored as it was", '"flavor_id"', "Nothing was made"):
        assert words in shown.out


# -- refused ------------------------------------------------------------------------------------------------------------

STRANGER = {"vpc": "11111111-2222-4333-8444-555555555555", "subnet": "shop-net"}
ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown flavor": ({"flavor": "m9.huge"}, "flavor"),
    "flavor out of sale": ({"flavor": "c4.large.2", "availability_zone": "eu-de-01"}, "flavor"),
    "flavor sold out in the zone": ({"flavor": "m3.xlarge.8", "availability_zone": "eu-de-03"}, "flavor"),
    "need that nothing meets": ({"flavor": {"vcpus": 900, "ram_gb": 1}}, "flavor"),
    "unknown zone": ({"availability_zone": "eu-de-09"}, "availability zone"),
    "unknown VPC": ({"network": {"vpc": "nowhere", "subnet": "shop-net"}}, "VPC"),
    "subnet of another VPC": ({"network": {"vpc": "shop-vpc", "subnet": "drill-net"}}, "subnet"),
    "unknown security group": (
        {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["no-sg"]}},
        "security groups",
    ),
    "address outside the subnet": (
        {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "fixed_ip": "127.99.0.1"}},
        "fixed address",
    ),
    "the gateway's address": (
        {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "fixed_ip": "127.10.1.1"}},
        "fixed address",
    ),
    "the address of another server": (
        {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "fixed_ip": "127.10.1.12"}},
        "fixed address",
    ),
    "flavor out of sale everywhere": ({"flavor": "c4.large.2"}, "flavor"),
    "disk of another family": ({"system_disk": {"type": "co-p1"}}, "disk types"),
    "data disk of another family": ({"data_disks": [{"source": "/dev/vdb", "type": "uh-l1"}]}, "disk types"),
    "unknown key pair": ({"login": {"key_pair": "lost"}}, "login"),
    "system disk too small": ({"system_disk": {"size_gb": 20}}, "system disk"),
    "data disk too small": ({"data_disks": [{"source": "/dev/vdb", "size_gb": 50}]}, "data disks"),
    "no such data disk": ({"data_disks": [{"source": "/dev/vdz"}]}, "data disks"),
    "the system disk as data disk": ({"data_disks": [{"source": "/dev/vda"}]}, "data disks"),
    "a data disk twice": ({"data_disks": [{"source": "/dev/vdb"}, {"source": "/dev/vdb"}]}, "data disks"),
    "bad tag": ({"tags": {"team.x": "a b"}}, "tags"),
    "nine tags": ({"tags": {f"key{number}": "v" for number in range(9)}}, "tags"),
    "one of our marks": ({"tags": {"b2i-launch": "abc"}}, "tags"),
}


@pytest.mark.parametrize(("order", "rule"), ORDERS.values(), ids=ORDERS)
def test_an_order_that_cannot_be_is_refused_before_anything_is_made(
    region: Region, image: str, order: dict[str, Any], rule: str
) -> None:
    for ended in (launch(region, image, **order), launch(region, image, "--dry-run", **order)):
        assert (ended.code, ended.told["outcome"]) == (3, "refused"), ended.err
        checks = (ended.told.get("plan") or ended.told["report"])["checks"]
        refused = [check for check in checks if check["verdict"] == "refused"]
        assert [check["rule"] for check in refused] == [f"launch: {rule}"]
        assert all(check["page"] and check["action"] for check in refused), refused
    assert (region.writes, region.launched()) == ([], [])


def test_a_quota_without_room_is_refused_with_the_numbers(region: Region, image: str) -> None:
    used = len([one for one in region.things("server") if one["project"] == region.account["project_id"]])
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, instances=used + 1, cores=200)
    ended = launch(region, image, count=2)
    assert (ended.code, set(ended.refusals)) == (3, {"launch: quota"})
    assert "1 of" in ended.refusals["launch: quota"]["why"]
    assert launch(region, image).code == 0


def check(ended: Ended, rule: str) -> dict[str, Any]:
    """The one check of that rule in a printed plan."""
    (found,) = [one for one in ended.told["plan"]["checks"] if one["rule"] == f"launch: {rule}"]
    return found


def test_the_plan_says_what_the_launch_takes_of_the_quota(region: Region, image: str) -> None:
    quota = region.emulator.cloud.get("quota", region.account["project_id"]) or {}
    used = len([one for one in region.things("server") if one["project"] == region.account["project_id"]])
    region.change("quota", quota, instances=used + 10, cores=-1)
    told = check(launch(region, image, "--dry-run", count=2), "quota")
    assert told["verdict"] == "passed"
    assert told["why"].startswith("takes 2 of 10 free servers, 4 vCPUs (no limit), 8192 of ")


def test_a_subnet_without_room_is_refused_and_one_with_little_is_warned(region: Region, image: str) -> None:
    subnet = region.named("subnet", "shop-net")
    region.change("subnet", subnet, cidr="127.10.1.8/30")
    full = launch(region, image, "--dry-run")
    assert (full.code, check(full, "addresses")["verdict"], check(full, "addresses")["code"]) == (3, "refused", "Ecs.0012")
    free = region.named("subnet", "drill-net")
    region.change("subnet", free, cidr="127.20.1.0/29")
    network = {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}
    tight = launch(region, image, "--dry-run", network=network, count=3)
    assert check(tight, "addresses")["verdict"] == "warned"
    roomy = launch(region, image, "--dry-run", network=network)
    assert (roomy.code, check(roomy, "addresses")["verdict"]) == (0, "passed")


def test_the_clouds_own_dry_run_is_a_check_of_the_plan(region: Region, image: str) -> None:
    told = check(launch(region, image, "--dry-run"), "cloud's dry run")
    assert (told["verdict"], "mandatory fields" in told["why"]) == ("passed", True)


def test_what_the_clouds_own_dry_run_refuses_is_refused_with_its_code(region: Region, image: str) -> None:
    for arguments in (["--dry-run"], []):
        region.arm("forbidden", operation="createServers")
        ended = launch(region, image, *arguments)
        checks = (ended.told.get("plan") or ended.told["report"])["checks"]
        (refused,) = [one for one in checks if one["verdict"] == "refused"]
        assert (ended.code, refused["rule"], refused["code"]) == (3, "launch: cloud's dry run", "Pdp.0001")
        assert refused["page"].startswith("ECS ")
    assert (launches(region), region.launched()) == ([], [])


def test_a_server_that_is_there_is_what_a_dry_run_shows(region: Region, image: str) -> None:
    first = launch(region, image).told
    told = check(launch(region, image, "--dry-run"), "server")
    assert (told["verdict"], first["server_id"] in told["why"]) == ("passed", True)


def test_a_dry_run_shows_the_mark_that_the_server_will_carry(region: Region, image: str) -> None:
    plan = launch(region, image, "--dry-run", tags={"purpose": "drill"}).told["plan"]
    assert plan["request"]["tags"] == {"purpose": "drill", "b2i-launch": launch(region, image).told["launch_id"]}


# -- which probes can be reached ----------------------------------------------------------------------------------------

TCP = [{"tcp": 2222}]


def reach(region: Region, image: str, **order: Any) -> tuple[str, str, str]:
    ended = launch(region, image, "--dry-run", **order)
    assert ended.code == 0, "never a refusal"
    told = check(ended, "probes")
    return told["verdict"], told["why"], told["action"]


def test_it_is_said_which_probes_this_host_can_reach(region: Region, image: str) -> None:
    verdict, why, _ = reach(region, image, probes=[*TCP, *CONSOLE])
    assert (verdict, why) == (
        "passed",
        "tcp:2222 can be reached: this host is in its network; console:login: is asked of the cloud",
    )


class Kernel(socket.socket):
    """What the kernel of a host says that has one road, or none: this one has a road to every emulated network."""

    own: str | None = None

    def connect(self, address: Any) -> None:
        if self.type == socket.SOCK_DGRAM and self.own is None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        if self.type != socket.SOCK_DGRAM:
            super().connect(address)

    def getsockname(self) -> Any:
        return (self.own, 9) if self.type == socket.SOCK_DGRAM else super().getsockname()


def test_a_network_without_a_road_from_here_is_warned_of_with_what_to_do(
    region: Region, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket", Kernel)
    verdict, why, action = reach(region, image, probes=TCP)
    assert (verdict, "no route into 127.10.1.0/24" in why) == ("warned", True)
    assert action == "Use a console probe, or a worker in that network."
    verdict, why, action = reach(region, image, probes=[*TCP, *CONSOLE])
    assert (verdict, "not the image's fault" in action) == ("warned", True)
    verdict, why, _ = reach(region, image, probes=TCP, public_ip={})
    assert (verdict, "by the server's public address" in why) == ("passed", True)


def test_a_network_behind_a_gateway_may_be_reached(region: Region, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    region.change("vpc", region.named("vpc", "drill-vpc"), cidr="10.20.0.0/16")
    region.change("subnet", region.named("subnet", "drill-net"), cidr="10.20.1.0/24", gateway="10.20.1.1")
    network = {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}
    for own, words in (("192.168.1.7", "may be reached through a gateway, from 192.168.1.7"), ("10.20.9.9", "in its network")):
        monkeypatch.setattr("socket.socket", type("Kernel", (Kernel,), {"own": own}))
        verdict, why, _ = reach(region, image, probes=TCP, network=network)
        assert (verdict, words in why) == ("passed", True)


RULES: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "open port": ([{"protocol": "tcp", "port_range_min": 2222, "port_range_max": 2222}], "passed", "can be reached"),
    "range": ([{"protocol": "TCP", "port_range_min": 2000, "port_range_max": 3000}], "passed", "can be reached"),
    "this host's network": ([{"remote_ip_prefix": "127.0.0.0/8"}], "passed", "can be reached"),
    "another port": ([{"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}], "warned", "lets nobody in at port 2222"),
    "another protocol": ([{"protocol": "udp"}], "warned", "lets nobody in at port 2222"),
    "IPv6 alone": ([{"ethertype": "IPv6"}], "warned", "lets nobody in"),
    "only out": ([{"direction": "egress"}], "warned", "lets nobody in"),
    "another network": ([{"remote_ip_prefix": "10.9.0.0/16"}], "warned", "lets only 10.9.0.0/16 in at port 2222"),
    "members": ([{"remote_group_id": "its own"}], "warned", "lets only members of a group in"),
    "not told": ([], "passed", "can be reached"),
}


@pytest.mark.parametrize(("rules", "verdict", "said"), RULES.values(), ids=RULES)
def test_what_the_rules_of_the_security_groups_let_in_counts(
    region: Region, image: str, rules: list[dict[str, Any]], verdict: str, said: str
) -> None:
    told = [{"direction": "ingress", "ethertype": "IPv4"} | rule for rule in rules]
    region.change("security-group", region.named("security-group", "shop-sg"), rules=told)
    found, why, _ = reach(region, image, probes=TCP)
    assert (found, said in why) == (verdict, True), why


def test_the_default_group_lets_in_its_members_alone(region: Region, image: str) -> None:
    verdict, why, _ = reach(region, image, probes=TCP, network={"vpc": "shop-vpc", "subnet": "shop-net"})
    assert (verdict, "default lets only members of a group in" in why) == ("warned", True)


def test_an_order_without_probes_is_told_so_beforehand(region: Region, image: str) -> None:
    assert reach(region, image)[:2] == ("passed", "the order asks for none: ACTIVE is all the proof")


def test_a_name_that_several_networks_have_is_refused_with_their_ids(region: Region, image: str) -> None:
    region.change("vpc", region.named("vpc", "drill-vpc"), name="shop-vpc")
    ended = launch(region, image, network={"vpc": "shop-vpc", "subnet": "shop-net"})
    assert ended.code == 3
    assert region.account["vpc"] in ended.refusals["launch: VPC"]["action"]


def test_same_as_source_is_refused_where_nobody_knows_the_source(region: Region) -> None:
    used = region.account["backups"]["already_used"]
    (foreign,) = region.images_of(used)
    ended = launch(region, foreign["id"], flavor="same-as-source")
    assert (ended.code, ended.refusals["launch: flavor"]["code"]) == (3, "b2i.no-facts")


def test_an_image_that_is_not_there_is_told(region: Region) -> None:
    ended = launch(region, "11111111-2222-4333-8444-555555555555")
    assert (ended.code, ended.told["outcome"]) == (1, "failed")
    assert "11111111-2222-4333-8444-555555555555" in ended.error["message"]
    assert region.writes == []


@pytest.mark.parametrize("status", ["queued", "saving", "killed"])
def test_an_image_that_is_not_normal_is_never_launched(region: Region, image: str, status: str) -> None:
    region.change("image", region.emulator.cloud.get("image", image) or {}, status=status)
    ended = launch(region, image)
    assert (ended.code, launches(region), region.launched()) == (3, [], [])


# -- once ---------------------------------------------------------------------------------------------------------------


def test_the_same_order_again_adopts_its_server(region: Region, image: str) -> None:
    first = launch(region, image).told
    region.forget()
    again = launch(region, image)
    assert (again.code, again.told["outcome"], again.told["adopted"]) == (0, "adopted", True)
    assert (again.told["server_id"], again.told["launch_id"]) == (first["server_id"], first["launch_id"])
    assert region.writes == []


def test_a_lost_journal_makes_no_second_server(region: Region, image: str) -> None:
    first = launch(region, image).told
    second = launch(region, image, "--another").told
    assert second["server_id"] != first["server_id"]
    for record in region.journal.iterdir():
        record.unlink()
    again = launch(region, image)
    assert (again.code, again.told["outcome"], len(region.launched())) == (0, "adopted", 2)


def test_another_makes_one_more_with_a_launch_id_of_its_own(region: Region, image: str) -> None:
    first, second = launch(region, image).told, launch(region, image, "--another").told
    assert first["launch_id"] != second["launch_id"]
    assert {server["id"] for server in region.launched()} == {first["server_id"], second["server_id"]}
    assert launch(region, image).told["server_id"] == second["server_id"]


def test_another_that_is_there_but_does_not_answer_is_what_the_same_command_goes_on_with(region: Region, image: str) -> None:
    """It ended with 5, which says: the same command again. That must not be a third server."""
    probes = [{"console": "login:", "timeout": "20s"}]
    launch(region, image)
    region.arm("guest-silent", operation="createServers", skip=1)
    first = launch(region, image, "--another", probes=probes)
    again = launch(region, image, "--another", probes=probes)
    assert (first.code, again.code) == (5, 5)
    assert again.told["server_id"] == first.told["server_id"]
    assert len(region.launched()) == 2


def test_another_beside_a_server_that_does_not_answer_is_one_more(region: Region, image: str) -> None:
    probes = [{"console": "login:", "timeout": "20s"}]
    region.arm("guest-silent", operation="createServers", skip=1)
    assert launch(region, image, probes=probes).code == 5
    assert launch(region, image, "--another", probes=probes).told["outcome"] == "made"
    assert len(region.launched()) == 2


def test_another_order_name_is_another_server(region: Region, image: str) -> None:
    launch(region, image)
    assert launch(region, image, name="shop-restored-too").told["outcome"] == "made"
    assert len(region.launched()) == 2


@pytest.mark.parametrize("journals", [("journal", "journal")])
def test_two_at_once_launch_one_server_and_both_deliver_it(region: Region, image: str, journals: tuple[str, str]) -> None:
    async def one(journal: str) -> Any:
        async with region.context(journal) as ctx:
            return await launch_server(await ctx.cloud.images.get(image), launch_order(region), ctx)

    async def both() -> list[Any]:
        return await asyncio.gather(*(one(journal) for journal in journals))

    first, second = asyncio.run(both())
    (server,) = region.launched()
    assert first.server_id == second.server_id == server["id"]
    assert {first.outcome, second.outcome} == {"made", "adopted"}


# A dry run is a createServers too, so the faults let that one pass.
@answer_lost
def test_a_lost_answer_after_the_effect_makes_no_second_server(
    region: Region, image: str, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="createServers", skip=1, **how)
    ended = launch(region, image)
    assert (ended.code, len(launches(region)), len(region.launched())) == (0, 1, 1)
    assert ended.told["server_id"] == region.launched()[0]["id"]


def test_a_lost_request_is_sent_again_only_after_the_settle_time(region: Region, image: str) -> None:
    region.arm("reset-before", operation="createServers", skip=1)
    ended = launch(region, image)
    assert (ended.code, len(region.launched())) == (0, 1)
    first, second = launches(region)
    assert second.at - first.at >= 600


def test_while_the_count_of_servers_rises_and_none_is_to_be_seen_nothing_is_sent_again(region: Region, image: str) -> None:
    """The effect is there but not listed for long: the quota's used is the witness."""
    region.emulator.switches["building_server"] = "absent"
    region.arm("late-listing", seconds=1200, times=None)
    region.arm("lost-answer", operation="createServers", skip=1)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"]) == (4, "still_running")
    assert ended.told["launch_id"]
    assert (len(launches(region)), len(region.launched())) == (1, 1)
    region.emulator.faults.disarm()
    again = launch(region, image)
    assert (again.code, again.told["outcome"], len(region.launched())) == (0, "adopted", 1)


def somebody_else_launches(region: Region, *, hidden: bool) -> None:
    """In the moment in which we do."""

    def other(asked: Asked) -> None:
        if asked.operation == "createServers" and asked.writes and len(launches(region)) == 1:
            theirs = {"id": "11111111-2222-4333-8444-555555555555", "name": "theirs", "hidden": hidden}
            region.emulator.cloud.new("server", dict(region.named("server", "shop-web-01")) | theirs)

    region.watchers.append(other)


def test_others_who_launch_meanwhile_hide_nothing_where_the_list_shows_every_server_that_is_counted(
    region: Region, image: str
) -> None:
    somebody_else_launches(region, hidden=False)
    region.arm("reset-before", operation="createServers", skip=1)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)
    first, second = launches(region)
    assert second.at - first.at >= 600


def test_where_a_count_that_others_changed_hides_the_truth_a_person_decides(region: Region, image: str) -> None:
    """The request was lost, and somebody else launched a server at that moment, which no list shows."""
    somebody_else_launches(region, hidden=True)
    region.arm("reset-before", operation="createServers", skip=1)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], region.launched()) == (4, "still_running", [])
    assert "--another" in ended.error["action"]
    assert launch(region, image).code == 4
    assert (len(launches(region)), region.launched()) == (1, [])
    ended = launch(region, image, "--another")
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)
    assert launch(region, image).told["outcome"] == "adopted"


def test_a_deadline_that_passes_means_still_running_and_the_same_command_ends_green(region: Region, image: str) -> None:
    ended = launch(region, image, "--timeout", "20s")
    assert (ended.code, ended.told["outcome"], ended.error["retryable"]) == (4, "still_running", True)
    again = launch(region, image)
    assert (again.code, len(launches(region)), len(region.launched())) == (0, 1, 1)


def test_a_server_that_somebody_deleted_by_hand_frees_the_order(region: Region, image: str) -> None:
    launch(region, image)
    region.emulator.cloud.remove("server", region.launched()[0]["id"])
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)


# -- not now, and never -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["flow-202", "throttled-429"])
def test_a_flow_limit_is_waited_out_because_nothing_was_started(region: Region, image: str, fault: str) -> None:
    region.arm(fault, operation="createServers", skip=1, times=3)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)


def test_a_throttled_dry_run_is_waited_out_too(region: Region, image: str) -> None:
    region.arm("flow-202", operation="createServers", times=2)
    assert launch(region, image).code == 0


@pytest.mark.parametrize("where", ["at_once", "in_job"])
@pytest.mark.parametrize("cause", ["in_sub_job", "in_both"])
def test_a_refusal_is_told_with_the_clouds_code_wherever_it_surfaces(region: Region, image: str, where: str, cause: str) -> None:
    region.emulator.switches.update(launch_refusals=where, job_cause=cause)
    region.arm("quota-gone", operation="createServers", skip=1)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "Ecs.0001")
    assert ended.error["retryable"] is False
    assert region.launched() == []
    assert launch(region, image).told["outcome"] == "made"


def test_a_failed_job_is_told_with_the_clouds_code_and_words_and_the_order_may_be_repeated(region: Region, image: str) -> None:
    region.arm("job-fails", operation="createServers", skip=1, code="Ecs.0219", reason="the port could not be made")
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "Ecs.0219")
    assert "the port could not be made" in ended.error["message"]
    assert ended.error["action"]
    assert launch(region, image).told["outcome"] == "made"
    assert len([one for one in region.launched() if one["status"] == "ACTIVE"]) == 1


def test_a_server_that_is_left_behind_in_error_is_named_and_never_doubled(region: Region, image: str) -> None:
    region.arm("leftovers", operation="createServers", skip=1, leave=["server"])
    ended = launch(region, image)
    assert ended.code == 1
    (server,) = region.launched()
    again = launch(region, image)
    assert (again.code, len(region.launched())) == (1, 1)
    assert server["id"] in again.error["message"]
    assert "teardown" in again.error["action"]


def test_what_a_failed_launch_left_behind_is_told_by_the_run_after_a_killed_one(region: Region, image: str) -> None:
    region.arm("leftovers", operation="createServers", skip=1, leave=["system_disk"])
    with region.killing("getEcsJob"):
        launch(region, image)
    region.clock.advance(600)
    ended = launch(region, image)
    (disk,) = [one for one in region.things("volume") if one["server_id"] is None and one["name"].startswith("shop-restored")]
    assert ended.told["outcome"] == "made"
    assert ended.err.count(disk["id"]) == 1


def test_several_of_which_one_fails_are_told_and_not_taken_for_all(region: Region, image: str) -> None:
    region.arm("one-fails", operation="createServers", skip=1)
    ended = launch(region, image, count=3)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "Ecs.0219")
    assert f"b2i teardown {region.launched()[0]['tags']['b2i-launch']}" in ended.error["action"]
    again = launch(region, image, count=3)
    assert again.code == 1, "two of three are there: that is not what was ordered"
    for record in region.journal.iterdir():
        record.unlink()
    lost = launch(region, image, count=3)
    assert (lost.code, lost.told["outcome"], len(lost.told["server_ids"])) == (5, "partly", 2)
    assert len(region.launched()) == 2


@pytest.mark.parametrize("operation", ["getEcsJob", "getServer", "listServersDetail", "listFlavors"])
@pytest.mark.parametrize("fault", ["throttled-429", "error-500", "html-502", "reset-before", "truncated-json", "token-expired"])
def test_trouble_on_the_way_passes_by_itself(region: Region, image: str, operation: str, fault: str) -> None:
    region.arm(fault, operation=operation)
    ended = launch(region, image)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "made", 1)


# -- does it live -------------------------------------------------------------------------------------------------------


def test_probes_that_are_answered_are_the_proof(region: Region, image: str) -> None:
    region.listens = True
    probes = [{"tcp": 2222}, {"ssh": 2222}, {"http": {"port": 8080, "path": "/health", "status": 200}}, {"console": "login:"}]
    ended = launch(region, image, probes=probes)
    assert (ended.code, ended.told["probed"]) == (0, True)
    assert [(probe["probe"], probe["ok"]) for probe in ended.told["probes"]] == [
        ("tcp:2222", True),
        ("ssh:2222", True),
        ("http:8080/health", True),
        ("console:login:", True),
    ]


CONSOLE = [{"console": "login:"}]


def marks(region: Region, image: str) -> dict[str, str]:
    """What stands on the image of how good it is."""
    tags = (region.emulator.cloud.get("image", image) or {})["tags"]
    return {key: value for key, value in tags.items() if key in {"b2i-verified", "b2i-doubtful"}}


def tag(region: Region, image: str, **tags: str) -> None:
    there = region.emulator.cloud.get("image", image) or {}
    region.change("image", there, tags=there["tags"] | {f"b2i-{key}": value for key, value in tags.items()})


def today(region: Region) -> str:
    return f"{region.clock.now():%Y%m%d}"


def test_an_image_whose_server_answers_every_probe_is_marked_as_verified_today(region: Region, image: str) -> None:
    ended = launch(region, image, probes=CONSOLE)
    assert (ended.code, ended.told["verified"], ended.told["verified_why"]) == (0, True, "")
    assert marks(region, image) == {"b2i-verified": today(region)}
    shown = region.b2i("launch", image, "--spec", "launch.yaml", json=False)
    assert "marked as verified" in shown.out


def test_a_launch_that_answers_takes_a_drills_doubt_back(region: Region, backup: str, image: str) -> None:
    tag(region, image, doubtful="drill-20261101")
    ended = region.b2i("create", backup, "--launch", region.write_launch(probes=CONSOLE))
    assert (ended.code, ended.told["verified"], ended.told["doubtful"]) == (0, True, None)
    assert marks(region, image) == {"b2i-verified": today(region)}


def test_a_doubt_for_another_reason_stays_whatever_a_launch_shows(region: Region, image: str) -> None:
    tag(region, image, doubtful="20261101")
    ended = launch(region, image, probes=CONSOLE)
    assert (ended.code, ended.told["verified"], marks(region, image)) == (0, False, {"b2i-doubtful": "20261101"})
    assert "stays doubtful" in ended.told["verified_why"]


def test_a_silent_probe_of_a_launch_marks_nothing(region: Region, image: str) -> None:
    ended = launch(region, image, probes=[{"console": "never-said", "timeout": "20s"}])
    assert (ended.code, ended.told["verified"], marks(region, image)) == (5, False, {})
    assert "does not answer every probe" in ended.told["verified_why"]


def test_without_probes_nothing_is_marked(region: Region, image: str) -> None:
    ended = launch(region, image)
    assert (ended.told["verified"], marks(region, image)) == (False, {})
    assert "not probed" in ended.told["verified_why"]


def test_a_mark_that_cannot_be_set_is_told_and_no_failure_of_the_launch(region: Region, image: str) -> None:
    region.arm("forbidden", operation="putImageTag", times=None)
    ended = launch(region, image, probes=CONSOLE)
    assert (ended.code, ended.told["outcome"], ended.told["verified"], marks(region, image)) == (0, "made", False, {})
    assert "could not be marked" in ended.told["verified_why"]
    region.emulator.faults.disarm()
    assert launch(region, image, probes=CONSOLE).told["verified"]


def test_an_image_that_somebody_else_made_is_never_marked(region: Region) -> None:
    (foreign,) = region.images_of(region.account["backups"]["already_used"])
    ended = launch(region, foreign["id"], flavor="s3.large.2", probes=CONSOLE)
    assert (ended.code, ended.told["verified"], marks(region, foreign["id"])) == (0, False, {})
    assert "somebody else" in ended.told["verified_why"]


SILENT: dict[str, tuple[str, dict[str, Any]]] = {
    "never boots": ("dead", {"tcp": 2222, "timeout": "30s"}),
    "application is down": ("ssh-only", {"http": {"port": 8080}, "timeout": "30s"}),
    "says it is sick": ("sick", {"http": {"port": 8080, "path": "/health"}, "timeout": "30s"}),
    "console shows something else": ("dead", {"console": "never-said", "timeout": "30s"}),
}


@pytest.mark.parametrize(("profile", "probe"), SILENT.values(), ids=SILENT)
def test_a_probe_that_is_not_answered_is_partly_done_with_its_answer_told(
    region: Region, image: str, profile: str, probe: dict[str, Any]
) -> None:
    region.listens = True
    region.arm("guest-silent", operation="createServers", skip=1, profile=profile)
    ended = launch(region, image, probes=[probe])
    assert (ended.code, ended.told["outcome"]) == (5, "partly")
    (told,) = ended.told["probes"]
    assert (told["ok"], bool(told["answer"])) == (False, True)
    assert ended.told["server_id"] == region.launched()[0]["id"]


def test_each_probe_is_told_with_what_it_heard(region: Region, image: str) -> None:
    """A port that speaks SSH, one that greets as something else, one that waits to be spoken to, one that is shut."""
    region.listens = True
    region.arm("guest-silent", operation="createServers", skip=1, profile="mail")
    # Concurrent, each with a time of its own: the first two would not be answered after one another in so short a time.
    ports = [(2222, "1m"), (2525, "20s"), (8080, "20s"), (2223, "40s")]
    ended = launch(region, image, probes=[{"ssh": port, "timeout": timeout} for port, timeout in ports])
    address = ended.told["addresses"][0]
    told = {probe["probe"]: (probe["ok"], probe["answer"]) for probe in ended.told["probes"]}
    assert (ended.code, ended.told["outcome"]) == (5, "partly")
    assert told["ssh:2222"] == (True, "SSH-2.0-OpenSSH_9.6")
    assert told["ssh:2525"] == (False, f"{address}:2525 greets with '220 mail ready', not with SSH")
    assert told["ssh:8080"] == (False, f"{address}:8080 is open and says nothing")
    assert told["ssh:2223"][0] is False
    assert "refused" in told["ssh:2223"][1]
    assert "2525" in ended.told["verified_why"]
    assert "ssh:2222" not in ended.told["verified_why"]


def test_probes_are_asked_at_the_same_time_and_each_has_its_own(region: Region, image: str) -> None:
    probes = [{"console": f"never-said-{number}", "timeout": f"{number}0s"} for number in (2, 4, 6)]
    begun = region.clock.now()
    ended = launch(region, image, probes=probes)
    assert [20 <= ended.told["probes"][0]["seconds"] < 40, 60 <= ended.told["probes"][2]["seconds"] < 80] == [True, True]
    active = next(one.at for one in region.sent("getConsoleOutput"))
    assert region.clock.now().timestamp() - active < 100, "one after the other they would take two minutes"
    assert region.clock.now() > begun


def test_a_green_image_with_a_silent_server_is_partly_done(region: Region, backup: str) -> None:
    region.listens = True
    region.arm("guest-silent", operation="createServers", skip=1)
    ended = region.b2i("create", backup, "--launch", region.write_launch(probes=[{"tcp": 2222, "timeout": "20s"}]))
    assert (ended.code, ended.told["outcome"], ended.told["status"]) == (5, "partly", "active")
    assert (ended.told["server_id"], ended.told["probes"][0]["ok"]) == (region.launched()[0]["id"], False)


def test_without_probes_it_is_said_that_nobody_asked(region: Region, image: str) -> None:
    assert launch(region, image).told["probed"] is False
    assert "not probed" in region.b2i("launch", image, "--spec", "launch.yaml", json=False).out


# -- the whole order ----------------------------------------------------------------------------------------------------


def test_an_order_whose_launch_fails_keeps_the_image_and_the_next_run_launches(region: Region, backup: str) -> None:
    spec = region.write_launch()
    region.arm("job-fails", operation="createServers", skip=1, code="Ecs.0219", reason="no port")
    ended = region.b2i("create", backup, "--launch", spec)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (5, "partly", "Ecs.0219")
    assert ended.told["image_id"] == region.images_of(backup)[0]["id"]
    again = region.b2i("create", backup, "--launch", spec)
    assert (again.code, again.told["outcome"], len(region.launched())) == (0, "adopted", 1)


def test_a_launch_that_is_late_names_its_launch_and_the_next_run_ends_green(region: Region, backup: str) -> None:
    spec = region.write_launch()
    region.arm("job-stuck", operation="createServers", skip=1, seconds=4000)
    ended = region.b2i("create", backup, "--launch", spec)
    assert (ended.code, ended.told["outcome"], ended.error["retryable"]) == (5, "partly", True)
    again = region.b2i("create", backup, "--launch", spec)
    assert (again.code, len(region.launched())) == (0, 1)


def test_a_second_order_of_a_launched_server_is_not_refused_for_want_of_quota(region: Region, backup: str) -> None:
    spec = region.write_launch()
    assert region.b2i("create", backup, "--launch", spec).code == 0
    used = len([one for one in region.things("server") if one["project"] == region.account["project_id"]])
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, instances=used)
    ended = region.b2i("create", backup, "--launch", spec)
    assert (ended.code, ended.told["outcome"], len(region.launched())) == (0, "adopted", 1)


# -- the recipient ------------------------------------------------------------------------------------------------------


def accepted(region: Region, backup: str) -> str:
    """An image that the partner has accepted."""
    found: str = region.b2i("create", backup, "--share-with", "partner").told["image_id"]
    (member,) = region.things("image-member", image_id=found)
    region.change("image-member", member, status="accepted", vault_id=region.account["recipient"]["vault"])
    return found


PARTNER = {"vpc": "partner-vpc", "subnet": "partner-net", "security_groups": ["partner-sg"]}


def test_the_recipients_plan_tells_his_own_quota_and_what_he_cannot_see(region: Region, backup: str) -> None:
    image = accepted(region, backup)
    spec = region.write_launch(network=PARTNER, flavor="same-as-source", probes=CONSOLE)
    ended = region.b2i("launch", image, "--spec", spec, "--dry-run", cloud="partner")
    assert (ended.code, ended.told["plan"]["request"]["flavor_id"]) == (0, "s3.large.2"), "the image's own tag names it"
    assert check(ended, "quota")["why"].startswith("takes 1 of ")
    assert check(ended, "disks")["verdict"] == "unknowable"
    drilled = region.b2i("launch", image, "--spec", spec, "--dry-run", "--drill", cloud="partner")
    assert (drilled.code, check(drilled, "isolation")["verdict"]) == (0, "unknowable")


def test_same_as_source_is_refused_to_a_recipient_whose_image_does_not_name_its_flavor(region: Region, backup: str) -> None:
    image = accepted(region, backup)
    there = region.emulator.cloud.get("image", image) or {}
    region.change("image", there, tags={key: value for key, value in there["tags"].items() if key != "b2i-flavor"})
    spec = region.write_launch(network=PARTNER, flavor="same-as-source")
    ended = region.b2i("launch", image, "--spec", spec, cloud="partner")
    assert (ended.code, set(ended.refusals)) == (3, {"launch: flavor"})
    assert ended.refusals["launch: flavor"]["code"] == "b2i.no-facts"


@pytest.mark.parametrize("sees", ["no", "yes"])
def test_the_recipient_of_a_shared_image_launches_it_with_his_own_log_in(region: Region, backup: str, sees: str) -> None:
    """Full-ECS images are accepted into a vault; the backup behind one need not be visible to the recipient."""
    region.emulator.switches["recipient_sees_backup"] = sees
    image = region.b2i("create", backup, "--share-with", "partner").told["image_id"]
    guest = region.account["recipient"]
    (member,) = region.things("image-member", image_id=image)
    region.change("image-member", member, status="accepted", vault_id=guest["vault"])
    network = {"vpc": "partner-vpc", "subnet": "partner-net", "security_groups": ["partner-sg"]}
    spec = region.write_launch(network=network, flavor="s3.large.2", probes=CONSOLE)
    ended = region.b2i("launch", image, "--spec", spec, cloud="partner")
    assert (ended.code, ended.told["outcome"]) == (0, "made"), ended.err
    assert (ended.told["verified"], marks(region, image)) == (False, {}), "the owner's image is the owner's to mark"
    assert ended.told["disks"][0]["ok"] is (True if sees == "yes" else None)
    (server,) = region.launched()
    assert (server["project"], len(server["volumes"])) == (guest["project_id"], 2)
    again = region.b2i("launch", image, "--spec", spec, cloud="partner")
    assert again.told["outcome"] == "adopted"


# -- a flow run that is started again ---------------------------------------------------------------------------------------


async def by_run(region: Region, image: str, run: str, **how: Any) -> LaunchDelivery:
    """As a flow run of that id does it, each time that it is started."""
    async with region.context() as ctx:
        ctx.run_id = run
        return await launch_server(await ctx.cloud.images.get(image), launch_order(region), ctx, **how)


@pytest.mark.one_door("what starts a run again is Prefect")
async def test_a_run_that_is_started_again_launches_no_further_server_with_another(region: Region, image: str) -> None:
    first = await by_run(region, image, "run-1")
    second = await by_run(region, image, "run-2", another=True)
    again = await by_run(region, image, "run-2", another=True)
    third = await by_run(region, image, "run-3", another=True)
    late = await by_run(region, image, "run-2", another=True)
    assert second.launch_id == again.launch_id == late.launch_id
    assert len({first.launch_id, second.launch_id, third.launch_id}) == len(region.launched()) == 3


@pytest.mark.one_door("what starts a run again is Prefect")
@pytest.mark.parametrize("another", [False, True])
async def test_a_run_that_is_started_again_after_its_server_was_removed_launches_no_other(
    region: Region, image: str, another: bool
) -> None:
    if another:
        await by_run(region, image, "run-1")
    had = await by_run(region, image, "run-2", another=another)
    async with region.context() as ctx:
        await tear_down(await find_launch(had.launch_id, ctx), ctx)
    region.forget()
    with pytest.raises(Refused, match="has been removed since"):
        await by_run(region, image, "run-2", another=another)
    assert region.writes == []
    anew = await by_run(region, image, "run-3")
    assert anew.server_id != had.server_id
    with pytest.raises(Refused, match="has been removed since"):
        await by_run(region, image, "run-2", another=another)


@pytest.mark.one_door("what starts a run again is Prefect")
async def test_a_server_that_was_removed_by_hand_is_not_launched_again_by_its_run(region: Region, image: str) -> None:
    had = await by_run(region, image, "run-1")
    region.emulator.cloud.remove("server", had.server_id or "")
    with pytest.raises(Refused, match="has been removed since"):
        await by_run(region, image, "run-1")
    assert (await by_run(region, image, "run-2")).launch_id == had.launch_id
