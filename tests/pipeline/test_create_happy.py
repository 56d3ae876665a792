"""A backup becomes an image: what is asked of the cloud, what is delivered, what it costs."""

import pytest

from tests.support.doors import Door
from tests.support.region import Region

KEYS = {
    *("outcome", "backup_id", "image_id", "image_name", "status", "adopted", "job_id", "shared_with", "server_id", "launch_id"),
    "error",
}


def test_the_request_is_exactly_the_documented_one_with_our_marks(door: Door, region: Region, backup: str) -> None:
    ended = door.create(backup, tags={"team": "shop"}, description="before the upgrade")
    assert ended.code == 0
    (asked,) = region.sent("createWholeImage")
    source = region.named("server", "shop-web-01")
    assert {key: value for key, value in asked.body.items() if key not in {"image_tags", "tags"}} == {
        "name": "shop-web-01-20260309-57bbc0a7",
        "description": "before the upgrade",
        "backup_id": backup,
        "whole_image_type": "CBR",
    }
    assert "vault_id" not in asked.body
    (image,) = region.images_of(backup)
    assert image["tags"] == {"team": "shop", "b2i-source": source["id"], "b2i-flavor": "s3_2e_large_2e_2"}
    assert region.writes == ["createWholeImage"]


def test_the_delivery_names_every_id_and_what_the_cloud_says(door: Door, region: Region, backup: str) -> None:
    ended = door.create(backup, share_with=["dr"])
    (image,) = region.images_of(backup)
    (job,) = region.things("ims-job", job_type="imsCreateWholeImageByBackupJob")
    told = ended.told
    assert set(told) >= KEYS
    assert {key: told[key] for key in KEYS} == {
        "outcome": "made",
        "backup_id": backup,
        "image_id": image["id"],
        "image_name": image["name"],
        "status": "active",
        "adopted": False,
        "job_id": job["id"],
        "shared_with": [region.account["second_project"]],
        "server_id": None,
        "launch_id": None,
        "error": None,
    }


def test_all_of_it_at_once_delivers_a_server_that_answers(region: Region, door: Door, backup: str) -> None:
    region.listens = True
    spec = region.write_launch(probes=[{"tcp": 2222}, {"http": {"port": 8080, "path": "/health"}}])
    ended = door.create(backup, share_with=["dr", "partner"], launch=spec)
    assert ended.code == 0
    told = ended.told
    (server,) = region.launched()
    assert (told["outcome"], told["server_id"]) == ("made", server["id"])
    assert server["tags"] == {"b2i-launch": told["launch_id"]}
    assert [probe["ok"] for probe in told["probes"]] == [True, True]
    assert sorted(told["shared_with"]) == sorted([region.account["second_project"], region.account["recipient"]["project_id"]])
    assert [step["step"] for step in told["steps"]] == ["validate", "create", "wait", "share", "launch"]


@pytest.mark.parametrize("order", [{"dry_run": True}, {"name": "<bad>"}, {}], ids=["dry run", "refused", "made"])
def test_every_key_is_there_whatever_happens(region: Region, door: Door, backup: str, order: dict[str, object]) -> None:
    told = door.create(backup, **order).told
    wanted = KEYS - {"status", "adopted", "job_id", "shared_with", "server_id", "launch_id"} if "dry_run" in order else KEYS
    assert set(told) >= wanted


def test_one_image_costs_nine_requests_besides_looking_and_a_few_looks(door: Door, region: Region, backup: str) -> None:
    """The project has images of the same server already, so it is known when to look."""
    for older in region.things("image"):
        if older["name"].startswith("shop-web-01-"):
            region.change("image", older, tags={"b2i-source": region.named("server", "shop-web-01")["id"]})
    ended = door.create(backup)
    looks = region.sent("getImsJob", "getImage")
    sent = sum(operation.operation not in {"getImsJob", "getImage"} for operation in region.asked)
    assert sent <= 9
    assert len(looks) <= 3 + ended.told["seconds"] / 60
    assert ended.told["requests"] == len(region.sent(*{one.operation or "" for one in region.asked} - {"createToken"}))


def test_a_project_without_history_costs_a_few_looks_more(door: Door, region: Region, backup: str) -> None:
    for older in region.things("image"):
        region.emulator.cloud.remove("image", older["id"])
    ended = door.create(backup)
    assert ended.code == 0
    assert len(region.sent("getImsJob", "getImage", "listCloudImages")) <= 45


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "shop-web-01-20260309-57bbc0a7"),
        ("{server}", "shop-web-01"),
        ("gold {server} of {backup_created:%d.%m.%Y}", "gold shop-web-01 of 09.03.2026"),
        ("{backup_name}-{backup_short}", "manualbk_web01-57bbc0a7"),
        ("plain-name", "plain-name"),
    ],
)
def test_the_image_is_called_as_the_template_says(
    door: Door, region: Region, backup: str, template: str | None, name: str
) -> None:
    assert door.create(backup, name=template).told["image_name"] == name
    assert [image["name"] for image in region.images_of(backup)] == [name]


def test_a_very_long_server_name_gives_way_to_what_makes_the_name_unique(door: Door, region: Region, backup: str) -> None:
    kept = region.emulator.cloud.get("backup", backup)
    assert kept
    region.change("backup", kept, resource_name="shop-" + "x" * 123)
    name = door.create(backup).told["image_name"]
    assert len(name) == 128
    assert name.endswith("-20260309-57bbc0a7")


def test_the_newest_usable_backup_of_a_server_is_found_by_the_servers_name(region: Region, backup: str) -> None:
    ended = region.b2i("create", "--server", "shop-web-01", "--newest")
    newest = max(
        (one for one in region.things("backup", resource_name="shop-web-01") if one["status"] == "available"),
        key=lambda one: one["created_at"],
    )
    assert (ended.code, ended.told["backup_id"]) == (0, newest["id"])


def test_a_backup_is_found_by_its_unique_name(region: Region, door: Door, backup: str) -> None:
    ended = door.create("manualbk_web01")
    assert (ended.code, ended.told["backup_id"]) == (0, backup)


def test_people_read_what_the_machine_reads(region: Region, backup: str) -> None:
    ended = region.b2i("create", backup, "--share-with", "dr", json=False)
    (image,) = region.images_of(backup)
    assert ended.code == 0
    for word in (
        image["id"],
        image["name"],
        "Normal in the console",
        region.account["second_project"],
        "never exported or copied",
    ):
        assert word in ended.out
    assert "is Normal after" in ended.err


def test_a_backup_that_is_still_being_made_is_waited_for_if_the_order_says_so(door: Door, region: Region) -> None:
    young = region.named("backup", "manualbk_app02_instant")
    region.change("backup", young, due=region.emulator.cloud.due(90))
    ended = door.create(young["id"], wait_backup="10m")
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert len(region.images_of(young["id"])) == 1


def test_a_backup_that_takes_longer_than_the_order_waits_ends_with_still_running(door: Door, region: Region) -> None:
    young = region.named("backup", "manualbk_app02_instant")
    ended = door.create(young["id"], wait_backup="5m")
    assert (ended.code, ended.told["outcome"]) == (4, "still_running")
    assert "--wait-backup" in ended.error["action"]
    assert region.writes == []


def test_a_backup_that_fails_while_it_is_waited_for_is_refused(door: Door, region: Region) -> None:
    young = region.named("backup", "manualbk_app02_instant")

    def fail(asked: object) -> None:
        if len(region.sent("getBackup")) == 3:
            region.change("backup", young, status="error")

    region.watchers.append(fail)
    ended = door.create(young["id"], wait_backup="1h")
    assert (ended.code, ended.told["outcome"]) == (3, "refused")
    assert set(ended.refusals) == {"ready"}
    assert region.writes == []


def test_how_long_an_adopted_image_took_is_not_made_up(door: Door, region: Region, backup: str) -> None:
    """It has been there for a while: the time since it was ordered says nothing of the time that it took."""
    door.create(backup)
    region.clock.advance(3600)
    again = door.create(backup)
    assert "is Normal" in again.err
    assert "is Normal after" not in again.err
