"""Backups, vaults, restore points, tasks, sharing of backups: BEHAVIOUR.md 4, 9 and 10."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from .conftest import Client, Region


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


async def back_up(client: Client, vault: str, *servers: str, **parameters: Any) -> Any:
    body = {"checkpoint": {"vault_id": vault, "parameters": {"resources": list(servers), **parameters}}}
    return await client.post("cbr/v3/{p}/checkpoints", body)


async def test_a_list_leaves_out_the_disks_that_a_single_look_shows(shop: Client, backups: dict[str, Any]) -> None:
    listed = (await shop.get("cbr/v3/{p}/backups", name="manualbk_db01")).json()["backups"]
    assert [(entry["id"], entry["children"]) for entry in listed] == [(backups["available"][2], [])]
    whole = await shop.backup(backups["available"][2])
    assert [child["resource_size"] for child in whole["children"]] == [40, 200, 200, 100, 500]
    assert [child["extend_info"]["bootable"] for child in whole["children"]] == [True, False, False, False, False]
    assert whole["resource_size"] == 1040


async def test_a_disk_of_a_server_backup_can_be_looked_at_by_its_own_id(shop: Client, backups: dict[str, Any]) -> None:
    child = (await shop.backup(backups["available"][0]))["children"][1]
    assert (await shop.backup(child["id"]))["parent_id"] == backups["available"][0]
    children = (await shop.get("cbr/v3/{p}/backups", parent_id=backups["available"][0])).json()["backups"]
    assert [entry["id"] for entry in children][1] == child["id"]


async def test_lists_are_filtered_paged_and_sorted(shop: Client) -> None:
    everything = (await shop.get("cbr/v3/{p}/backups")).json()
    times = [_moment(entry["created_at"]) for entry in everything["backups"]]
    assert times == sorted(times, reverse=True)
    assert everything["count"] == len(everything["backups"]) > 100
    first = (await shop.get("cbr/v3/{p}/backups", limit=7)).json()["backups"]
    second = (await shop.get("cbr/v3/{p}/backups", limit=7, marker=first[-1]["id"])).json()["backups"]
    third = (await shop.get("cbr/v3/{p}/backups", limit=7, offset=14)).json()["backups"]
    assert [entry["id"] for entry in [*first, *second, *third]] == [entry["id"] for entry in everything["backups"][:21]]
    some = (await shop.ask("GET", "cbr/v3/{p}/backups?status=error&status=protecting")).json()["backups"]
    assert {entry["status"] for entry in some} == {"error", "protecting"}
    named = (await shop.get("cbr/v3/{p}/backups", sort="name:asc", limit=1000)).json()["backups"]
    assert [entry["name"] for entry in named] == sorted(entry["name"] for entry in named)
    since = "2026-03-09T12:00:00Z"
    young = (await shop.get("cbr/v3/{p}/backups", start_time=since)).json()["backups"]
    assert 0 < len(young) < len(everything["backups"])
    assert all(_moment(entry["created_at"]) >= datetime.fromisoformat(since).replace(tzinfo=None) for entry in young)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)


async def test_times_come_in_three_spellings(shop: Client) -> None:
    texts = [entry["created_at"] for entry in (await shop.get("cbr/v3/{p}/backups")).json()["backups"]]
    endings = {(text[-1] == "Z" and "Z") or (text[-6:] if "+" in text else "bare") for text in texts}
    assert endings == {"Z", "+00:00", "bare"}


async def test_backups_of_others_are_unknown_until_they_are_shared(
    region: Region, shop: Client, partner: Client, backups: dict[str, Any]
) -> None:
    backup = backups["available"][0]
    assert code(await partner.get(f"cbr/v3/{{p}}/backups/{backup}")) == (404, "BackupService.6200")
    made = await shop.post(f"cbr/v3/{{p}}/backups/{backup}/members", {"members": [partner.project]})
    assert [member["status"] for member in made.json()["members"]] == ["pending"]
    assert (await partner.get("cbr/v3/{p}/backups", name="manualbk_web01")).json()["backups"] == []
    offered = (await partner.get("cbr/v3/{p}/backups", own_type="shared", member_status="pending")).json()["backups"]
    assert [(entry["id"], entry["project_id"]) for entry in offered] == [(backup, shop.project)]
    vault = region.account["recipient"]["vault"]
    before = (await partner.get(f"cbr/v3/{{p}}/vaults/{vault}")).json()["vault"]["billing"]["used"]
    accepted = await partner.put(f"cbr/v3/{{p}}/backups/{backup}/members/{{p}}", {"status": "accepted", "vault_id": vault})
    assert accepted.json()["member"]["vault_id"] == vault
    assert (await partner.get("cbr/v3/{p}/backups", own_type="shared", member_status="accepted")).json()["backups"][0][
        "vault_id"
    ] == vault
    assert (await partner.get(f"cbr/v3/{{p}}/vaults/{vault}")).json()["vault"]["billing"]["used"] > before
    assert (await shop.get(f"cbr/v3/{{p}}/backups/{backup}/members", status="accepted")).json()["count"] == 1
    assert (await shop.delete(f"cbr/v3/{{p}}/backups/{backup}/members/{partner.project}")).status_code == 204
    assert code(await partner.get(f"cbr/v3/{{p}}/backups/{backup}")) == (404, "BackupService.6200")


async def test_sharing_a_backup_has_its_rules(region: Region, shop: Client, partner: Client, backups: dict[str, Any]) -> None:
    async def share(backup: str, project: str) -> tuple[int, str]:
        return code(await shop.post(f"cbr/v3/{{p}}/backups/{backup}/members", {"members": [project]}))

    good = backups["available"][0]
    assert await share(backups["volume"], partner.project) == (400, "BackupService.6700")
    assert await share(backups["error"], partner.project) == (400, "BackupService.6702")
    assert await share(backups["encrypted"], partner.project) == (400, "BackupService.6709")
    assert await share(good, shop.project) == (400, "BackupService.6704")
    assert await share(good, "e" * 32) == (400, "BackupService.6704")
    assert await share(backups["shared_accepted"], region.account["second_project"]) == (400, "BackupService.6714")
    assert await share("00000000-0000-4000-8000-000000000000", partner.project) == (404, "BackupService.6200")
    assert (await shop.post(f"cbr/v3/{{p}}/backups/{good}/members", {"members": [partner.project]})).status_code == 200
    assert await share(good, partner.project) == (400, "BackupService.6703")

    async def accept(vault: str) -> tuple[int, str]:
        return code(
            await partner.put(
                f"cbr/v3/{{p}}/backups/{good}/members/{{p}}", {"status": "accepted", "vault_id": region.find("vault", vault)}
            )
        )

    assert await accept("partner-disk-vault") == (400, "BackupService.6713")
    assert await accept("partner-far-vault") == (400, "BackupService.6713")
    assert await accept("partner-frozen-vault") == (400, "BackupService.6712")
    assert await accept("partner-small-vault") == (400, "BackupService.6114")
    assert await accept("shop-vault") == (404, "BackupService.6105")
    assert (await partner.put(f"cbr/v3/{{p}}/backups/{good}/members/{{p}}", {"status": "rejected"})).json()["member"][
        "status"
    ] == "rejected"


async def test_a_backup_made_now_is_found_by_its_restore_point(region: Region, shop: Client) -> None:
    server = region.find("server", "shop-web-01")
    made = await back_up(shop, region.account["vault"], server, name="manualbk_now", description="before the drill")
    point = made.json()["checkpoint"]
    assert (made.status_code, point["status"], point["vault"]["skipped_resources"]) == (200, "protecting", [])
    found = (await shop.get("cbr/v3/{p}/backups", checkpoint_id=point["id"])).json()["backups"]
    assert [(entry["name"], entry["status"]) for entry in found] == [("manualbk_now", "protecting")]
    running = (await shop.get("cbr/v3/{p}/operation-logs", status="running", resource_id=server)).json()["operation_logs"]
    region.clock.advance(40)
    halfway = (await shop.get(f"cbr/v3/{{p}}/operation-logs/{running[0]['id']}")).json()["operation_log"]
    assert 20 < halfway["extra_info"]["common"]["progress"] < 80
    region.clock.advance(80)
    assert (await shop.get(f"cbr/v3/{{p}}/checkpoints/{point['id']}")).json()["checkpoint"]["status"] == "available"
    assert (await shop.backup(found[0]["id"]))["status"] == "available"
    done = (await shop.get(f"cbr/v3/{{p}}/operation-logs/{running[0]['id']}")).json()["operation_log"]
    assert (done["status"], done["extra_info"]["common"]["progress"]) == ("success", 100)


async def test_a_backup_can_fail_and_says_why(region: Region, shop: Client) -> None:
    region.emulator.faults.arm("backup-fails")
    point = (await back_up(shop, region.account["vault"], region.find("server", "shop-web-01"))).json()["checkpoint"]
    region.clock.advance(200)
    assert (await shop.get(f"cbr/v3/{{p}}/checkpoints/{point['id']}")).json()["checkpoint"]["status"] == "error"
    log = (await shop.get("cbr/v3/{p}/operation-logs", status="failed")).json()["operation_logs"][0]
    assert log["error_info"]["code"] == "BackupService.7101"


async def test_a_running_backup_skips_the_resource_or_refuses_the_call(region: Region, shop: Client) -> None:
    server = region.find("server", "shop-web-01")
    await back_up(shop, region.account["vault"], server)
    second = (await back_up(shop, region.account["vault"], server)).json()["checkpoint"]
    assert [entry["code"] for entry in second["vault"]["skipped_resources"]] == ["BackupService.6203"]
    assert (await shop.get("cbr/v3/{p}/backups", checkpoint_id=second["id"])).json()["backups"] == []
    region.emulator.switches["busy_backup"] = "refused"
    assert code(await back_up(shop, region.account["vault"], server)) == (400, "BackupService.6125")


async def test_a_restore_point_is_refused_where_it_cannot_be(region: Region, shop: Client) -> None:
    server = region.find("server", "shop-web-01")
    nowhere = "00000000-0000-4000-8000-000000000000"
    assert code(await back_up(shop, nowhere, server)) == (404, "BackupService.6105")
    assert code(await back_up(shop, region.account["vault"], region.find("server", "office-vpn-01"))) == (
        400,
        "BackupService.6135",
    )
    assert code(await back_up(shop, region.find("vault", "far-vault"))) == (400, "BackupService.6124")
    assert code(await back_up(shop, region.find("vault", "disk-vault"))) == (400, "BackupService.0001")
    assert code(await back_up(shop, region.find("vault", "frozen-vault"))) == (400, "BackupService.6113")
    assert code(await back_up(shop, region.find("vault", "full-vault"))) == (400, "BackupService.6114")


async def test_servers_that_cannot_be_backed_up_are_skipped_with_the_reason(region: Region, shop: Client) -> None:
    cloud = region.emulator.cloud
    broken, gone = region.find("server", "shop-web-03"), region.find("server", "shop-web-04")
    server = cloud.get("server", broken)
    assert server is not None
    server["status"] = "ERROR"
    cloud.remove("server", gone)
    point = (await back_up(shop, region.account["vault"], broken, gone, region.find("server", "shop-web-01"))).json()[
        "checkpoint"
    ]
    codes = {entry["id"]: entry["code"] for entry in point["vault"]["skipped_resources"]}
    assert codes == {broken: "BackupService.7101", gone: "BackupService.6215"}
    found = (await shop.get("cbr/v3/{p}/backups", checkpoint_id=point["id"])).json()["backups"]
    assert [entry["resource_name"] for entry in found] == ["shop-web-01"]


async def test_leaving_the_system_disk_out_makes_a_backup_without_one(region: Region, shop: Client) -> None:
    server = region.emulator.cloud.get("server", region.find("server", "shop-web-01"))
    assert server is not None
    details = [{"id": server["id"], "type": "OS::Nova::Server", "extra_info": {"exclude_volumes": [server["volumes"][0]]}}]
    made = await shop.post(
        "cbr/v3/{p}/checkpoints",
        {"checkpoint": {"vault_id": region.account["vault"], "parameters": {"resource_details": details}}},
    )
    region.clock.advance(200)
    found = (await shop.get("cbr/v3/{p}/backups", checkpoint_id=made.json()["checkpoint"]["id"])).json()["backups"][0]
    assert found["extend_info"]["contain_system_disk"] is False
    assert (await shop.create_image(found["id"])).json()["error"]["code"] == "IMG.0033"


async def test_a_deleted_backup_passes_through_deleting_and_is_gone(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    backup = backups["available"][0]
    assert (await shop.delete(f"cbr/v3/{{p}}/backups/{backup}")).status_code == 204
    assert (await shop.backup(backup))["status"] == "deleting"
    assert code(await shop.delete(f"cbr/v3/{{p}}/backups/{backup}")) == (400, "BackupService.6201")
    region.clock.advance(15)
    assert code(await shop.get(f"cbr/v3/{{p}}/backups/{backup}")) == (404, "BackupService.6200")
    log = (await shop.get("cbr/v3/{p}/operation-logs", operation_type="delete")).json()["operation_logs"]
    assert [entry["status"] for entry in log] == ["success"]


async def test_deleting_a_backup_is_refused_while_something_needs_it(
    region: Region, shop: Client, backups: dict[str, Any]
) -> None:
    async def delete(backup: str) -> tuple[int, str]:
        return code(await shop.delete(f"cbr/v3/{{p}}/backups/{backup}"))

    assert await delete(backups["already_used"]) == (400, "BackupService.6204")
    locked = next(doc for doc in region.emulator.cloud.walk("backup", vault_id=region.find("vault", "worm-vault")))
    assert await delete(locked["id"]) == (400, "BackupService.6220")
    await back_up(shop, region.account["vault"], region.find("server", "shop-web-01"))
    assert await delete(backups["available"][0]) == (400, "BackupService.6216")
    assert (await shop.create_image(backups["shared_accepted"])).status_code == 200
    assert await delete(backups["shared_accepted"]) == (400, "BackupService.6710")
    region.clock.advance(24 * 3600 * 40)
    again = await region.login()
    assert (await again.delete(f"cbr/v3/{{p}}/backups/{locked['id']}")).status_code == 204


async def test_vaults_count_in_two_units(region: Region, shop: Client) -> None:
    vault = (await shop.get(f"cbr/v3/{{p}}/vaults/{region.account['vault']}")).json()["vault"]
    assert vault["billing"]["size"] == 40000
    assert vault["billing"]["used"] > vault["billing"]["size"]  # MB against GB
    assert vault["billing"]["used"] < vault["billing"]["size"] * 1024
    assert vault["billing"]["allocated"] == sum(resource["size"] for resource in vault["resources"])
    found = (await shop.get("cbr/v3/{p}/vaults", object_type="server", protect_type="backup")).json()["vaults"]
    assert {one["name"] for one in found} == {"shop-vault", "office-vault", "worm-vault", "full-vault", "frozen-vault"}
    assert code(await shop.get(f"cbr/v3/{{p}}/vaults/{region.account['recipient']['vault']}")) == (404, "BackupService.6105")


@pytest.mark.parametrize("looks", ["absent", "null", "blank"])
async def test_empty_fields_look_as_the_switch_says(region: Region, shop: Client, backups: dict[str, Any], looks: str) -> None:
    region.emulator.switches["empty_fields"] = looks
    backup = await shop.backup(backups["available"][0])
    assert {"absent": "nothing", "null": None, "blank": ""}[looks] == backup.get("description", "nothing")


@pytest.mark.parametrize(("switch", "marked"), [("agree", True), ("differ", False)])
async def test_the_two_marks_of_a_system_disk_may_differ(
    region: Region, shop: Client, backups: dict[str, Any], switch: str, marked: bool
) -> None:
    region.emulator.switches["bootable_marks"] = switch
    child = (await shop.backup(backups["available"][0]))["children"][0]
    assert (child["extend_info"]["bootable"], child["extend_info"]["system_disk"]) == (True, marked)


async def test_a_backup_in_the_making_when_the_company_was_sown_gets_ready(region: Region, shop: Client) -> None:
    backup = region.find("backup", "manualbk_app02_instant")
    assert (await shop.backup(backup))["status"] == "protecting"
    region.clock.advance(3601)
    assert (await shop.backup(backup))["status"] == "available"
