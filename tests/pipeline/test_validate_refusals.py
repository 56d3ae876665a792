"""Refused early, with every reason at once, before anything is made (BEHAVIOUR.md 4.2, 8, 9 and 13)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.doors import Door
from tests.support.region import Ended, Region

STRANGER = "0123456789abcdef0123456789abcdef"


def backup_named(region: Region, name: str) -> dict[str, Any]:
    return region.named("backup", name)


def refused(ended: Ended, region: Region, *rules: str) -> dict[str, dict[str, Any]]:
    """Exit 3, exactly these rules, each with a reason and what to do, and not one request that writes."""
    assert ended.code == 3, ended.err
    assert ended.told["outcome"] == "refused"
    assert set(ended.refusals) == set(rules)
    for check in ended.refusals.values():
        assert check["why"]
        assert check["action"]
    assert ended.error["code"] == "b2i.refused"
    assert region.writes == []
    return ended.refusals


# -- the backup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", ["11111111-2222-4333-8444-555555555555", "no-such-name"])
def test_an_unknown_backup_is_refused_with_the_clouds_words(door: Door, region: Region, unknown: str) -> None:
    (check,) = refused(door.create(unknown), region, "exists").values()
    assert unknown in check["why"]
    assert "b2i backups" in check["action"]


def test_a_name_that_several_backups_have_is_not_guessed(door: Door, region: Region) -> None:
    for name in ("manualbk_web01", "manualbk_app01"):
        region.change("backup", backup_named(region, name), name="same-name")
    (check,) = refused(door.create("same-name"), region, "exists").values()
    assert all(one["id"] in check["action"] for one in region.things("backup", name="same-name"))


def test_the_backup_of_a_disk_is_refused(door: Door, region: Region) -> None:
    checks = refused(door.create(region.account["backups"]["volume"]), region, "of a server")
    assert checks["of a server"]["code"] == "IMG.0198"


def test_a_backup_that_failed_is_refused_and_waiting_does_not_help(door: Door, region: Region) -> None:
    ended = door.create(region.account["backups"]["error"])
    checks = refused(ended, region, "ready")
    assert (checks["ready"]["waiting_helps"], ended.error["retryable"]) == (False, False)


def test_waiting_for_a_backup_that_failed_is_not_even_tried(door: Door, region: Region) -> None:
    refused(door.create(region.account["backups"]["error"], wait_backup="1h"), region, "ready")
    assert len(region.sent("getBackup")) == 1


@pytest.mark.parametrize("status", ["protecting", "waiting_protect", "restoring", "waiting_restore"])
def test_a_backup_that_is_busy_is_refused_and_waiting_helps(door: Door, region: Region, backup: str, status: str) -> None:
    region.change("backup", backup_named(region, "manualbk_web01"), status=status)
    ended = door.create(backup)
    checks = refused(ended, region, "ready")
    assert (checks["ready"]["waiting_helps"], ended.error["retryable"]) == (True, True)
    assert "--wait-backup" in checks["ready"]["action"]


@pytest.mark.parametrize("status", ["deleting", "waiting_delete", "reticulating"])
def test_a_backup_on_its_way_out_or_in_a_state_that_nobody_knows_is_refused(
    door: Door, region: Region, backup: str, status: str
) -> None:
    region.change("backup", backup_named(region, "manualbk_web01"), status=status)
    assert status in refused(door.create(backup), region, "ready")["ready"]["why"]


def test_a_backup_without_the_system_disk_is_refused(door: Door, region: Region) -> None:
    checks = refused(door.create(backup_named(region, "manualbk_web04_data")["id"]), region, "system disk")
    assert checks["system disk"]["code"] == "IMG.0033"


@pytest.mark.parametrize("status", ["error", "frozen", "deleting"])
def test_a_backup_in_a_vault_that_cannot_be_used_is_refused(door: Door, region: Region, backup: str, status: str) -> None:
    region.change("vault", region.named("vault", "shop-vault"), status=status)
    assert status in refused(door.create(backup), region, "vault")["vault"]["why"]


def test_a_vault_whose_capacity_is_being_changed_is_no_obstacle(door: Door, region: Region, backup: str) -> None:
    region.change("vault", region.named("vault", "shop-vault"), status="lock")
    assert door.create(backup).code == 0


def test_a_used_up_image_quota_is_refused_with_the_number(door: Door, region: Region, backup: str) -> None:
    exist = len([image for image in region.things("image") if image["project"] == region.account["project_id"]])
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, images=exist)
    checks = refused(door.create(backup), region, "image quota")
    assert f"{exist} of {exist}" in checks["image quota"]["why"]


def test_a_backup_of_a_frozen_server_is_refused(door: Door, region: Region, backup: str) -> None:
    region.change("server", region.named("server", "shop-web-01"), metadata={"EcmResStatus": "freeze"})
    refused(door.create(backup), region, "power state")


# -- warnings and what cannot be known ----------------------------------------------------------------------------------


def test_a_stopped_source_server_is_a_warning_not_a_refusal(region: Region) -> None:
    ended = region.b2i("validate", region.account["backups"]["server_stopped"])
    assert (ended.code, ended.told["ok"], ended.verdict("power state")) == (0, True, "warned")


def test_disks_that_several_servers_share_are_a_warning(region: Region) -> None:
    ended = region.b2i("validate", backup_named(region, "manualbk_files01")["id"])
    assert (ended.code, ended.verdict("shared disks")) == (0, "warned")


@pytest.mark.parametrize(("disk", "size", "verdict"), [(0, 2000, "warned"), (1, 5000, "warned"), (1, 400, "passed")])
def test_sizes_that_a_launch_cannot_take_are_a_warning(region: Region, backup: str, disk: int, size: int, verdict: str) -> None:
    kept = backup_named(region, "manualbk_web01")
    kept["disks"][disk]["size"] = size
    region.change("backup", kept)
    ended = region.b2i("validate", backup)
    assert (ended.code, ended.verdict("sizes")) == (0, verdict)


def test_what_no_api_reveals_is_called_unknowable_with_the_proof_that_there_is(region: Region, backup: str) -> None:
    checks = {check["rule"]: check for check in region.b2i("validate", backup).told["report"]["checks"]}
    assert checks["guest preparation"]["verdict"] == checks["operating system known"]["verdict"] == "unknowable"
    assert "--launch" in checks["guest preparation"]["action"]


def test_a_source_server_that_is_gone_hinders_nothing(door: Door, region: Region, backup: str) -> None:
    region.emulator.cloud.remove("server", region.named("server", "shop-web-01")["id"])
    ended = door.create(backup)
    assert (ended.code, ended.verdict("an ECS")) == (0, "unknowable")
    (image,) = region.images_of(backup)
    assert set(image["tags"]) == {"b2i-source"}


@pytest.mark.parametrize(
    ("operation", "rule"), [("getVault", "vault"), ("getServer", "an ECS"), ("getImageQuota", "image quota")]
)
def test_what_may_not_be_read_is_unknowable_with_the_clouds_words_not_a_failure(
    region: Region, door: Door, backup: str, operation: str, rule: str
) -> None:
    region.arm("forbidden", operation=operation, times=None)
    ended = door.create(backup)
    assert (ended.code, ended.verdict(rule)) == (0, "unknowable")


def test_an_image_that_is_there_already_makes_quota_and_state_of_no_account(door: Door, region: Region) -> None:
    used = region.account["backups"]["already_used"]
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, images=1)
    ended = door.create(used)
    assert (ended.code, ended.told["outcome"]) == (0, "adopted")
    assert region.writes == []


# -- name, description, tags --------------------------------------------------------------------------------------------

ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "empty name": ({"name": ""}, "image name"),
    "long name": ({"name": "x" * 129}, "image name"),
    "slash in name": ({"name": "shop/web"}, "image name"),
    "umlaut in name": ({"name": "bücher"}, "image name"),
    "leading space": ({"name": " shop"}, "image name"),
    "trailing space": ({"name": "shop "}, "image name"),
    "unknown placeholder": ({"name": "{serverr}"}, "image name"),
    "unclosed placeholder": ({"name": "{server"}, "image name"),
    "format where there is none": ({"name": "{server:%Y}"}, "image name"),
    "attribute of a placeholder": ({"name": "{server.upper}"}, "image name"),
    "index of a placeholder": ({"name": "{backup_id[first]}"}, "image name"),
    "placeholder in a format": ({"name": "{backup_created:{nights}}"}, "image name"),
    "name of ten billion characters": ({"name": "{server:>9999999999}"}, "image name"),
    "long description": ({"description": "x" * 1025}, "description"),
    "angle bracket": ({"description": "a < b"}, "description"),
    "line break": ({"description": "a\nb"}, "description"),
    "six tags": ({"tags": {f"key{number}": "v" for number in range(6)}}, "tags"),
    "key with a dot": ({"tags": {"team.name": "shop"}}, "tags"),
    "long key": ({"tags": {"k" * 37: "shop"}}, "tags"),
    "value with a space": ({"tags": {"team": "the shop"}}, "tags"),
    "long value": ({"tags": {"team": "v" * 44}}, "tags"),
    "one of our marks": ({"tags": {"b2i-verified": "20260101"}}, "tags"),
}


@pytest.mark.parametrize(("order", "rule"), ORDERS.values(), ids=ORDERS)
def test_what_the_cloud_would_not_take_is_refused_before_it_is_asked(
    door: Door, region: Region, backup: str, order: dict[str, Any], rule: str
) -> None:
    refused(door.create(backup, **order), region, rule)


def test_the_longest_names_and_all_five_tags_go_through(door: Door, region: Region, backup: str) -> None:
    tags = {"k" * 36: "v" * 43, "a": "", "b": "_", "c": "-", "d": "0"}
    ended = door.create(backup, name="x" * 128, description="d" * 1024, tags=tags)
    assert ended.code == 0
    (image,) = region.images_of(backup)
    assert {key: value for key, value in image["tags"].items() if not key.startswith("b2i-")} == tags


# -- recipients ---------------------------------------------------------------------------------------------------------


def no_settings(region: Region) -> list[str]:
    (region.folder / "b2i.yaml").unlink()
    return [STRANGER]


def eleven(region: Region) -> list[str]:
    projects = {f"p{number}": f"{number:032x}" for number in range(11)}
    region.write_settings(projects=projects)
    return list(projects)


RECIPIENTS: dict[str, Callable[[Region], list[str]]] = {
    "unknown alias": lambda _: ["drr"],
    "malformed project id": lambda _: ["0123456789abcdef"],
    "self": lambda region: [region.account["project_id"]],
    "not on the list": lambda _: [STRANGER],
    "no b2i.yaml": no_settings,
    "eleven": eleven,
}


@pytest.mark.parametrize("who", RECIPIENTS.values(), ids=RECIPIENTS)
def test_recipients_are_refused_before_the_image_is_made(
    door: Door, region: Region, backup: str, who: Callable[[Region], list[str]]
) -> None:
    refused(door.create(backup, share_with=who(region)), region, "recipients")


def test_the_line_to_add_to_the_settings_is_told(door: Door, region: Region, backup: str) -> None:
    action = door.create(backup, share_with=[STRANGER]).refusals["recipients"]["action"]
    assert f"projects: {{ALIAS: {STRANGER}}}" in action
    assert str(region.folder / "b2i.yaml") in action


def test_an_encrypted_backup_becomes_an_image_but_is_never_shared(door: Door, region: Region) -> None:
    encrypted = region.account["backups"]["encrypted"]
    checks = refused(door.create(encrypted, share_with=["dr"]), region, "shareable")
    assert checks["shareable"]["code"] == "IMG.0098"
    assert door.create(encrypted).code == 0


def test_the_image_of_a_backup_that_was_shared_with_us_is_never_shared_on(door: Door, region: Region) -> None:
    shared = region.account["backups"]["shared_accepted"]
    checks = refused(door.create(shared, share_with=["dr"]), region, "shareable")
    assert checks["shareable"]["code"] == "IMG.0135"


def test_a_backup_that_was_shared_with_us_can_become_an_image_of_our_own(door: Door, region: Region) -> None:
    ended = door.create(region.account["backups"]["shared_accepted"])
    assert (ended.code, ended.verdict("own backup")) == (0, "warned")


# -- all at once --------------------------------------------------------------------------------------------------------


def test_all_reasons_are_told_at_once(door: Door, region: Region) -> None:
    region.change("vault", region.named("vault", "shop-vault"), status="error")
    region.change("quota", region.emulator.cloud.get("quota", region.account["project_id"]) or {}, images=1)
    region.change("server", region.named("server", "shop-payment-01"), metadata={"EcmResStatus": "freeze"})
    encrypted = region.emulator.cloud.get("backup", region.account["backups"]["encrypted"])
    assert encrypted
    region.change("backup", encrypted, status="restoring", contain_system_disk=False)
    spec = region.write_launch(
        flavor="m9.huge",
        availability_zone="eu-de-09",
        network={"vpc": "nowhere", "subnet": "nothing"},
        login={"key_pair": "lost"},
    )
    ended = door.create(
        encrypted["id"], name="a/b", description="<", tags={"b2i-x": "y"}, share_with=[STRANGER], launch=spec, wait_backup="1h"
    )
    refused(
        ended,
        region,
        *("ready", "system disk", "vault", "image quota", "power state", "image name", "description", "tags"),
        *("recipients", "shareable"),
        *("launch: flavor", "launch: availability zone", "launch: VPC", "launch: subnet", "launch: login"),
    )
    assert ended.error["retryable"] is False, "waiting alone does not turn all of them into a pass"


def test_people_see_each_reason_and_what_to_do_about_it(region: Region) -> None:
    ended = region.b2i("create", region.account["backups"]["error"], "--share-with", STRANGER, json=False)
    assert ended.code == 3
    for words in ("can only be deleted", "Choose another backup", "not on the list", "waiting helps: no"):
        assert words in ended.out + ended.err


def test_validate_and_dry_run_say_the_same_and_make_nothing(region: Region, backup: str) -> None:
    for order in ([backup], [backup, "--name", "a/b"], [region.account["backups"]["error"], "--share-with", STRANGER]):
        checked, dry = region.b2i("validate", *order), region.b2i("create", *order, "--dry-run")
        assert checked.told["report"] == dry.told["report"]
        assert checked.code == dry.code == (0 if len(order) == 1 else 3)
    assert region.writes == []
