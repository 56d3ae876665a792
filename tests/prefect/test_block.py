"""The credentials block: made from what OpenStack people have, and it keeps its secrets to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import LoginRefused, UsageError
from backup_to_image.otc import read_clouds
from tests.support.valkey import Valkey

ENTRY = {
    "auth": {
        "auth_url": "https://iam.example.test/v3",
        "username": "robot",
        "password": "Very-Secret-1",
        "user_domain_name": "OTC00000000001000000000",
        "project_name": "eu-de_shop",
    },
    "region_name": "eu-de",
}
OS = {
    "OS_AUTH_URL": "https://iam.example.test/v3",
    "OS_USERNAME": "robot",
    "OS_PASSWORD": "Very-Secret-1",
    "OS_USER_DOMAIN_NAME": "OTC00000000001000000000",
    "OS_PROJECT_NAME": "eu-de_shop",
}


def clouds(tmp_path: Path, entry: dict[str, Any]) -> dict[str, str]:
    file = tmp_path / "clouds.yaml"
    file.write_text(yaml.safe_dump({"clouds": {"shop": entry}}))
    return {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "shop"}


def test_a_block_says_what_its_clouds_yaml_says(tmp_path: Path) -> None:
    environ = clouds(tmp_path, ENTRY)
    block, warnings = OtcProject.from_clouds(environ=environ)
    told, _ = read_clouds(None, environ=environ, cwd=tmp_path)
    assert block.credentials().model_copy(update={"project_domain_name": None}) == told
    assert warnings == []


def test_a_block_can_be_made_from_the_environment_alone(tmp_path: Path) -> None:
    block = OtcProject.from_environment({**clouds(tmp_path, ENTRY), **OS, "OS_USERNAME": "other-robot"})
    assert (block.username, block.password.get_secret_value()) == ("other-robot", "Very-Secret-1")
    with pytest.raises(UsageError, match="OS_AUTH_URL"):
        OtcProject.from_environment({})


def test_an_access_key_is_enough(tmp_path: Path) -> None:
    auth = {"auth_url": "https://iam.example.test/v3", "project_name": "eu-de_shop"}
    block, _ = OtcProject.from_clouds(environ=clouds(tmp_path, {"auth": auth, "ak": "AK", "sk": "SK-secret"}))
    assert block.credentials().signs


def test_what_a_block_cannot_keep_is_refused_by_name(tmp_path: Path) -> None:
    auth = {"auth_url": "https://iam.example.test/v3", "token": "gAAAA-token", "project_name": "eu-de_shop"}
    with pytest.raises(UsageError, match="token") as told:
        OtcProject.from_clouds(environ=clouds(tmp_path, {"auth": auth}))
    assert "gAAAA-token" not in str(told.value)


def test_a_block_shows_no_secret() -> None:
    block = OtcProject.from_environment(OS)
    for shown in (repr(block), str(block), block.model_dump_json(), str(block.model_dump())):
        assert "Very-Secret-1" not in shown


def test_every_field_of_the_block_is_explained() -> None:
    fields = OtcProject.model_json_schema()["properties"]
    assert all(field["title"] and field["description"] for field in fields.values())
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
    assert set(OtcProject.model_json_schema()["secret_fields"]) == {"password", "secret_key"}


async def test_a_connection_is_logged_in_and_knows_the_workers_settings(project: Any, account: dict[str, Any]) -> None:
    async with project.connect() as ctx:
        assert ctx.project_id == account["project_id"]
        assert ctx.settings.projects == {"dr": account["second_project"]}
        assert ctx.journal.place.endswith("journal")


async def test_a_workers_journal_may_lie_on_a_server_whose_weakness_is_told(project: Any, settings_file: Path) -> None:
    told: list[str] = []
    with Valkey(appendonly="no") as forgetful:
        settings_file.write_text(f"journal: {forgetful.address}\n")
        async with project.connect(tell=told.append) as ctx:
            assert ctx.journal.place == forgetful.address
        assert forgetful.do("CLIENT", "LIST").count(b" addr=") == 1, "the connection is still open"
    (warning,) = told
    assert "appendonly yes" in warning


async def test_a_wrong_password_is_refused_in_plain_words(project: Any, region: Any) -> None:
    wrong = project.model_copy(update={"password": SecretStr("Wrong-Password-1")}).inside(region)
    with pytest.raises(LoginRefused) as told:
        async with wrong.connect():
            pass
    assert "Wrong-Password-1" not in str(told.value)
