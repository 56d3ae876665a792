"""What the runs of the commands' own flows leave behind: a page, a state, an event, and nothing done twice by Retry.

What the commands themselves promise is tested through both doors in tests/pipeline.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.events import Event

from backup_to_image.emulator import Emulator
from backup_to_image.emulator.ims_create import activate
from backup_to_image.emulator.making import image_document
from backup_to_image.forms import ChangeForm, FilledInForm, LaunchForm, RunbookCheckForm, ShareForm, TeardownForm, UnshareForm
from backup_to_image.run_results import ORDER_RESULT_KEY
from backup_to_image.told.told import Told
from flows.change_os import change_os
from flows.launch import launch
from flows.launch_filled_in import launch_filled_in
from flows.runbook_check import runbook_check
from flows.share import share
from flows.teardown import teardown
from flows.unshare import unshare
from tasks.cancelled import report_cancelled_order
from tests.prefect.test_deletions import again, cancelled
from tests.prefect.test_flow import asked, pages

pytestmark = pytest.mark.usefixtures("server")

Account = dict[str, Any]
Heard = Callable[[], Awaitable[list[Event]]]


@pytest.fixture
def image(region: Emulator, account: Account) -> str:
    """An image that is there, and shared with nobody."""
    cloud = region.cloud
    kept = cloud.get("backup", account["backups"]["available"][0]) or {}
    made = cloud.new("image", image_document(kept, project=kept["project"], name="shop-web", created_at=cloud.stamp()))
    activate(cloud, made, cloud.now())
    return str(made["id"])


async def told_by(state: State[Any]) -> Told:
    return Told.model_validate_json((await pages(state))[ORDER_RESULT_KEY])


async def tags_of(state: State[Any]) -> list[str]:
    assert state.state_details.flow_run_id
    async with get_client() as client:
        return (await client.read_flow_run(state.state_details.flow_run_id)).tags


def members(region: Emulator, image: str) -> list[str]:
    return [one["project"] for one in region.cloud.walk("image-member", image_id=image)]


async def test_a_share_has_a_page_with_each_member_and_an_event(
    project: Any, account: Account, region: Emulator, image: str, events: Heard
) -> None:
    state = await share(ShareForm(image=image, projects=["dr"], share_for="30d"), project, return_state=True)
    assert (state.name, state.message) == ("Completed", "shop-web is shared with 1 project.")
    page = (await pages(state))["share"]
    for word in (
        "# shop-web is shared with 1 project",
        account["second_project"],
        "offered, not answered",
        f"b2i accept {image}",
    ):
        assert word in page
    assert await tags_of(state) == ["made"]
    assert [one.event for one in await events()] == ["b2i.image.shared"]
    assert members(region, image) == [account["second_project"]]


async def test_a_refused_share_names_every_reason_in_state_log_page_and_event_and_shares_nothing(
    project: Any, region: Emulator, image: str, caplog: pytest.LogCaptureFixture, events: Heard
) -> None:
    with caplog.at_level(logging.WARNING, "prefect"):
        state = await share(ShareForm(image="no such image", projects=["nobody", "0" * 32]), project, return_state=True)
    assert (state.name, members(region, image)) == ("Refused", [])
    told = await told_by(state)
    assert told.report
    assert (told.exit_code, len(told.report.refusals)) == (3, 3)
    page = (await pages(state))["share"].replace("\\|", "|")
    for check in told.report.refusals:
        assert check.why in (state.message or "")
        assert check.why in page
        assert any(check.why in record.getMessage() for record in caplog.records)
    assert "b2i share" in (state.message or "")
    assert [one.event for one in await events()] == ["b2i.share.refused"]


async def test_mistakes_in_a_form_are_told_together_before_the_cloud_is_asked_anything(
    project: Any, region: Emulator, image: str
) -> None:
    form = ChangeForm(server="shop-web-01", image=image, probes=["tcp: 22", "tpc: 22", "[", "tcp: 0"])
    state = await change_os(form, project, return_state=True)
    told = await told_by(state)
    assert told.error
    assert (state.name, told.exit_code, len(told.error.message.splitlines())) == ("Failed", 2, 3)
    wrong = await unshare(UnshareForm(image=image, projects=[]), project, return_state=True)
    assert "from whom it is to be taken back is missing" in (wrong.message or "")
    assert not region.requests


async def test_what_is_said_for_a_terminal_is_named_as_the_form_names_it(project: Any, region: Emulator, image: str) -> None:
    state = await change_os(ChangeForm(server="shop-web-02", image=image), project, return_state=True)
    said = 'In the form --accept-data-disks-unchanged is "Data disks stay as they are", --stop is "Stop it first", --key-pair is '
    assert state.name == "Refused"
    assert said in (state.message or "")
    assert said in (await pages(state))["change-os"]


async def test_retry_of_a_completed_run_does_nothing_again(project: Any, account: Account, region: Emulator, image: str) -> None:
    form = ShareForm(image=image, projects=["dr"])
    done = await share(form, project, return_state=True)
    await unshare(UnshareForm(image=image, projects=["dr"]), project, return_state=True)
    retried = await again(done, share, order=form, project=project)
    assert (retried.name, members(region, image)) == ("Completed", [])
    assert "nothing was done again" in (retried.message or "")
    anew = await share(form, project, return_state=True)
    assert (anew.name, members(region, image)) == ("Completed", [account["second_project"]])


async def test_retry_of_a_run_that_was_refused_looks_again(project: Any, account: Account, region: Emulator, image: str) -> None:
    region.faults.arm("forbidden", operation="batchAddImageMembers", times=1)
    form = ShareForm(image=image, projects=["dr"])
    refused = await share(form, project, return_state=True)
    assert (refused.name, members(region, image)) == ("Failed", [])
    assert "b2i share" in (refused.message or "")
    retried = await again(refused, share, order=form, project=project)
    assert (retried.name, members(region, image)) == ("Completed", [account["second_project"]])


async def test_a_server_is_launched_and_taken_down_again_and_both_have_their_events(
    project: Any, region: Emulator, image: str, events: Heard
) -> None:
    form = LaunchForm(image=image, launch="shop.yaml")
    made = await launch(form, project, return_state=True)
    assert made.name == "Completed", made.message
    told = await told_by(made)
    mark, server = told.content["launch_id"], told.content["server_id"]
    assert server in (await pages(made))["launch"]
    retried = await again(made, launch, order=form, project=project)
    assert (retried.name, asked(region, "createServers")) == ("Completed", 2), "a dry run and a launch"

    nameless = await teardown(TeardownForm(launch_id=mark), project, return_state=True)
    assert (nameless.name, (await told_by(nameless)).exit_code) == ("Failed", 2)
    assert region.cloud.get("server", server)
    gone = await teardown(TeardownForm(launch_id=mark, name="shop-restored"), project, return_state=True)
    assert (gone.name, gone.message) == ("Completed", f"Launch {mark} is gone.")
    assert region.cloud.get("server", server) is None
    assert [one.event for one in await events()] == ["b2i.server.launched", "b2i.launch.gone"]


async def test_a_launch_that_is_filled_in_is_the_order_that_a_file_would_be(
    project: Any, account: Account, region: Emulator, image: str
) -> None:
    form = FilledInForm(
        image=image,
        name="shop-restored",
        flavor=account["flavor"],
        vpc=account["vpc"],
        subnet=account["subnet"],
        security_groups=[account["security_group"]],
        data_disks=["{source: /dev/vdb, size_gb: 150}"],
        tags=["purpose=test"],
        probes=["{console: 'login:', timeout: 1m}"],
        system_disk_type="SAS",
        system_disk_gb=60,
    )
    planned = await launch_filled_in(form.model_copy(update={"dry_run": True, "data_disks": []}), project, return_state=True)
    assert planned.name == "Checked", planned.message
    made = await launch_filled_in(form.model_copy(update={"data_disks": []}), project, return_state=True)
    assert made.name == "Completed", made.message
    by_file = await launch(LaunchForm(image=image, launch="shop.yaml"), project, return_state=True)
    mine, other = await told_by(made), await told_by(by_file)
    assert (other.outcome, other.content["server_id"]) == ("adopted", mine.content["server_id"])
    server = region.cloud.get("server", mine.content["server_id"])
    assert server
    assert server["tags"]["purpose"] == "test"
    (asked_for,) = form.order(project.settings()).data_disks
    assert (asked_for.source, asked_for.size_gb, form.order(project.settings()).system_disk.size_gb) == ("/dev/vdb", 150, 60)


async def test_every_mistake_of_a_launch_that_is_filled_in_is_told_by_its_fields_name(project: Any, region: Emulator) -> None:
    form = FilledInForm(
        image="x",
        name="a b",
        vpc="v",
        subnet="s",
        fixed_ip="nowhere",
        probes=["tpc: 2", "["],
        data_disks=["{source: /dev/vdb, size_gb: 1}"],
        tags=["a=1", "a=2"],
    )
    state = await launch_filled_in(form, project, return_state=True)
    told = await told_by(state)
    assert told.error
    words = told.error.message
    assert (state.name, told.exit_code, len(words.splitlines())) == ("Failed", 2, 6), words
    for title in ("Server's name", "Fixed address", "Probes", "Data disks", "Tags"):
        assert f"{title}" in words
    assert not region.requests


async def test_a_plan_is_a_page_with_the_exact_request_and_launches_nothing(project: Any, region: Emulator, image: str) -> None:
    state = await launch(LaunchForm(image=image, launch="shop.yaml", dry_run=True), project, return_state=True)
    page = (await pages(state))["launch"]
    assert (state.name, await tags_of(state)) == ("Checked", ["checked"])
    assert '"name": "shop-restored"' in page
    assert "Nothing was made." in page
    assert not [one for one in region.cloud.walk("server") if one["name"] == "shop-restored"]


async def test_a_cancelled_launch_names_the_server_that_is_there_and_nobody_goes_on_with_it(
    project: Any, region: Emulator, image: str
) -> None:
    form = LaunchForm(image=image, launch="shop.yaml", timeout="5s")
    late = await launch(form, project, return_state=True)
    assert late.name == "StillRunning", late.message
    await cancelled(late, launch, report_cancelled_order, order=form, project=project)
    told = await told_by(late)
    mark = told.handle["launch"]
    page = (await pages(late))["launch"]
    assert told.error
    assert (told.exit_code, told.error.code, await tags_of(late)) == (4, "b2i.cancelled", ["cancelled"])
    assert mark in page
    assert "shop-restored" in page
    assert form.command in page


async def test_a_cancelled_share_names_who_has_the_image_by_then(
    project: Any, account: Account, region: Emulator, image: str
) -> None:
    form = ShareForm(image=image, projects=["dr"])
    done = await share(form, project, return_state=True)
    await cancelled(done, share, report_cancelled_order, order=form, project=project)
    assert account["second_project"] in (await pages(done))["share"]


async def test_a_runbook_whose_servers_are_too_old_is_an_event_that_says_which(
    project: Any, account: Account, region: Emulator, image: str, settings_file: Path, events: Heard
) -> None:
    (settings_file.parent / "runbooks").mkdir()
    settings = yaml.safe_load(settings_file.read_text())
    settings.setdefault("directories", {})["runbooks"] = "runbooks"
    settings_file.write_text(yaml.safe_dump(settings))
    drill = {"network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}}
    book = {"name": "shop", "targets": {"rpo": "30m"}, "drill": drill, "groups": [{"name": "web", "servers": []}]}
    book["groups"][0]["servers"] = [{"source": "shop-web-01", "launch": {"flavor": account["flavor"]}}]
    (settings_file.parent / "runbooks" / "shop.yaml").write_text(yaml.safe_dump(book))

    state = await runbook_check(RunbookCheckForm(runbook="shop.yaml"), project, return_state=True)
    (event,) = [one for one in await events() if one.event == "b2i.rpo.breached"]
    assert (state.name, event.resource.id) == ("Refused", "b2i.runbook.shop")
    assert (event.payload["runbook"], event.payload["policy"], event.payload["allowed_s"]) == ("shop", None, 1800)
    (old,) = event.payload["servers"]
    assert old["server_name"] == "shop-web-01"
    assert old["age_s"] > 1800
