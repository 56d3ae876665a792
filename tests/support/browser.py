"""The one browser of the tests: Debian's Chromium, which is let to no address but those that a test names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from tests.support.debian import from_debian

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request

__all__ = ["Watched", "open_browser"]

_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nobody is found but this machine. (Playwright's own routing would do it too, and switch the browser's cache off.)
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class Watched:
    """Tabs of a browser, what they asked for elsewhere, and every error that a page told its console."""

    def __init__(self, context: BrowserContext, allowed: tuple[str, ...]) -> None:
        self.context = context
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.said: list[str] = []
        """All that pages told their console, errors among it."""
        self._allowed = (*allowed, "data:", "blob:")
        context.on("request", self._ask)

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def _ask(self, request: Request) -> None:
        if not request.url.startswith(self._allowed):
            self.elsewhere.append(request.url)

    def _hear(self, kind: str, text: str) -> None:
        self.said.append(text)
        # That a request elsewhere leads nowhere is our doing, and no error of the page.
        if kind == "error" and "ERR_NAME_NOT_RESOLVED" not in text:
            self.errors.append(text)


@contextmanager
def open_browser(
    *allowed: str, width: int = 1280, height: int = 800, scheme: Literal["light", "dark"] = "light", **more: Any
) -> Iterator[Watched]:
    """A browser that reaches these addresses and no other; closed afterwards.

    One at a time, and none over the end of a test module: Playwright's own event loop would be in the way of async tests.
    """
    from playwright.sync_api import sync_playwright

    binary = from_debian("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=_ARGS)
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        try:
            yield Watched(context, allowed)
        finally:
            context.close()
            browser.close()
