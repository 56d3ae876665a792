"""Every command that has a form, with server, worker and cloud as they are: `b2i --prefect` gives what b2i itself gives."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from backup_to_image.run_results import ORDER_RESULT_KEY
from tests.support.house import House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PLAIN = "base-ubuntu-hardened"
"""An image of the account that takes no vault."""
_RUN = re.compile(r"/v2/runs/flow-run/([0-9a-f-]{36})")


@pytest.fixture(scope="module")
def image(house: House) -> str:
    """A full-ECS image that is there."""
    code, said, told = house.local("create", house.backup())
    assert code == 0, told
    return str(said["image_id"])


@pytest.fixture(scope="module")
def worker_order(house: House) -> str:
    """A launch order that lies in the worker's directory, and nowhere else; its probes are the demo's."""
    order = yaml.safe_load(house.files["launch"].read_text()) | {"name": "door-restored"}
    (house.files["launch"].parent / "door.yaml").write_text(yaml.safe_dump(order))
    return "door.yaml"


def by_prefect(house: House, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON, and the page that the run has left under the command's name, beside the histories that it adds to."""
    code, said, told = house.b2i("--prefect", *words)
    named = _RUN.search(told)
    assert named, (said, told, house.log("worker-1"))
    left = house.artifacts(named[1])
    (page,) = [text for key, text in left.items() if key != ORDER_RESULT_KEY and not key.startswith("server-")]
    return code, said, page


def states(house: House, image: str) -> dict[str, str]:
    return {one["member_id"]: one["status"] for one in house.cloud.get("ims", f"/v2/images/{image}/members")["members"]}


def test_an_image_is_shared_and_taken_back_and_whoever_may_not_have_it_is_refused(house: House, image: str) -> None:
    dr = house.account["second_project"]
    code, said, page = by_prefect(house, "share", image, "dr")
    assert (code, said["outcome"], states(house, image)) == (0, "made", {dr: "pending"}), said
    assert dr in page
    again, itself, _ = house.local("share", image, "dr")
    assert (again, set(itself)) == (0, set(said))
    assert itself["members"] == [one | {"result": "adopted"} for one in said["members"]]

    code, refused, page = by_prefect(house, "share", "no such image", "nobody")
    assert (code, refused["outcome"], set(refused)) == (3, "refused", set(said))
    why = [check["why"] for check in refused["report"]["checks"] if check["verdict"] == "refused"]
    assert len(why) == 2
    assert all(one in page for one in why)

    code, back, _ = by_prefect(house, "unshare", image, "dr")
    assert (code, back["outcome"], dr in states(house, image)) == (0, "made", False)
    again, itself, _ = house.local("unshare", image, "dr")
    assert (again, itself["outcome"], set(itself)) == (0, "adopted", set(back))


def test_a_server_is_launched_and_probed_gets_another_system_disk_and_is_taken_down(
    house: House, image: str, worker_order: str
) -> None:
    code, made, page = by_prefect(house, "launch", image, "--spec", worker_order)
    assert (code, made["outcome"]) == (0, "made"), made
    assert [probe["ok"] for probe in made["probes"]] == [True, True, True]
    (server,) = house.cloud.servers_called("door-restored")
    assert (made["server_id"], server["status"]) == (server["id"], "ACTIVE")
    assert server["id"] in page
    again, itself, _ = house.local("launch", image, "--spec", str(house.files["launch"].parent / worker_order))
    assert (again, itself["outcome"], itself["server_id"], set(itself)) == (0, "adopted", server["id"], set(made))

    yes = ("--accept-data-disks-unchanged", "--yes-i-mean", "door-restored")
    how = ("--again", "--stop", "--probe", "console: 'login:'")
    code, changed, page = by_prefect(house, "change-os", server["id"], image, *how, *yes)
    assert (code, changed["outcome"], changed["status"]) == (0, "made", "ACTIVE"), changed
    assert changed["system_disk_id"] != changed["old_system_disk_id"]
    assert [probe["ok"] for probe in changed["probes"]] == [True]
    assert changed["system_disk_id"] in page
    again, itself, _ = house.local("change-os", server["id"], image, *yes)
    assert (again, itself["outcome"], set(itself)) == (0, "adopted", set(changed))

    code, nameless, _ = by_prefect(house, "teardown", made["launch_id"])
    assert (code, nameless["error"]["code"]) == (2, "b2i.usage"), nameless
    code, gone, page = by_prefect(house, "teardown", made["launch_id"], "--yes-i-mean", "door-restored")
    assert (code, gone["left_behind"], house.cloud.servers_called("door-restored")) == (0, [], []), gone
    assert house.cloud.disks_called("door-restored") == []
    assert server["id"] in page
    again, itself, _ = house.local("teardown", made["launch_id"])
    assert (again, set(itself)) == (0, set(gone))


def test_a_recipient_is_named_by_its_block_and_takes_what_it_is_given_and_what_it_is_offered(
    house: House, image: str, partner: str
) -> None:
    asked = house.asked("batchUpdateImageMembers")
    code, said, page = by_prefect(house, "hand-over", image, "--to", "partner", "--share-for", "30d")
    assert (code, said["outcome"], said["recipient"], said["state"]) == (0, "made", partner, "accepted"), said
    assert said["ends_at"]
    assert states(house, image)[partner] == "accepted"
    assert partner in page
    assert "could be launched" in page
    again, itself, _ = house.local("hand-over", image, "--to", "partner")
    assert (again, itself["outcome"], set(itself)) == (0, "adopted", set(said))
    assert house.asked("batchUpdateImageMembers") == asked + 1

    (plain,) = [one["id"] for one in house.cloud.get("ims", "/v2/cloudimages", name=PLAIN)["images"]]
    house.cloud.ask("POST", "ims", f"/v2/images/{plain}/members", json={"member": partner})
    code, taken, page = by_prefect(house, "accept", "--all", "--block", "partner")
    assert (code, taken["outcome"]) == (0, "made"), taken
    results = {one["image_id"]: one["result"] for one in taken["offers"]}
    assert (results[plain], results[image]) == ("made", None)
    assert states(house, plain)[partner] == "accepted"
    assert PLAIN in page
    again, itself, _ = house.local("accept", "--all", cloud="partner")
    assert (again, itself["outcome"], set(itself)) == (0, "adopted", set(taken))
    code, unknown, told = house.b2i("--prefect", "hand-over", image, "--to", "nobody")
    assert (code, set(unknown)) == (2, set(said)), told
    assert "nobody" in unknown["error"]["message"]
