"""The `openstack` command, told where the cloud is by OS_* variables alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Account = dict[str, Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def openstack(account: Account) -> Run:
    variables = {
        "OS_AUTH_URL": account["auth_url"],
        "OS_USERNAME": account["user"],
        "OS_PASSWORD": account["password"],
        "OS_USER_DOMAIN_NAME": account["domain_name"],
        "OS_PROJECT_NAME": account["project_name"],
        "OS_PROJECT_DOMAIN_NAME": account["domain_name"],
        "OS_IDENTITY_API_VERSION": "3",
    }

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("openstack")), *words]
        return subprocess.run(command, env=os.environ | variables | more, capture_output=True, text=True, check=False)

    return run


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_token_issue_gives_a_token_of_the_project(account: Account, openstack: Run) -> None:
    token = _json(openstack("token", "issue", "-f", "json"))
    assert token["id"]
    assert token["project_id"] == account["project_id"]


@pytest.fixture(scope="module")
def images(openstack: Run) -> list[dict[str, Any]]:
    return _json(openstack("image", "list", "--long", "-f", "json"))


def test_image_list_goes_through_every_page(account: Account, images: list[dict[str, Any]]) -> None:
    assert len({image["ID"] for image in images}) == len(images) > 25, "one page is 25"
    assert account["image_public"] in {image["ID"] for image in images if image["Visibility"] == "public"}


def test_image_show_tells_the_backup_that_an_image_was_made_from(
    account: Account, openstack: Run, images: list[dict[str, Any]]
) -> None:
    backup_id = account["backups"]["already_used"]
    image_id = next(image["ID"] for image in images if image["Name"].endswith(backup_id[:8]))
    shown = _json(openstack("image", "show", image_id, "-f", "json"))
    assert (shown["id"], shown["status"], shown["owner"]) == (image_id, "active", account["project_id"])
    assert shown["properties"]["__backup_id"] == backup_id


def test_image_member_list_names_the_projects_that_an_image_is_shared_with(openstack: Run, images: list[dict[str, Any]]) -> None:
    image_id = next(image["ID"] for image in images if image["Visibility"] == "shared")
    members = _json(openstack("image", "member", "list", image_id, "-f", "json"))
    assert members, "the demo company shares this image"
    assert {member["Image ID"] for member in members} == {image_id}
    assert {member["Status"] for member in members} <= {"pending", "accepted", "rejected"}


def test_server_list_shows_the_servers_of_the_ecs_api(openstack: Run) -> None:
    listed = _json(openstack("server", "list", "--name", "shop-db", "-f", "json"))
    assert {server["Name"]: server["Status"] for server in listed} == {"shop-db-01": "ACTIVE", "shop-db-02": "ACTIVE"}


def test_departs_from_the_contract_with_a_region_it_misses_the_identity_service_unless_told_where_it_is(
    account: Account, openstack: Run
) -> None:
    """The catalog gives identity the region `*`, which keystoneauth takes for the name of another region."""
    missed = openstack("server", "list", "--name", "shop-db", "-f", "json", OS_REGION_NAME=account["region"])
    assert missed.returncode != 0
    assert "public endpoint for identity service in eu-de region not found" in missed.stderr
    told = openstack(
        "server", "list", "--name", "shop-db", "-f", "json",
        OS_REGION_NAME=account["region"], OS_IDENTITY_ENDPOINT_OVERRIDE=account["auth_url"],
    )  # fmt: skip
    assert len(_json(told)) == 2
