"""Each server and each runbook has a page of its own in the UI, on which stands what befell it, run by run."""

import re
from datetime import timedelta

import pytest

from backup_to_image.console import Console
from backup_to_image.model import Delivery
from backup_to_image.model.night import ServerNight
from backup_to_image.run_results import RunResult
from backup_to_image.steps.runbook.measure import measure
from backup_to_image.told.recovery import told_run
from tasks import told_pages
from tasks.artifacts import history_key
from tasks.history import of_delivery, of_night, of_order
from tests.support.nights import invented_night
from tests.support.pages import NASTY
from tests.support.runs import drill

HERE = Console("https://console.example.com", "eu-de")


@pytest.mark.parametrize("name", ["shop-web-01", "Shop.Web_01", "größer", "drill", "x" * 64, "-", *NASTY])
def test_a_key_is_one_that_prefect_takes_whatever_the_name_is(name: str) -> None:
    for key in (history_key("server", name), history_key("runbook", name)):
        assert re.fullmatch(r"[a-z0-9-]+", key)


def test_no_two_names_share_a_page_and_no_runbook_has_that_of_a_command() -> None:
    names = ["shop-web", "shop.web", "shop_web", "Shop-Web", "shop web"]
    assert len({history_key("server", name) for name in names}) == len(names)
    assert history_key("server", "shop-web") == "server-shop-web"
    assert history_key("runbook", "shop") == "runbook-shop"
    for command in ("check", "drill", "failover", "report", "asks"):
        assert history_key("runbook", command) != f"runbook-{command}"


def test_an_order_of_an_image_has_its_entry_with_links_to_image_and_backup() -> None:
    made = Delivery(
        outcome="made",
        backup_id="b4c0",
        image_id="57bb",
        image_name="web-20261125",
        status="active",
        server_name="shop-web-01",
    )
    ((kind, key, words, page),) = of_delivery(RunResult.of(made), HERE)
    assert (kind, key, words) == ("markdown", "server-shop-web-01", "Image made: web-20261125")
    assert "](https://console.example.com/ecm/?region=eu-de#/ims/" in page
    assert "](https://console.example.com/console/?region=eu-de#/cbr/" in page
    assert "`57bb`" in page
    assert "`b4c0`" in page


def test_a_night_has_an_entry_for_each_of_its_servers_with_what_to_do_for_those_that_failed() -> None:
    report = invented_night(300)
    entries = of_night(report, HERE)
    assert len(entries) == len(report.servers)
    failed: ServerNight = report.with_outcome("failed")[0]
    (page,) = [page for one, (_, _, _, page) in zip(report.servers, entries, strict=True) if one is failed]
    assert failed.reason in page
    assert failed.action.replace("|", "\\|") in page
    assert f"instanceId={failed.server_id}" in page


def test_a_run_of_a_runbook_has_its_entry_and_a_drill_no_link_to_servers_that_are_gone() -> None:
    run = drill(cleared_at=drill().began_at + timedelta(hours=1))
    told = told_run(run, measure(run))
    ((_, key, words, _),) = of_order(told, HERE)
    assert (key, words) == (f"runbook-{run.runbook}", told.title)
    kinds = {kind for kind, _ in told_pages.things(told.content)}
    assert "image" in kinds
    assert "server" not in kinds
