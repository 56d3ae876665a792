"""Setup: everything by name, a second time changes nothing, no secret is shown, what people switched stays switched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from backup_to_image.blocks import DEFAULT_BLOCK, OtcProject
from backup_to_image.cli.prefect_door import OF_A_SERVER, SWEEP
from backup_to_image.cli.submit import submit
from backup_to_image.errors import UsageError
from backup_to_image.forms import OrderForm
from deployments.setup import ROOT, Item, main, set_up

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
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    deployments = [kind for one in declared for kind in ("deployment", *("schedule" for _ in one["schedules"]))]
    assert kinds == ["block type", "work pool", "block", *deployments, "automation", "automation"]
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


@pytest.mark.slow
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
    first = await set_up()
    async with get_client() as client:
        names = [item.name for item in first if item.kind == "deployment"]
        deployments = [await client.read_deployment_by_name(name) for name in names]
        assert {DEPLOYMENT, OF_A_SERVER, RECONCILER, SWEEP} < set(names)
        ours = [one for one in await client.read_automations() if one.name.startswith("b2i: ")]
    assert len(ours) == 2
    for automation in ours:
        trigger = automation.trigger.model_dump(mode="json")
        assert trigger["match_related"]["prefect.resource.id"] == sorted(f"prefect.deployment.{one.id}" for one in deployments)
        assert trigger["posture"] == "Proactive"
        assert f"{trigger['within']:.0f} s" in automation.description


@pytest.mark.slow
async def test_a_schedule_is_off_until_a_person_switches_it_on_and_stays_as_he_left_it(
    server: str, credentials: dict[str, Any]
) -> None:
    async with get_client() as client:
        (told,) = [item for item in await set_up() if item.name == f"{RECONCILER} every-ten-minutes"]
        deployment = await client.read_deployment_by_name(RECONCILER)
        (schedule,) = deployment.schedules
        assert (schedule.slug, schedule.active) == ("every-ten-minutes", False)
        assert f"prefect deployment schedule resume {RECONCILER} {schedule.id}" in told.note
        assert (deployment.global_concurrency_limit and deployment.global_concurrency_limit.limit) == 1

        await client.update_deployment_schedule(deployment.id, schedule.id, active=True, schedule=CronSchedule(cron="0 * * * *"))
        (told,) = [item for item in await set_up() if item.name == f"{RECONCILER} every-ten-minutes"]
        assert told.change == "updated"
        (schedule,) = (await client.read_deployment_by_name(RECONCILER)).schedules
        assert (schedule.schedule, schedule.active) == (CronSchedule(cron="*/10 * * * *", timezone="UTC"), True)
        await client.update_deployment_schedule(deployment.id, schedule.id, active=False)


@pytest.mark.slow
async def test_the_sweep_begins_every_morning_with_apply_once_a_person_has_switched_it_on(
    server: str, credentials: dict[str, Any]
) -> None:
    (told,) = [item for item in await set_up() if item.name == f"{SWEEP} every-morning"]
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(SWEEP)
        (schedule,) = deployment.schedules
        assert (schedule.active, schedule.parameters) == (False, {"apply": True})
        assert schedule.schedule == CronSchedule(cron="45 6 * * *", timezone="Europe/Berlin")
        assert "apply" not in deployment.parameters, "whoever runs it by hand only looks"
        assert f"with apply=true, off; on: `prefect deployment schedule resume {SWEEP} {schedule.id}`" in told.note

        await client.update_deployment_schedule(deployment.id, schedule.id, parameters={"apply": False})
        assert changes(await set_up())[f"schedule {SWEEP} every-morning"] == "updated"
        (schedule,) = (await client.read_deployment_by_name(SWEEP)).schedules
        assert schedule.parameters == {"apply": True}


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


# -- policies -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a b2i.yaml, with one policy in it."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (tmp_path / "b2i.yaml").write_text("directories: {policies: policies}\n")
    monkeypatch.setenv("B2I_CONFIG", str(tmp_path / "b2i.yaml"))
    write(folder, "nightly-shop", timezone="Europe/Berlin", schedule="30 22 * * *")
    return folder


def write(folder: Path, name: str, file: str = "", **keys: Any) -> Path:
    path = folder / (file or f"{name}.yaml")
    path.write_text(yaml.safe_dump({"name": name, "servers": {"names": ["shop-*"]}} | keys))
    return path


@pytest.fixture(autouse=True)
async def no_nights(request: pytest.FixtureRequest) -> None:
    """Each test begins without deployments of policies: what others left would be told as left over."""
    if "server" in request.fixturenames:
        async with get_client() as client:
            for tag in ("b2i-night", "b2i-retention", "b2i-block", "b2i-readiness"):
                ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[tag]))
                for one in await client.read_deployments(deployment_filter=ours):
                    await client.delete_deployment(one.id)


async def test_each_policy_has_a_deployment_of_its_own_whose_schedule_is_off_and_a_second_time_changes_nothing(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    told = {f"{item.kind} {item.name}": item for item in await set_up()}
    assert told["deployment nightly/nightly-shop"].change == "created"
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("nightly/nightly-shop")
        block = await client.read_block_document_by_name(DEFAULT_BLOCK, "otc-project")
    assert deployment.parameters == {
        "policy": "nightly-shop.yaml",
        "project": {"$ref": {"block_document_id": str(block.id)}},
    }
    assert set(deployment.tags) == {"b2i", "b2i-night"}
    assert deployment.global_concurrency_limit
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options
    assert deployment.concurrency_options.collision_strategy.value == "CANCEL_NEW"
    (schedule,) = deployment.schedules
    assert (schedule.active, schedule.schedule) == (False, CronSchedule(cron="30 22 * * *", timezone="Europe/Berlin"))
    assert (
        f"prefect deployment schedule resume nightly/nightly-shop {schedule.id}"
        in told["schedule nightly/nightly-shop night"].note
    )
    assert "nightly-shop.yaml" in (deployment.description or "")
    assert set(changes(await set_up()).values()) == {"unchanged"}
    async with get_client() as client:
        silent = [one for one in await client.read_automations() if one.name.startswith("b2i: a run")]
    watched = [one.trigger.model_dump(mode="json")["match_related"]["prefect.resource.id"] for one in silent]
    assert all(f"prefect.deployment.{deployment.id}" in one for one in watched)


@pytest.mark.slow
async def test_each_policy_has_a_deployment_of_its_retention_too_whose_schedule_is_off_and_in_its_time_zone(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    await set_up()
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("retention/nightly-shop")
        (schedule,) = deployment.schedules
        assert set(deployment.parameters) == {"policy", "project"}
        assert deployment.parameters["policy"] == "nightly-shop.yaml"
        assert (schedule.active, schedule.parameters) == (False, {"apply": True})
        assert schedule.schedule == CronSchedule(cron="15 7 * * *", timezone="Europe/Berlin")
        assert "nightly-shop.yaml" in (deployment.description or "")
        (policies / "nightly-shop.yaml").unlink()
        (told,) = [item for item in await set_up() if item.name == "retention/nightly-shop"]
        assert told.change == "gone"
        assert "prefect deployment delete retention/nightly-shop" in told.note


@pytest.mark.slow
async def test_a_policy_whose_file_is_gone_keeps_its_deployment_and_is_told(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    await set_up()
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("nightly/nightly-shop")
        (schedule,) = deployment.schedules
        await client.update_deployment_schedule(deployment.id, schedule.id, active=True)
        (policies / "nightly-shop.yaml").unlink()
        (told,) = [item for item in await set_up() if item.name == "nightly/nightly-shop"]
        assert told.change == "gone"
        assert f"prefect deployment schedule pause nightly/nightly-shop {schedule.id}" in told.note
        assert "prefect deployment delete nightly/nightly-shop" in told.note
        left = await client.read_deployment_by_name("nightly/nightly-shop")
        assert left.schedules[0].active, "setup switches nothing off"
        await client.delete_deployment(deployment.id)


@pytest.mark.slow
async def test_a_policy_that_has_no_schedule_any_more_is_told_with_the_command_that_deletes_the_old_one(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    await set_up()
    write(policies, "nightly-shop")
    told = {item.name: item for item in await set_up()}
    async with get_client() as client:
        (schedule,) = (await client.read_deployment_by_name("nightly/nightly-shop")).schedules
    assert told["nightly/nightly-shop night"].change == "gone"
    assert f"prefect deployment schedule delete nightly/nightly-shop {schedule.id}" in told["nightly/nightly-shop night"].note


async def test_a_policy_that_cannot_be_deployed_is_refused_with_the_reason_and_keeps_no_other_back(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    write(policies, "in-the-gap", schedule="30 2 * * *", timezone="Europe/Berlin")
    write(policies, "nightly-shop", file="twice.yaml")
    (policies / "wrong.yaml").write_text("name: wrong\nservers: {names: [x]}\ncolour: red\n")
    told = {item.name: item for item in await set_up() if item.change == "refused"}
    assert set(told) == {"in-the-gap.yaml", "twice.yaml", "wrong.yaml"}
    assert "02:30" in told["in-the-gap.yaml"].note
    assert "nightly-shop.yaml" in told["twice.yaml"].note
    assert "wrong.yaml:3" in told["wrong.yaml"].note
    async with get_client() as client:
        assert await client.read_deployment_by_name("nightly/nightly-shop")
        with pytest.raises(ObjectNotFound):
            await client.read_deployment_by_name("nightly/in-the-gap")


def test_a_refused_policy_is_exit_code_2_after_the_others_were_deployed(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    write(policies, "in-the-gap", schedule="30 2 * * *")
    with temporary_settings({PREFECT_API_URL: server}):
        done = CliRunner().invoke(main, ["--directory", str(policies.parent)])
    assert done.exit_code == 2, done.output
    assert "Not deployed: in-the-gap.yaml" in done.output
    assert "nightly/nightly-shop" in done.output


@pytest.mark.slow
async def test_a_policy_of_another_cloud_has_that_clouds_block(
    server: str, credentials: dict[str, Any], policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(policies, "nightly-dr", cloud="otc_DR")
    (without,) = [item for item in await set_up() if item.name == "otc-dr"]
    assert (without.kind, without.change) == ("block", "missing")
    assert "'otc_DR'" in without.note
    auth = {name: credentials[name] for name in ("auth_url", "project_name")}
    auth |= {"username": credentials["user"], "password": credentials["password"], "user_domain_name": credentials["domain_name"]}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"otc_DR": {"auth": auth}}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    assert changes(await set_up())["block otc-dr"] == "created"
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("nightly/nightly-dr")
        block = await client.read_block_document_by_name("otc-dr", "otc-project")
        others = [await client.read_deployment_by_name(f"{name}-otc-dr") for name in (RECONCILER, SWEEP)]
        defaults = [await client.read_deployment_by_name(name) for name in (RECONCILER, SWEEP)]
    reference = {"$ref": {"block_document_id": str(block.id)}}
    assert deployment.parameters["project"] == reference
    assert [one.parameters for one in others] == [{"project": reference}] * 2
    assert [one.schedules[0].active for one in others] == [False, False]
    assert reference not in [one.parameters["project"] for one in defaults]
    assert all("**otc-dr**" in (one.description or "") for one in others)
    (policies / "nightly-dr.yaml").unlink()
    gone = {item.name: item.note for item in await set_up() if item.change == "gone"}
    scheduled = {f"{name}-otc-dr" for name in (RECONCILER, SWEEP, "accept-offers/every-quarter-of-an-hour")}
    assert set(gone) == {"nightly/nightly-dr", "retention/nightly-dr"} | scheduled
    assert "no policy names its project any more" in gone[f"{SWEEP}-otc-dr"]
    assert f"prefect deployment delete {SWEEP}-otc-dr" in gone[f"{SWEEP}-otc-dr"]


async def test_where_no_notification_block_is_nobody_is_told_and_setup_says_how_to_make_one(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    (told,) = [item for item in await set_up() if item.kind == "notice"]
    assert "b2i-night" in told.name
    assert "make a block of that name" in told.note


@pytest.mark.slow
async def test_a_notification_block_has_automations_for_failed_nights_and_deletions_and_for_nights_that_nobody_begins(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    block = SlackWebhook(url=SecretStr("http://127.0.0.1:9/"))
    await block.asave("b2i-night", overwrite=True)
    names = ("b2i: a night failed", "b2i: a night was not begun", "b2i: a sweep or a retention failed")
    names = (*names, "b2i: a recovery point is too old", "b2i: a runbook asks", "b2i: a runbook has ended")
    names = (*names, "b2i: an approval waits too long")
    created = {f"{item.kind} {item.name}" for item in await set_up() if item.change == "created"}
    assert created >= {f"automation {name}" for name in names}
    assert set(changes(await set_up()).values()) == {"unchanged"}
    async with get_client() as client:
        document = await client.read_block_document_by_name("b2i-night", "slack-webhook")
        for name in names:
            (automation,) = await client.read_automations_by_name(name)
            (action,) = automation.model_dump(mode="json")["actions"]
            assert action["block_document_id"] == str(document.id)
            await client.delete_automation(automation.id)
        await client.delete_block_document(document.id)


@pytest.mark.slow
async def test_an_address_in_the_environment_becomes_the_notification_block_and_is_shown_nowhere(
    server: str, credentials: dict[str, Any], policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2I_NOTIFY_WEBHOOK", "http://127.0.0.1:9/a-secret-path")
    (looked,) = [item for item in await set_up(check=True) if item.name == "b2i-night"]
    assert (looked.kind, looked.change) == ("block", "created")
    made = await set_up()
    again = await set_up()
    monkeypatch.setenv("B2I_NOTIFY_WEBHOOK", "http://127.0.0.1:9/another-secret-path")
    moved = await set_up()
    async with get_client() as client:
        document = await client.read_block_document_by_name("b2i-night", "custom-webhook", include_secrets=False)
        try:
            assert (changes(made)["block b2i-night"], changes(moved)["block b2i-night"]) == ("created", "updated")
            assert changes(made)["automation b2i: a night failed"] == "created"
            assert set(changes(again).values()) == {"unchanged"}
            assert "secret-path" not in "".join(map(str, (*made, *again, *moved, document.data)))
        finally:
            for item in made:
                if item.kind == "automation" and item.change == "created":
                    (automation,) = await client.read_automations_by_name(item.name)
                    await client.delete_automation(automation.id)
            await client.delete_block_document(document.id)


@pytest.mark.slow
async def test_a_notification_block_that_somebody_made_stays_whatever_the_environment_says(
    server: str, credentials: dict[str, Any], policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2I_NOTIFY_WEBHOOK", "http://127.0.0.1:9/")
    theirs = CustomWebhookNotificationBlock(name="the night shift", url="http://127.0.0.1:9/theirs")
    for block in (SlackWebhook(url=SecretStr("http://127.0.0.1:9/")), theirs):
        await block.asave("b2i-night", overwrite=True)
        (told,) = [item for item in await set_up(check=True) if item.name == "b2i-night"]
        assert (told.change, "made by somebody" in told.note) == ("unchanged", True)
        async with get_client() as client:
            slug = block.get_block_type_slug()
            await client.delete_block_document((await client.read_block_document_by_name("b2i-night", slug)).id)


@pytest.mark.slow
async def test_a_policy_whose_nights_are_shared_has_a_deployment_for_its_shards_too(
    server: str, credentials: dict[str, Any], policies: Path
) -> None:
    write(policies, "shared", limits={"shards": 3}, backup={"make_one": "always"}, retention={"apply": True})
    told = {item.name: item for item in await set_up()}
    assert told["nightly-shard/shared"].change == "created"
    assert "nightly-shard/nightly-shop" not in told
    async with get_client() as client:
        shard = await client.read_deployment_by_name("nightly-shard/shared")
    assert shard.global_concurrency_limit is None


# -- runbooks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def runbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a b2i.yaml, with one runbook in it."""
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (tmp_path / "b2i.yaml").write_text("directories: {runbooks: runbooks}\n")
    monkeypatch.setenv("B2I_CONFIG", str(tmp_path / "b2i.yaml"))
    write_book(folder, "shop.yaml", "shop")
    return folder


def write_book(folder: Path, file: str, name: str, **keys: Any) -> None:
    network = {"network": {"vpc": "drill-vpc", "subnet": "drill-net"}}
    told = {"name": name, "drill": network, "groups": [{"name": "all", "servers": [{"source": "shop-web-01"}]}]} | keys
    (folder / file).write_text(yaml.safe_dump(told))


@pytest.mark.slow
async def test_each_runbook_is_looked_at_every_morning_once_its_schedule_is_switched_on(
    server: str, credentials: dict[str, Any], runbooks: Path
) -> None:
    await set_up()
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("runbook-check/shop")
        (schedule,) = deployment.schedules
        assert deployment.parameters["order"] == {"runbook": "shop.yaml", "run_as": "all"}
        assert set(deployment.parameters) == {"order", "project"}
        assert (schedule.active, schedule.schedule) == (False, CronSchedule(cron="30 6 * * *", timezone="Europe/Berlin"))
        assert "shop.yaml" in (deployment.description or "")
        assert set(changes(await set_up()).values()) == {"unchanged"}
        (runbooks / "shop.yaml").unlink()
        (told,) = [item for item in await set_up() if item.name == "runbook-check/shop"]
        assert (told.change, told.note.partition(";")[0]) == ("gone", "its runbook is gone, or is not run so any more")


async def test_a_runbook_that_cannot_be_deployed_is_told_and_keeps_no_other_from_it(
    server: str, credentials: dict[str, Any], runbooks: Path
) -> None:
    write_book(runbooks, "mistaken.yaml", "mistaken", colour="red")
    write_book(runbooks, "twice.yaml", "shop")
    write_book(runbooks, "general.yaml", "of-a-runbook")
    told = {item.name: item.note for item in await set_up() if item.change == "refused"}
    assert set(told) == {"mistaken.yaml", "twice.yaml", "general.yaml"}
    assert "colour: unknown key" in told["mistaken.yaml"]
    assert "'shop' is the name of shop.yaml already" in told["twice.yaml"]
    async with get_client() as client:
        assert await client.read_deployment_by_name("runbook-check/shop")
