"""One Chromium for all tests of this folder, and people who look at pages with it.

To start a driver and a browser takes some seconds, so they are shared, and with them the event loop
on which they were started. What a test opens is a browser profile of its own, so tests have nothing
in common, not even cookies. Without Playwright or Chromium the tests fail: a page that nobody has
looked at is not tested.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from playwright import async_api as playwright
from playwright.async_api import expect
from tests.support.dashboard import Stage, open_stage
from tests.support.lab import PATIENCE_FACTOR, PATIENCE_S, Lab, new_lab

CHROMIUM = (
    os.environ.get("VCONNECT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
# Milliseconds, as Playwright counts.
PATIENCE_MS = PATIENCE_S * 1000
_START_MS = 60_000 * PATIENCE_FACTOR

# Reports of the content security policy, and what scripts of strings would have done.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    violations.push(event.violatedDirective + " " + event.blockedURI);
});
window.alert = () => violations.push("alert");
"""
# Chromium says of each answer that is an error, and of each try that fails, that it was one.
_TOLD_BY_CHROMIUM = "Failed to load resource"

expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chromium() -> AsyncIterator[playwright.Browser]:
    """Start the browser that all tests share."""
    if not CHROMIUM:
        pytest.fail("there is no chromium; VCONNECT_CHROMIUM may name one")
    async with playwright.async_playwright() as driver:
        launched = await driver.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=_START_MS
        )
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def _watched_loop(
    chromium: playwright.Browser,  # so that its tasks were there before
) -> AsyncIterator[None]:
    """Fail a test that leaves a task on the shared loop, or a thread of its executor."""
    loop = asyncio.get_running_loop()
    troubles: list[str] = []
    loop.set_exception_handler(lambda _, context: troubles.append(str(context)))
    # The loop outlives the test; the threads that serve it must not.
    with ThreadPoolExecutor() as executor:
        loop.set_default_executor(executor)
        before = asyncio.all_tasks()
        yield
        async with asyncio.timeout(PATIENCE_S):
            while asyncio.all_tasks() - before - {asyncio.current_task()}:
                await asyncio.sleep(0.01)
    assert not troubles, f"the event loop met what nobody took: {troubles}"


class Visitor:
    """Somebody's page, and what their browser complained of.

    Attributes:
        page: The page.
        complaints: Errors of scripts, and what was written to the console.
    """

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message: playwright.ConsoleMessage) -> None:
        if message.type in ("error", "warning") and _TOLD_BY_CHROMIUM not in message.text:
            self.complaints.append(message.text)


#: Opens a browser profile; see `visit`.
Visits: TypeAlias = Callable[..., AbstractAsyncContextManager[Visitor]]


@pytest.fixture
def visit(chromium: playwright.Browser) -> Visits:
    """Return what opens a profile; nothing may be blocked or complained of until its end."""

    @asynccontextmanager
    async def open_profile(**options: Any) -> AsyncIterator[Visitor]:
        # What moves without end keeps a machine without graphics busy.
        defaults = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}
        profile = await chromium.new_context(**{**defaults, **options})
        try:
            await profile.add_init_script(_WATCH)
            visitor = Visitor(await profile.new_page())
            yield visitor
            assert await visitor.page.evaluate("window.violations") in ([], None)
            assert visitor.complaints == []
        finally:
            await profile.close()

    return open_profile


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def _shared_stage() -> AsyncIterator[Stage]:
    with new_lab() as lab:
        async with open_stage(lab) as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def stage(_shared_stage: Stage, _watched_loop: None) -> AsyncIterator[Stage]:
    """A real host with plugins in every state, for tests that leave them as they are."""
    await _shared_stage.keep_busy()
    yield _shared_stage
    await _shared_stage.unwatched()


@pytest_asyncio.fixture(loop_scope="session")
async def own_stage(lab: Lab, _watched_loop: None) -> AsyncIterator[Stage]:
    """Start such a host for a test that changes it."""
    async with open_stage(lab) as opened:
        yield opened
