"""What a person does in the Prefect UI, in a real browser: open a deployment, fill in its form, look at a run, resume, retry."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import TimeoutError, expect  # noqa: A004 - Playwright's own

from tests.support.browser import Watched
from tests.support.house import House

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Response

__all__ = ["PrefectUI", "RunPage"]

_LARGEST = 150_000
_PATIENCE = 60_000
_TRIES = 3
_SENDING = 30_000
_TYPING = 300
"""The form passes on what was typed after a moment, in ms."""


def _takes(call: str) -> Callable[[Response], bool]:
    """Whether an answer of the server is that to a call, and takes it."""
    return lambda response: response.ok and response.url.endswith(f"/{call}")


class RunPage:
    """The page of a flow run. Escape is never pressed on one: it also throws the timeline over all else."""

    def __init__(self, ui: PrefectUI, page: Page, run: str) -> None:
        self.ui = ui
        self.page = page
        self.run = run

    def expect_state(self, name: str, within: float = 120) -> None:
        """Until the page shows that state, by itself."""
        badge = self.page.locator("main").get_by_text(re.compile(f"^{name}$")).first
        expect(badge).to_be_visible(timeout=within * 1000)

    def tab(self, name: str) -> Locator:
        self.page.get_by_role("tab", name=name, exact=True).click()
        return self.page.get_by_role("tabpanel", name=name, exact=True)

    def menu(self, item: str) -> None:
        self.page.get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def answer(self, dialog: Locator) -> None:
        """Resume, with what was filled in."""
        self.ui.press("resume", dialog.get_by_role("button", name="Resume").click)

    def artifact(self, key: str) -> Locator:
        """The Markdown of the page that the run has left under that key: by its card, and out of the key's history."""
        wanted = {"flow_run_id": {"any_": [self.run]}, "key": {"any_": [key]}}
        ident = self.ui.house.ask("POST", "/artifacts/filter", artifacts=wanted, sort="CREATED_DESC")[0]["id"]
        self.tab("Artifacts").locator(f"a[href$='/artifacts/key/{key}']").first.click()
        self.page.locator(f"main a[href*='/artifacts/artifact/{ident}']").first.click()
        return self.page.get_by_test_id("markdown-display").first


class PrefectUI:
    """A browser at the house's Prefect server."""

    def __init__(self, browser: Watched, base: str, house: House, pictures: Path | None) -> None:
        self.browser = browser
        self.base = base
        self.house = house
        self._pictures = pictures
        self.page = browser.new_page()
        self.page.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)  # Markdown is drawn late, and again
        self.deployments: dict[str, dict[str, Any]] = {}
        flows = {one["id"]: one["name"] for one in house.ask("POST", "/flows/filter", limit=100)}
        for one in house.ask("POST", "/deployments/filter", limit=100):
            self.deployments[f"{flows[one['flow_id']]}/{one['name']}"] = one

    def open_form(self, deployment: str) -> Page:
        """Run > Custom run, by its address."""
        self.page.goto(f"{self.base}/v2/deployments/deployment/{self.deployments[deployment]['id']}/run")
        self.page.get_by_role("button", name="Submit").wait_for()
        return self.page

    def submit(self) -> RunPage:
        """Send the form that is open, and look at its run."""
        return self.open_run(self.send())

    def send(self) -> str:
        """Send the form that is open; returns the run's id."""
        return self._order(self.page.get_by_role("button", name="Submit").click)

    def _order(self, press: Callable[[], None]) -> str:
        """An order's run is looked at by its address: the notice that leads there is gone sooner than a slow machine clicks."""
        return str(self.press("create_flow_run", press)["id"])

    def quick_run(self, deployment: str) -> RunPage:
        """Run > Quick run: no form is shown."""
        self.page.goto(f"{self.base}/v2/deployments/deployment/{self.deployments[deployment]['id']}")
        item = self.page.get_by_role("menuitem", name="Quick run")

        def press() -> None:
            if not item.is_visible():  # a menu closes with each click
                self.page.get_by_role("button", name="Run", exact=True).click()
            item.click()

        return self.open_run(self._order(press))

    def press(self, call: str, press: Callable[[], None]) -> Any:
        """Press until the server takes that call: a form that was filled in too fast sends none, a locked database takes none."""
        for _ in range(_TRIES):
            self.page.wait_for_timeout(_TYPING)
            with suppress(TimeoutError):
                with self.page.expect_response(_takes(call), timeout=_SENDING) as sent:
                    press()
                return sent.value.json()
        pytest.fail(f"{self.page.url}: {call} is not taken")

    def open_run(self, run: str) -> RunPage:
        self.page.goto(f"{self.base}/v2/runs/flow-run/{run}")
        self.page.get_by_role("tab", name="Logs", exact=True).wait_for()  # until then badges of the page before are seen
        return RunPage(self, self.page, run)

    def shot(self, name: str) -> None:
        """A picture for the documentation, where one is asked for."""
        if self._pictures is None:
            return
        self.page.mouse.move(0, 0)
        self.page.evaluate("window.scrollTo(0, 0)")
        self.page.wait_for_timeout(1000)
        file = self._pictures / f"ui-{name}.png"
        self.page.screenshot(path=file)
        assert file.stat().st_size <= _LARGEST, f"{file.name} is too large for a page"
