"""The form that people fill in: what the UI needs stands in the schema, and nothing leads out of the worker's folder."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from backup_to_image import __version__
from backup_to_image.errors import UsageError
from backup_to_image.forms import ChangeForm, OrderForm, ServerForm, ShareForm
from backup_to_image.model import ImageOrder
from backup_to_image.settings import Settings, read_settings
from deployments.automations import HEARTBEAT_SECONDS
from deployments.form_of import form_of
from flows.accept import accept
from flows.accept_offers import accept_offers
from flows.change_os import change_os
from flows.hand_over import hand_over
from flows.image_from_backup import image_from_backup
from flows.image_of_server import image_of_server
from flows.launch import launch
from flows.launch_filled_in import launch_filled_in
from flows.nightly import nightly
from flows.reject import reject
from flows.runbook_check import runbook_check
from flows.runbook_drill import runbook_drill
from flows.runbook_failover import runbook_failover
from flows.runbook_report import runbook_report
from flows.share import share
from flows.teardown import teardown
from flows.unshare import unshare

ROOT = Path(__file__).parent.parent.parent


FORMS: dict[str, Any] = {
    "OrderForm": image_from_backup,
    "ServerForm": image_of_server,
    "ShareForm": share,
    "UnshareForm": unshare,
    "AcceptForm": accept,
    "AcceptOffersForm": accept_offers,
    "RejectForm": reject,
    "HandOverForm": hand_over,
    "LaunchForm": launch,
    "FilledInForm": launch_filled_in,
    "TeardownForm": teardown,
    "ChangeForm": change_os,
    "RunbookCheckForm": runbook_check,
    "DrillForm": runbook_drill,
    "FailoverForm": runbook_failover,
    "RunbookReportForm": runbook_report,
}
LOOKS = {"image_from_backup", "nightly", "sweep", "retention", "share", "accept", "launch", "launch_filled_in", "change_os"}
"""Flows that only look where their form says so, or does not say what to do."""
ONLY_LOOKS = {"runbook_check", "runbook_report"}
"""Flows that never do anything."""
ENDS = {"Completed", "Failed", "Cancelled", "Crashed"}
"""How every run may end."""
MORE_ENDS = {"Checked", "Refused", "StillRunning", "PartlyDone", "Superseded"}


@pytest.fixture(scope="module", params=FORMS)
def schema(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The parameters of each way of ordering, its form as `form`."""
    found = parameter_schema(FORMS[request.param]).model_dump()
    return found | {"form": found["definitions"][request.param]["properties"]}


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (one,) = [one for one in declared if one["name"] == "on-demand"]
    return one


def descriptions() -> dict[str, str]:
    """What each deployment says of itself, by its flow."""
    file = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    policies = [one for name, one in file["definitions"].items() if name not in {"work_pools", "nightly-shard"}]
    return {one["entrypoint"].split(".")[1]: one["description"] for one in [*file["deployments"], *policies]}


def test_every_field_of_the_form_has_a_title_a_description_and_a_place(schema: dict[str, Any]) -> None:
    fields = schema["form"]
    assert len(fields) <= (12 if "system_disk_type" not in fields else 21), "a launch order has as many keys as it has"
    positions = [field["position"] for field in fields.values()]
    assert len(set(positions)) == len(fields)
    assert min(positions) == 0
    assert all(field["title"] and field["description"] for field in fields.values())


def test_the_form_has_nothing_that_the_ui_cannot_fill_in(schema: dict[str, Any]) -> None:
    fields = schema["form"]
    assert not [name for name, field in fields.items() if {"anyOf", "oneOf", "allOf", "$ref"} & set(field)], (
        "no unions, no Optional"
    )
    assert {field["type"] for field in fields.values()} <= {"string", "integer", "boolean", "array"}


def test_limits_stand_in_the_words_too_because_the_form_hides_them(schema: dict[str, Any]) -> None:
    for field in schema["form"].values():
        for limit in ("minimum", "maximum"):
            if limit in field:
                assert str(field[limit]) in field["description"]


def test_the_project_is_picked_from_the_saved_blocks(schema: dict[str, Any]) -> None:
    assert {"order", "project"} <= set(schema["required"]) <= {"order", "project", "recipient"}
    assert schema["definitions"]["OtcProject"]["block_type_slug"] == "otc-project"
    assert all(one["description"] for one in schema["properties"].values())


def test_no_description_has_marks_that_the_form_would_show_as_they_are(schema: dict[str, Any]) -> None:
    assert not [name for name, field in {**schema["form"], **schema["properties"]}.items() if "`" in field["description"]]


_BLOCK = {"$ref": {"block_document_id": "a3b2"}}


@pytest.mark.parametrize(
    ("flow", "given", "asked"),
    [
        (runbook_drill, {"order": {"runbook": "shop.yaml"}, "project": _BLOCK}, []),
        (runbook_failover, {"order": {"runbook": "shop.yaml"}, "project": _BLOCK}, ["order"]),
        (accept_offers, {"order": {}, "project": _BLOCK}, []),
        (image_from_backup, {"project": _BLOCK}, ["order"]),
        (hand_over, {"project": _BLOCK}, ["order", "recipient"]),
        (nightly, {"policy": "shop.yaml", "project": _BLOCK}, []),
        (nightly, {"policy": "shop.yaml"}, ["project"]),
    ],
)
def test_a_form_asks_for_nothing_that_its_deployment_says_whole(flow: Any, given: dict[str, Any], asked: list[str]) -> None:
    form = form_of(flow, given)
    assert sorted(form["required"]) == asked
    assert all(shown["title"][0].isupper() and "_" not in shown["title"] for shown in form["properties"].values())


@pytest.mark.parametrize("flow", descriptions())
def test_every_end_that_a_run_may_have_stands_in_its_description_with_what_to_do(flow: str) -> None:
    rows = re.findall(r"^\| (\w+) \| .+ \| .+ \|$", descriptions()[flow], re.MULTILINE)
    if re.search(r"ends as those of \*[\w/-]+\* do", descriptions()[flow]):
        assert not rows
        return
    assert set(rows) >= (ENDS - {"Completed"} if flow in ONLY_LOOKS else ENDS)
    assert set(rows) <= ENDS | MORE_ENDS
    assert ("Checked" in rows) is (flow in LOOKS | ONLY_LOOKS)
    assert ("Completed" in rows) is (flow not in ONLY_LOOKS)
    assert len(rows) == len(set(rows))


def test_the_entry_point_of_the_deployment_is_this_very_flow(declared: dict[str, Any]) -> None:
    assert load_flow_from_entrypoint(declared["entrypoint"]) is image_from_backup


def test_the_deployment_is_of_this_version_and_beats_as_often_as_the_automation_expects(declared: dict[str, Any]) -> None:
    assert str(declared["version"]) == __version__
    assert declared["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_SECONDS)
    assert declared["enforce_parameter_schema"] is True
    assert not declared["schedules"]


def test_an_order_comes_back_from_the_form_as_it_was() -> None:
    order = ImageOrder(
        backup_id="57bbc0a7-feed-51e9-8a47-229c24ba05d5",
        name="{server}-x",
        description="before the update",
        tags={"team": "shop"},
        share_with=("dr",),
        share_for=timedelta(hours=36),
        timeout=timedelta(minutes=90),
        wait_backup=timedelta(minutes=30),
    )
    assert OrderForm.of(order).order(Settings()) == order
    assert OrderForm(backup_id="b").order(Settings()) == ImageOrder(backup_id="b")
    of_server = ServerForm.of(order, server="shop-db-01", backup="now")
    assert of_server.order(Settings()) == order.model_copy(update={"backup_id": ""})
    assert (of_server.share_for, of_server.subject) == ("36h", "--server shop-db-01 --backup-now")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"share_for": "30d"}, "with whom"),
        ({"share_for": "0d", "share_with": ["dr"]}, "ends at once"),
        ({"share_for": "9999999d", "share_with": ["dr"]}, "longer than"),
    ],
)
def test_how_long_a_share_lasts_is_a_length_and_goes_with_a_recipient(said: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        OrderForm(backup_id="b", **said).order(Settings())


def test_a_launch_order_is_found_by_its_file_name_with_or_without_ending(settings_file: Path) -> None:
    settings = read_settings(str(settings_file))
    for name in ("shop.yaml", "shop", " shop.yaml "):
        order = OrderForm(backup_id="b", launch=name).order(settings)
        assert order.launch is not None
        assert order.launch.name == "shop-restored"


@pytest.mark.parametrize(
    "name", ["../secret.yaml", "../secret", "launch/../../secret.yaml", "{tmp}/secret.yaml", "linked.yaml", ".", "x"]
)
def test_a_launch_order_never_comes_from_outside_the_workers_folder(settings_file: Path, name: str) -> None:
    secret = settings_file.parent / "secret.yaml"
    secret.write_text((settings_file.parent / "launch" / "shop.yaml").read_text())
    (settings_file.parent / "launch" / "linked.yaml").symlink_to(secret)
    form = OrderForm(backup_id="b", launch=name.replace("{tmp}", str(settings_file.parent)))
    with pytest.raises(UsageError, match="none of the worker's"):
        form.order(read_settings(str(settings_file)))


def test_blanks_and_line_breaks_that_were_pasted_along_do_not_count() -> None:
    form = ShareForm(image=" shop-web\n", projects=["dr ", "\tpartner"], share_for="30d")
    assert (form.image, form.projects) == ("shop-web", ["dr", "partner"])


def test_the_form_tells_how_it_calls_each_option_of_the_command() -> None:
    told = ChangeForm.options()
    assert (told["--stop"], told["--probe"], told["--yes-i-mean"]) == ("Stop it first", "Probes", "Server's name")


def test_every_mistake_in_the_form_is_told_at_once() -> None:
    form = OrderForm(backup_id="b", tags=["a=1", "a=2"], launch="shop.yaml")
    with pytest.raises(UsageError) as told:
        form.order(Settings())
    assert len(told.value.problems) == 2
    assert "directories: {launch: PATH}" in str(told.value)
