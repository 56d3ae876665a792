"""Whether a runbook could be run now: each server's image and its launch, room for all of them, and every reason at once."""

from pathlib import Path

import pytest

from backup_to_image.cli.runbook import BLANK
from tests.support.region import Asked, Region
from tests.support.runbooks import APP, DB, DRILL, FAILOVER, WEB, against, book, check, of, verdict

SHARED = Path(__file__).resolve().parents[2] / "deployments/runbooks/shared-images.yaml"


def doubt(region: Region, image: str) -> None:
    made = region.emulator.cloud.get("image", image)
    assert made
    made["tags"]["b2i-doubtful"] = "20260310"
    region.emulator.cloud.save("image", made)


# -- ready or not -------------------------------------------------------------------------------------------------------


def test_a_set_that_could_come_back_is_ready_and_nothing_was_made(region: Region, images: dict[str, str]) -> None:
    ended = check(region, WEB, APP, DB, drill=DRILL, targets={"rpo": "26h"})
    told = ended.told
    assert set(told) == set(BLANK)
    assert (ended.code, told["outcome"], told["ready"], told["score"]) == (0, None, True, 100)
    assert told["modes"] == ["failover", "drill"]
    assert {one["source"]: (one["image_id"], one["state"]) for one in told["servers"]} == {
        name: (image, "ready") for name, image in images.items()
    }
    assert 3.9 * 3600 < of(ended, DB)["age_s"] < 4.2 * 3600
    assert region.writes == []
    assert [asked.body["server"]["name"] for asked in region.sent("createServers")].count(DB) == 2, "a dry run for each mode"


def test_every_reason_of_every_server_is_told_at_once(region: Region, images: dict[str, str]) -> None:
    servers = [
        {"source": WEB, "launch": {"login": {"key_pair": "nobodys"}, "flavor": "s3.huge"}},
        {"source": "shop-web-02"},
        {"source": "shop-nope-01"},
        DB,
    ]
    ended = check(region, *servers, drill={"network": FAILOVER["network"]}, targets={"rpo": "3h"})
    assert (ended.code, ended.told["outcome"], ended.told["score"]) == (3, "refused", 0)
    assert set(against(of(ended, WEB))) == {
        "age",
        *(f"{mode}: {rule}" for mode in ("failover", "drill") for rule in ("login", "flavor")),
        "drill: isolation",
    }
    assert "no image, no backup, no record" in against(of(ended, "shop-nope-01"))["image"]
    assert of(ended, DB)["state"] == "not_ready"
    assert "the target is 3 h" in against(of(ended, DB))["age"]
    shown = region.b2i("runbook", "check", "shop.yaml", json=False)
    assert shown.code == 3
    assert "nobodys" in shown.out
    assert "Score 0 of 100: 0 of 4 servers are ready" in shown.out


def test_the_score_tells_how_many_would_come_back(region: Region, images: dict[str, str]) -> None:
    ended = check(region, WEB, APP, DB, "shop-nope-01")
    assert (ended.code, ended.told["ready"], ended.told["score"]) == (3, False, 75)


def test_what_the_file_does_not_allow_is_not_looked_at_and_asking_for_it_is_a_mistake(
    region: Region, images: dict[str, str]
) -> None:
    assert check(region, WEB).told["modes"] == ["failover"]
    assert check(region, WEB, drill=DRILL, words=("--as", "drill")).told["modes"] == ["drill"]
    ended = check(region, WEB, words=("--as", "drill"))
    assert (ended.code, ended.error["code"]) == (2, "b2i.usage")
    assert "cannot be run as a drill" in ended.error["message"]


def test_mistakes_in_the_file_are_told_before_the_cloud_is_asked_anything(region: Region) -> None:
    ended = check(region, WEB, WEB, colour="red")
    assert (ended.code, region.asked) == (2, [])
    assert "colour: unknown key" in ended.error["message"]


# -- which image --------------------------------------------------------------------------------------------------------


def test_the_newest_good_image_is_taken_and_the_newest_verified_one_where_that_is_asked_for(
    region: Region, images: dict[str, str]
) -> None:
    older = next(one for one in region.things("image") if one["name"].startswith(DB) and one["id"] != images[DB])
    older["tags"]["b2i-verified"] = "20260308"
    region.emulator.cloud.save("image", older)
    flavor = {"launch": {"flavor": region.account["flavor"]}}
    assert of(check(region, {"source": DB, **flavor}), DB)["image_id"] == images[DB]
    verified = of(check(region, {"source": DB, **flavor}, images={"pick": "newest_verified"}), DB)
    assert (verified["image_id"], verified["verified_on"]) == (older["id"], "20260308")
    never = check(region, WEB, images={"pick": "newest_verified"})
    assert "never verified" in against(of(never, WEB))["image"]


def test_only_states_of_before_a_moment_count_where_one_is_given(region: Region, images: dict[str, str]) -> None:
    before = "2026-03-09T12:00:00Z"
    ended = check(region, {"source": DB, "launch": {"flavor": region.account["flavor"]}}, images={"before": before})
    assert of(ended, DB)["taken_at"] < before
    assert of(ended, DB)["image_id"] != images[DB]
    nothing = check(region, WEB, images={"before": "2020-01-01T00:00:00Z"})
    assert "not of before 2020-01-01" in against(of(nothing, WEB))["image"]


def test_a_doubtful_image_and_a_dead_one_are_not_taken(region: Region, images: dict[str, str]) -> None:
    doubt(region, images[APP])
    ended = check(region, {"source": APP, "launch": {"flavor": region.account["flavor"]}})
    assert of(ended, APP)["image_id"] not in {None, images[APP]}
    for image in region.things("image"):
        if image["name"].startswith(APP):
            region.change("image", image, status="killed")
    assert "is killed" in against(of(check(region, APP), APP))["image"]


def test_images_of_a_set_lie_no_farther_apart_than_its_skew(region: Region, images: dict[str, str]) -> None:
    newest = check(region, APP, DB, images={"skew": "2h"})
    assert {of(newest, name)["image_id"] for name in (APP, DB)} == {images[APP], images[DB]}
    never = check(region, APP, DB, images={"skew": "10m"})
    assert "within 10 min of each other; the newest are 1 h 0 min apart" in against(never.told)["skew"]
    assert {of(never, name)["image_id"] for name in (APP, DB)} == {images[APP], images[DB]}, "what there is stands there"
    doubt(region, images[APP])
    flavor = {"flavor": region.account["flavor"]}
    assert of(check(region, WEB, APP, defaults=flavor), WEB)["image_id"] == images[WEB]
    together = check(region, WEB, APP, images={"skew": "2h"}, defaults=flavor)
    assert (together.code, of(together, WEB)["image_id"] == images[WEB]) == (0, False), "of an older night, as the other one"


def test_an_image_that_is_missing_is_refused_or_would_be_made_first(region: Region, images: dict[str, str]) -> None:
    refused = check(region, "shop-mail-01")
    assert against(of(refused, "shop-mail-01"))["image"] == "shop-mail-01 has no image"
    made = check(region, "shop-mail-01", images={"when_missing": "create"})
    server = of(made, "shop-mail-01")
    assert (made.code, server["state"], server["image_id"]) == (0, "ready", None)
    backups = [one for one in region.things("backup") if one["resource_name"] == "shop-mail-01" and one["status"] == "available"]
    assert server["make_from"] == max(backups, key=lambda one: str(one["created_at"]))["id"]
    assert verdict(server, "image")["verdict"] == "warned"
    assert verdict(made.told, "image quota")["verdict"] == "passed"
    quota = region.emulator.cloud.get("quota", region.account["project_id"]) or {}
    region.change("quota", quota, images=0)
    full = check(region, "shop-mail-01", images={"when_missing": "create"})
    assert (full.code, verdict(full.told, "image quota")["code"]) == (3, "IMG.0015")


def test_a_name_that_two_servers_have_is_refused_with_their_ids(region: Region, images: dict[str, str]) -> None:
    web, app = region.named("server", WEB), region.named("server", APP)
    for backup in region.things("backup"):
        if backup["resource_id"] == app["id"]:
            region.change("backup", backup, resource_name=WEB)
    ended = check(region, WEB)
    assert all(ident in against(of(ended, WEB))["image"] for ident in (web["id"], app["id"]))
    assert of(check(region, web["id"]), web["id"])["image_id"] == images[WEB]


def test_a_source_whose_name_no_new_server_can_have_is_refused_until_the_runbook_names_one(
    region: Region, images: dict[str, str]
) -> None:
    web = region.named("server", WEB)
    region.change("server", web, name="shop web 01")
    ended = check(region, web["id"])
    assert (ended.code, "'shop web 01'" in against(of(ended, web["id"]))["failover: name"]) == (3, True)
    assert check(region, {"source": web["id"], "name": WEB}).code == 0


def test_a_server_that_is_gone_is_known_by_what_was_recorded_of_it(region: Region, images: dict[str, str]) -> None:
    region.emulator.cloud.remove("server", region.named("server", WEB)["id"])
    ended = check(region, WEB)
    assert (ended.code, of(ended, WEB)["image_id"], of(ended, WEB)["server_name"]) == (0, images[WEB], WEB)


def test_an_image_of_another_project_is_found_by_its_name_and_its_age_is_not_known(
    region: Region, images: dict[str, str]
) -> None:
    assert region.b2i("share", images[WEB], "partner").code == 0
    servers = {"source": WEB, "image": f"{WEB}-*", "launch": {"flavor": region.account["flavor"]}}
    network = {"network": {"vpc": "partner-vpc", "subnet": "partner-net"}}
    offered = region.b2i("runbook", "check", book(region, servers, failover=network), cloud="partner")
    refused = verdict(of(offered, WEB), "image")
    assert "nobody has accepted it" in refused["why"]
    assert refused["action"] == f"`b2i accept {images[WEB]}` takes it."
    assert region.b2i("accept", images[WEB], cloud="partner").code == 0
    accepted = region.b2i("runbook", "check", book(region, servers, failover=network), cloud="partner")
    assert (accepted.code, of(accepted, WEB)["image_id"]) == (0, images[WEB])
    with_target = book(region, servers, failover=network, targets={"rpo": "26h"})
    unsure = region.b2i("runbook", "check", with_target, cloud="partner")
    assert (unsure.code, of(unsure, WEB)["state"]) == (3, "unsure")
    region.clock.advance(27 * 3600)
    too_old = region.b2i("runbook", "check", with_target, cloud="partner")
    assert "27 h" in against(of(too_old, WEB))["age"], "its state is no younger than the image"
    assert "owner share a newer one" in verdict(of(too_old, WEB), "age")["action"]


def test_the_example_for_another_project_is_ready_once_the_images_are_accepted(region: Region, images: dict[str, str]) -> None:
    (region.folder / "shared.yaml").write_text(SHARED.read_text())
    assert region.b2i("runbook", "check", "shared.yaml", cloud="partner").code == 3
    for source in (WEB, APP):
        assert region.b2i("hand-over", images[source], "--to", "partner").code == 0
    ended = region.b2i("runbook", "check", "shared.yaml", cloud="partner")
    assert (ended.code, ended.told["score"], ended.told["modes"]) == (0, 100, ["failover", "drill"])
    assert [one["image_id"] for one in ended.told["servers"]] == [images[APP], images[WEB]]
    assert "s3.xlarge.2" in verdict(of(ended, APP), "failover: flavor")["why"], "as its source, by the image's own tag"


# -- all of them together -----------------------------------------------------------------------------------------------


def test_a_quota_that_each_fits_into_but_not_all_is_refused(region: Region, images: dict[str, str]) -> None:
    used = len([one for one in region.things("server") if one["project"] == region.account["project_id"]])
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, instances=used + 2)
    ended = check(region, WEB, APP, DB)
    assert {one["state"] for one in ended.told["servers"]} == {"ready"}
    assert (ended.code, ended.told["score"]) == (3, 0)
    assert "3 servers are needed, 2 of" in against(ended.told)["failover: quota of the set"]


def test_a_subnet_that_each_fits_into_but_not_all_is_refused(region: Region, images: dict[str, str]) -> None:
    region.change("subnet", region.named("subnet", "drill-net"), cidr="127.20.1.0/29")
    servers = [WEB, APP, DB, "shop-app-03", "shop-app-04", "shop-web-03"]
    ended = check(region, *servers, failover=None, drill=DRILL, defaults={"flavor": region.account["flavor"]})
    assert "6 servers go into subnet drill-net, where 5" in against(ended.told)["drill: addresses of the set"]


def test_one_address_for_two_servers_is_refused(region: Region, images: dict[str, str]) -> None:
    fixed = {"launch": {"network": {"fixed_ip": "127.10.1.200"}}}
    ended = check(region, {"source": WEB, **fixed}, {"source": APP, **fixed})
    assert "127.10.1.200" in against(ended.told)["failover: fixed addresses"]


def test_commands_have_to_be_allowed_on_this_host_and_people_are_named(region: Region, images: dict[str, str]) -> None:
    groups = [
        {
            "name": "all",
            "before": [{"approve": "Is the old one off?"}],
            "servers": [{"source": WEB}],
            "then": [{"command": ["notify", "up"]}, {"manual": "switch DNS"}],
        }
    ]
    ended = check(region, groups=groups)
    assert (ended.code, verdict(ended.told, "commands")["code"]) == (3, "b2i.command-not-allowed")
    assert "Is the old one off?; switch DNS" in verdict(ended.told, "people")["why"]
    region.write_settings(allowed_commands=["notify"])
    assert check(region, groups=groups).code == 0


# -- what cannot be seen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["listBackups", "listCloudImages", "listFlavors", "getServerLimits", "listKeypairs"])
def test_what_may_not_be_read_is_never_ready(region: Region, images: dict[str, str], operation: str) -> None:
    region.arm("forbidden", operation=operation, times=None)
    ended = check(region, {"source": WEB, "launch": {"login": {"key_pair": "ops"}}})
    assert (ended.code, ended.told["ready"]) == (3, False)
    assert of(ended, WEB)["state"] in {"unsure", "not_ready"}


def test_a_dry_run_that_nobody_answers_is_never_ready(region: Region, images: dict[str, str]) -> None:
    region.arm("forbidden", operation="createServers", times=None)
    ended = check(region, WEB)
    (unclear,) = [one for one in of(ended, WEB)["checks"] if one["rule"] in {"failover: launch", "failover: cloud's dry run"}]
    assert (ended.code, unclear["verdict"] != "passed") == (3, True)


def test_lists_are_read_once_whatever_the_number_of_servers(region: Region, images: dict[str, str]) -> None:
    check(region, WEB, APP, DB, drill=DRILL)
    wanted = {"listVpcs": 1, "listFlavors": 1, "listServersDetail": 2, "listBackups": 1, "getBackup": 3}
    assert {name: len(region.sent(name)) for name in wanted} == wanted


def test_trouble_on_the_way_passes_by_itself(region: Region, images: dict[str, str]) -> None:
    region.arm("throttled-429", times=5)
    assert check(region, WEB, APP, DB, drill=DRILL).code == 0


# -- the board ----------------------------------------------------------------------------------------------------------


@pytest.mark.one_door  # of the journal, which both doors write alike
def test_the_board_tells_the_last_look_at_each_runbook_and_one_that_is_not_ready_or_too_old_is_a_finding(
    region: Region, images: dict[str, str]
) -> None:
    check(region, WEB, drill=DRILL)
    (seen,) = region.b2i("board").told["runbooks"]
    assert (seen["name"], seen["modes"], seen["ready"], seen["score"], seen["servers"]) == (
        "shop",
        ["failover", "drill"],
        True,
        100,
        1,
    )
    check(region, WEB, "shop-nope-01", drill=DRILL)
    board = region.b2i("board", "--fail-on-findings")
    assert [one["score"] for one in board.told["runbooks"]] == [50], "the last look counts"
    assert (board.code, [one for one in board.told["findings"] if "shop-nope-01" in one]) != (0, [])
    assert "runbook shop (failover and drill): NOT ready, 50 of 100" in region.b2i("board", json=False).out
    check(region, WEB, drill=DRILL)
    check(region, "shop-nope-01", drill=DRILL, words=("--as", "drill"))  # half a look says nothing of the whole
    region.clock.advance(3 * 86400)
    (finding,) = [one for one in region.b2i("board").told["findings"] if "runbook" in one]
    assert "was looked at 3 d ago" in finding
    region.clock.advance(12 * 86400)
    assert region.b2i("board").told["runbooks"] == []


@pytest.mark.one_door  # of the journal, which both doors write alike
def test_a_look_that_cannot_be_kept_for_the_board_is_told_and_counts_all_the_same(region: Region, images: dict[str, str]) -> None:
    def break_journal(asked: Asked) -> None:
        if asked.operation == "createServers":  # the last thing that is asked
            region.journal.rename(region.folder / "away")
            region.journal.write_text("no folder any more")

    region.watchers.append(break_journal)
    ended = check(region, WEB)
    assert (ended.code, ended.told["ready"]) == (0, True)
    assert "the board will not know of this" in " ".join(ended.err.split())


def test_whoever_may_not_look_at_disks_and_addresses_is_not_ready_for_a_drill(region: Region, images: dict[str, str]) -> None:
    region.arm("forbidden", operation="listVolumesDetail", times=None)
    region.arm("forbidden", operation="listPublicIps", times=None)
    ended = check(region, WEB, drill=DRILL)
    assert (ended.code, ended.told["score"]) == (3, 0)
    why = verdict(ended.told, "rights")["why"]
    assert "could not prove that nothing is left" in why
    assert "disks" in why
    assert "public addresses" in why
    assert check(region, WEB, words=("--as", "failover")).code == 0
