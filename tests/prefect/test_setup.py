"""Setup: everything by name, a second time changes nothing, no secret is shown, what people switched stays switched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from backup_to_image.blocks import DEFAULT_BLOCK, OtcProject
from backup_to_image.cli.submit import submit
from backup_to_image.errors import UsageError
from backup_to_image.form import OrderForm
from deployments.setup import Item, main, set_up

pytestmark = pytest.mark.xdist_group("prefect")

DEPLOYMENT = "image-from-backup/on-demand"
RECONCILER = "reconcile/every-ten-minutes"


@pytest.fixture
def credentials(account: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, value in {
        "OS_AUTH_URL": account["auth_url"],
        "OS_USERNAME": account["user"],
        "OS_PASSWORD": account["password"],
        "OS_USER_DOMAIN_NAME": account["domain_name"],
        "OS_PROJECT_NAME": account["project_name"],
    }.items():
        monkeypatch.setenv(name, value)
    return account


def changes(items: list[Item]) -> dict[str, str]:
    return {f"{item.kind} {item.name}": item.change for item in items}


async def test_setup_makes_everything_and_a_second_time_changes_nothing(server: str, credentials: dict[str, Any]) -> None:
    first = await set_up()
    kinds = [item.kind for item in first]
    assert kinds == ["block type", "work pool", "block", "deployment", "deployment", "schedule", "automation", "automation"]
    assert set(changes(await set_up()).values()) == {"unchanged"}
    assert set(changes(await set_up(check=True)).values()) == {"unchanged"}
    assert credentials["password"] not in "".join(map(str, first))


async def test_the_deployment_has_the_default_block_by_reference_and_the_checkout_as_directory(
    server: str, credentials: dict[str, Any], tmp_path: Path
) -> None:
    await set_up(directory=tmp_path)
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(DEPLOYMENT)
        block = await client.read_block_document_by_name(DEFAULT_BLOCK, "otc-project")
    assert deployment.parameters == {"project": {"$ref": {"block_document_id": str(block.id)}}}
    assert deployment.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}]
    assert deployment.entrypoint == "flows.image_from_backup.image_from_backup"
    assert deployment.enforce_parameter_schema
    assert not deployment.schedules


async def test_new_credentials_update_the_block_and_leave_the_settings_file_that_a_person_wrote(
    server: str, credentials: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up()
    block = await OtcProject.aload(DEFAULT_BLOCK)
    block.settings_file = "b2i-of-this-worker.yaml"
    await block.asave(DEFAULT_BLOCK, overwrite=True)
    monkeypatch.setenv("OS_PASSWORD", "Another-Password-2")

    assert changes(await set_up(check=True))[f"block {DEFAULT_BLOCK}"] == "updated"
    assert changes(await set_up())[f"block {DEFAULT_BLOCK}"] == "updated"
    block = await OtcProject.aload(DEFAULT_BLOCK)
    assert (block.settings_file, block.password.get_secret_value()) == ("b2i-of-this-worker.yaml", "Another-Password-2")


async def test_without_credentials_the_block_is_left_alone(
    server: str, credentials: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await set_up()
    for name in ("AUTH_URL", "USERNAME", "PASSWORD", "USER_DOMAIN_NAME", "PROJECT_NAME"):
        monkeypatch.delenv(f"OS_{name}")
    monkeypatch.chdir(tmp_path)
    assert set(changes(await set_up()).values()) == {"unchanged"}


async def test_what_differs_is_named_and_brought_back_but_a_switch_stays(server: str, credentials: dict[str, Any]) -> None:
    await set_up()
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(DEPLOYMENT)
        await client.request(
            "PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json={"tags": ["mine"], "paused": True}
        )
        (silent,) = await client.read_automations_by_name("b2i: a run that fell silent has crashed")
        await client.pause_automation(silent.id)

        changed = {item.name: item for item in await set_up()}
        assert (changed[DEPLOYMENT].change, changed[DEPLOYMENT].note) == ("updated", "tags")
        assert changed[silent.name].change == "unchanged"
        assert "switched off" in changed[silent.name].note
        assert (await client.read_deployment_by_name(DEPLOYMENT)).paused
        (left,) = await client.read_automations_by_name(silent.name)
        assert not left.enabled
        await client.resume_automation(silent.id)
        await client.request("PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json={"paused": False})


async def test_the_automations_watch_our_deployments_only_and_say_so_in_words(server: str, credentials: dict[str, Any]) -> None:
    await set_up()
    async with get_client() as client:
        deployments = [await client.read_deployment_by_name(name) for name in (DEPLOYMENT, RECONCILER)]
        ours = [one for one in await client.read_automations() if one.name.startswith("b2i: ")]
    assert len(ours) == 2
    for automation in ours:
        trigger = automation.trigger.model_dump(mode="json")
        assert trigger["match_related"]["prefect.resource.id"] == sorted(f"prefect.deployment.{one.id}" for one in deployments)
        assert trigger["posture"] == "Proactive"
        assert f"{trigger['within']:.0f} s" in automation.description


async def test_a_schedule_is_off_until_a_person_switches_it_on_and_stays_as_he_left_it(
    server: str, credentials: dict[str, Any]
) -> None:
    async with get_client() as client:
        (told,) = [item for item in await set_up() if item.kind == "schedule"]
        deployment = await client.read_deployment_by_name(RECONCILER)
        (schedule,) = deployment.schedules
        assert (schedule.slug, schedule.active) == ("every-ten-minutes", False)
        assert f"prefect deployment schedule resume {RECONCILER} {schedule.id}" in told.note
        assert (deployment.global_concurrency_limit and deployment.global_concurrency_limit.limit) == 1

        await client.update_deployment_schedule(deployment.id, schedule.id, active=True, schedule=CronSchedule(cron="0 * * * *"))
        (told,) = [item for item in await set_up() if item.kind == "schedule"]
        assert told.change == "updated"
        (schedule,) = (await client.read_deployment_by_name(RECONCILER)).schedules
        assert (schedule.schedule, schedule.active) == (CronSchedule(cron="*/10 * * * *", timezone="UTC"), True)
        await client.update_deployment_schedule(deployment.id, schedule.id, active=False)


def test_check_exits_with_3_where_something_is_missing_and_writes_nothing(server: str, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: server}):
        looked = CliRunner().invoke(main, ["--check", "--directory", str(tmp_path)])
        again = CliRunner().invoke(main, ["--check", "--directory", str(tmp_path)])
    assert looked.exit_code == 3, looked.output
    assert looked.output == again.output


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:9/api"])
async def test_without_a_server_the_door_to_prefect_says_so_and_starts_none(address: str | None) -> None:
    told: list[str] = []
    with (
        temporary_settings({PREFECT_API_URL: address}),
        pytest.raises(UsageError, match=r"PREFECT_API_URL|does not answer") as error,
    ):
        await submit(OrderForm(backup_id="b"), block="b2i", tell=told.append)
    assert (error.value.exit_code, told) == (2, [])


async def test_a_block_that_is_not_there_is_named_before_anything_is_ordered(server: str, credentials: dict[str, Any]) -> None:
    await set_up()
    async with get_client() as client:
        before = await client.count_flow_runs()
        with pytest.raises(UsageError, match="'nowhere'"):
            await submit(OrderForm(backup_id="b"), block="nowhere", tell=print)
        assert await client.count_flow_runs() == before
