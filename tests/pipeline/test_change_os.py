"""A server's system disk replaced by an image's: once, by name, every reason against it first, data disks untouched."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from backup_to_image.cli.change_os import BLANK
from backup_to_image.errors import B2iError, Refused
from backup_to_image.steps.changing.change_os import change_os
from backup_to_image.steps.changing.plan import plan_change
from tests.support.region import Asked, Ended, Killed, Region

SERVER = "shop-web-02"
YES = ("--accept-data-disks-unchanged", "--yes-i-mean", SERVER)
UNKNOWN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def image(region: Region, backup: str) -> str:
    """Of shop-web-01: a system disk of 40 GB and a data disk of 100."""
    found: str = region.make_image_by_hand(backup)["id"]
    return found


def server(region: Region, name: str = SERVER) -> dict[str, Any]:
    region.emulator.tick()
    return region.named("server", name)


def stopped(region: Region) -> dict[str, Any]:
    there = server(region)
    region.change("server", there, status="SHUTOFF")
    return there


def change(region: Region, image: str, *arguments: str, of: str = SERVER, **how: Any) -> Ended:
    return region.b2i("change-os", of, image, *arguments, **how)


def changes(region: Region) -> list[Asked]:
    return region.sent("changeOs")


def records(region: Region, kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in region.journal.glob(f"{kind}-*.json")]


# -- what is done ---------------------------------------------------------------------------------------------------------


def test_a_stopped_server_boots_from_the_images_system_disk_with_its_own_data_disks(region: Region, image: str) -> None:
    system, data = stopped(region)["volumes"]
    ended = change(region, image, *YES, "--key-pair", "ops", "--probe", "console: 'login:'")
    now = server(region)
    assert (ended.code, ended.told["outcome"], ended.told["adopted"]) == (0, "made", False)
    assert (now["status"], now["image_id"], now["key_name"], now["volumes"][1:]) == ("ACTIVE", image, "ops", [data])
    assert now["volumes"][0] != system
    told = ended.told
    assert (told["server_id"], told["server_name"], told["image_id"], told["status"]) == (now["id"], SERVER, image, "ACTIVE")
    assert (told["system_disk_id"], told["old_system_disk_id"], told["data_disks"]) == (now["volumes"][0], system, [data])
    assert (told["missing_disks"], told["left_behind"], told["error"]) == ([], [], None)
    assert [(one["probe"], one["ok"]) for one in told["probes"]] == [("console:login:", True)]
    assert system not in {disk["id"] for disk in region.things("volume")}
    (asked,) = changes(region)
    assert asked.body == {"os-change": {"imageid": image, "keyname": "ops"}}
    assert region.writes == ["changeOs"]


def test_a_running_server_is_shut_down_by_its_own_system_first_never_by_force(region: Region, image: str) -> None:
    ended = change(region, image, *YES, "--stop")
    assert (ended.code, region.writes) == (0, ["serversAction", "changeOs"])
    (asked,) = region.sent("serversAction")
    assert asked.body == {"os-stop": {"type": "SOFT", "servers": [{"id": server(region)["id"]}]}}


@pytest.mark.one_door("the form has a field for it")
def test_names_do_for_both_and_on_a_terminal_the_servers_name_is_asked_for(region: Region, image: str) -> None:
    stopped(region)
    words = ("--accept-data-disks-unchanged",)
    refused = change(region, "by hand", *words, json=False, typed="shop-web-01\n")
    assert (refused.code, region.writes) == (2, [])
    assert "system disk" in refused.err
    ended = change(region, "by hand", *words, json=False, typed=f"{SERVER}\n")
    assert (ended.code, len(changes(region))) == (0, 1)
    assert server(region)["image_id"] == image


def test_without_the_name_nothing_is_changed(region: Region, image: str) -> None:
    stopped(region)
    for said in ((), ("--yes-i-mean", "shop-web-01"), ("--yes-i-mean", "")):
        ended = change(region, image, "--accept-data-disks-unchanged", *said)
        assert (ended.code, ended.told["outcome"], region.writes) == (2, "failed", [])
        assert SERVER in ended.error["action"]


def test_the_dry_run_shows_the_exact_request_and_the_fate_of_every_disk(region: Region, image: str) -> None:
    system, data = stopped(region)["volumes"]
    ended = change(region, image, "--accept-data-disks-unchanged", "--key-pair", "ops", "--dry-run")
    plan = ended.told["plan"]
    assert (ended.code, ended.told["outcome"], region.writes) == (0, None, [])
    assert plan["request"] == {"server_id": server(region)["id"], "image_id": image, "key_name": "ops"}
    assert {disk["disk_id"]: disk["becomes"] for disk in plan["disks"]} == {
        system: "deleted, a new one comes in its place",
        data: "stays as it is",
    }
    assert [(disk["size_gb"], disk["becomes"]) for disk in plan["not_restored"]] == [(100, "not restored")]
    shown = change(region, image, "--dry-run", json=False)
    assert (shown.code, region.writes) == (3, [])
    assert "NOT restored" in shown.out
    assert image in shown.out


def test_a_probe_that_stays_silent_is_partly_and_the_same_command_asks_it_again(region: Region, image: str) -> None:
    there = stopped(region)
    silent = ("--probe", "{console: 'nobody says this', timeout: 30s}")
    for outcome in ("partly", "partly"):
        ended = change(region, image, *YES, *silent)
        assert (ended.code, ended.told["outcome"], ended.told["error"]) == (5, outcome, None)
    assert (len(changes(region)), region.named("server", SERVER)["id"]) == (1, there["id"])
    assert change(region, image, *YES).told["outcome"] == "adopted"


# -- what is refused, all of it at once -----------------------------------------------------------------------------------


def test_without_the_flag_it_is_refused_with_the_guides_warning_the_disks_and_the_alternative(region: Region, image: str) -> None:
    stopped(region)
    ended = change(region, image, "--yes-i-mean", SERVER)
    assert (ended.code, ended.told["outcome"], set(ended.refusals)) == (3, "refused", {"change-os: data disks"})
    refusal = ended.refusals["change-os: data disks"]
    assert "only the system disk data is written" in refusal["why"]
    assert "NOT restored: " in refusal["why"]
    assert refusal["why"].count("(100 GB)") == 2, "the image's and the server's"
    assert f"b2i launch {image} --spec" in refusal["action"]
    assert "--accept-data-disks-unchanged" in refusal["action"]
    assert "full-ecs_image" in refusal["page"]
    assert region.writes == []


def test_every_reason_is_told_at_once(region: Region, image: str) -> None:
    region.change("server", server(region), locked=True, metadata={"EcmResStatus": "freeze"})
    region.change("image", region.emulator.cloud.get("image", image) or {}, min_disk=400, status="saving", min_ram=99999)
    ended = change(region, image, "--key-pair", "nobody")
    assert ended.code == 3
    assert {rule.removeprefix("change-os: ") for rule in ended.refusals} == {
        "power state", "lock", "frozen", "image", "disk size", "memory", "login", "data disks",
    }  # fmt: skip
    assert all(check["action"] for check in ended.refusals.values())
    assert region.writes == []


def test_an_unknown_server_and_an_unknown_image_are_told_together(region: Region) -> None:
    for of, wanted in ((UNKNOWN, UNKNOWN), ("nobody", "nothing"), ("", "../../etc/passwd"), ("shop-web", "%00")):
        ended = change(region, wanted, *YES, of=of)
        assert (ended.code, set(ended.refusals)) == (3, {"change-os: server", "change-os: image"}), ended.out
    assert region.writes == []


def test_a_name_that_several_have_is_refused_with_their_ids(region: Region, image: str, backup: str) -> None:
    other = region.make_image_by_hand(backup)["id"]
    region.change("server", region.named("server", "shop-web-03"), name=SERVER)
    ended = change(region, "by hand", *YES)
    assert ended.code == 3
    assert {image, other} <= set(ended.refusals["change-os: image"]["action"].replace(".", "").replace(",", "").split())
    assert "2 servers are called" in ended.refusals["change-os: server"]["why"]


def _locked(region: Region, image: str) -> None:
    region.change("server", server(region), locked=True)


def _busy(region: Region, image: str) -> None:
    region.change("server", server(region), task_state="powering-on")


def _changing(region: Region, image: str) -> None:
    region.change("server", server(region), status="REBUILD", task_state="rebuilding")


def _shelved(region: Region, image: str) -> None:
    region.change("server", server(region), status="SHELVED")


def _no_system_disk(region: Region, image: str) -> None:
    there = server(region)
    region.change("server", there, volumes=[])


def _encrypted(region: Region, image: str) -> None:
    disk = region.emulator.cloud.get("volume", server(region)["volumes"][0]) or {}
    region.change("volume", disk, encrypted=True, cmk_id=UNKNOWN)


def _saving(region: Region, image: str) -> None:
    region.change("image", region.emulator.cloud.get("image", image) or {}, status="saving")


def _no_cloud_init(region: Region, image: str) -> None:
    region.change("image", region.emulator.cloud.get("image", image) or {}, attributes={"__support_fc_inject": "true"})


def _too_large(region: Region, image: str) -> None:
    region.change("image", region.emulator.cloud.get("image", image) or {}, min_disk=41)


def _bad_backup(region: Region, image: str) -> None:
    backup = (region.emulator.cloud.get("image", image) or {})["backup_id"]
    region.change("backup", region.emulator.cloud.get("backup", backup) or {}, status="error")


def _no_backup(region: Region, image: str) -> None:
    region.emulator.cloud.remove("backup", (region.emulator.cloud.get("image", image) or {})["backup_id"])


def _has_it(region: Region, image: str) -> None:
    region.change("server", server(region), image_id=image)


@pytest.mark.parametrize(
    ("make_it_so", "rule", "code", "helps"),
    [
        (_locked, "lock", "Ecs.0605", False),
        (_busy, "busy", "Ecs.0603", True),
        (_changing, "power state", "Ecs.0603", True),
        (_shelved, "power state", "Ecs.0100", False),
        (_no_system_disk, "system disk", "Ecs.0105", False),
        (_encrypted, "encryption", "", False),
        (_saving, "image", "Ecs.0032", True),
        (_no_cloud_init, "guest preparation", "Ecs.0007", False),
        (_too_large, "disk size", "Ecs.0007", False),
        (_bad_backup, "backup", "Ecs.0048", False),
        (_no_backup, "backup", "Ecs.0034", False),
        (_has_it, "same image", "", False),
    ],
)
def test_what_the_cloud_or_reason_would_refuse_is_refused_before_it_is_asked(
    region: Region, image: str, make_it_so: Callable[[Region, str], None], rule: str, code: str, helps: bool
) -> None:
    stopped(region)
    make_it_so(region, image)
    ended = change(region, image, *YES)
    assert (ended.code, list(ended.refusals)) == (3, [f"change-os: {rule}"]), ended.out
    refusal = ended.refusals[f"change-os: {rule}"]
    assert (refusal["code"], refusal["waiting_helps"], region.writes) == (code, helps, [])
    assert refusal["page"]
    assert refusal["action"]


def test_disks_that_cannot_be_read_might_be_encrypted_so_nothing_is_changed(region: Region, image: str) -> None:
    stopped(region)
    region.arm("forbidden", operation="listVolumesDetail", times=None)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"], region.writes) == (1, "failed", [])
    assert ended.error["action"]


@pytest.mark.parametrize("status", ["pending", "rejected", "accepted"])
def test_a_shared_image_has_to_be_accepted_first(region: Region, image: str, status: str) -> None:
    there, guest = region.emulator.cloud, region.account["second_project"]
    region.change(
        "image-member", {"id": f"{image}/{guest}"}, image_id=image, project=guest, status=status, created_at=there.stamp(),
        updated_at=there.stamp(), vault_id=None,
    )  # fmt: skip
    region.change("server", region.named("server", "dr-mirror-01"), status="SHUTOFF")
    words = ("--accept-data-disks-unchanged", "--yes-i-mean", "dr-mirror-01")
    ended = change(region, image, *words, of="dr-mirror-01", cloud="dr")
    assert ended.code == (0 if status == "accepted" else 3), ended.out
    if status != "accepted":
        assert set(ended.refusals) <= {"change-os: image access", "change-os: image"}
        assert region.writes == []


def test_a_quota_without_room_for_one_more_disk_is_refused_by_the_cloud_in_its_words(region: Region, image: str) -> None:
    """No page of the cloud tells that quota, so it is asked, and the server that was stopped for it is named."""
    quota = next(one for one in region.things("quota") if one["id"] == region.account["project_id"])
    region.change("quota", quota, volumes=1)
    ended = change(region, image, *YES, "--stop")
    assert (ended.code, ended.error["code"], ended.error["retryable"]) == (1, "Ecs.0021", False)
    assert f"{SERVER} was stopped for it and is stopped still" in ended.error["action"]
    assert (ended.told["server_id"], server(region)["status"]) == (server(region)["id"], "SHUTOFF")


def test_a_cloud_that_demands_a_key_pair_says_so_and_nothing_is_changed(region: Region, image: str) -> None:
    stopped(region)
    region.emulator.switches["change_os_keyname"] = "required"
    ended = change(region, image, *YES)
    assert (ended.code, ended.error["code"]) == (1, "Ecs.0005")
    assert "--key-pair" in ended.error["action"]
    assert change(region, image, *YES, "--key-pair", "ops").code == 0


@pytest.mark.parametrize(
    "probe", ["", "nonsense", "tcp: many", "{tcp: 22, http: {}}", "[", "tcp: 70000", "{tcp: 22, timeout: soon}"]
)
def test_a_probe_that_is_none_is_a_mistake_of_usage(region: Region, image: str, probe: str) -> None:
    ended = change(region, image, *YES, "--probe", probe)
    assert (ended.code, region.asked) == (2, [])
    assert "--probe" in ended.error["message"]
    assert "Input should be" not in ended.error["message"], "pydantic's own words are for programmers"


# -- once, whatever happens -----------------------------------------------------------------------------------------------


def test_the_same_command_again_adopts_what_is_done_and_asks_for_nothing(region: Region, image: str) -> None:
    first = change(region, image, *YES, "--stop").told
    region.forget()
    again = change(region, image, *YES, "--stop")
    assert (again.code, again.told["outcome"], again.told["adopted"], region.writes) == (0, "adopted", True, [])
    assert again.told["system_disk_id"] == first["system_disk_id"]


@pytest.mark.parametrize(("status", "code"), [("SHUTOFF", 0), ("ERROR", 5)])
def test_what_was_changed_before_and_is_stopped_by_now_is_adopted_and_what_is_broken_is_no_success(
    region: Region, image: str, status: str, code: int
) -> None:
    assert change(region, image, *YES, "--stop").code == 0
    region.change("server", server(region), status=status)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["status"], len(changes(region))) == (code, status, 1)


def test_its_json_has_the_same_keys_however_it_ends(region: Region, image: str) -> None:
    stopped(region)
    for words in (("--dry-run",), (), ("--probe", "x"), YES, YES):
        assert set(change(region, image, *words).told) == set(BLANK)
    for name, value in change(region, image, *YES).told.items():
        assert value is not None or name in {"plan", "report", "error"}, name


def test_again_replaces_the_disk_once_more_and_killed_before_it_could_say_so_only_once(region: Region, image: str) -> None:
    first = change(region, image, *YES, "--stop").told
    stopped(region)
    with region.killing("getEcsJob", skip=2):
        change(region, image, *YES, "--again")
    second = change(region, image, *YES, "--stop", "--again").told
    assert (second["outcome"], len(changes(region))) == ("adopted", 2)
    assert second["system_disk_id"] != first["system_disk_id"]
    assert change(region, image, *YES, "--stop", "--again").told["outcome"] == "made"


@pytest.mark.parametrize(("operation", "skip"), [("changeOs", 0), ("getEcsJob", 1), ("getEcsJob", 3), ("listVolumesDetail", 1)])
def test_killed_anywhere_the_same_command_ends_as_if_nothing_had_happened(
    region: Region, image: str, operation: str, skip: int
) -> None:
    system, data = server(region)["volumes"]
    with region.killing(operation, skip):
        change(region, image, *YES, "--stop")
    ended = change(region, image, *YES, "--stop")
    now = server(region)
    assert (ended.code, ended.told["old_system_disk_id"], ended.told["data_disks"]) == (0, system, [data])
    assert (now["status"], now["image_id"], [one.status for one in changes(region) if one.status]) == ("ACTIVE", image, [200])
    assert not records(region, "order")
    if operation == "changeOs":
        first, second = changes(region)
        assert second.at - first.at >= 600, "nobody knew then whether the first one had got through"


def test_killed_before_anything_could_be_noted_the_new_disk_is_the_proof(region: Region, image: str) -> None:
    stopped(region)

    def kill(asked: Asked) -> None:
        if asked.operation == "changeOs":
            region.answered.clear()
            raise Killed

    region.answered.append(kill)
    with pytest.raises(Killed):
        change(region, image, *YES)
    region.clock.advance(3600)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"], ended.told["job_id"], len(changes(region))) == (0, "adopted", None, 1)


def test_a_server_that_is_started_while_the_request_waits_its_turn_is_left_alone(region: Region, image: str) -> None:
    stopped(region)
    region.arm("throttled-429", operation="changeOs")

    def start(asked: Asked) -> None:
        if asked.operation == "changeOs":
            region.change("server", region.named("server", SERVER), status="ACTIVE")

    region.answered.append(start)
    ended = change(region, image, *YES)
    assert (ended.code, set(ended.refusals), len(changes(region))) == (3, {"change-os: power state"}, 1)


def test_a_lost_answer_is_followed_by_a_look_at_the_system_disk_not_by_a_second_request(region: Region, image: str) -> None:
    stopped(region)
    region.arm("lost-answer", operation="changeOs")
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"], len(changes(region))) == (0, "made", 1)


def test_a_request_that_never_arrived_is_sent_again_once_the_old_disk_has_stayed_for_the_settle_time(
    region: Region, image: str
) -> None:
    stopped(region)
    region.arm("html-502", operation="changeOs")
    ended = change(region, image, *YES)
    first, second = changes(region)
    assert (ended.code, ended.told["outcome"]) == (0, "made")
    assert second.at - first.at >= 600


def test_a_change_that_failed_is_told_with_the_clouds_reason_and_the_same_command_tries_again(region: Region, image: str) -> None:
    stopped(region)
    region.arm("job-fails", operation="changeOs")
    failed = change(region, image, *YES)
    assert (failed.code, failed.told["outcome"]) == (1, "failed")
    assert "the same command tries again" in failed.error["action"]
    assert server(region)["status"] == "ERROR"
    assert change(region, image, *YES).code == 0
    assert server(region)["status"] == "ACTIVE"


def test_a_job_that_says_success_is_not_believed_while_the_old_disk_is_there(region: Region, image: str) -> None:
    there = stopped(region)
    system = there["volumes"][0]

    def undo(asked: Asked) -> None:
        if asked.operation == "getEcsJob" and b"SUCCESS" in asked.answer:
            region.change("server", region.named("server", SERVER), volumes=[system, *there["volumes"][1:]])

    region.answered.append(undo)
    ended = change(region, image, *YES, "--timeout", "10m")
    assert (ended.code, ended.told["outcome"], ended.told["server_id"]) == (4, "still_running", there["id"])


def test_a_server_that_somebody_else_changed_meanwhile_is_no_success(region: Region, image: str) -> None:
    stopped(region)

    def other(asked: Asked) -> None:
        if asked.operation == "getEcsJob" and b"SUCCESS" in asked.answer:
            region.change("server", region.named("server", SERVER), image_id=region.account["image_public"])

    region.answered.append(other)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"]) == (1, "failed")
    assert "Somebody else" in ended.error["action"]


def test_an_old_disk_that_stays_and_a_data_disk_that_is_missing_are_named(region: Region, image: str) -> None:
    there = stopped(region)
    system, data = there["volumes"]
    kept = dict(region.emulator.cloud.get("volume", system) or {})

    def keep(asked: Asked) -> None:
        if asked.operation == "getEcsJob" and b"SUCCESS" in asked.answer:
            region.change("volume", kept, status="available", server_id=None, device=None)
            now = region.named("server", SERVER)
            region.change("server", now, volumes=now["volumes"][:1])

    region.answered.append(keep)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"], ended.told["missing_disks"]) == (5, "partly", [data])
    assert system in ended.told["left_behind"][0]
    assert "deleteVolume" not in region.writes


@pytest.mark.parametrize(
    ("fault", "how", "code", "minutes"),
    [("job-stuck", {}, 4, 10), ("job-fails", {}, 4, 10), ("job-fails", {"code": "Ecs.0226"}, 1, 0)],
)
def test_a_system_that_does_not_shut_down_is_told_and_never_stopped_by_force(
    region: Region, image: str, fault: str, how: dict[str, str], code: int, minutes: int
) -> None:
    begun = region.clock.now()
    region.arm(fault, operation="serversAction", times=None, **how)
    ended = change(region, image, *YES, "--stop")
    assert (ended.code, ended.told["server_id"]) == (code, server(region)["id"])
    assert minutes <= (region.clock.now() - begun).total_seconds() / 60 < minutes + 2
    assert "never stopped by force" in ended.error["action"]
    assert all(asked.body["os-stop"]["type"] == "SOFT" for asked in region.sent("serversAction"))
    assert changes(region) == []


# -- two at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.one_door("it goes through the steps")
@pytest.mark.parametrize("again", [False, True])
async def test_two_at_once_replace_one_disk_and_both_deliver_it(region: Region, image: str, again: bool) -> None:
    stopped(region)

    async def one() -> str:
        async with region.context() as ctx:
            plan = await plan_change(SERVER, image, ctx, accepted=True, again=again)
            await asyncio.sleep(0)
            done = await change_os(plan, ctx, again=again)
        return f"{done.outcome} {done.system_disk_id}"

    outcomes = await asyncio.gather(one(), one())
    disk = server(region)["volumes"][0]
    assert sorted(outcomes) == [f"adopted {disk}", f"made {disk}"]
    assert len(changes(region)) == 1


@pytest.mark.one_door("what starts a run again is Prefect")
async def test_a_run_that_is_started_again_replaces_the_disk_once_with_again(region: Region, image: str, backup: str) -> None:
    async def by_run(run: str, image: str) -> str:
        stopped(region)
        async with region.context() as ctx:
            ctx.run_id = run
            plan = await plan_change(SERVER, image, ctx, accepted=True, again=True)
            return (await change_os(plan, ctx, again=True)).system_disk_id

    first = await by_run("run-1", image)
    assert await by_run("run-1", image) == first
    assert await by_run("run-2", image) != first
    assert len(changes(region)) == 2
    other = region.make_image_by_hand(region.account["backups"]["available"][1])["id"]
    await by_run("run-3", other)
    with pytest.raises(Refused, match="changed it again since"):
        await by_run("run-1", image)
    assert len(changes(region)) == 3


@pytest.mark.one_door("it goes through the steps")
async def test_a_disk_that_is_not_the_one_that_was_confirmed_is_never_replaced(region: Region, image: str, backup: str) -> None:
    stopped(region)
    async with region.context() as ctx:
        plan = await plan_change(SERVER, image, ctx, accepted=True)
        somebody = await plan_change(SERVER, region.account["image_public"], ctx, accepted=True)
        await change_os(somebody, ctx)
        stopped(region)
        with pytest.raises(B2iError, match="somebody has changed it"):
            await change_os(plan, ctx)
    assert len(changes(region)) == 1


# -- what a run leaves is finished ----------------------------------------------------------------------------------------


def test_a_change_whose_run_was_killed_is_finished_by_reconcile(region: Region, image: str) -> None:
    stopped(region)
    with region.killing("getEcsJob", skip=2):
        change(region, image, *YES, "--probe", "console: 'login:'")
    region.clock.advance(600)
    ended = region.b2i("reconcile")
    (told,) = ended.told["orders"]
    assert (ended.code, told["verb"], told["outcome"]) == (0, "change-os", "finished")
    assert "answers its probes" in told["words"]
    assert region.b2i("reconcile").told["orders"] == []
    assert change(region, image, *YES).told["outcome"] == "adopted"


def test_a_change_that_was_never_asked_for_is_told_with_the_state_of_its_server_and_not_begun(region: Region, image: str) -> None:
    with region.killing("changeOs"):
        change(region, image, *YES, "--stop")
    ended = region.b2i("reconcile")
    (told,) = ended.told["orders"]
    assert (told["outcome"], len(changes(region))) == ("not_begun", 1)
    assert "SHUTOFF" in told["words"]
    assert "b2i change-os" in told["action"]


@pytest.mark.one_door("a signal ends the following, not the run")
def test_a_signal_names_the_server_and_the_same_command_goes_on(region: Region, image: str) -> None:
    stopped(region)

    def stop(asked: Asked) -> None:
        if asked.operation == "getEcsJob":
            region.watchers.clear()
            raise asyncio.CancelledError

    region.watchers.append(stop)
    ended = change(region, image, *YES)
    assert (ended.code, ended.told["outcome"], ended.told["server_id"]) == (130, "still_running", server(region)["id"])
    assert (change(region, image, *YES).code, len(changes(region))) == (0, 1)


# -- what no image takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "code"), [("export", "IMG.0128"), ("replicate", "IMG.0130")])
def test_export_and_replication_are_refused_with_the_page_and_what_to_do_instead(region: Region, verb: str, code: str) -> None:
    for words in ((), ("an-image",), ("an-image", "--to", "eu-nl", "--bucket", "b")):
        ended = region.b2i(verb, *words)
        assert (ended.code, ended.told["outcome"], region.asked) == (3, "refused", [])
        assert ended.told["image_id"] == (words[0] if words else None)
        refusal = ended.refusals[verb]
        assert (refusal["code"], refusal["waiting_helps"]) == (code, False)
        assert "full-ecs_image" in refusal["page"]
        assert "CBR replication" in ended.error["action"]
        assert "b2i share IMAGE PROJECT" in ended.error["action"]
        assert f"b2i {verb}" not in ended.error["action"], "the same again is no use"
    assert "CBR replication" in region.b2i(verb, json=False).out
