"""A backup made now: asked for once whatever happens; where there is none, that is told in the cloud's words, not waited for."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from backup_to_image.errors import JobFailed, StillRunning
from backup_to_image.model import Backup
from backup_to_image.steps.back_up import BackedUp, back_up, use_up
from backup_to_image.steps.names import made_by_us
from tests.support.lost import answer_lost, request_lost
from tests.support.region import Asked, Killed, Region

SERVER = "shop-web-01"
NOW = ("create", "--server", SERVER, "--backup-now")


def runs(region: Region) -> int:
    """How often the cloud was asked to back something up."""
    return len(region.sent("createCheckpoint"))


def ours(region: Region, server: str = SERVER) -> list[dict[str, Any]]:
    """The backups of this server that we have had made."""
    return [one for one in region.things("backup", resource_name=server) if one["name"].startswith("b2i-")]


def ident(region: Region, name: str) -> str:
    return region.named("server", name)["id"]


async def back_them_up(
    region: Region,
    names: Sequence[str],
    *,
    wait: float = 60,
    order: str = "night",
    fresh: float = 60,
    journal: str = "journal",
    **more: Any,
) -> tuple[BackedUp, ...]:
    """Back these servers up through the steps: `wait` and `fresh` in minutes."""
    async with region.context(journal) as ctx:
        now = ctx.clock.now()
        return await back_up(
            [ident(region, name) for name in names],
            region.account["vault"],
            ctx,
            order=order,
            deadline=now + timedelta(minutes=wait),
            since=now - timedelta(minutes=fresh),
            **more,
        )


def killing_after(region: Region, operation: str) -> Callable[[], None]:
    """A kill when the cloud has carried the request out and nobody here knows it yet; returns what ends that."""

    def kill(asked: Asked) -> None:
        if asked.operation == operation:
            raise Killed(operation)

    region.answered.append(kill)
    return lambda: region.answered.remove(kill)


# -- one server, through the command --------------------------------------------------------------------------------------


def test_a_server_is_backed_up_and_becomes_an_image(region: Region) -> None:
    ended = region.b2i(*NOW)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    (backup,) = ours(region)
    assert ended.told["backup_id"] == backup["id"]
    (image,) = region.images_of(backup["id"])
    assert (ended.told["image_id"], image["status"], image["tags"]["b2i-source"]) == (
        image["id"],
        "active",
        backup["resource_id"],
    )
    assert (runs(region), backup["description"]) == (1, "made by backup-to-image for an image of the server")


def test_the_backup_is_known_afterwards_as_made_by_us(region: Region) -> None:
    region.b2i(*NOW)

    async def read() -> list[Backup]:
        async with region.context() as ctx:
            return [one async for one in ctx.cloud.backups.list(server_id=ident(region, SERVER))]

    backups = asyncio.run(read())
    assert {one.id for one in backups if made_by_us(one)} == {one["id"] for one in ours(region)}


def test_the_next_order_makes_a_new_backup_once_the_last_one_has_ended_well(region: Region) -> None:
    first, second = region.b2i(*NOW), region.b2i(*NOW)
    assert (first.code, second.code, runs(region)) == (0, 0, 2)
    assert first.told["backup_id"] != second.told["backup_id"]
    assert second.told["outcome"] == "made"


def test_a_dry_run_checks_everything_and_makes_nothing(region: Region) -> None:
    ended = region.b2i(*NOW, "--share-with", "dr", "--dry-run")
    assert (ended.code, region.writes) == (0, [])
    assert (ended.verdict("protected"), ended.verdict("shareable"), ended.verdict("image quota")) == ("passed",) * 3


@pytest.mark.parametrize(
    ("server", "options", "rule"),
    [
        ("shop-payment-01", ("--share-with", "dr"), "shareable"),
        (SERVER, ("--tag", "b2i-mine=1"), "tags"),
        (SERVER, ("--name", "x" * 129), "image name"),
        (SERVER, ("--share-with", "nobody"), "recipients"),
        ("no-vault", (), "protected"),
    ],
    ids=["encrypted and shared", "tag", "name", "recipient", "no vault"],
)
def test_what_speaks_against_the_order_is_told_before_anything_is_backed_up(
    region: Region, server: str, options: tuple[str, ...], rule: str
) -> None:
    if server == "no-vault":
        vault, server = region.named("vault", "shop-vault"), SERVER
        region.change("vault", vault, resources=[one for one in vault["resources"] if one != ident(region, SERVER)])
    ended = region.b2i("create", "--server", server, "--backup-now", *options)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    assert any(rule in refused for refused in ended.refusals), ended.refusals


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--server", SERVER, "--newest", "--backup-now"),
        ("create", "--backup-now"),
        ("create", "57bbc0a7-feed-51e9-8a47-229c24ba05d5", "--backup-now"),
        ("create", "--server", SERVER),
        ("--prefect", *NOW),
        ("create", "--server", "nobody", "--backup-now"),
    ],
    ids=" ".join,
)
def test_an_order_that_makes_no_sense_is_a_mistake_of_use(region: Region, words: tuple[str, ...]) -> None:
    ended = region.b2i(*words)
    assert (ended.code, region.writes) == (2, [])


# -- what the cloud will not or cannot do ---------------------------------------------------------------------------------


def test_a_server_that_is_being_backed_up_already_is_told_at_once_with_the_backup_that_may_be_taken(region: Region) -> None:
    (coming,) = region.things("backup", resource_name="shop-app-02", status="protecting")
    ended = region.b2i("create", "--server", "shop-app-02", "--backup-now")
    assert (ended.code, ended.error["code"], ended.error["retryable"]) == (1, "BackupService.6203", True)
    assert "backup running" in ended.error["message"]
    assert f"b2i create {coming['id']} --wait-backup 2h" in ended.error["action"]
    assert ours(region, "shop-app-02") == []


def test_a_cloud_that_is_busy_is_waited_for(region: Region) -> None:
    region.emulator.switches["busy_backup"] = "refused"
    coming = region.named("backup", "manualbk_app02_instant")
    region.change("backup", coming, due=region.emulator.cloud.due(300))
    ended = region.b2i("create", "--server", "shop-app-02", "--backup-now", "--wait-backup", "30m")
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert len(ours(region, "shop-app-02")) == 1
    assert "BackupService.6125" in ended.err


def test_a_cloud_that_stays_busy_is_told_at_the_deadline(region: Region) -> None:
    region.emulator.switches["busy_backup"] = "refused"
    ended = region.b2i("create", "--server", "shop-app-02", "--backup-now", "--wait-backup", "10m")
    assert (ended.code, ended.error["code"], ended.error["retryable"]) == (1, "BackupService.6125", True)
    assert ours(region, "shop-app-02") == []


def test_a_full_vault_is_told_in_the_clouds_words(region: Region) -> None:
    region.arm("vault-full")
    ended = region.b2i(*NOW)
    assert (ended.code, ended.error["code"], ended.error["retryable"], runs(region)) == (1, "BackupService.6114", False, 1)
    assert ours(region) == []


def test_a_backup_that_ends_in_error_is_told_in_the_clouds_words_and_the_next_order_makes_another(region: Region) -> None:
    region.arm("backup-fails", code="BackupService.7101", reason="server state forbids a backup")
    ended = region.b2i(*NOW)
    assert (ended.code, ended.error["code"], ended.told["outcome"]) == (1, "BackupService.7101", "failed")
    assert "server state forbids a backup" in ended.error["message"]
    (broken,) = ours(region)
    assert broken["id"] in ended.error["action"]
    again = region.b2i(*NOW)
    assert (again.code, runs(region)) == (0, 2)
    assert again.told["backup_id"] != broken["id"]


# -- once, whatever happens -----------------------------------------------------------------------------------------------


@answer_lost
def test_a_lost_answer_after_the_effect_is_looked_for_not_asked_for_again(
    region: Region, fault: str, how: dict[str, Any]
) -> None:
    region.arm(fault, operation="createCheckpoint", **how)
    ended = region.b2i(*NOW)
    assert (ended.code, ended.told["outcome"], runs(region)) == (0, "made", 1)
    assert [one["id"] for one in ours(region)] == [ended.told["backup_id"]]


@request_lost
def test_a_lost_request_is_sent_again_only_after_the_settle_time(region: Region, fault: str, how: dict[str, Any]) -> None:
    region.arm(fault, operation="createCheckpoint", **how)
    ended = region.b2i(*NOW)
    first, second = region.sent("createCheckpoint")
    assert (ended.code, len(ours(region))) == (0, 1)
    assert second.at - first.at >= 120


def test_a_lost_answer_and_a_late_listing_make_no_second_backup(region: Region) -> None:
    region.arm("late-listing", seconds=90, times=None)
    region.arm("lost-answer", operation="createCheckpoint")
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)


def test_a_listing_later_than_the_settle_time_makes_no_second_backup_either(region: Region) -> None:
    """The cloud leaves the server out of the second run since the first is at it; that one is known as ours."""
    region.arm("late-listing", seconds=150, times=None)
    region.arm("lost-answer", operation="createCheckpoint")
    ended = region.b2i(*NOW)
    assert ended.code == 0
    assert ended.told["backup_id"] in {one["id"] for one in ours(region)}


def test_a_late_listing_is_not_taken_for_a_server_that_was_left_out(region: Region) -> None:
    region.arm("late-listing", seconds=200, times=None)
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)


def test_a_kill_between_the_request_and_its_note_loses_nothing(region: Region) -> None:
    end = killing_after(region, "createCheckpoint")
    with pytest.raises(Killed):
        region.b2i(*NOW)
    end()
    (backup,) = ours(region)
    ended = region.b2i(*NOW)
    assert (ended.code, ended.told["backup_id"], runs(region)) == (0, backup["id"], 1)


def test_a_kill_before_the_request_leaves_costs_one_look_and_no_backup_twice(region: Region) -> None:
    with region.killing("createCheckpoint"):
        region.b2i(*NOW)
    region.forget()
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)


@pytest.mark.parametrize("operation", ["listBackups", "getBackup", "createWholeImage", "getImsJob"])
def test_a_kill_at_any_later_point_is_gone_on_from_with_the_same_backup_and_image(region: Region, operation: str) -> None:
    with region.killing(operation):
        region.b2i(*NOW)
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region)) == (0, 1)
    (backup,) = ours(region)
    assert (ended.told["backup_id"], len(region.images_of(backup["id"]))) == (backup["id"], 1)


def killed_before_its_backup_was_to_be_seen(region: Region) -> None:
    """The backup is done soon, and for a while no list shows it."""
    region.arm("late-listing", seconds=200, times=None)
    with region.killing("listBackups"):
        region.b2i(*NOW)
    region.clock.advance(100)
    (backup,) = ours(region)
    assert backup["status"] == "available"


def test_a_killed_runs_backup_that_is_done_and_on_no_list_yet_is_gone_on_with(region: Region) -> None:
    killed_before_its_backup_was_to_be_seen(region)
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)


def test_a_killed_run_that_cannot_be_looked_at_is_not_taken_for_gone(region: Region) -> None:
    killed_before_its_backup_was_to_be_seen(region)
    region.arm("error-503", operation="getCheckpoint", times=None)
    ended = region.b2i(*NOW)
    assert (ended.code, ended.error["code"], runs(region)) == (1, "http.503", 1)
    region.emulator.faults.disarm()
    assert (region.b2i(*NOW).code, runs(region), len(ours(region))) == (0, 1, 1)


def test_an_order_whose_later_step_failed_goes_on_with_its_backup(region: Region) -> None:
    region.arm("forbidden", operation="batchAddImageMembers")
    first = region.b2i(*NOW, "--share-with", "dr")
    assert (first.code, first.told["outcome"]) == (5, "partly")
    again = region.b2i(*NOW, "--share-with", "dr")
    assert (again.code, again.told["image_id"], runs(region)) == (0, first.told["image_id"], 1)


def test_what_a_killed_run_has_had_made_long_ago_is_no_backup_of_now(region: Region) -> None:
    with region.killing("createWholeImage"):
        region.b2i(*NOW)
    region.clock.advance(4 * 3600)
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 2, 2)


def test_a_deadline_that_passes_names_the_backup_and_the_same_command_goes_on(region: Region) -> None:
    first = region.b2i(*NOW, "--wait-backup", "20s")
    (backup,) = ours(region)
    assert (first.code, first.told["outcome"], first.told["backup_id"]) == (4, "still_running", backup["id"])
    assert backup["id"] in first.error["message"]
    ended = region.b2i(*NOW, "--wait-backup", "20m")
    assert (ended.code, ended.told["backup_id"], runs(region)) == (0, backup["id"], 1)


def test_two_commands_at_once_make_one_backup(region: Region) -> None:
    async def both() -> list[tuple[BackedUp, ...]]:
        return await asyncio.gather(*(back_them_up(region, [SERVER], order="create") for _ in range(2)))

    (first,), (second,) = asyncio.run(both())
    assert (runs(region), {first.outcome, second.outcome}) == (1, {"made", "adopted"})
    assert first.need().id == second.need().id == ours(region)[0]["id"]


def test_two_hosts_at_once_without_a_common_journal_make_one_backup(region: Region) -> None:
    async def both() -> list[tuple[BackedUp, ...]]:
        return await asyncio.gather(*(back_them_up(region, [SERVER], journal=journal) for journal in ("here", "there")))

    (first,), (second,) = asyncio.run(both())
    assert first.need().id == second.need().id
    assert len(ours(region)) == 1


# -- several servers of one vault -------------------------------------------------------------------------------------------

FLEET = ["shop-web-01", "shop-web-02", "shop-app-02", "shop-lb-01"]


def test_the_servers_of_a_vault_are_backed_up_in_one_run_and_each_is_told(region: Region) -> None:
    heard: list[str] = []
    ended = asyncio.run(back_them_up(region, FLEET, told=lambda one: heard.append(one.server_id)))
    assert runs(region) == 1
    assert [one.server_id for one in ended] == [ident(region, name) for name in FLEET]
    assert [one.outcome for one in ended] == ["made", "made", "skipped", "made"]
    assert sorted(heard) == sorted(one.server_id for one in ended)
    for one in ended:
        if one.backup:
            assert (one.backup.status, one.backup.resource_id, bool(one.backup.disks)) == ("available", one.server_id, True)
    left_out = ended[2]
    assert (left_out.code, left_out.reason, left_out.waiting_helps) == ("BackupService.6203", "backup running", True)
    with pytest.raises(JobFailed, match="backup running"):
        left_out.need()


def test_a_server_is_told_as_soon_as_its_own_backup_is_there(region: Region) -> None:
    heard: list[tuple[str, float]] = []
    asyncio.run(back_them_up(region, FLEET, told=lambda one: heard.append((one.outcome, region.clock.now().timestamp()))))
    made = [at for outcome, at in heard if outcome == "made"]
    assert heard[0][0] == "skipped"
    assert max(made) > min(made)


def test_a_backup_that_fails_is_its_servers_own_trouble(region: Region) -> None:
    first = asyncio.run(back_them_up(region, FLEET[:2]))
    assert [one.outcome for one in first] == ["made", "made"]

    def break_one(asked: Asked) -> None:
        if asked.operation == "createCheckpoint":
            broken = next(one for one in region.things("backup", resource_name="shop-web-02", status="protecting"))
            region.change("backup", broken, fate={"code": "BackupService.0001", "reason": "nothing to back up"})

    region.answered.append(break_one)
    ended = asyncio.run(back_them_up(region, FLEET[:2], order="next night"))
    assert [one.outcome for one in ended] == ["made", "failed"]
    assert (ended[1].code, ended[1].reason) == ("BackupService.0001", "nothing to back up")


def test_the_same_night_again_adopts_its_backups_and_makes_only_what_is_missing(region: Region) -> None:
    first = asyncio.run(back_them_up(region, FLEET[:2]))
    ended = asyncio.run(back_them_up(region, ["shop-web-02", "shop-lb-01", "shop-web-01"]))
    assert [one.outcome for one in ended] == ["adopted", "made", "adopted"]
    assert (ended[0].need().id, ended[2].need().id) == (first[1].need().id, first[0].need().id)
    last = region.sent("createCheckpoint")[-1].body["checkpoint"]["parameters"]
    assert (runs(region), last["resources"]) == (2, [ident(region, "shop-lb-01")])


def test_another_order_takes_no_finished_backup_but_one_that_is_being_made(region: Region) -> None:
    asyncio.run(back_them_up(region, ["shop-web-01"]))
    (late,) = asyncio.run(back_them_up(region, ["shop-web-02"], wait=0.5))
    assert late.outcome == "late"
    with pytest.raises(StillRunning, match=late.backup_id):
        late.need()
    ended = asyncio.run(back_them_up(region, ["shop-web-01", "shop-web-02"], order="create"))
    assert [one.outcome for one in ended] == ["made", "adopted"]
    assert ended[1].backup_id == late.backup_id


def test_a_killed_run_over_several_servers_is_adopted_whole(region: Region) -> None:
    end = killing_after(region, "createCheckpoint")
    with pytest.raises(Killed):
        asyncio.run(back_them_up(region, FLEET))
    end()
    ended = asyncio.run(back_them_up(region, FLEET))
    assert [one.outcome for one in ended] == ["adopted", "adopted", "skipped", "adopted"]
    again = region.sent("createCheckpoint")[1:]
    assert [one.body["checkpoint"]["parameters"]["resources"] for one in again] == [[ident(region, "shop-app-02")]]


def test_a_refused_run_does_not_spoil_what_an_earlier_one_has_made(region: Region) -> None:
    asyncio.run(back_them_up(region, ["shop-web-01"]))
    region.arm("vault-full")
    ended = asyncio.run(back_them_up(region, ["shop-web-01", "shop-web-02"]))
    assert [(one.outcome, one.code) for one in ended] == [("adopted", None), ("failed", "BackupService.6114")]


def test_backups_that_are_used_up_are_not_taken_again(region: Region) -> None:
    (first,) = asyncio.run(back_them_up(region, ["shop-web-01"]))

    async def use() -> None:
        async with region.context() as ctx:
            await use_up(first.need(), ctx)

    asyncio.run(use())
    (second,) = asyncio.run(back_them_up(region, ["shop-web-01"]))
    assert (second.outcome, second.need().id == first.need().id) == ("made", False)


def test_a_lasting_refusal_while_a_backup_is_awaited_is_told_and_the_run_is_adopted_later(region: Region) -> None:
    def forbid(asked: Asked) -> None:
        if asked.operation == "createCheckpoint":
            region.arm("forbidden", operation="listBackups", times=None)

    region.answered.append(forbid)
    (ended,) = asyncio.run(back_them_up(region, ["shop-web-01"]))
    assert (ended.outcome, ended.backup, ended.restore_point_id is None) == ("failed", None, False)
    region.answered.remove(forbid)
    region.emulator.faults.disarm()
    (again,) = asyncio.run(back_them_up(region, ["shop-web-01"]))
    assert (again.outcome, runs(region)) == ("adopted", 1)


def test_the_journal_keeps_no_more_than_a_week_of_runs(region: Region) -> None:
    asyncio.run(back_them_up(region, ["shop-web-01"]))
    region.clock.advance(8 * 86400)
    asyncio.run(back_them_up(region, ["shop-web-01"]))
    kept = [json.loads(one.read_text()) for one in region.journal.glob("backup-*.json")]
    assert len(kept) == 1


def test_trouble_of_the_service_with_a_code_is_no_proof_that_nothing_was_made(region: Region) -> None:
    """The cloud has made the backup, and says 500 with a code that names no reason."""
    region.arm("error-500", operation="createCheckpoint", effect=True)
    ended = region.b2i(*NOW)
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)


def test_an_order_that_is_late_again_and_again_goes_on_with_its_one_backup(region: Region) -> None:
    region.arm("job-stuck", operation="createWholeImage", seconds=9000)
    words = (*NOW, "--wait-backup", "5m", "--timeout", "20m")
    late = [region.b2i(*words) for _ in range(4)]
    assert {one.code for one in late} == {4}
    region.clock.advance(600)
    while (ended := region.b2i(*words)).code == 4:
        pass
    assert (ended.code, runs(region), len(ours(region))) == (0, 1, 1)
