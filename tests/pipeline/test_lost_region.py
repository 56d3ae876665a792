"""A lost region: in the second one there are replicas of backups, and neither the servers nor what was recorded of them."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.region import Region
from tests.support.runbooks import DRILL, against, check, of, verdict

EXAMPLE = Path(__file__).resolve().parents[2] / "deployments/runbooks/lost-region.yaml"
WEB, APP, DB = "shop-web-01", "shop-app-01", "shop-db-01"
CREATE = {"when_missing": "create"}
FLAVOR = {"flavor": "s3.large.2"}
KNOWN = ("backup_time", "original")
"""Answers of the cloud that tell when a replica's state was taken, whatever its creation time means."""


@pytest.fixture
def seed() -> str:
    return "second-region"


def newest(region: Region, name: str = WEB) -> dict[str, Any]:
    """The newest replica of that server."""
    mine = [one for one in region.things("backup") if one["resource_name"] == name]
    assert mine
    return max(mine, key=lambda one: str(one["taken_at"]))


def age(region: Region, text: str) -> timedelta:
    return region.clock.now() - datetime.fromisoformat(text)


def hours(length: timedelta, *, more: float = 0) -> str:
    return f"{length.total_seconds() / 3600 + more:.0f}h"


# -- replicas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", KNOWN)
def test_replicas_are_listed_as_such_with_the_time_of_their_backup(region: Region, times: str) -> None:
    region.emulator.switches["replica_times"] = times
    told = region.b2i("backups").told["backups"]
    assert len(told) == 6
    assert all(one["replica"] and one["usable"] for one in told)
    known = {one["id"]: one for one in region.things("backup")}
    for one in told:
        assert abs(datetime.fromisoformat(one["taken_at"]) - datetime.fromisoformat(known[one["id"]]["taken_at"])) < timedelta(
            seconds=1
        )
    assert "yes, a replica" in region.b2i("backups", json=False).out


def test_a_replica_that_may_only_tell_when_it_was_copied_does_not_pass_for_younger_than_it_is(region: Region) -> None:
    region.emulator.switches["replica_times"] = "copied"
    told = region.b2i("backups").told["backups"]
    assert {one["taken_at"] for one in told} == {None}
    assert f"before {told[0]['created_at'][:10]}" in region.b2i("backups", json=False).out


@pytest.mark.parametrize("project", ["own", "source"])
def test_nothing_speaks_against_a_replica_whichever_project_it_names(region: Region, project: str) -> None:
    region.emulator.switches["replica_project"] = project
    ended = region.b2i("validate", newest(region)["id"])
    assert (ended.code, ended.verdict("own backup"), ended.verdict("an ECS")) == (0, "passed", "passed")
    assert "never be shared" not in region.b2i("validate", newest(region)["id"], json=False).out


@pytest.mark.parametrize("project", ["own", "source"])
@pytest.mark.parametrize("times", [*KNOWN, "copied"])
def test_a_replica_yields_one_image_which_the_same_order_adopts(region: Region, times: str, project: str) -> None:
    region.emulator.switches.update(replica_times=times, replica_project=project)
    made = region.b2i("create", "--server", DB, "--newest")
    replica = newest(region, DB)
    assert (made.code, made.told["outcome"], made.told["backup_id"]) == (0, "made", replica["id"])
    again = region.b2i("create", "--server", DB, "--newest")
    assert (again.code, again.told["outcome"], again.told["image_id"]) == (0, "adopted", made.told["image_id"])
    assert len(region.images_of(replica["id"])) == 1


def test_the_image_of_a_replica_brings_all_disks_back(region: Region) -> None:
    image = region.b2i("create", "--server", DB, "--newest").told["image_id"]
    ended = region.b2i("launch", image, "--spec", region.write_launch(flavor="m4.xlarge.8"))
    (server,) = region.launched()
    sizes = {one["id"]: one["size"] for one in region.things("volume")}
    assert (ended.code, [sizes[one] for one in server["volumes"]]) == (0, [40, 200, 200, 100, 500])


def test_whether_the_image_of_a_replica_can_be_shared_no_page_tells_so_it_is_tried(region: Region) -> None:
    replica = newest(region)["id"]
    validated = region.b2i("validate", replica, "--share-with", "partner")
    assert (validated.code, validated.verdict("shareable")) == (0, "warned")
    made = region.b2i("create", replica, "--share-with", "partner")
    assert (made.code, made.told["shared_with"]) == (0, [region.account["recipient"]["project_id"]])
    shared = region.b2i("share", made.told["image_id"], "partner")
    assert (shared.code, shared.told["error"]) == (0, None)


# -- runbooks -----------------------------------------------------------------------------------------------------------


def test_the_example_is_ready_as_a_drill_and_for_real_and_nothing_is_made(region: Region) -> None:
    (region.folder / "shop.yaml").write_text(EXAMPLE.read_text())
    ended = region.b2i("runbook", "check", "shop.yaml")
    assert (ended.code, ended.told["score"], ended.told["modes"]) == (0, 100, ["failover", "drill"])
    for one in ended.told["servers"]:
        assert (one["image_id"], one["make_from"]) == (None, newest(region, one["source"])["id"])
    assert "3 images would be made first" in verdict(ended.told, "image quota")["why"]
    assert region.writes == []


def test_same_as_source_is_refused_with_what_to_write_instead(region: Region) -> None:
    ended = check(region, WEB, images=CREATE, drill=DRILL, defaults={"flavor": "same-as-source"})
    refused = verdict(of(ended, WEB), "failover: flavor")
    assert (ended.code, refused["code"]) == (3, "b2i.no-facts")
    assert "a server of another region, of which a replica tells name and disks alone" in refused["why"]
    assert refused["action"] == "Name a flavor, or {vcpus: N, ram_gb: N}."
    image = region.b2i("create", "--server", WEB, "--newest").told["image_id"]
    made = check(region, WEB, defaults={"flavor": "same-as-source"})
    assert (of(made, WEB)["image_id"], verdict(of(made, WEB), "failover: flavor")["why"]) == (image, refused["why"])


def test_a_drill_is_away_from_its_source_since_that_is_in_another_region(region: Region) -> None:
    ended = check(region, WEB, images=CREATE, drill=DRILL, defaults=FLAVOR)
    isolation = verdict(of(ended, WEB), "drill: isolation")
    assert (ended.code, isolation["verdict"]) == (0, "passed")
    assert "another region" in isolation["why"]


@pytest.mark.parametrize("times", KNOWN)
def test_the_target_is_held_against_the_time_of_the_backup_not_of_its_copying(region: Region, times: str) -> None:
    region.emulator.switches["replica_times"] = times
    replica = newest(region)
    taken, copied = age(region, replica["taken_at"]), age(region, replica["created_at"])
    assert taken - copied == timedelta(hours=3)
    missed = check(region, WEB, images=CREATE, defaults=FLAVOR, targets={"rpo": hours(copied, more=1)})
    assert (missed.code, verdict(of(missed, WEB), "age")["code"]) == (3, "b2i.rpo-missed")
    assert of(missed, WEB)["age_s"] == round(taken.total_seconds())
    met = check(region, WEB, images=CREATE, defaults=FLAVOR, targets={"rpo": hours(taken, more=1)})
    assert (met.code, of(met, WEB)["state"]) == (0, "ready")


def test_a_replica_of_unknown_age_never_meets_a_target_and_misses_one_that_its_copying_misses(region: Region) -> None:
    region.emulator.switches["replica_times"] = "copied"
    copied = age(region, newest(region)["created_at"])
    unsure = check(region, WEB, images=CREATE, defaults=FLAVOR, targets={"rpo": hours(copied, more=1)})
    told = verdict(of(unsure, WEB), "age")
    assert (unsure.code, of(unsure, WEB)["state"], told["code"]) == (3, "unsure", "b2i.age-unknown")
    assert "or more old: its backup is a replica" in told["why"]
    assert "targets.rpo" in told["action"]
    missed = check(region, WEB, images=CREATE, defaults=FLAVOR, targets={"rpo": hours(copied, more=-1)})
    assert (missed.code, verdict(of(missed, WEB), "age")["code"]) == (3, "b2i.rpo-missed")
    without = check(region, WEB, images=CREATE, defaults=FLAVOR)
    assert (without.code, of(without, WEB)["state"], of(without, WEB)["age_s"]) == (0, "ready", None)


@pytest.mark.parametrize(("times", "known"), [("backup_time", True), ("original", True), ("copied", False)])
def test_a_state_of_before_the_damage_may_have_been_copied_after_it_if_it_tells_so(
    region: Region, times: str, known: bool
) -> None:
    region.emulator.switches["replica_times"] = times
    replica = newest(region)
    between = datetime.fromisoformat(replica["created_at"]) - timedelta(hours=1)
    ended = check(region, WEB, images=CREATE | {"before": between.isoformat()}, defaults=FLAVOR)
    assert (ended.code, of(ended, WEB)["make_from"] == replica["id"]) == (0, known), "else the one before, to be sure"


@pytest.mark.parametrize(("times", "state"), [("backup_time", "passed"), ("original", "passed"), ("copied", "unknowable")])
def test_how_far_apart_states_are_is_never_told_by_when_they_were_copied(region: Region, times: str, state: str) -> None:
    region.emulator.switches["replica_times"] = times
    ended = check(region, WEB, APP, images=CREATE | {"skew": "1h"}, defaults=FLAVOR)
    assert (ended.code, verdict(ended.told, "skew")["verdict"]) == (0 if state == "passed" else 3, state)


def test_images_of_earlier_drills_that_are_too_old_by_now_give_way_to_the_newest_replica(region: Region) -> None:
    older = min((one for one in region.things("backup") if one["resource_name"] == WEB), key=lambda one: str(one["taken_at"]))
    image = region.b2i("create", older["id"]).told["image_id"]
    rule: dict[str, Any] = {"images": CREATE, "defaults": FLAVOR}
    assert of(check(region, WEB, **rule), WEB)["image_id"] == image, "without a target it is good enough"
    target = {"rpo": hours(age(region, newest(region)["taken_at"]), more=2)}
    ended = check(region, WEB, **rule, targets=target)
    assert (ended.code, of(ended, WEB)["make_from"]) == (0, newest(region)["id"])
    assert "its images are older than the target" in verdict(of(ended, WEB), "image")["why"]
    refused = check(region, WEB, defaults=FLAVOR, targets=target)
    assert against(of(refused, WEB)).keys() == {"age"}, "where nothing is to be made first, the image stays what there is"


def test_an_image_that_is_being_made_of_the_newest_replica_is_one_that_is_made_first(region: Region) -> None:
    replica = newest(region)["id"]
    with region.killing("getImsJob"):
        region.b2i("create", replica)
    (image,) = region.images_of(replica)
    assert image["status"] in {"queued", "saving"}
    ended = check(region, WEB, images=CREATE, defaults=FLAVOR)
    assert (ended.code, of(ended, WEB)["make_from"]) == (0, replica)
    adopted = region.b2i("create", replica)
    assert (adopted.code, adopted.told["image_id"]) == (0, image["id"])


def test_without_the_rule_to_make_them_first_images_are_missing_and_what_makes_them_is_told(region: Region) -> None:
    ended = check(region, WEB, defaults=FLAVOR)
    assert verdict(of(ended, WEB), "image")["action"] == f"`b2i create --server {WEB} --newest` makes one."
