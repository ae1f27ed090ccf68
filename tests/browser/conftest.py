"""A browser for the tests of the dashboard page, and the stage they play on.

The stage serves the page with nine plugins, some of them broken, and makes things happen.
``VCONNECT_STAGE`` names its address. Without it, or without Playwright or Chromium, the tests fail:
a page that nobody looked at is not tested.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

CHROMIUM = (
    os.environ.get("VCONNECT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

# Reports of the content security policy, and what scripts of strings would have done.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    violations.push(event.violatedDirective + " " + event.blockedURI);
});
window.alert = () => violations.push("alert");
"""


class Stage:
    """Makes things happen at the host that serves the page."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def do(self, what: str, **more: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}test/control",
            json.dumps({"do": what, **more}).encode(),
            {"Content-Type": "application/json"},
        )
        return await asyncio.to_thread(
            lambda: json.load(urllib.request.urlopen(request, timeout=10))
        )

    async def begin(self) -> None:
        await self.do("up")
        await self.do("reset")

    async def lines(self, plugin: str, count: int, text: str = "") -> None:
        """The plugin prints so many lines."""
        await self.do("logs", plugin=plugin, count=count, text=text)

    async def events(self, count: int) -> None:
        """So many events pass."""
        await self.do("traces", count=count)

    async def go_away(self) -> None:
        """The host ends its streams, and answers no more."""
        await self.do("down")

    async def come_back(self) -> None:
        await self.do("up")

    async def hostile(self) -> None:
        """A plugin comes whose every word is markup."""
        await self.do("hostile")

    async def role(self, role: str) -> None:
        await self.do("role", role=role)


@pytest.fixture
def page_url() -> str:
    url = os.environ.get("VCONNECT_STAGE")
    if not url:
        pytest.fail("VCONNECT_STAGE names no address of a stage to look at")
    return url if url.endswith("/") else f"{url}/"


@pytest.fixture
async def stage(page_url: str) -> AsyncIterator[Stage]:
    stage = Stage(page_url)
    await stage.begin()
    yield stage
    await stage.begin()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.fail("there is no chromium; VCONNECT_CHROMIUM may name one")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


async def open_page(browser: Browser, **options: Any) -> Page:
    context: BrowserContext = await browser.new_context(
        **{"viewport": {"width": 1440, "height": 900}, **options}
    )
    await context.add_init_script(WATCH)
    page = await context.new_page()
    page.set_default_timeout(8000)
    page.complaints = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.complaints.append(str(error)))  # type: ignore[attr-defined]
    page.on(
        "console",
        lambda message: (
            page.complaints.append(message.text)  # type: ignore[attr-defined]
            # A lost connection is told by the browser itself; everything else is ours.
            if message.type in ("error", "warning")
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    return page


@pytest.fixture
async def page(browser: Browser, stage: Stage) -> AsyncIterator[Page]:
    """The page at 1440 pixels; afterwards: nothing was blocked, and no script complained."""
    page = await open_page(browser)
    yield page
    assert await page.evaluate("violations") == []
    assert page.complaints == []  # type: ignore[attr-defined]
