"""The dashboard of a real host in Chromium: what it shows, what it asks, what it never does.

``.ci/run`` installs Chromium. Without it these tests fail: a page that nobody looked at is not
tested.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect
from tests.support.lab import Lab

from vconnect import AdminServer, PluginRuntimeManager

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
# Reports of the content security policy, and what scripts in strings would have done.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    violations.push(event.violatedDirective + " " + event.blockedURI);
});
window.alert = () => violations.push("alert");
"""
MARKUP = "<script>alert(1)</script>"
MASKS = """
def answer(event):
    payload = event["payload"]
    if event["event"] == "message.incoming":
        text = payload.get("content", "").replace("heck", "h***")
        return {"status": "ok", "data": None, "payload": {**payload, "content": text}}
    return {"status": "ok"}
print("ready to mask", flush=True)
serve(answer, capabilities=["message.incoming"])
"""
SCHEMA = {
    "type": "object",
    "properties": {"max_length": {"type": "integer", "minimum": 1, "default": 4096}},
}

pytestmark = pytest.mark.slow


class Host:
    """A real host, its page, and what a browser complained about."""

    def __init__(self, manager: PluginRuntimeManager, directory: Path) -> None:
        self.manager = manager
        self.directory = directory
        self.port = 0
        self.server: AdminServer

    async def serve(self) -> None:
        """Serve the page, after a break on the same port."""
        view = self.directory / "view.token"
        view.write_text("v" * 32)
        view.chmod(0o600)
        self.server = AdminServer(
            self.manager,
            self.directory / "admin.sock",
            http=f"127.0.0.1:{self.port}",
            view_token_file=view,
            name="chat-1",
        )
        await self.server.start()
        self.port = int(self.server.url.rsplit(":", 1)[1].rstrip("/"))

    def at(self, view: str) -> str:
        return f"{self.server.url}{view}"


@pytest.fixture
async def host(lab: Lab) -> AsyncIterator[Host]:
    lab.plugin("filter", MASKS, config_schema=SCHEMA, config={"max_length": 4096})
    lab.plugin("broken", "print('no database', file=sys.stderr)\nsys.exit(3)")
    lab.plugin("evil", f"print({MARKUP!r}, flush=True)\nserve()", description=MARKUP)
    lab.plugin("idle", "serve()")
    async with lab.manager(options={"filter": {"required": True}}) as manager:
        await manager.start_all()
        await manager.stop_plugin("idle", by=MARKUP)
        made = Host(manager, lab.directory)
        await made.serve()
        yield made
        await made.server.stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser, host: Host) -> AsyncIterator[Page]:
    """The page after its log-in; afterwards nothing was blocked, and no script complained."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A lost connection and a refusal are told by the browser itself.
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.add_init_script(WATCH)
    await page.goto(host.server.login_url)
    await expect(page.locator("#link-word")).to_have_text("live", timeout=15_000)
    yield page
    assert await page.evaluate("violations") == []
    assert complaints == []


def row(page: Page, name: str) -> Any:
    return page.locator(f'table.plugins tr[data-name="{name}"]')


async def test_it_says_what_is_wrong_and_why(page: Page, host: Host) -> None:
    await expect(page.get_by_role("heading", level=1)).to_contain_text("1 of 4")
    await expect(row(page, "broken")).to_contain_text("no database")
    await expect(row(page, "filter")).to_contain_text("Running")
    await expect(row(page, "idle")).to_contain_text(f"stopped by {MARKUP}")
    assert "login" not in page.url  # the code has left the address
    await host.manager.stop_plugin("filter")
    await expect(row(page, "filter")).to_contain_text("Stopped")


async def test_text_of_plugins_is_text(page: Page, host: Host) -> None:
    await page.goto(host.at("#/plugins/evil"))
    await expect(page.get_by_role("log")).to_contain_text(MARKUP)
    assert await page.locator("main script").count() == 0


async def test_the_log_stays_where_the_reader_is(page: Page, host: Host) -> None:
    await page.goto(host.at("#/plugins/filter"))
    log = page.get_by_role("log")
    await expect(log).to_contain_text("ready to mask")
    output = host.manager.registry.get("filter").log
    output.write("stdout", [b"line %d" % number for number in range(300)])
    await expect(log).to_contain_text("line 299")
    await log.hover()
    await page.mouse.wheel(0, -900)
    await expect(page.get_by_role("button", name="Paused · follow")).to_be_visible()
    before = await log.evaluate("(e) => [e.scrollTop, e.scrollHeight]")
    output.write("stdout", [b"more %d" % number for number in range(200)])
    more = page.get_by_role("button", name=re.compile(r"\d+ new lines? · follow"))
    await expect(more).to_be_visible()
    assert await log.evaluate("(e) => [e.scrollTop, e.scrollHeight]") == before
    await more.click()
    await expect(log).to_contain_text("more 199")


async def test_a_restart_asks_first_and_says_what_came_of_it(page: Page, host: Host) -> None:
    await page.goto(host.at("#/plugins/filter"))
    await page.get_by_role("button", name="Restart").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("vconnect restart filter")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await dialog.get_by_role("button", name="Restart").click()
    await expect(page.locator(".outcome")).to_contain_text("Restart filter: done", timeout=15_000)
    assert host.manager.summary("filter").generation == 2
    assert host.manager.summary("filter").ordered_by == "the printed address"


async def test_a_configuration_is_refused_at_its_field(page: Page, host: Host) -> None:
    await page.goto(host.at("#/plugins/filter"))
    field = page.get_by_label("max_length")
    await expect(field).to_have_value("4096")
    await field.fill("0")
    await page.get_by_role("button", name="Apply").click()
    await expect(field).to_have_attribute("aria-invalid", "true")
    assert host.manager.registry.get("filter").config == {}


async def test_the_console_shows_what_each_plugin_did(page: Page, host: Host) -> None:
    await page.goto(host.at("#/console"))
    await page.get_by_role("combobox", name="Event").fill("message.incoming")
    await page.get_by_label("Payload").fill('{"content": "what the heck"}')
    await page.keyboard.press("Control+Enter")
    outcome = page.get_by_role("region", name="Outcome")
    await expect(outcome).to_contain_text("filter")
    await expect(outcome).to_contain_text("what the h***")


async def test_the_trace_is_live_and_hides_payloads(page: Page, host: Host) -> None:
    await page.goto(host.at("#/trace"))
    await expect(page.locator("#link-word")).to_have_text("live")
    for _ in range(3):
        await host.manager.emit("message.incoming", {"content": "secret words"})
        await page.wait_for_timeout(300)
    await expect(page.locator("table.trace tbody tr").first).to_contain_text("message.incoming")
    await expect(page.get_by_text("secret words")).to_have_count(0)


async def test_a_lost_connection_is_told_and_comes_back(page: Page, host: Host) -> None:
    await host.server.stop()
    banner = page.locator("#banner")
    await expect(banner).to_contain_text("Connection lost", timeout=15_000)
    await expect(row(page, "filter")).to_be_visible()
    await host.serve()
    await page.get_by_role("button", name="Try now").click()
    # The sessions have ended with the server: it asks for the token.
    await page.get_by_label("Token").fill((host.directory / "admin.token").read_text().strip())
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#link-word")).to_have_text("live", timeout=15_000)


async def test_narrow_screens_never_scroll_sideways(page: Page, host: Host) -> None:
    for width in (390, 320):
        await page.set_viewport_size({"width": width, "height": 800})
        for view in ("#/", "#/plugins/evil", "#/console", "#/trace", "#/host"):
            await page.goto(host.at(view))
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, (width, view)
