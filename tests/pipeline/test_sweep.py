"""What nobody needs any more is told first and removed later, and only if it is ours; everything else stays as it is."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.errors import StillRunning
from backup_to_image.journal import hold
from backup_to_image.model import LaunchOrder
from backup_to_image.steps.launching.launch import launch_server
from backup_to_image.steps.orders import OrderedImage, OrderedLaunch, ordered
from tests.support.region import Asked, Ended, Region, launch_order

DAY = 86400


def dead_image(region: Region, backup: str, **changes: Any) -> dict[str, Any]:
    """An image of ours that was killed while it was made."""
    image = region.make_image_by_hand(backup, "dead")
    kept = region.emulator.cloud.get("backup", backup)
    assert kept
    region.change(
        "image", image, **({"status": "killed", "active_at": None, "tags": {"b2i-source": kept["resource_id"]}} | changes)
    )
    region.forget()
    return image


def sweep(region: Region, *arguments: str, code: int = 0) -> Ended:
    ended = region.b2i("sweep", *arguments)
    assert ended.code == code, ended.err
    return ended


def seen_for(region: Region, seconds: float = DAY) -> None:
    """A sweep has seen it, and the grace time has passed."""
    sweep(region)
    region.clock.advance(seconds)
    region.forget()


def actions(ended: Ended) -> dict[str, str]:
    return {one["id"]: one["action"] for one in ended.told["found"]}


def there(region: Region, kind: str, ident: str) -> bool:
    region.emulator.tick()
    return region.emulator.cloud.get(kind, ident) is not None


# -- two steps ----------------------------------------------------------------------------------------------------------


def test_what_is_seen_for_the_first_time_is_marked_and_nothing_is_removed_not_even_with_apply(
    region: Region, backup: str
) -> None:
    image = dead_image(region, backup)
    region.clock.advance(30 * DAY)
    ended = sweep(region, "--apply")
    (found,) = ended.told["found"]
    assert (found["kind"], found["id"], found["name"], found["action"], found["gb"]) == (
        "image",
        image["id"],
        "dead",
        "marked",
        140,
    )
    assert found["age_s"] >= 30 * DAY
    assert (ended.told["removed"], region.writes, there(region, "image", image["id"])) == ([], [], True)


def test_after_the_grace_time_it_is_removed_with_apply_alone(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region, DAY - 60)
    assert actions(sweep(region, "--apply")) == {image["id"]: "waits"}
    region.clock.advance(61)
    assert actions(sweep(region)) == {image["id"]: "due"}
    assert region.writes == []
    ended = sweep(region, "--apply")
    assert actions(ended) == {image["id"]: "removed"}
    assert ended.told["removed"] == [{"kind": "image", "id": image["id"], "name": "dead", "gb": 140}]
    assert not there(region, "image", image["id"])
    assert sweep(region, "--apply").told["found"] == []


def test_an_image_goes_without_its_backup_and_that_is_said_in_the_request(region: Region, backup: str) -> None:
    dead_image(region, backup)
    seen_for(region)
    sweep(region, "--apply")
    (asked,) = region.sent("deleteImage")
    assert asked.body == {"delete_backup": False}
    assert there(region, "backup", backup)


def test_the_grace_time_is_counted_from_the_first_sight_and_can_be_another(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    region.clock.advance(30 * DAY)
    seen_for(region, 7200)
    assert actions(sweep(region, "--apply", "--grace", "3h")) == {image["id"]: "waits"}
    assert actions(sweep(region, "--apply", "--grace", "2h")) == {image["id"]: "removed"}


def test_a_lost_journal_begins_the_grace_time_anew(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    for record in region.journal.iterdir():
        record.unlink()
    assert actions(sweep(region, "--apply")) == {image["id"]: "marked"}


def test_what_was_well_meanwhile_begins_its_grace_time_anew(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    region.change("image", image, status="active")
    assert sweep(region, "--apply").told["found"] == []
    region.change("image", image, status="killed")
    assert actions(sweep(region, "--apply")) == {image["id"]: "marked"}


def test_a_list_that_cannot_be_read_is_told_and_costs_no_mark(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    region.arm("forbidden", operation="listCloudImages", times=None)
    ended = sweep(region, "--apply", code=1)
    assert (ended.told["found"], "images" in ended.told["unread"]) == ([], True)
    region.emulator.faults.disarm()
    assert actions(sweep(region, "--apply")) == {image["id"]: "removed"}


# -- which images stay --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"tags": {}}, {"status": "active"}, {"status": "active", "tags": {"b2i-doubtful": "20260310"}}, {"project": "second"}],
    ids=["without our mark", "active", "doubtful", "in another project"],
)
def test_an_image_that_is_not_ours_or_could_be_of_use_is_not_even_found(
    region: Region, backup: str, changes: dict[str, Any]
) -> None:
    if changes.get("project"):
        changes = {"project": region.account["second_project"]}
    image = dead_image(region, backup, **changes)
    seen_for(region)
    assert sweep(region, "--apply", "--grace", "0s").told["found"] == []
    assert (region.writes, there(region, "image", image["id"])) == ([], True)


@pytest.mark.parametrize("changes", [{"protected": True}, {"tags": {"b2i-hold": "yes"}}], ids=["protected", "held"])
def test_what_somebody_holds_is_told_and_kept(region: Region, backup: str, changes: dict[str, Any]) -> None:
    image = dead_image(region, backup)
    region.change("image", image, **(changes | {"tags": image["tags"] | changes.get("tags", {})}))
    seen_for(region)
    assert actions(sweep(region, "--apply")) == {image["id"]: "kept"}
    assert region.writes == []


def open_order(region: Region, wanted: OrderedImage | OrderedLaunch, patience: timedelta) -> None:
    """An order whose run has gone: killed, or its time is over."""

    async def work() -> None:
        async with region.context() as ctx, ordered(wanted, ctx, patience=patience):
            raise StillRunning("It", last_seen="at work", deadline=None, handle={})

    with pytest.raises(StillRunning):
        asyncio.run(work())
    region.forget()


def test_what_an_open_order_is_at_is_left_alone_until_its_time_is_over_for_the_grace_time(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    open_order(region, OrderedImage(backup_id=backup, image_name="x"), timedelta(hours=2))
    seen_for(region)
    assert sweep(region, "--apply").told["found"] == []
    region.clock.advance(7200)
    assert actions(sweep(region, "--apply")) == {image["id"]: "marked"}


def test_the_images_of_a_server_that_is_gone_are_listed_with_their_gb_and_never_removed(region: Region, backup: str) -> None:
    dead = dead_image(region, backup)
    good = region.make_image_by_hand(region.account["backups"]["available"][1], "the last of it")
    app, web = region.named("server", "shop-app-01"), region.named("server", "shop-web-01")
    region.change("image", good, tags={"b2i-source": app["id"]})
    seen_for(region)
    for server in (app, web):
        region.emulator.cloud.remove("server", server["id"])
    ended = sweep(region, "--apply", "--grace", "0s")
    assert (ended.told["found"], ended.told["removed"], region.writes) == ([], [], [])
    listed = {one["id"]: one for one in ended.told["listed"]}
    assert (listed[good["id"]]["gb"], listed[good["id"]]["server_id"]) == (100, app["id"])
    assert "killed" in listed[dead["id"]]["why"]
    assert sweep(region, "--fail-on-findings").code == 0


def test_whether_a_server_is_gone_has_to_be_seen_before_its_dead_image_goes(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    region.arm("forbidden", operation="listServersDetail", times=None)
    assert actions(sweep(region, "--apply", code=1)) == {image["id"]: "kept"}
    assert region.writes == []


@pytest.mark.parametrize(
    ("changes", "remove"),
    [
        ({"status": "active"}, None),
        ({"protected": True}, None),
        ({"tags": {}}, None),
        ({}, "server"),
    ],
    ids=["it became active", "somebody protects it", "its mark is gone", "its server is gone"],
)
def test_what_has_changed_since_the_lists_were_read_counts(
    region: Region, backup: str, changes: dict[str, Any], remove: str | None
) -> None:
    image = dead_image(region, backup)
    seen_for(region)

    def change(asked: Asked) -> None:
        if asked.operation == "getImage":
            region.watchers.remove(change)
            region.change("image", image, **changes)
            if remove:
                region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])

    region.watchers.append(change)
    assert actions(sweep(region, "--apply")) == {image["id"]: "kept"}
    assert (region.writes, there(region, "image", image["id"])) == ([], True)


def at_the_request(region: Region, operation: str, do: Callable[[], None], *, number: int = 1) -> None:
    """Somebody does something right before so many of these requests have come."""
    left = number

    def watch(asked: Asked) -> None:
        nonlocal left
        if asked.operation == operation:
            left -= 1
            if left == 0:
                do()

    region.watchers.append(watch)


def new_records(region: Region, make: Callable[[], Any]) -> dict[Path, bytes]:
    """What the journal has after that, taken out again: to be put back in the middle of another run."""
    before = set(region.journal.glob("*.json"))
    make()
    found = {path: path.read_bytes() for path in set(region.journal.glob("*.json")) - before}
    assert found
    for path in found:
        path.unlink()
    return found


def put(records: dict[Path, bytes]) -> None:
    for path, content in records.items():
        path.write_bytes(content)


def test_what_an_order_has_begun_to_be_at_since_the_lists_were_read_is_left_alone(region: Region, backup: str) -> None:
    """One thing is being removed when somebody orders what the next ones are of."""
    first = dead_image(region, region.account["backups"]["available"][1])
    region.clock.advance(60)
    second = dead_image(region, backup)
    source, order = region.make_image_by_hand(region.account["backups"]["available"][2])["id"], launch_order(region)
    mark = drill(region, source, order)
    seen_for(region)
    image_wanted = OrderedImage(backup_id=backup, image_name="x")
    drill_wanted = OrderedLaunch(image_id=source, order=order, mode="drill")
    begun = new_records(region, lambda: open_order(region, image_wanted, timedelta(hours=2)))
    begun |= new_records(region, lambda: open_order(region, drill_wanted, timedelta(hours=2)))
    at_the_request(region, "deleteImage", lambda: put(begun))
    assert actions(sweep(region, "--apply")) == {first["id"]: "removed", second["id"]: "kept", mark: "kept"}
    assert region.writes == ["deleteImage"]


@contextmanager
def somebody_has(region: Region, kind: str, name: str) -> Iterator[None]:
    """A live run holds the lease while the sweep looks and removes."""

    loop = asyncio.new_event_loop()

    async def holding() -> Any:
        context = region.context()
        ctx = await context.__aenter__()
        lease = hold(ctx.journal, kind, ctx.project_id, name, deadline=ctx.clock.now(), seconds=10 * DAY)
        await lease.__aenter__()
        return context, lease

    async def letting_go(context: Any, lease: Any) -> None:
        await lease.__aexit__(None, None, None)
        await context.__aexit__(None, None, None)

    held = loop.run_until_complete(holding())
    region.forget()
    try:
        yield
    finally:
        loop.run_until_complete(letting_go(*held))
        loop.close()


def test_what_a_live_run_is_at_is_left_alone(region: Region, backup: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    with somebody_has(region, "image", backup):
        assert actions(sweep(region, "--apply")) == {image["id"]: "kept"}
        assert region.writes == []
    assert actions(sweep(region, "--apply")) == {image["id"]: "removed"}


# -- images that never end ----------------------------------------------------------------------------------------------


def test_an_image_that_is_being_made_is_found_only_when_it_takes_far_longer_than_any(region: Region, backup: str) -> None:
    image = dead_image(region, backup, status="saving", due=None)
    region.clock.advance(5.9 * 3600)
    assert sweep(region).told["found"] == []
    region.clock.advance(900)
    (found,) = sweep(region).told["found"]
    assert (found["id"], found["action"]) == (image["id"], "marked")
    assert "saving for 6 h" in found["why"]


def test_where_images_take_long_far_longer_is_longer(region: Region, backup: str) -> None:
    dead_image(region, backup, status="saving", due=None)
    other = next(one for one in region.things("image", status="active") if one["whole"] and one["active_at"])
    slow = region.clock.now() - timedelta(hours=1)
    region.change(
        "image", other, created_at=f"{slow - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}", active_at=f"{slow:%Y-%m-%dT%H:%M:%SZ}"
    )
    region.clock.advance(11.9 * 3600)
    assert sweep(region).told["found"] == []
    region.clock.advance(900)
    assert len(sweep(region).told["found"]) == 1


def test_what_the_cloud_refuses_to_delete_is_told_with_its_code(region: Region, backup: str) -> None:
    image = dead_image(region, backup, status="saving", due=None)
    region.clock.advance(7 * 3600)
    seen_for(region)
    ended = sweep(region, "--apply", code=5)
    (left,) = ended.told["left"]
    assert (left["kind"], left["id"], left["code"]) == ("image", image["id"], "IMG.0090")
    assert (actions(ended), there(region, "image", image["id"])) == ({image["id"]: "left"}, True)


@pytest.mark.parametrize("fault", ["lost-answer", "reset-before", "error-500", "html-502", "throttled-429"])
@pytest.mark.parametrize("operation", ["deleteImage", "getImage", "listCloudImages"])
def test_trouble_on_the_way_claims_nothing_that_is_not_so(region: Region, backup: str, operation: str, fault: str) -> None:
    image = dead_image(region, backup)
    seen_for(region)
    region.arm(fault, operation=operation)
    ended = region.b2i("sweep", "--apply")
    removed = [one["id"] for one in ended.told["removed"]]
    assert (image["id"] in removed) is not there(region, "image", image["id"])
    region.emulator.faults.disarm()
    sweep(region, "--apply")
    assert not there(region, "image", image["id"])


# -- drills -------------------------------------------------------------------------------------------------------------


def launched(region: Region, backup: str, *, drill: bool = True, **order: Any) -> dict[str, Any]:
    """A server with two disks and an address, as a drill that nobody took down."""
    images = region.images_of(backup)
    image = images[0]["id"] if images else region.make_image_by_hand(backup)["id"]
    told = region.b2i("launch", image, "--spec", region.write_launch(**({"public_ip": {}} | order))).told
    server = next(one for one in region.launched() if one["id"] == told["server_id"])
    if drill:
        region.change("server", server, tags={"b2i-drill": told["launch_id"]})
    region.forget()
    return told


def of_launch(region: Region, name: str = "shop-restored") -> list[int]:
    """Servers, disks and addresses that are still there."""
    servers = [one for one in region.launched() if one["name"] == name]
    return [
        len(servers),
        len([one for one in region.things("volume") if one["name"].startswith(name)]),
        len(region.things("publicip")),
    ]


def test_a_drill_server_goes_with_its_disks_and_addresses_after_the_grace_time(region: Region, backup: str) -> None:
    told = launched(region, backup)
    region.clock.advance(3600)
    ended = sweep(region, "--apply")
    (found,) = ended.told["found"]
    assert (found["kind"], found["id"], found["name"], found["action"]) == ("drill", told["launch_id"], "shop-restored", "marked")
    assert (found["gb"], found["age_s"] >= 3600, of_launch(region)) == (140, True, [1, 2, 1])
    region.clock.advance(DAY)
    ended = sweep(region, "--apply")
    assert ([one["id"] for one in ended.told["removed"]], of_launch(region)) == ([told["launch_id"]], [0, 0, 0])


def test_a_failover_server_is_never_touched(region: Region, backup: str) -> None:
    launched(region, backup, drill=False)
    seen_for(region)
    ended = sweep(region, "--apply", "--grace", "0s")
    assert (ended.told["found"], region.writes, of_launch(region)) == ([], [], [1, 2, 1])


def test_where_a_drill_and_a_failover_seem_to_be_one_launch_a_person_has_to_look(region: Region, backup: str) -> None:
    told = launched(region, backup)
    (server,) = region.launched()
    region.change("server", server, tags={"b2i-drill": told["launch_id"], "b2i-launch": told["launch_id"]})
    seen_for(region)
    assert actions(sweep(region)) == {told["launch_id"]: "kept"}
    assert actions(sweep(region, "--apply")) == {told["launch_id"]: "kept"}
    assert region.writes == []


@pytest.mark.parametrize("change", ["it becomes a failover", "it is held", "another carries its mark"])
def test_what_has_changed_about_a_drill_since_the_lists_were_read_counts(region: Region, backup: str, change: str) -> None:
    told = launched(region, backup)
    (server,) = region.launched()
    seen_for(region)

    def do() -> None:
        if change == "another carries its mark":
            other = dict(server) | {"id": "11111111-2222-4333-8444-555555555555", "volumes": [], "listens": False}
            region.emulator.cloud.new("server", other)
        else:
            tag = {"b2i-launch": told["launch_id"]} if "failover" in change else {"b2i-hold": "yes"}
            region.change("server", server, tags=server["tags"] | tag)

    at_the_request(region, "listServersDetail", do, number=2)
    assert actions(sweep(region, "--apply")) == {told["launch_id"]: "kept"}
    assert region.writes == []


@pytest.mark.parametrize("tags", [{"b2i-drill": "my-own"}, {"b2i-drill": "0123456789ab", "b2i-hold": "yes"}])
def test_a_mark_that_is_none_of_ours_and_a_server_that_is_held_are_told_and_kept(
    region: Region, backup: str, tags: dict[str, str]
) -> None:
    launched(region, backup)
    region.change("server", region.launched()[0], tags=tags)
    seen_for(region)
    assert actions(sweep(region, "--apply")) == {tags["b2i-drill"]: "kept"}
    assert region.writes == []


def drill_order(region: Region) -> LaunchOrder:
    """Into a network for drills alone: a copy has its source's identity."""
    return launch_order(region, network={"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]})


def drill(region: Region, image: str, order: LaunchOrder) -> str:
    """A real drill, as nights launch them."""

    async def work() -> str:
        async with region.context() as ctx:
            return (await launch_server(await ctx.cloud.images.get(image), order, ctx, mode="drill")).launch_id

    return asyncio.run(work())


def test_a_drill_that_an_open_order_is_at_is_left_alone(region: Region, backup: str) -> None:
    image, order = region.make_image_by_hand(backup)["id"], drill_order(region)
    mark = drill(region, image, order)
    assert actions(sweep(region)) == {mark: "marked"}
    open_order(region, OrderedLaunch(image_id=image, order=order, mode="drill"), timedelta(hours=2))
    region.clock.advance(DAY)
    region.forget()
    assert sweep(region, "--apply").told["found"] == []
    assert region.writes == []


def test_a_drill_that_a_live_run_is_at_is_left_alone(region: Region, backup: str) -> None:
    image = region.make_image_by_hand(backup)["id"]
    mark = drill(region, image, drill_order(region))
    seen_for(region)
    with somebody_has(region, "launch", mark):
        assert actions(sweep(region, "--apply")) == {mark: "kept"}
        assert region.writes == []
    assert actions(sweep(region, "--apply")) == {mark: "removed"}


def test_another_server_of_the_same_drill_gets_a_grace_time_of_its_own(region: Region, backup: str) -> None:
    told = launched(region, backup)
    (server,) = region.launched()
    seen_for(region)
    region.emulator.cloud.remove("server", server["id"])
    region.emulator.cloud.new("server", dict(server) | {"id": "11111111-2222-4333-8444-555555555555"})
    assert actions(sweep(region, "--apply")) == {told["launch_id"]: "marked"}


def test_what_a_drills_teardown_left_behind_is_removed_too_and_a_failovers_is_not(region: Region, backup: str) -> None:
    """The servers are gone with their marks; the journal knows whose disks and addresses those were."""
    region.emulator.switches["system_disk_on_delete"] = "kept"
    for is_drill in (True, False):
        told = launched(region, backup, drill=is_drill, name=f"shop-{is_drill}", public_ip=None)
        region.arm("forbidden", operation=["deleteVolume", "listVolumesDetail"], times=None)
        ended = region.b2i("teardown", told["launch_id"], "--yes-i-mean", f"shop-{is_drill}")
        assert ended.code == 1
        region.emulator.faults.disarm()
    assert (of_launch(region, "shop-True"), of_launch(region, "shop-False")) == ([0, 1, 0], [0, 1, 0])
    (found,) = sweep(region).told["found"]
    assert (found["kind"], found["gb"], "left behind" in found["why"]) == ("drill", 40, True)
    region.clock.advance(DAY)
    assert len(sweep(region, "--apply").told["removed"]) == 1
    assert (of_launch(region, "shop-True"), of_launch(region, "shop-False")) == ([0, 0, 0], [0, 1, 0])


def test_one_that_cannot_be_removed_holds_up_no_other(region: Region, backup: str) -> None:
    image = dead_image(region, region.account["backups"]["available"][1])
    told = launched(region, backup)
    seen_for(region)
    region.arm("job-stuck", operation="deleteServers", seconds=3000)
    ended = sweep(region, "--apply", code=5)
    assert actions(ended) == {image["id"]: "removed", told["launch_id"]: "left"}
    assert told["server_id"] in ended.told["left"][0]["reason"]
    region.clock.advance(2 * DAY)
    sweep(region, "--apply")
    assert of_launch(region) == [0, 0, 0]


# -- shares -------------------------------------------------------------------------------------------------------------


def dr(region: Region) -> str:
    found: str = region.account["second_project"]
    return found


def members(region: Region, backup: str) -> set[str]:
    (image,) = region.images_of(backup)
    return {member["project"] for member in region.things("image-member", image_id=image["id"])}


def shared(region: Region, backup: str, *words: str, code: int = 0) -> Ended:
    ended = region.b2i("create", backup, "--share-with", "dr", *words)
    assert ended.code == code, ended.err
    region.forget()
    return ended


def test_a_share_ends_when_it_was_to_end_and_the_grace_time_has_passed(region: Region, backup: str) -> None:
    image = shared(region, backup, "--share-for", "30d").told["image_id"]
    region.clock.advance(30 * DAY - 60)
    assert sweep(region, "--apply").told["found"] == []
    region.clock.advance(120)
    (found,) = sweep(region, "--apply").told["found"]
    assert (found["kind"], found["id"], found["action"]) == ("share", f"{image}/{dr(region)}", "waits")
    assert found["age_s"] < 120
    region.clock.advance(DAY)
    assert actions(sweep(region)) == {f"{image}/{dr(region)}": "due"}
    assert members(region, backup) == {dr(region)}
    assert actions(sweep(region, "--apply")) == {f"{image}/{dr(region)}": "removed"}
    assert members(region, backup) == set()
    assert sweep(region, "--apply").told["found"] == []


def test_only_the_share_that_is_over_ends(region: Region, backup: str) -> None:
    shared(region, backup, "--share-for", "1d")
    partner = region.account["recipient"]["project_id"]
    assert region.b2i("create", backup, "--share-with", "partner").code == 0
    region.clock.advance(3 * DAY)
    sweep(region, "--apply")
    assert members(region, backup) == {partner}
    (asked,) = region.sent("batchDeleteImageMembers")
    assert asked.body["projects"] == [dr(region)]


def test_the_later_word_on_an_end_counts(region: Region, backup: str) -> None:
    shared(region, backup, "--share-for", "1d")
    shared(region, backup, "--share-for", "9d")
    region.clock.advance(8 * DAY)
    assert sweep(region, "--apply").told["found"] == []
    shared(region, backup)
    region.clock.advance(30 * DAY)
    assert sweep(region, "--apply").told["found"] == []
    assert members(region, backup) == {dr(region)}


def test_a_share_that_was_there_before_without_an_end_gets_none(region: Region, backup: str) -> None:
    shared(region, backup)
    ended = shared(region, backup, "--share-for", "1d")
    assert "without an end" in ended.err
    region.clock.advance(9 * DAY)
    assert sweep(region, "--apply").told["found"] == []
    assert members(region, backup) == {dr(region)}


def test_a_run_that_is_killed_right_after_the_request_to_share_loses_no_end(region: Region, backup: str) -> None:
    assert region.b2i("create", backup).code == 0
    with region.killing("listImageMembers", skip=1):
        region.b2i("create", backup, "--share-with", "dr", "--share-for", "1d")
    assert members(region, backup) == {dr(region)}
    region.clock.advance(9 * DAY)
    assert len(sweep(region, "--apply").told["removed"]) == 1
    assert members(region, backup) == set()


def test_a_share_that_the_reconciler_finishes_has_its_end(region: Region, backup: str) -> None:
    assert region.b2i("create", backup).code == 0
    with region.killing("batchAddImageMembers"):
        region.b2i("create", backup, "--share-with", "dr", "--share-for", "1d")
    region.clock.advance(600)
    assert region.b2i("reconcile").told["orders"][0]["outcome"] == "finished"
    assert members(region, backup) == {dr(region)}
    region.clock.advance(DAY - 300)
    assert sweep(region).told["found"] == []
    region.clock.advance(400)
    assert len(sweep(region).told["found"]) == 1


@pytest.mark.parametrize("kind", ["image-member", "image"])
def test_a_share_that_has_ended_by_itself_or_with_its_image_is_forgotten(region: Region, backup: str, kind: str) -> None:
    shared(region, backup, "--share-for", "1d")
    (image,) = region.images_of(backup)
    (member,) = region.things("image-member", image_id=image["id"])
    region.clock.advance(9 * DAY)
    region.emulator.cloud.remove(kind, member["id"] if kind == "image-member" else image["id"])
    assert sweep(region, "--apply").told["found"] == []
    region.forget()
    sweep(region, "--apply")
    assert region.sent("listImageMembers", "getImage") == []


def test_an_end_that_has_been_put_off_since_the_lists_were_read_is_not_yet(region: Region, backup: str) -> None:
    dead_image(region, region.account["backups"]["available"][1])
    end = new_records(region, lambda: shared(region, backup, "--share-for", "1d"))
    put(end)
    (record,) = [path for path in end if path.name.startswith("share-expiry")]
    seen_for(region, 9 * DAY)
    at_the_request(region, "deleteImage", record.unlink)
    assert sorted(actions(sweep(region, "--apply")).values()) == ["kept", "removed"]
    assert members(region, backup) == {dr(region)}


@pytest.mark.parametrize("fault", ["lost-answer", "reset-before", "error-503", "throttled-429", "truncated-json"])
@pytest.mark.parametrize("operation", ["batchDeleteImageMembers", "listImageMembers", "getImsJob"])
def test_trouble_while_a_share_ends_claims_nothing_that_is_not_so(
    region: Region, backup: str, operation: str, fault: str
) -> None:
    shared(region, backup, "--share-for", "1d")
    region.clock.advance(9 * DAY)
    region.arm(fault, operation=operation)
    ended = region.b2i("sweep", "--apply")
    assert bool(ended.told["removed"]) is (members(region, backup) == set())
    region.emulator.faults.disarm()
    sweep(region, "--apply")
    assert members(region, backup) == set()


def test_a_batch_call_in_trouble_is_replaced_by_single_ones(region: Region, backup: str) -> None:
    shared(region, backup, "--share-for", "1d")
    region.clock.advance(9 * DAY)
    region.arm("job-fails", operation="batchDeleteImageMembers", code="IMG.0113", reason="removing a member failed")
    sweep(region, "--apply")
    assert (members(region, backup), len(region.sent("deleteImageMember"))) == (set(), 1)


@pytest.mark.parametrize("words", [("--share-for", "1d"), ("--share-with", "dr", "--share-for", "0s")])
def test_an_end_without_a_share_or_at_once_is_a_mistake(region: Region, backup: str, words: tuple[str, ...]) -> None:
    ended = region.b2i("create", backup, *words)
    assert (ended.code, region.writes) == (2, [])
    assert "--share-for" in ended.error["message"]


# -- how it is told -----------------------------------------------------------------------------------------------------


def test_nothing_to_sweep_is_no_finding_and_something_is_one(region: Region, backup: str) -> None:
    assert sweep(region, "--fail-on-findings").told == {
        "found": [],
        "removed": [],
        "left": [],
        "listed": [],
        "unread": {},
        "error": None,
    }
    dead_image(region, backup)
    assert sweep(region).code == 0
    sweep(region, "--fail-on-findings", code=5)


def test_people_read_what_becomes_of_each_and_when(region: Region, backup: str) -> None:
    assert "Nothing to sweep." in region.b2i("sweep", json=False).out
    image = dead_image(region, backup)
    out = region.b2i("sweep", json=False).out
    assert "1 to sweep, 140 GB" in out
    assert image["id"] in out
    assert "UTC at the earliest" in out
    region.clock.advance(DAY)
    assert "--apply removes what is due" in region.b2i("sweep", json=False).out
    assert "removed" in region.b2i("sweep", "--apply", json=False).out


def test_a_sweep_costs_a_few_lists(region: Region, backup: str) -> None:
    dead_image(region, backup)
    sweep(region)
    asked = sorted(one.operation or "" for one in region.asked[1:])
    assert asked == ["listBackups", "listCloudImages", "listServersDetail", "listVolumesDetail"]
