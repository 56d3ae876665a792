"""What people meet in the browser: every form, orders, refusals, a question of a runbook, a run that is tried again.

The tests stand in the order in which they are run: while one looks at forms, the worker is at what another will look at.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from backup_to_image.run_results import NIGHT_RESULT_KEY
from tests.support.house import House
from tests.support.prefect_ui import PrefectUI

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CONSOLE = "https://console.otc.t-systems.com"
BESIDE = {"Run Name", "Enforce Parameter Schema"}
"""Labels of a form that are Prefect's own."""


@pytest.fixture(scope="module")
def drill(ui: PrefectUI) -> str:
    """A drill that was begun by Quick run, and is asked for its newest order."""
    return ui.quick_run("runbook-drill/shop").run


def fields_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Label and rule of each field, in the order in which people are to see them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, one in sorted(schema["properties"].items(), key=lambda pair: pair[1]["position"]):
        found.append((one["title"] + ("" if name in schema.get("required", ()) else " (Optional)"), one))
        meant = schema["definitions"].get(str(one.get("$ref", "")).rpartition("/")[2])
        if meant and "block_type_slug" not in meant:
            found += fields_of({**meant, "definitions": schema["definitions"]})
    return found


def test_every_form_opens_and_says_of_each_field_what_it_takes(ui: PrefectUI, drill: str) -> None:
    ui.browser.errors.clear()
    for name, deployment in ui.deployments.items():
        assert deployment["description"], name
        assert {"b2i"} < set(deployment["tags"]), name
        assert deployment["version"], name
        fields = fields_of(deployment["parameter_openapi_schema"])
        form = ui.open_form(name).locator("form")
        labels = form.locator("label[data-slot=label]", has_not_text=re.compile(rf"^({'|'.join(BESIDE)}|Start)$"))
        expect(labels, name).to_have_text([label for label, _ in fields])
        shown = " ".join(form.inner_text().split())
        for label, rule in fields:
            assert rule.get("description"), f"{name}: {label} has no description"
            assert " ".join(rule["description"].split()) in shown, f"{name}: {label}"
            assert "`" not in rule["description"], f"{name}: {label}: the form shows it as it is"
            if "enum" in rule:
                expect(form.get_by_role("button", name=f"Select {rule['title']}"), name).to_be_visible()
        pickers = form.get_by_role("button", name="Select a block")
        expect(pickers, name).to_have_count(1 + ("recipient" in deployment["parameter_openapi_schema"]["properties"]))
        expect(pickers.filter(has_text=re.compile("^b2i$")), name).to_have_count(1)
    # Prefect's own pages ask for things that may not be there, and say so.
    assert [error for error in ui.browser.errors if "status of 404" not in error] == []


def test_what_has_its_defaults_starts_by_quick_run_and_what_needs_an_answer_asks_for_it(ui: PrefectUI) -> None:
    at_once = {name for name, one in ui.deployments.items() if not one["parameter_openapi_schema"]["required"]}
    assert at_once == {
        "sweep/every-morning",
        "reconcile/every-ten-minutes",
        "accept-offers/every-quarter-of-an-hour",
        "nightly/shop",
        "retention/shop",
        "runbook-check/shop",
        "runbook-drill/shop",
    }
    run = ui.quick_run("sweep/every-morning")
    run.expect_state("Checked")
    expect(run.artifact("sweep")).to_contain_text("In the console")
    ui.page.goto(f"{ui.base}/v2/deployments/deployment/{ui.deployments['runbook-failover/shop']['id']}")
    ui.page.get_by_role("button", name="Run", exact=True).click()
    ui.page.get_by_role("menuitem", name="Quick run").click()
    asked = ui.page.get_by_role("dialog")
    expect(asked.get_by_label("Runbook", exact=True)).to_have_value("shop.yaml")
    asked.get_by_role("button", name="Run", exact=True).click()
    expect(asked.get_by_text("'name' is a required property")).to_be_visible()


def test_an_order_is_filled_in_watched_to_its_end_and_leads_to_backup_image_and_server(ui: PrefectUI, house: House) -> None:
    backup = house.backup()
    page = ui.open_form("image-from-backup/on-demand")
    page.get_by_label("Backup", exact=True).fill(backup)
    page.get_by_label("Launch order").fill(house.launch_order("from-the-form"))
    ui.shot("form")
    run = ui.submit()
    run.expect_state("Completed")
    delivery = house.result(run.run)["delivery"]
    details = run.tab("Details")
    expect(details.get_by_text(f"({delivery['image_id']}) is Normal").first).to_be_visible()
    server = delivery["launch"]["server_ids"][0]
    shown = f"{CONSOLE}/ecm/?region={house.account['region']}#/ecs/manager/ecsDetail?instanceId={server}"
    assert shown in house.told(run.run)
    report = run.artifact("image-from-backup")
    expect(report).to_contain_text(delivery["image_id"])
    expect(report).to_contain_text(backup)
    expect(report.get_by_role("link", name=delivery["launch"]["server_names"][0])).to_have_attribute("href", shown)
    image = report.get_by_role("link", name=delivery["image_name"])
    expect(image).to_have_attribute("href", re.compile(rf"^{re.escape(CONSOLE)}/ecm/\?region={house.account['region']}#/ims/"))
    ui.shot("report")
    key = f"server-{delivery['server_name']}"
    page.goto(f"{ui.base}/v2/artifacts/key/{key}")
    expect(page.locator(f"main a[href*='/flow-run/{run.run}']").first).to_be_visible()
    page.locator("main a[href*='/artifacts/artifact/']").first.click()
    expect(page.get_by_test_id("markdown-display").first).to_contain_text(delivery["image_id"])


def test_a_night_starts_by_quick_run_and_its_report_and_its_servers_lead_to_one_another(ui: PrefectUI, house: House) -> None:
    run = ui.quick_run("nightly/shop")
    run.expect_state("Completed")
    (server,) = json.loads(house.artifacts(run.run)[NIGHT_RESULT_KEY])["report"]["servers"]
    report = run.artifact("night-shop")
    expect(report).to_contain_text(server["image_id"])
    expect(report.get_by_role("link", name=server["server_name"]).first).to_be_visible()
    page = ui.page
    page.goto(f"{ui.base}/v2/artifacts/key/server-{server['server_name']}")
    page.get_by_role("link", name="show servers of shop").first.click()
    page.locator(f"main a[href*='/flow-run/{run.run}']").first.click()
    run.expect_state("Completed")


def test_an_order_with_several_mistakes_has_every_reason_on_its_page(ui: PrefectUI) -> None:
    page = ui.open_form("image-from-backup/on-demand")
    page.get_by_label("Backup", exact=True).fill("nightly-of-nobody")
    page.get_by_label("Share for").fill("30d")
    page.get_by_label("Launch order").fill("nobody.yaml")
    run = ui.submit()
    run.expect_state("Failed")
    reasons = ["Share with says with whom, and is empty", "Launch order 'nobody.yaml' is none of the worker's"]
    for reason in reasons:
        expect(run.tab("Details").get_by_text(reason).first).to_be_visible()
        expect(run.tab("Logs").get_by_text(reason).first).to_be_visible()


def test_a_refused_order_has_every_reason_on_its_page(ui: PrefectUI, house: House) -> None:
    page = ui.open_form("image-from-backup/on-demand")
    page.get_by_label("Backup", exact=True).fill(house.backup())
    page.get_by_label("Image name").fill("x" * 140)
    page.get_by_label("Image description").fill("it's <new>")
    run = ui.submit()
    run.expect_state("Refused")
    report = house.result(run.run)["report"]
    refused = [check for check in report["checks"] if check["verdict"] == "refused"]
    assert len(refused) >= 2
    for check in refused:
        expect(run.tab("Details").get_by_text(check["why"]).first).to_be_visible()
        expect(run.tab("Logs").get_by_text(check["why"]).first).to_be_visible()
    checks = run.artifact("image-from-backup-checks")
    for check in refused:
        expect(checks).to_contain_text(check["why"])
    ui.shot("refused")


def test_a_failed_run_that_is_retried_goes_on_with_the_same_image(ui: PrefectUI, house: House, drill: str) -> None:
    house.await_state(drill, "Suspended", within=250)  # its own image is made by then, and no fault strikes it
    before = house.asked("createWholeImage")
    made = house.cloud.arm(name="job-stuck", operation="createWholeImage", seconds=300)
    page = ui.open_form("image-from-backup/on-demand")
    page.get_by_label("Backup", exact=True).fill(house.backup())
    sent = ui.send()
    house.await_strike(made)
    house.cloud.arm(name="forbidden", times=None)  # whatever it asks from here on
    house.await_state(sent, "Failed")
    house.cloud.disarm()
    run = ui.open_run(sent)
    run.expect_state("Failed")
    run.menu("Retry")
    ui.page.get_by_role("alertdialog").get_by_role("button", name="Retry").click()
    run.expect_state("Completed")
    delivery = house.result(run.run)["delivery"]
    assert delivery["image_id"] in house.images()
    assert house.asked("createWholeImage") == before + 1
    assert house.run(run.run)["run_count"] == 2


def test_a_drill_is_approved_in_its_dialog_goes_on_and_completes(ui: PrefectUI, house: House, drill: str) -> None:
    run = ui.open_run(drill)
    run.expect_state("Suspended")
    run.menu("Resume")
    dialog = ui.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Is the newest order there?")
    dialog.get_by_role("button", name="Select Decision").click()
    ui.page.get_by_role("option", name="go", exact=True).click()
    dialog.get_by_label("Your name").fill("ada")
    dialog.get_by_label("Note").fill("order 4711 is there")
    ui.shot("approval")
    run.answer(dialog)
    run.expect_state("Completed")
    (group,) = house.came_of(drill)["content"]["groups"]
    assert [(step["answer"], step["by"], step["note"]) for step in group["steps"]] == [("go", "ada", "order 4711 is there")]
    expect(run.artifact("runbook-drill")).to_contain_text("Nothing is left of the drill")
    ui.page.goto(f"{ui.base}/v2/artifacts/key/runbook-shop")
    expect(ui.page.locator(f"main a[href*='/flow-run/{drill}']").first).to_be_visible()
