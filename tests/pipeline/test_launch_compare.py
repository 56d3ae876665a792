"""A launched server beside what it should be: its disks, their sizes and order; and what is other than at its source."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.region import Asked, Ended, Region

CONSOLE = [{"console": "login:"}]


@pytest.fixture
def image(region: Region) -> str:
    """An image of shop-db-01, which has data disks of 200, 200, 100 and 500 GB."""
    found: str = region.b2i("create", region.account["backups"]["available"][2]).told["image_id"]
    region.forget()
    return found


def launch(region: Region, image: str, *arguments: str, **order: Any) -> Ended:
    told = {"flavor": "same-as-source", "probes": CONSOLE} | order
    return region.b2i("launch", image, "--spec", region.write_launch(**told), *arguments)


def volumes(region: Region, server: dict[str, Any]) -> list[dict[str, Any]]:
    return [region.emulator.cloud.get("volume", one) or {} for one in server["volumes"]]


Meddle = Callable[[Region, dict[str, Any]], None]


def once_asked(region: Region, meddle: Meddle) -> None:
    """Whatever the cloud makes of the next launch is not what it was asked for."""

    def answered(asked: Asked) -> None:
        if asked.operation == "createServers" and asked.writes:
            region.answered.remove(answered)
            (server,) = region.launched()
            meddle(region, server)

    region.answered.append(answered)


def lost(region: Region, server: dict[str, Any]) -> None:
    last = server["volumes"][-1]
    region.emulator.cloud.remove("volume", last)
    region.change("server", server, volumes=server["volumes"][:-1])


def smaller(region: Region, server: dict[str, Any]) -> None:
    region.change("volume", volumes(region, server)[-1], size=400)


def small_system(region: Region, server: dict[str, Any]) -> None:
    region.change("volume", volumes(region, server)[0], size=20)


def exchanged(region: Region, server: dict[str, Any]) -> None:
    third, fourth = volumes(region, server)[3:5]
    region.change("volume", third, size=fourth["size"])
    region.change("volume", fourth, size=100)


WRONG: dict[str, tuple[Meddle, str]] = {
    "lost": (lost, "1 of 4 data disks missing: a data disk of 500 GB"),
    "smaller": (smaller, "a data disk has 400 GB, not 500"),
    "small system disk": (small_system, "the system disk has 20 GB, not 40"),
    "exchanged": (exchanged, "in another order: data disks of 200, 200, 500, 100 GB, not data disks of 200, 200, 100, 500 GB"),
}


def test_the_disks_of_the_backup_are_there_in_their_sizes_and_order(region: Region, image: str) -> None:
    ended = launch(region, image, data_disks=[{"source": "/dev/vdd", "size_gb": 150}])
    (told,) = ended.told["disks"]
    assert (ended.code, told["ok"], told["server_id"]) == (0, True, ended.told["server_id"])
    assert told["answer"] == "system disk 40 GB, data disks of 200, 200, 150, 500 GB, in the source's order"


@pytest.mark.parametrize(("meddle", "said"), WRONG.values(), ids=WRONG)
def test_disks_that_are_not_as_they_should_be_are_partly_done_and_prove_nothing(
    region: Region, image: str, meddle: Meddle, said: str
) -> None:
    once_asked(region, meddle)
    ended = launch(region, image)
    (told,) = ended.told["disks"]
    assert (ended.code, ended.told["outcome"], told["ok"]) == (5, "partly", False)
    assert said in told["answer"]
    assert (ended.told["verified"], "disks" in ended.told["verified_why"]) == (False, True)
    assert "b2i-verified" not in (region.emulator.cloud.get("image", image) or {})["tags"]


def test_a_retuned_disk_that_did_not_grow_is_told(region: Region, image: str) -> None:
    def as_it_was(region: Region, server: dict[str, Any]) -> None:
        region.change("volume", volumes(region, server)[-1], size=500)

    once_asked(region, as_it_was)
    ended = launch(region, image, data_disks=[{"source": "/dev/vde", "size_gb": 600}])
    assert (ended.code, ended.told["disks"][0]["answer"]) == (5, "a data disk has 500 GB, not 600")


def test_a_disk_that_somebody_has_added_is_no_fault(region: Region, image: str) -> None:
    assert launch(region, image).code == 0
    (server,) = region.launched()
    like = volumes(region, server)[-1]
    more = region.emulator.cloud.new("volume", like | {"id": like["id"][::-1], "size": 10, "device": "/dev/vdf"})
    region.change("server", server, volumes=[*server["volumes"], more["id"]])
    again = launch(region, image)
    assert (again.code, again.told["disks"][0]["ok"]) == (0, True)


def test_lists_that_are_late_are_waited_for_and_raise_no_alarm(region: Region, image: str) -> None:
    region.arm("late-listing", seconds=200, times=None)
    ended = launch(region, image)
    assert (ended.code, ended.told["disks"][0]["ok"]) == (0, True)


@pytest.mark.parametrize(("fault", "how"), [("late-listing", {"seconds": 7200}), ("forbidden", {})])
def test_disks_that_cannot_be_seen_are_told_as_not_known(region: Region, image: str, fault: str, how: dict[str, Any]) -> None:
    struck = {} if fault == "late-listing" else {"operation": "listVolumesDetail"}
    region.arm(fault, times=None, **struck, **how)
    ended = launch(region, image)
    (told,) = ended.told["disks"]
    assert (ended.code, ended.told["outcome"], told["ok"]) == (0, "made", None)
    assert "not known" in told["answer"] or "cannot be read" in told["answer"]


def test_without_recorded_facts_the_sizes_are_known_and_the_order_is_not(region: Region, image: str) -> None:
    for record in region.journal.iterdir():
        record.unlink()
    ended = launch(region, image)
    assert (ended.code, ended.told["disks"][0]["ok"]) == (0, True)
    assert "order is not known" in ended.told["disks"][0]["answer"]


# -- drift --------------------------------------------------------------------------------------------------------------


def drift(ended: Ended) -> dict[str, tuple[str, str, bool]]:
    return {one["what"]: (one["source"], one["server"], one["ordered"]) for one in ended.told["drift"]}


def test_what_is_other_than_at_the_source_is_told_and_is_no_failure(region: Region, image: str) -> None:
    ended = launch(region, image, flavor="s3.large.2", availability_zone="eu-de-02", tags={"tier": "test"})
    told = drift(ended)
    assert (ended.code, ended.told["drift_unknown"]) == (0, "")
    assert told["flavor"] == ("m3.xlarge.8", "s3.large.2", True)
    assert told["availability zone"] == ("eu-de-01", "eu-de-02", True)
    assert told["security groups"] == ("shop-db-sg", "shop-sg", True)
    assert told["host name"] == ("shop-db-01", "shop-restored", True)
    assert told["tag tier"] == ("db", "test", True)
    assert told["tag backup-to-image"] == ("yes", "", False)
    assert not [what for what in told if what.startswith("size of disk")]


def test_what_the_order_changes_of_a_disk_is_told_as_ordered(region: Region, image: str) -> None:
    ended = launch(region, image, data_disks=[{"source": "/dev/vde", "size_gb": 600, "type": "SSD"}])
    told = drift(ended)
    assert told["size of disk /dev/vde"] == ("500 GB", "600 GB", True)
    assert told["type of disk /dev/vde"][1:] == ("SSD", True)
    assert told["type of disk /dev/vda"][2] is False, "the order leaves it to the default"


def test_a_flavor_that_is_the_sources_is_no_drift(region: Region, image: str) -> None:
    assert "flavor" not in drift(launch(region, image))


def test_an_adopted_server_that_is_not_as_the_order_says_by_now_is_told_with_what_it_says(region: Region, image: str) -> None:
    launch(region, image, flavor="s3.large.2", availability_zone="eu-de-01")
    ended = launch(region, image, flavor="m3.xlarge.8", availability_zone="eu-de-02")
    told = {one["what"]: (one["server"], one["order"], one["ordered"]) for one in ended.told["drift"] if one["order"]}
    assert (ended.code, ended.told["outcome"]) == (0, "adopted")
    assert told == {"flavor": ("s3.large.2", "m3.xlarge.8", False), "availability zone": ("eu-de-01", "eu-de-02", False)}
    shown = region.b2i("launch", image, "--spec", "launch.yaml", json=False)
    assert "flavor: s3.large.2, and the order says m3.xlarge.8" in " ".join(shown.out.replace("│", " ").split())


def test_where_nothing_is_known_of_the_source_that_is_said(region: Region) -> None:
    (foreign,) = region.images_of(region.account["backups"]["already_used"])
    ended = launch(region, foreign["id"], flavor="s3.large.2")
    assert (ended.code, ended.told["drift"]) == (0, [])
    assert "nothing was recorded" in ended.told["drift_unknown"]


def test_people_see_the_disks_and_the_drift(region: Region, image: str) -> None:
    launch(region, image)
    shown = region.b2i("launch", image, "--spec", "launch.yaml", json=False)
    for words in ("in the source's order", "other than the source", "host name: shop-restored, at the source shop-db-01"):
        assert words in shown.out
