"""What survives, how fast it lists, what a seed may hold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backup_to_image.clock import FakeClock
from backup_to_image.contract import openapi
from backup_to_image.emulator import Emulator, SeedError
from backup_to_image.emulator.services import services

from .conftest import Client, Region


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = FakeClock()
    first = Region(Emulator(clock=clock, state=tmp_path / "region.db"), clock)
    shop = await first.login()
    backup = first.account["backups"]["available"][0]
    job = (await shop.create_image(backup, image_tags=[{"key": "team", "value": "shop"}])).json()["job_id"]
    clock.advance(30)
    assert (await shop.job(job))["status"] == "RUNNING"
    # The first one is not closed: as after a kill, nothing but what was written before each answer is left.
    clock.advance(200)
    second = Region(Emulator(clock=clock, state=tmp_path / "region.db"), clock)
    same = Client(second.http, second.endpoints, shop.project, shop.headers)
    done = await same.job(job)
    assert done["status"] == "SUCCESS"
    image = await same.image(done["entities"]["image_id"])
    assert (image["status"], image["tags"]) == ("active", ["team=shop"])
    assert image["active_at"] < second.emulator.cloud.stamp()  # when it was due, not when somebody looked
    assert second.account == first.account
    assert (await same.delete(f"ims/v2/images/{image['id']}", {"delete_backup": True})).status_code == 204
    clock.advance(100)
    assert (await same.get(f"ims/v2/images/{image['id']}")).status_code == 404
    third = Region(Emulator(clock=clock, state=tmp_path / "region.db"), clock)
    last = Client(third.http, third.endpoints, shop.project, shop.headers)
    assert (await last.get(f"cbr/v3/{{p}}/backups/{backup}")).status_code == 404
    for region in (first, second, third):
        region.emulator.close()
        await region.http.aclose()


async def test_speed_divides_durations_and_nothing_else(region: Region) -> None:
    clock = FakeClock()
    fast = Region(Emulator(clock=clock, speed=60), clock)
    shop = await fast.login()
    job = (await shop.create_image(fast.account["backups"]["available"][0])).json()["job_id"]
    clock.advance(1)
    assert (await shop.job(job))["status"] == "RUNNING"
    clock.advance(2)
    assert (await shop.job(job))["status"] == "SUCCESS"
    token = await fast.token(
        fast.account["user"], fast.account["password"], fast.account["domain_name"], {"project": {"id": shop.project}}
    )
    assert token.json()["token"]["expires_at"][:10] == "2026-03-11"
    with pytest.raises(ValueError, match="speed"):
        Emulator(speed=0)
    await fast.http.aclose()


async def test_ids_are_the_same_in_every_run(region: Region) -> None:
    again = Emulator(clock=FakeClock())
    assert again.account() == region.account
    assert {doc["id"] for doc in again.cloud.walk("image")} == {doc["id"] for doc in region.emulator.cloud.walk("image")}


def test_every_operation_of_the_contract_has_a_handler() -> None:
    handled = {name for service in services().values() for name in service.routes}
    documented = {operation["operationId"] for item in openapi()["paths"].values() for operation in item.values()}
    assert handled == documented


async def test_ten_thousand_old_images_cost_a_request_little() -> None:
    seed = yaml.safe_load((Path(__file__).parents[2] / "src/backup_to_image/emulator/seeds/demo.yaml").read_text())
    shop_project = seed["accounts"][0]["projects"][0]
    shop_project["older_images"] = 10_000
    shop_project["quota"]["images"] = 20_000
    clock = FakeClock()
    region = Region(Emulator(clock=clock, seed=seed), clock)
    region.transport.lenient = True  # checking 10,000 answers against the contract is what would take long
    shop = await region.login()
    started = time.process_time()
    for _ in range(50):
        answer = await shop.get("ims/v2/cloudimages", owner=shop.project, created_at="gte:2026-03-09T00:00:00Z", limit=500)
        assert answer.status_code == 200
    assert (time.process_time() - started) / 50 < 0.05
    seen: set[str] = set()
    marker: dict[str, Any] = {}
    while page := (await shop.get("ims/v2/cloudimages", owner=shop.project, limit=500, **marker)).json()["images"]:
        seen |= {image["id"] for image in page}
        marker = {"marker": page[-1]["id"]}
    assert len(seen) > 10_000
    await region.http.aclose()


# -- seeds ------------------------------------------------------------------------------------------------------------

SMALL = """\
account: {user: ann, project: eu-de_one, vault: v, flavor: f, recipient: {user: ann, project: eu-de_one, vault: v}}
flavors:
  f: {vcpus: 1, ram_gb: 1}
systems:
  ubuntu: {type: Linux, platform: Ubuntu, version: Ubuntu 22.04 server 64bit}
accounts:
  - name: OTC1
    users: [{name: ann, password: long-enough}]
    projects:
      - name: eu-de_one
        networks: [{vpc: v1, cidr: 127.1.0.0/16, subnets: {n1: 127.1.1.0/24}}]
        servers:
          - {name: web, flavor: f, disks: [10, {size: 20, encrypted: true}], network: n1}
        vaults: [{name: v, size: 100, servers: [web], nightly: 1}]
        backups: [{as: available, server: web}]
"""


REPLICA = "replicas: [{server: web, of: eu-de_two, flavor: f, disks: [10], vault: v}]"


def test_ones_own_company_is_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "company.yaml"
    path.write_text(SMALL)
    account = Emulator(clock=FakeClock(), seed=path).account()
    assert account["project_name"] == "eu-de_one"
    assert len(account["backups"]["available"]) == 1


async def test_a_company_without_quota_left_makes_no_image(tmp_path: Path) -> None:
    path = tmp_path / "company.yaml"
    path.write_text(SMALL.replace("      - name: eu-de_one\n", "      - name: eu-de_one\n        quota: {images: 0}\n"))
    clock = FakeClock()
    region = Region(Emulator(clock=clock, seed=path), clock)
    ann = await region.login()
    answer = await ann.create_image(region.account["backups"]["available"][0])
    assert answer.json()["error"]["code"] == "IMG.0015"
    await region.http.aclose()


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("flavor: f, disks", "flavor: g, disks"), 13, "no flavor named 'g'"),
        (("network: n1", "network: n2"), 13, "no subnet named 'n2'; did you mean 'n1'?"),
        (("size: 100, ", ""), 14, "'size' is a required property"),
        (("servers: [web], nightly", "servers: [db-*], nightly"), 14, "no server of eu-de_one is named 'db-*'"),
        (("as: available", "as: avialable"), 15, "'avialable' is not one of"),
        (("backups: [{as: available, server: web}]", REPLICA), 15, "vault v is not for replicas"),
        (("backups: [{as: available, server: web}]", REPLICA.replace("vault: v", "vault: w")), 15, "no vault named 'w'"),
        (("as: available, server: web", "as: available, server: wob"), 15, "did you mean 'web'?"),
        (("127.1.1.0/24", "10.1.1.0/24"), 11, "does not match"),
        (
            ("user: ann, project: eu-de_one, vault: v, fl", "user: bob, project: eu-de_one, vault: v, fl"),
            1,
            "no user named 'bob'",
        ),
        (("    projects:\n", "    colour: red\n    projects:\n"), 7, "colour"),
        (("- name: OTC1", "- name: [OTC1"), 8, "not YAML"),
    ],
)
def test_a_mistake_in_a_seed_is_told_with_file_and_line(tmp_path: Path, change: tuple[str, str], line: int, words: str) -> None:
    path = tmp_path / "company.yaml"
    path.write_text(SMALL.replace(*change))
    with pytest.raises(SeedError) as caught:
        Emulator(clock=FakeClock(), seed=path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert words in str(caught.value)


def test_an_unknown_seed_names_the_known_ones() -> None:
    with pytest.raises(SeedError, match="demo"):
        Emulator(seed="dome")


def test_the_demo_company_holds_what_the_account_promises(region: Region) -> None:
    account, cloud = region.account, region.emulator.cloud
    assert len(account["backups"]["available"]) >= 3
    assert set(account["backups"]) == {
        "available",
        "error",
        "already_used",
        "volume",
        "encrypted",
        "shared_accepted",
        "server_stopped",
    }
    assert len(list(cloud.walk("server"))) == 40
    assert {len(server["volumes"]) for server in cloud.walk("server")} >= {1, 2, 5}
    assert set(account) == {
        "auth_url",
        "region",
        "user",
        "password",
        "domain_name",
        "project_name",
        "project_id",
        "ak",
        "sk",
        "endpoints",
        "backups",
        "vault",
        "vpc",
        "subnet",
        "security_group",
        "image_public",
        "second_project",
        "flavor",
        "keypair",
        "recipient",
        "speed",
    }
    assert set(account["recipient"]) >= {"user", "password", "domain_name", "project_id", "ak", "sk", "vault"}
    networks = [doc["cidr"] for kind in ("vpc", "subnet") for doc in cloud.walk(kind)]
    assert all(cidr.startswith("127.") for cidr in networks)
    stopped = cloud.get("backup", account["backups"]["server_stopped"])
    assert stopped is not None
    server = cloud.get("server", stopped["resource_id"])
    assert server is not None
    assert server["status"] == "SHUTOFF"


async def test_nothing_runs_in_the_background_of_an_in_process_region(region: Region, shop: Client) -> None:
    import asyncio

    await shop.create_image(region.account["backups"]["available"][0])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert isinstance(region.emulator.transport(), httpx.ASGITransport)
