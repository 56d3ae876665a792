"""What the documentation leaves open (BEHAVIOUR.md 14): the whole job is right whichever way the cloud turns out to be."""

import pytest

from backup_to_image.emulator.switches import SWITCHES
from tests.support.region import Region

ANSWERS = [(switch.name, value) for switch in SWITCHES for value in switch.values]
# With these answers the cloud itself refuses what is ordered here; other tests say how that is told.
REFUSALS = {
    ("whole_image_sharing", "refused"): 5,
    ("shared_disks", "refused"): 0,
}


@pytest.mark.parametrize(("name", "value"), ANSWERS, ids=lambda word: word)
def test_an_image_is_made_shared_launched_adopted_and_its_server_removed(
    region: Region, backup: str, name: str, value: str
) -> None:
    region.emulator.switches[name] = value
    spec = region.write_launch(public_ip={}, data_disks=[{"source": "/dev/vdb", "size_gb": 120}])
    order = ["create", backup, "--share-with", "dr", "--launch", spec, "--description", "before the upgrade"]
    made = region.b2i(*order)
    expected = REFUSALS.get((name, value), 0)
    assert made.code == expected, made.err
    (image,) = region.images_of(backup)
    assert (image["status"], made.told["image_id"]) == ("active", image["id"])
    if expected:
        assert made.error["code"].startswith("IMG.")
        return
    (server,) = region.launched()
    assert (made.told["server_id"], made.told["shared_with"]) == (server["id"], [region.account["second_project"]])
    again = region.b2i(*order)
    assert (again.code, again.told["outcome"], again.told["server_id"]) == (0, "adopted", server["id"])
    assert (len(region.images_of(backup)), len(region.launched())) == (1, 1)
    gone = region.b2i("teardown", made.told["launch_id"], "--yes-i-mean", "shop-restored")
    assert (gone.code, gone.told["left_behind"], region.launched(), region.things("publicip")) == (0, [], [], [])
    assert [disk for disk in region.things("volume") if disk["name"].startswith("shop-restored")] == []


PAGES = ["doubled-page", "shifting-page", "unknown-fields"]
LISTS = ["listBackups", "listCloudImages", "listServersDetail", "listVolumesDetail", "listPublicIps", "listImageMembers"]


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("fault", PAGES)
def test_pages_that_shift_or_come_twice_change_nothing(region: Region, backup: str, fault: str, operation: str) -> None:
    region.arm(fault, operation=operation, times=None)
    spec = region.write_launch(public_ip={})
    for outcome in ("made", "adopted"):
        ended = region.b2i("create", backup, "--share-with", "dr", "--launch", spec)
        assert (ended.code, ended.told["outcome"]) == (0, outcome), ended.err
    listed = [one["id"] for one in region.b2i("backups").told["backups"]]
    assert len(listed) == len(set(listed)) > 100
    gone = region.b2i("teardown", ended.told["launch_id"], "--yes-i-mean", "shop-restored")
    assert (gone.code, region.launched(), region.things("publicip")) == (0, [], [])
