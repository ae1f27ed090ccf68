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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from playwright.async_api import Locator, Page, expect
from tests.browser.conftest import Visitor, Visits
from tests.support.lab import PATIENCE_FACTOR

ROOT = Path(__file__).parents[2]
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DEADLINE_S = 30.0 * PATIENCE_FACTOR

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


class Chat:
    """A chat in a process of its own.

    Attributes:
        address: Where its page is.
        login_url: The dashboard's address, which logs in once.
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
        self.login_url = self._wait_for(r"Dashboard +(http://\S+)")

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


@contextmanager
def open_chat() -> Iterator[Chat]:
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    serving = Chat(directory)
    yield serving
    if serving.process.poll() is None:
        serving.end()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    """A chat for tests that leave its plugins running; what is said stays in its rooms."""
    with open_chat() as opened:
        yield opened


@pytest.fixture
def own_chat() -> Iterator[Chat]:
    with open_chat() as opened:
        yield opened


class Person:
    """Somebody in the chat.

    Attributes:
        page: Their page.
        complaints: See `Visitor`.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.page = visitor.page
        self.complaints = visitor.complaints

    @property
    def lines(self) -> Locator:
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


#: Lets somebody join a chat in a browser of their own; see `person`.
Joins: TypeAlias = Callable[..., AbstractAsyncContextManager[Person]]


@pytest.fixture
def person(visit: Visits) -> Joins:
    @asynccontextmanager
    async def join(chat: Chat, name: str, **options: Any) -> AsyncIterator[Person]:
        async with visit(**options) as visitor:
            somebody = Person(visitor)
            await somebody.join(chat.address, name)
            yield somebody

    return join


async def test_two_people_talk(chat: Chat, person: Joins) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
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


async def test_what_is_refused_says_why_and_can_be_edited(chat: Chat, person: Joins) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        await ada.say("free bitcoin for you")
        refused = ada.lines.filter(has_text="free bitcoin for you")
        await expect(refused).to_contain_text("Not sent: “free bitcoin” is not welcome here")
        await refused.get_by_role("button", name="Edit").click()
        await expect(ada.page.get_by_label("Message")).to_have_value("free bitcoin for you")
        await ada.say("a cup of tea for you")
        await expect(bob.lines.last).to_contain_text("a cup of tea for you")
        await expect(bob.lines.filter(has_text="free bitcoin")).to_have_count(0)


async def test_what_people_write_is_text(chat: Chat, person: Joins) -> None:
    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    async with person(chat, "<b>ada</b>") as ada, person(chat, "bob") as bob:
        await ada.say(script)
        await expect(bob.lines.last.locator(".text")).to_have_text(script)
        await expect(bob.lines.last.locator("strong")).to_have_text("<b>ada</b>")
        await ada.say("two\nlines and \u202e a mark")
        await expect(bob.lines.last).to_contain_text("lines and")
        assert await bob.page.locator("script").count() == 1
        assert await bob.page.locator("#chat img, #chat b:not(.plugin b)").count() == 0


# Remembers what the strip has shown, however short that was.
REMEMBER = """() => {
    window.downs = [];
    const look = () => downs.push(...[...document.querySelectorAll(".plugin")]
        .filter((one) => one.dataset.state !== "running").map((one) => one.textContent));
    new MutationObserver(look).observe(document.body,
        { subtree: true, childList: true, attributes: true });
}"""


async def test_a_filter_that_the_dashboard_kills_and_a_server_that_ends_are_told(
    own_chat: Chat, person: Joins, visit: Visits
) -> None:
    async with person(own_chat, "ada") as ada, visit() as operator:
        for name in ("word-filter", "bot"):
            await ada.plugin(name, "running")
        await ada.page.evaluate(REMEMBER)
        await operator.page.goto(own_chat.login_url)
        await operator.page.get_by_role("link", name="word-filter").first.click()
        # It is back within a second. On a slow machine that may be before anybody has spoken.
        for generation in range(1, 6):
            await _kill(operator.page, generation)
            refused = await _refused_of(ada, 10)
            if refused:
                break
            await ada.plugin("word-filter", "running")
        await expect(ada.lines.filter(has_text=refused)).to_contain_text(
            "nothing is sent without word-filter"
        )
        await expect(operator.page.locator(".outcome")).to_contain_text("Kill word-filter: done")
        assert "word-filter" in " ".join(await ada.page.evaluate("downs"))

        await ada.plugin("word-filter", "running")
        await ada.say("what the heck")
        await expect(ada.lines.last.locator(".text")).to_have_text("what the h***")
        # Nobody has loaded a page again, or what was refused would be gone.
        await expect(ada.lines.filter(has_text=refused)).to_have_count(1)
        state = operator.page.locator(".stateline")
        await expect(state).to_contain_text(f"generation {generation + 1}")
        await expect(state).to_contain_text("Running")
        await _end(own_chat, ada)
        await expect(operator.page.locator("#banner")).to_contain_text("Connection lost")
        operator.complaints.clear()


async def _end(chat: Chat, ada: Person) -> None:
    """A server that ends is told, and nothing is lost."""
    chat.end()
    await expect(ada.page.get_by_role("alert")).to_contain_text("The connection was lost")
    await expect(ada.lines.filter(has_text="what the h***")).to_have_count(1)
    await expect(ada.page.get_by_role("button", name="Send")).to_be_disabled()
    await ada.say("is anybody there?")
    await expect(ada.lines.last).to_contain_text("Not sent: there is no connection")
    ada.complaints.clear()  # Chromium says of each try that nobody answers


async def _kill(dashboard: Page, generation: int) -> None:
    await expect(dashboard.locator(".stateline")).to_contain_text(f"generation {generation}")
    await dashboard.get_by_role("button", name="Kill").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("SIGKILL ends its processes at once")
    await dialog.get_by_role("button", name="Kill").click()


async def _refused_of(person: Person, tries: int) -> str:
    """Talk until something is refused; return what that was, or nothing."""
    for _ in range(tries):
        text = f"is it there? {time.monotonic_ns()}"
        await person.say(text)
        line = person.lines.filter(has_text=text)
        await expect(line).not_to_have_attribute("data-state", "waiting")
        if "Not sent" in await line.inner_text():
            return text
    return ""


async def test_nothing_scrolls_sideways(chat: Chat, person: Joins) -> None:
    async with person(chat, "W" * 24) as ada:
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
