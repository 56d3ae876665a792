"""The morning's board: no false green, the worst first, a few requests for any number of servers."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_to_image.errors import StillRunning
from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.steps.board import BOARD_COLUMNS, board_rows, read_board
from backup_to_image.steps.fleet.last_night import keep_report
from backup_to_image.steps.orders import OrderedImage, OrderedTeardown, ordered
from tests.support.region import Ended, Region

WEB = "shop-web-01"


def policy(region: Region, name: str = "shop", **keys: Any) -> str:
    told = {"name": name, "servers": {"names": ["shop-web-0*"]}} | keys
    (region.folder / f"{name}.yaml").write_text(yaml.safe_dump(told))
    return f"{name}.yaml"


def newest_backup(region: Region, server: str) -> dict[str, Any]:
    made = [one for one in region.things("backup", resource_name=server) if one["status"] == "available" and one["disks"]]
    free = [one for one in made if not region.images_of(one["id"])]
    return max(free, key=lambda one: one["created_at"])


def make_image(region: Region, server: str = WEB, *, ours: bool = True, of: str = "shop", **changes: Any) -> dict[str, Any]:
    """An image of the newest backup that has none, as a night of that policy makes it; `tags` come on top."""
    backup = newest_backup(region, server)
    image = region.make_image_by_hand(backup["id"], f"{server} {backup['created_at']}")
    marks = {"b2i-source": backup["resource_id"], "b2i-policy": of} if ours else {}
    region.change("image", image, tags=marks | changes.pop("tags", {}), **changes)
    return image


def forget_images(region: Region) -> None:
    """The demo company has images already."""
    for image in list(region.things("image")):
        if image["whole"]:
            region.emulator.cloud.remove("image", image["id"])


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    forget_images(made)
    yield made
    made.close()


def server_id(region: Region, name: str = WEB) -> str:
    found: str = region.named("server", name)["id"]
    return found


def night(region: Region, *servers: ServerNight, of: str = "shop", **more: Any) -> None:
    """A night that ended an hour ago."""
    now = region.clock.now()

    async def keep() -> None:
        async with region.context() as ctx:
            report = {
                "policy": of,
                "night": "2026-03-09",
                "project_id": ctx.project_id,
                "outcome": "partly",
                "began_at": now - timedelta(hours=3),
                "ended_at": now - timedelta(hours=1),
                "deadline": now,
                "servers": servers,
            }
            await keep_report(NightReport.model_validate(report | more), ctx)

    asyncio.run(keep())
    region.forget()


def told_of(region: Region, name: str = WEB, **how: Any) -> ServerNight:
    return ServerNight.model_validate({"server_id": server_id(region, name), "server_name": name} | how)


def row(ended: Ended, name: str = WEB) -> dict[str, Any]:
    return next(one for one in ended.told["servers"] if one["server_name"] == name)


def state(region: Region, name: str = WEB, *arguments: str) -> str:
    found: str = row(region.b2i("board", *arguments), name)["state"]
    return found


# -- how old, and how good ----------------------------------------------------------------------------------------------


def test_a_servers_age_is_that_of_its_backup_not_of_its_image(region: Region) -> None:
    image = make_image(region)
    backup = region.emulator.cloud.get("backup", image["backup_id"])
    assert backup
    region.clock.advance(7200)
    told = row(region.b2i("board", "--policy", policy(region)))
    assert (told["state"], told["image_id"], told["taken_at"]) == ("fresh", image["id"], backup["created_at"])
    assert told["age_s"] >= 7200 + 3000


@pytest.mark.parametrize(("hours", "expected"), [(49.9, "fresh"), (50.1, "late")])
def test_an_image_is_late_when_it_is_older_than_the_policy_allows_and_a_night(
    region: Region, hours: float, expected: str
) -> None:
    image = make_image(region)
    backup = region.emulator.cloud.get("backup", image["backup_id"])
    assert backup
    taken = datetime.fromisoformat(backup["created_at"])
    region.clock.advance(hours * 3600 - (region.clock.now() - taken).total_seconds())
    assert state(region, WEB, "--policy", policy(region)) == expected


def test_the_policys_own_limit_counts_and_of_two_the_stricter(region: Region) -> None:
    make_image(region)
    region.clock.advance(3600 * 60)
    patient = policy(region, "patient", backup={"newest_within": "8d"})
    strict = policy(region, "strict", backup={"newest_within": "12h"})
    region.change("image", region.things("image", whole=True)[0], tags={"b2i-source": server_id(region)})
    assert state(region, WEB, "--policy", patient) == "fresh"
    assert state(region, WEB, "--policy", strict) == "late"
    assert state(region, WEB, "--policy", patient, "--policy", strict) == "late"


def test_a_doubtful_a_dead_and_an_unfinished_image_are_not_the_newest_good_one(region: Region) -> None:
    make_image(region, status="killed")
    make_image(region, tags={"b2i-doubtful": "20260310"})
    make_image(region, status="saving", due=None)
    good = make_image(region)
    told = row(region.b2i("board", "--policy", policy(region)))
    assert told["image_id"] == good["id"]
    assert told["images"] == 4


def test_a_server_with_nothing_but_doubtful_images_fails(region: Region) -> None:
    make_image(region, tags={"b2i-doubtful": "20260310"})
    told = row(region.b2i("board", "--policy", policy(region)))
    assert (told["state"], told["image_id"]) == ("failing", None)
    assert "doubtful" in told["reasons"][0]


def test_a_server_that_never_had_an_image_is_red_where_its_policy_is_given(region: Region) -> None:
    ended = region.b2i("board", "--policy", policy(region), "--fail-on-findings")
    assert ended.code == 5
    told = row(ended, "shop-web-03")
    assert (told["state"], told["reasons"]) == ("failing", ["there is no image of it"])
    assert ended.told["summary"] == "0 of 4 fresh, 4 failing"


def test_an_image_that_somebody_else_made_counts_and_is_told_as_such(region: Region) -> None:
    make_image(region, ours=False)
    told = row(region.b2i("board", "--policy", policy(region)))
    assert (told["state"], told["ours"], told["images"], told["gb_pinned"]) == ("fresh", False, 0, 0)


def test_an_image_whose_backup_is_not_to_be_seen_is_no_green(region: Region) -> None:
    image = make_image(region)
    region.emulator.cloud.remove("backup", image["backup_id"])
    told = row(region.b2i("board", "--policy", policy(region)))
    assert (told["state"], told["age_s"]) == ("unknown", None)
    night(region, told_of(region, outcome="made", image_id=image["id"], backup_created_at=region.clock.now()))
    assert state(region, WEB, "--policy", policy(region)) == "fresh"


def test_the_last_verification_is_told_though_a_newer_image_was_not_verified(region: Region) -> None:
    newest = make_image(region)
    make_image(region, tags={"b2i-verified": "20260301"})
    older = make_image(region, tags={"b2i-verified": "20260304"})
    told = row(region.b2i("board"))
    assert (told["image_id"], told["verified_on"], told["verified_image_id"]) == (newest["id"], "2026-03-04", older["id"])


# -- the last night -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "expected"), [("failed", "failing"), ("partly", "failing"), ("late", "late")])
def test_what_went_wrong_last_night_is_told_with_its_reason_though_the_image_is_young(
    region: Region, outcome: str, expected: str
) -> None:
    image = make_image(region)
    backup = region.emulator.cloud.get("backup", image["backup_id"])
    assert backup
    newer = region.clock.now() if outcome != "partly" else backup["created_at"]
    night(region, told_of(region, outcome=outcome, reason="it was not to be", code="IMG.0117", backup_created_at=newer))
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, row(ended)["state"]) == (5, expected)
    assert row(ended)["reasons"] == [f"night 2026-03-09 of shop: {outcome}: it was not to be (IMG.0117)"]


@pytest.mark.parametrize("outcome", ["failed", "late"])
def test_a_bad_night_is_settled_when_the_image_has_been_made_since(region: Region, outcome: str) -> None:
    image = make_image(region)
    backup = region.emulator.cloud.get("backup", image["backup_id"])
    assert backup
    night(region, told_of(region, outcome=outcome, reason="no", backup_created_at=backup["created_at"]))
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, row(ended)["state"], row(ended)["results"][0]["settled"]) == (0, "fresh", True)


def test_a_night_that_failed_in_one_of_two_policies_is_not_hidden_by_the_other(region: Region) -> None:
    image = make_image(region)
    night(region, told_of(region, outcome="adopted", image_id=image["id"]), of="office")
    night(region, told_of(region, outcome="failed", reason="no", backup_created_at=region.clock.now()), of="shop")
    told = row(region.b2i("board"))
    assert (told["state"], told["policies"]) == ("failing", ["office", "shop"])
    assert [one["policy"] for one in told["results"]] == ["shop", "office"]


def test_a_server_of_last_night_without_any_image_is_on_the_board_without_a_policy_file(region: Region) -> None:
    night(region, told_of(region, "shop-mail-01", outcome="skipped", reason="it has no backup in this project"))
    told = row(region.b2i("board"), "shop-mail-01")
    assert (told["state"], told["policies"]) == ("failing", ["shop"])


def test_a_night_that_failed_as_a_whole_is_a_finding(region: Region) -> None:
    make_image(region)
    night(region, outcome="failed", notes=("the quota does not suffice; ask for 300",))
    ended = region.b2i("board", "--fail-on-findings")
    assert ended.code == 5
    assert "ask for 300" in ended.told["findings"][0]


def test_the_policies_last_nights_stand_on_the_board(region: Region) -> None:
    image = make_image(region)
    night(region, told_of(region, outcome="made", image_id=image["id"]), told_of(region, "shop-web-02", outcome="failed"))
    (told,) = region.b2i("board", "--policy", policy(region)).told["policies"]
    assert (told["name"], told["servers"], told["night"]) == ("shop", 4, "2026-03-09")
    assert told["counts"] == {"made": 1, "failed": 1}


# -- which servers ------------------------------------------------------------------------------------------------------


def test_a_server_of_no_policy_is_shown_and_never_late(region: Region, backup: str) -> None:
    assert region.b2i("create", backup).code == 0
    region.clock.advance(86400 * 30)
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, row(ended)["state"], ended.told["watched"]) == (0, "single", 0)


def test_a_server_that_is_gone_is_shown_with_its_images_and_not_counted(region: Region) -> None:
    make_image(region)
    make_image(region, "shop-web-02")
    night(region, told_of(region, outcome="failed"), told_of(region, "shop-web-02", outcome="made"))
    region.emulator.cloud.remove("server", server_id(region))
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, row(ended)["state"], row(ended)["exists"]) == (0, "gone", False)
    assert ended.told["summary"] == "1 of 1 fresh; beside them 1 gone"


def test_a_server_that_has_left_its_policy_is_not_late_for_it(region: Region) -> None:
    make_image(region)
    region.clock.advance(86400 * 5)
    assert state(region) == "late"
    night(region, told_of(region, "shop-web-02", outcome="failed"))
    assert state(region) == "single"
    assert state(region, WEB, "--policy", policy(region)) == "late"
    assert state(region, WEB, "--policy", policy(region, servers={"names": ["shop-db-*"]})) == "single"


def test_what_a_policy_names_and_does_not_exist_is_a_finding(region: Region) -> None:
    ended = region.b2i("board", "--policy", policy(region, servers={"ids": ["no-such-id"]}), "--fail-on-findings")
    assert ended.code == 5
    assert "no-such-id" in ended.told["findings"][0]


def test_vaults_choose_servers_as_they_do_at_night(region: Region) -> None:
    ended = region.b2i("board", "--policy", policy(region, servers={"vaults": ["worm-vault"]}))
    assert sorted(one["server_name"] for one in ended.told["servers"]) == ["ledger-01", "ledger-02"]


# -- what cannot be seen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["listCloudImages", "listBackups", "listServersDetail"])
def test_a_list_that_cannot_be_read_makes_no_green_and_no_red(region: Region, operation: str) -> None:
    make_image(region)
    make_image(region, "shop-web-02", ours=False)
    night(region, told_of(region, outcome="made"))
    region.arm("forbidden", operation=operation, times=None)
    shop = policy(region, servers={"names": ["shop-web-01", "shop-web-02"]})
    ended = region.b2i("board", "--policy", shop, "--fail-on-findings")
    assert ended.code == 5
    assert ended.told["failing"] == 0
    assert any("could not be read" in one for one in ended.told["findings"])
    if operation != "listServersDetail":
        assert row(ended)["state"] == "unknown"


def test_an_unread_quota_is_told_and_is_no_finding(region: Region) -> None:
    make_image(region)
    region.arm("forbidden", operation="getImageQuota", times=None)
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, ended.told["quota"]["used"]) == (0, None)
    assert "image quota" in ended.told["unread"]


# -- orders, quota, GB, shares ------------------------------------------------------------------------------------------


def give_up(region: Region, wanted: OrderedImage | OrderedTeardown) -> None:
    async def work() -> None:
        async with region.context() as ctx, ordered(wanted, ctx, patience=timedelta(minutes=10)):
            raise StillRunning("It", last_seen="at work", deadline=None, handle={})

    with pytest.raises(StillRunning):
        asyncio.run(work())


def test_an_order_past_its_deadline_is_late_and_one_in_its_time_is_not(region: Region) -> None:
    image = make_image(region)
    give_up(region, OrderedImage(backup_id=image["backup_id"], image_name="x"))
    assert (state(region), region.b2i("board").told["overdue"]) == ("fresh", [])
    region.clock.advance(700)
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, row(ended)["state"]) == (5, "late")
    assert ended.told["overdue"][0]["server_id"] == server_id(region)


def test_an_overdue_order_that_leads_to_no_server_is_told_too(region: Region) -> None:
    give_up(region, OrderedTeardown(launch_id="0" * 12))
    region.clock.advance(700)
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, ended.told["overdue"][0]["subject"]) == (5, "0" * 12)
    assert "b2i reconcile" in region.b2i("board", json=False).out


def test_a_quota_that_the_next_night_does_not_fit_is_a_finding(region: Region) -> None:
    make_image(region)
    limits = region.emulator.cloud.get("quota", region.account["project_id"])
    assert limits
    region.change("quota", limits, images=region.b2i("board").told["quota"]["used"])
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, ended.told["quota"]["nights_left"]) == (5, 0)
    assert "full" in ended.told["findings"][0]


def test_pinned_gb_are_those_of_backups_with_images_of_ours_each_once(region: Region) -> None:
    first = make_image(region)
    again = region.make_image_by_hand(first["backup_id"], "the next attempt")
    region.change("image", again, tags=first["tags"])
    make_image(region)
    make_image(region, "shop-lb-01")
    make_image(region, "shop-db-01", ours=False)
    ended = region.b2i("board", "--policy", policy(region))
    assert row(ended)["gb_pinned"] == 2 * 140
    assert ended.told["gb_pinned"] == 2 * 140 + 20


def test_shares_are_those_that_the_night_proved_or_on_demand_those_of_the_cloud(region: Region, backup: str) -> None:
    made = region.b2i("create", backup, "--share-with", "dr").told
    assert row(region.b2i("board"))["shared_with"] is None
    assert row(region.b2i("board", "--shares"))["shared_with"] == made["shared_with"]
    night(region, told_of(region, outcome="made", image_id=made["image_id"], shared_with=("someone",)))
    assert row(region.b2i("board"))["shared_with"] == ["someone"]
    newer = region.clock.now() + timedelta(minutes=1)
    region.change("backup", newest_backup(region, WEB), created_at=f"{newer:%Y-%m-%dT%H:%M:%S}.000000Z")
    make_image(region)
    assert row(region.b2i("board"))["shared_with"] is None


# -- how it is told -----------------------------------------------------------------------------------------------------


def test_the_worst_come_first_and_among_equals_the_oldest(region: Region) -> None:
    make_image(region, "shop-lb-01", ours=False)  # of no policy: none of the board's
    region.change("image", single := make_image(region, "shop-mail-01"), tags={"b2i-source": single["tags"]["b2i-source"]})
    for name, hours in (("shop-web-01", 3), ("shop-web-02", 9)):
        backup = newest_backup(region, name)
        made = region.clock.now() - timedelta(hours=hours)
        region.change("backup", backup, created_at=f"{made:%Y-%m-%dT%H:%M:%S}.000000Z")
        make_image(region, name)
    make_image(region, "shop-web-04")
    late = region.clock.now()
    night(
        region,
        told_of(region, "shop-web-03", outcome="failed"),
        told_of(region, "shop-web-04", outcome="late", backup_created_at=late),
    )
    ended = region.b2i("board", "--policy", policy(region))
    found = [(one["server_name"], one["state"]) for one in ended.told["servers"]]
    assert found[0:2] == [("shop-web-03", "failing"), ("shop-web-04", "late")]
    assert [one for _, one in found[2:]] == ["fresh", "fresh", "single"]
    assert [one for one, state in found if state == "fresh"] == ["shop-web-02", "shop-web-01"]


def test_any_number_of_servers_costs_a_few_lists_and_changes_nothing(region: Region) -> None:
    for name in ("shop-web-01", "shop-web-02", "shop-app-01", "shop-lb-01"):
        make_image(region, name)
    region.forget()
    ended = region.b2i("board", "--policy", policy(region, servers={"names": ["*"]}))
    asked = [one.operation or "" for one in region.asked]
    assert sorted(asked[1:]) == ["getImageQuota", "listBackups", "listCloudImages", "listServersDetail"]
    assert (region.writes, ended.told["requests"]) == ([], len(asked))


def test_the_summary_stands_first_and_many_good_servers_are_cut_short(region: Region) -> None:
    for name in [one["name"] for one in region.things("server") if one["name"].startswith("shop-")][:21]:
        make_image(region, name)
    shop = policy(region, servers={"names": ["shop-*"]})
    short = region.b2i("board", "--policy", shop, json=False)
    whole = region.b2i("board", "--policy", shop, "--all", json=False)
    assert short.out.splitlines()[0].startswith("21 of ")
    assert "more without trouble; --all shows them" in short.out
    assert whole.out.count(" fresh ") == 21


def test_an_empty_project_has_an_empty_board(region: Region) -> None:
    ended = region.b2i("board", "--fail-on-findings")
    assert (ended.code, ended.told["servers"], ended.told["error"]) == (0, [], None)
    assert "No policy takes any server yet" in region.b2i("board", json=False).out


def test_the_rows_of_the_artifact_are_texts_under_the_same_columns(region: Region) -> None:
    make_image(region, tags={"b2i-verified": "20260304"})

    async def rows() -> list[dict[str, str]]:
        async with region.context() as ctx:
            return board_rows(await read_board(ctx))

    (told,) = asyncio.run(rows())
    assert tuple(told) == BOARD_COLUMNS
    assert (told["server"], told["state"], told["verified"], told["GB pinned"]) == (WEB, "fresh", "2026-03-04", "140")
    json.dumps(told)


def test_mistakes_of_all_policies_are_told_at_once(region: Region) -> None:
    one, two = policy(region, "one", cloud="shop"), policy(region, "two", cloud="dr")
    assert "one project" in region.b2i("board", "--policy", one, "--policy", two).error["message"]
    assert "2 policies" in region.b2i("board", "--policy", one, "--policy", one).error["message"]
    broken = policy(region, "three", colour="red")
    ended = region.b2i("board", "--policy", broken, "--policy", "nowhere.yaml")
    assert ended.code == 2
    assert "colour" in ended.error["message"]
    assert "nowhere.yaml" in ended.error["message"]
