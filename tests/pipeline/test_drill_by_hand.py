"""`b2i launch --drill`: launched where its source is not, probed, the image marked, and nothing left whatever came of it."""

import json
from typing import Any

import pytest

from tests.support.region import Asked, Ended, Killed, Region

NETWORK = {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}
PROBES = [{"console": "login:"}]
NEVER = [{"console": "never-said", "timeout": "20s"}]


def drill(region: Region, image: str, *arguments: str, json: bool = True, **order: Any) -> Ended:
    told = {"name": "shop-drill", "network": NETWORK, "public_ip": {}, "probes": PROBES} | order
    return region.b2i("launch", image, "--spec", region.write_launch(**told), "--drill", *arguments, json=json)


def marks(region: Region, image: str) -> dict[str, str]:
    tags = (region.emulator.cloud.get("image", image) or {})["tags"]
    return {key: value for key, value in tags.items() if key in {"b2i-verified", "b2i-doubtful"}}


def left(region: Region) -> list[str]:
    """What is there of drills: servers, their disks, addresses, orders in the journal."""
    servers = [one["id"] for one in region.launched()]
    disks = [one["id"] for one in region.things("volume") if one["name"].startswith("shop-drill")]
    orders = [path.name for path in region.journal.glob("order-*.json")]
    return [*servers, *disks, *(one["id"] for one in region.things("publicip")), *orders]


def launches(region: Region) -> list[Asked]:
    return [one for one in region.sent("createServers") if one.writes]


def test_a_drill_that_answers_marks_the_image_and_leaves_nothing(region: Region, image: str) -> None:
    ended = drill(region, image)
    told = ended.told
    assert (ended.code, told["outcome"], told["drill"], told["verified"], told["left_behind"]) == (0, "made", True, True, [])
    assert [probe["ok"] for probe in told["probes"]] == [True]
    assert (marks(region, image), left(region)) == ({"b2i-verified": f"{region.clock.now():%Y%m%d}"}, [])
    (asked,) = launches(region)
    server = asked.body["server"]
    assert server["name"] == f"shop-drill-drill-{told['launch_id']}"
    assert server["tags"] == [f"b2i-drill.{told['launch_id']}"]


def test_people_are_told_what_it_showed_and_that_it_is_gone(region: Region, image: str) -> None:
    shown = drill(region, image, json=False)
    for words in ("Drill: its server was as ordered", "marked as verified", "taken down again"):
        assert words in shown.out


def test_a_silent_probe_is_partly_done_and_makes_the_image_doubtful(region: Region, image: str) -> None:
    ended = drill(region, image, probes=NEVER)
    assert (ended.code, ended.told["outcome"], ended.told["verified"], left(region)) == (5, "partly", False, [])
    assert list(marks(region, image)) == ["b2i-doubtful"]
    assert "does not answer every probe" in ended.told["verified_why"]
    assert drill(region, image).told["verified"]
    assert list(marks(region, image)) == ["b2i-verified"]


def test_without_probes_it_proves_that_the_server_becomes_active_and_no_more(region: Region, image: str) -> None:
    ended = drill(region, image, probes=[])
    assert (ended.code, ended.told["probed"], ended.told["verified"]) == (0, False, False)
    assert (marks(region, image), left(region)) == ({}, [])


def test_what_cannot_be_removed_is_partly_done_and_the_reconciler_takes_it_down(region: Region, image: str) -> None:
    region.arm("forbidden", operation="deleteServers", times=None)
    ended = drill(region, image)
    assert (ended.code, ended.told["outcome"], ended.told["verified"]) == (5, "partly", True)
    assert ended.told["left_behind"]
    region.emulator.faults.disarm()
    region.b2i("reconcile")
    assert left(region) == []


def test_a_drill_where_the_source_is_is_refused_with_the_reason_before_anything_is_made(region: Region, image: str) -> None:
    network = {"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["drill-sg"]}
    ended = drill(region, image, network=network)
    assert (ended.code, ended.told["outcome"], launches(region), left(region)) == (3, "refused", [], [])
    assert "subnet shop-net" in ended.refusals["launch: isolation"]["why"]


BESIDE: dict[str, tuple[dict[str, Any], str]] = {
    "subnet": ({"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["drill-sg"]}, "subnet shop-net"),
    "group": ({"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["shop-sg"]}, "security group shop-sg"),
}


def isolation(ended: Ended) -> dict[str, Any]:
    checks = ended.told["plan"]["checks"]
    (found,) = [check for check in checks if check["rule"] == "launch: isolation"]
    return found


@pytest.mark.parametrize(("network", "where"), BESIDE.values(), ids=BESIDE)
def test_an_order_that_says_so_drills_beside_its_source_and_is_warned(
    region: Region, image: str, network: dict[str, Any], where: str
) -> None:
    network = network | {"beside_source": True}
    check = isolation(drill(region, image, "--dry-run", network=network))
    assert check["verdict"] == "warned"
    assert where in check["why"]
    assert "beside_source" in check["why"]
    ended = drill(region, image, network=network)
    assert (ended.code, ended.told["verified"], left(region)) == (0, True, [])


@pytest.mark.parametrize(("network", "where"), BESIDE.values(), ids=BESIDE)
def test_where_the_source_is_gone_its_recorded_place_is_kept_away_from(
    region: Region, image: str, network: dict[str, Any], where: str
) -> None:
    region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])
    ended = drill(region, image, network=network)
    assert (ended.code, launches(region)) == (3, [])
    assert where in ended.refusals["launch: isolation"]["why"]
    assert "was, when its image was made" in ended.refusals["launch: isolation"]["why"]
    assert ended.refusals["launch: isolation"]["page"] == "docs/how-to-verify.md"
    assert drill(region, image).code == 0


def test_where_nothing_tells_where_the_source_was_it_is_said_to_be_unknown(region: Region, image: str) -> None:
    region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])
    for record in region.journal.iterdir():
        record.unlink()
    check = isolation(drill(region, image, "--dry-run", flavor="s3.large.2"))
    assert (check["verdict"], "nothing was recorded" in check["why"]) == ("unknowable", True)


def test_a_launch_that_fails_is_told_in_the_clouds_words_and_leaves_nothing(region: Region, image: str) -> None:
    region.arm("job-fails", operation="createServers", skip=1, code="Ecs.0319", reason="no capacity")
    ended = drill(region, image)
    assert (ended.code, ended.told["outcome"], ended.error["code"]) == (1, "failed", "Ecs.0319")
    assert "no capacity" in ended.error["message"]
    assert (marks(region, image), left(region)) == ({}, [])


def test_a_drill_that_is_not_there_in_time_is_taken_down_and_nothing_of_it_runs_on(region: Region, image: str) -> None:
    region.arm("job-stuck", operation="createServers", skip=1, seconds=600)
    ended = drill(region, image, "--timeout", "2m")
    assert (ended.code, ended.told["outcome"], ended.error["retryable"], left(region)) == (1, "failed", True, [])
    assert "nothing of it is left" in ended.error["message"]


def test_a_launch_that_failed_and_cannot_be_cleared_up_names_what_is_left(region: Region, image: str) -> None:
    region.arm("leftovers", operation="createServers", skip=1, leave=["server"])
    region.arm("forbidden", operation="deleteServers", times=None)
    ended = drill(region, image)
    assert (ended.code, ended.told["outcome"], ended.told["verified"]) == (5, "partly", False)
    assert ended.told["left_behind"]
    assert ended.told["launch_id"] in ended.told["verified_why"]


def test_another_and_drill_exclude_each_other(region: Region, image: str) -> None:
    ended = drill(region, image, "--another")
    assert (ended.code, region.asked) == (2, [])


def test_a_dry_run_shows_the_drills_own_request_and_makes_nothing(region: Region, image: str) -> None:
    ended = drill(region, image, "--dry-run")
    plan = ended.told["plan"]
    assert (ended.code, plan["mode"], region.writes) == (0, "drill", [])
    made = drill(region, image).told["launch_id"]
    assert plan["request"]["name"] == f"shop-drill-drill-{made}"
    assert plan["request"]["tags"] == {"b2i-drill": made}


@pytest.mark.parametrize("operation", ["createServers", "getEcsJob", "putImageTag", "deleteServers"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_drill_that_is_killed_is_gone_on_with_by_the_same_command(
    region: Region, image: str, operation: str, after: bool
) -> None:
    def kill(asked: Asked) -> None:
        if asked.operation == operation and (asked.writes or operation == "getEcsJob"):
            raise Killed(operation)

    watchers = region.answered if after else region.watchers
    watchers.append(kill)
    with pytest.raises(BaseException) as killed:
        drill(region, image)
    assert "Killed" in repr(killed.value)
    watchers.remove(kill)
    ended = drill(region, image)
    assert (ended.code, ended.told["verified"], left(region)) == (0, True, [])
    assert len(launches(region)) <= 2
    assert json.loads(ended.out)["error"] is None
