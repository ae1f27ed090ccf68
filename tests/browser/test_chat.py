"""The page of the chat in Chromium: two people, one word, one script that stays text."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.support.lab import PATIENCE_FACTOR

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright import async_api as playwright
from playwright.async_api import expect

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DEADLINE_S = 30.0 * PATIENCE_FACTOR

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]


class Chat:
    """A chat in a process of its own.

    Attributes:
        address: Where its page is.
        process: The process.
    """

    def __init__(self, directory: Path) -> None:
        self._output = directory / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.chat", "--port", "0"],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.address = self._wait_for(r"Chat +(http://\S+/)")
        self.filter_pid = int(self._wait_for(r"kill -9 (\d+)"))

    def _wait_for(self, pattern: str) -> str:
        end = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self._output.read_text())):
            assert self.process.poll() is None, self._output.read_text()
            assert time.monotonic() < end, self._output.read_text()
            time.sleep(0.05)
        return found[1]

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(DEADLINE_S) == 0, self._output.read_text()


@pytest.fixture
def chat() -> Iterator[Chat]:
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    serving = Chat(directory)
    yield serving
    if serving.process.poll() is None:
        serving.end()
    shutil.rmtree(directory)


class Page:
    """Somebody's page, and what its browser complained of."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("console", self._heard)

    def _heard(self, message: playwright.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    @property
    def lines(self) -> playwright.Locator:
        return self.page.locator("#messages > li")

    async def join(self, address: str, name: str) -> None:
        await self.page.goto(address)
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_role("button", name="Join").click()
        await expect(self.page.get_by_role("heading", name="# lobby")).to_be_visible()

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Message").fill(text)
        await self.page.keyboard.press("Enter")

    async def plugin(self, name: str, state: str) -> None:
        """Wait until the strip shows a plugin in this state."""
        shown = self.page.locator(f'.plugin[data-state="{state}"]', has_text=name)
        await expect(shown).to_be_visible(timeout=DEADLINE_S * 1000)


class Browser:
    """A browser in which people have nothing in common, not even cookies."""

    def __init__(self, browser: playwright.Browser) -> None:
        self._browser = browser

    @asynccontextmanager
    async def person(self, chat: Chat, name: str, **context: Any) -> AsyncIterator[Page]:
        """Join the chat with a browser profile; nothing may be complained of until the end."""
        opened = await self._browser.new_context(**context)
        page = Page(await opened.new_page())
        await page.join(chat.address, name)
        yield page
        await opened.close()
        assert page.complaints == []


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with playwright.async_playwright() as driver:
        launched = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield Browser(launched)
        await launched.close()


async def test_two_people_talk(chat: Chat, browser: Browser) -> None:
    async with browser.person(chat, "ada") as ada, browser.person(chat, "bob") as bob:
        await expect(ada.page.locator("#people li")).to_have_text(["Aada you", "Bbob"])
        await ada.page.get_by_label("Message").press_sequentially("What the heck")
        await expect(bob.page.locator("#typing")).to_have_text("ada is typing …")
        await ada.page.keyboard.press("Enter")
        for line in (bob.lines.last, ada.lines.last):
            await expect(line.locator(".text")).to_have_text("What the h***")
            await expect(line).to_contain_text("edited by word-filter")
        await expect(bob.page.locator("#typing")).to_be_empty()

        await bob.say("/roll")
        await expect(ada.lines.last).to_contain_text("bob rolls 1d6")

        await ada.page.get_by_role("button", name="# random").click()
        await expect(ada.page.get_by_role("heading", name="# random")).to_be_visible()
        await expect(bob.page.locator("#people li")).to_have_text(["Bbob you"])


async def test_what_is_refused_says_why_and_can_be_edited(chat: Chat, browser: Browser) -> None:
    async with browser.person(chat, "ada") as ada, browser.person(chat, "bob") as bob:
        await ada.say("free bitcoin for you")
        refused = ada.lines.filter(has_text="free bitcoin for you")
        await expect(refused).to_contain_text("Not sent: “free bitcoin” is not welcome here")
        await refused.get_by_role("button", name="Edit").click()
        await expect(ada.page.get_by_label("Message")).to_have_value("free bitcoin for you")
        await ada.say("a cup of tea for you")
        await expect(bob.lines).to_have_count(1)
        await expect(bob.lines).to_contain_text("a cup of tea for you")


async def test_what_people_write_is_text(chat: Chat, browser: Browser) -> None:
    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    async with browser.person(chat, "<b>ada</b>") as ada, browser.person(chat, "bob") as bob:
        await ada.say(script)
        await expect(bob.lines.locator(".text")).to_have_text(script)
        await expect(bob.lines.locator("strong")).to_have_text("<b>ada</b>")
        await ada.say("two\nlines and \u202e a mark")
        await expect(bob.lines.last).to_contain_text("lines and")
        assert await bob.page.locator("script").count() == 1
        assert await bob.page.locator("#chat img, #chat b:not(.plugin b)").count() == 0


async def test_the_strip_follows_a_filter_that_was_killed(chat: Chat, browser: Browser) -> None:
    async with browser.person(chat, "ada") as ada:
        for name in ("word-filter", "bot"):
            await ada.plugin(name, "running")
        os.kill(chat.filter_pid, signal.SIGKILL)
        await ada.say("is it there?")
        gone = ada.page.locator('.plugin:not([data-state="running"])')
        await expect(gone).to_contain_text("word-filter")
        await expect(ada.lines.last).to_contain_text("nothing is sent without word-filter")
        await ada.plugin("word-filter", "running")
        await ada.say("and now?")
        await expect(ada.lines.last).not_to_have_attribute("data-state", re.compile("waiting|ref"))
        await expect(ada.lines.last.locator(".text")).to_have_text("and now?")
        await expect(ada.lines).to_have_count(2)  # the page was not loaded again


async def test_nothing_scrolls_sideways(chat: Chat, browser: Browser) -> None:
    async with browser.person(chat, "W" * 24) as ada:
        await ada.say("a" * 500)
        await ada.say(f"free bitcoin {'b' * 300}")
        await expect(ada.lines.filter(has_text="Not sent").first).to_be_visible()
        for number in range(7):
            await ada.say(f"line {number}")
        for theme, width in itertools.product(THEMES, (320, 390, 900, 1440)):
            await ada.page.set_viewport_size({"width": width, "height": 800})
            await ada.page.emulate_media(color_scheme=theme)
            wide, high = await ada.page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
            )
            assert wide <= width, (width, theme)
            assert high <= 800, (width, theme)
            await expect(ada.page.get_by_role("button", name="Send")).to_be_in_viewport()


async def test_a_server_that_ends_is_told_and_nothing_is_lost(chat: Chat, browser: Browser) -> None:
    async with browser.person(chat, "ada") as ada:
        await ada.say("good night")
        await expect(ada.lines.locator(".text")).to_have_text("good night")
        chat.end()
        await expect(ada.page.get_by_role("alert")).to_contain_text("The connection was lost")
        await expect(ada.lines.first).to_contain_text("good night")
        await expect(ada.page.get_by_role("button", name="Send")).to_be_disabled()
        await ada.say("is anybody there?")
        await expect(ada.lines.last).to_contain_text("Not sent: there is no connection")
        ada.complaints.clear()  # Chromium says of each try that nobody answers
