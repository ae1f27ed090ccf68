"""The dashboard of a real host in a real browser: what it shows, asks, and never does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, Request, expect
from tests.browser.conftest import Visits
from tests.support.dashboard import (
    API_KEY,
    CRASHING,
    FILTER,
    HOSTILE,
    MARKUP,
    OBSERVER,
    SLOW,
    STOPPED,
    Stage,
)
from tests.support.lab import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

_PAGE_BYTES = 100 * 1024
_GROUND = "getComputedStyle(document.documentElement).backgroundColor"
_LIGHT, _DARK = "rgb(244, 245, 247)", "rgb(13, 16, 20)"
_VIEWS = ("", f"#/plugins/{FILTER}", f"#/plugins/{HOSTILE}", "#/console", "#/trace", "#/host")


@asynccontextmanager
async def logged_in(
    visit: Visits, stage: Stage, view: str = "", **options: Any
) -> AsyncIterator[Page]:
    """Open a view of the dashboard by the address that the host prints."""
    async with visit(**options) as visitor:
        await enter(visitor.page, stage, view)
        yield visitor.page


async def enter(page: Page, stage: Stage, view: str = "") -> None:
    await page.goto(stage.server.login_url)
    await expect(page.locator("#link-word")).to_have_text("live")
    if view:
        await page.goto(stage.url + view)


@pytest_asyncio.fixture(loop_scope="session")
async def page(visit: Visits, stage: Stage) -> AsyncIterator[Page]:
    """Log in at 1440 pixels."""
    async with logged_in(visit, stage) as opened:
        yield opened


def row(page: Page, name: str) -> Locator:
    return page.locator(f'table.plugins tr[data-name="{name}"]')


async def open_plugin(page: Page, name: str) -> Locator:
    """Open a plugin's page, and return its log."""
    await row(page, name).locator("a").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    return page.get_by_role("log")


async def is_wide(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth > innerWidth")


# --- Plugins ---------------------------------------------------------------------------------


async def test_it_says_what_is_wrong_and_follows_what_happens(
    visit: Visits, own_stage: Stage
) -> None:
    async with logged_in(visit, own_stage) as page:
        await _see_what_is_wrong(page)
        await _see_the_answers(page, own_stage)


async def _see_what_is_wrong(page: Page) -> None:
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text(
        f"2 of 6\N{NO-BREAK SPACE}plugins do not serve; {SLOW} is slow"
    )
    await expect(page).to_have_title("(2) vconnect · chat-1")
    await expect(page.locator("#fact-role")).to_have_text("operate")
    # Trouble first, then the chain's order, then what somebody has stopped.
    names = await page.locator("table.plugins tbody tr").evaluate_all(
        "(rows) => rows.map((row) => row.dataset.name)"
    )
    assert names == [HOSTILE, CRASHING, SLOW, FILTER, OBSERVER, STOPPED]
    for name, state in (
        (CRASHING, "Crash loop"),
        (HOSTILE, "Error"),
        (SLOW, "Running"),
        (STOPPED, "Stopped"),
    ):
        await expect(row(page, name).locator(".c-state")).to_have_text(state)
        await expect(row(page, name).locator(".c-state .shape")).to_have_count(1)
    await expect(row(page, CRASHING)).to_contain_text("No module named 'PIL'")
    await expect(row(page, CRASHING)).to_contain_text("exits with code 1 before it connected, ")
    await expect(row(page, STOPPED)).to_contain_text("stopped by alice")
    await expect(row(page, FILTER).locator(".c-why")).to_have_text("")
    # What is not known is not zero.
    await expect(row(page, STOPPED).locator(".c-lat")).to_have_text("\N{EN DASH}")
    await expect(page.locator(".feed")).to_contain_text("thumbs crash loop: exited: code 1")


async def _see_the_answers(page: Page, stage: Stage) -> None:
    answers = page.locator(".answer")
    await expect(answers).to_have_count(4)
    await expect(answers.nth(0)).to_contain_text("Nobody")
    await expect(answers.nth(1)).to_contain_text(SLOW)
    await expect(answers.nth(2)).to_contain_text(re.compile(f"{HOSTILE}|{CRASHING}"))
    await expect(answers.nth(3)).to_contain_text("Nothing is")
    await expect(page.locator(".seg")).to_have_count(3)
    await expect(page.locator(".seg.slow")).to_contain_text(SLOW)

    await stage.runtime.stop_plugin(FILTER, by="bob")
    await stage.events(3)
    await expect(answers.nth(0)).to_contain_text(f"{FILTER}: 3 refused")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("and messages are refused")
    await expect(page.locator(".seg.over")).to_contain_text(FILTER)
    await expect(row(page, FILTER)).to_contain_text("stopped by bob")
    await expect(page.locator(".feed li").first).to_contain_text(FILTER)


async def test_the_theme_follows_the_system_until_somebody_chooses(page: Page) -> None:
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(_GROUND) == _DARK
    await page.get_by_role("button", name="Switch theme").click()
    assert await page.evaluate(_GROUND) == _LIGHT
    await page.reload()
    assert await page.evaluate(_GROUND) == _LIGHT
    await page.keyboard.press("t")
    assert await page.evaluate(_GROUND) == _DARK
    await page.get_by_role("button", name="Keys and settings").click()
    await page.get_by_label("Single-letter keys").uncheck()
    await page.keyboard.press("Escape")
    await page.keyboard.press("t")
    assert await page.evaluate(_GROUND) == _DARK


async def test_keys_lead_everywhere(page: Page) -> None:
    await expect(row(page, FILTER)).to_be_visible()
    await page.keyboard.press("j")
    await expect(row(page, HOSTILE).locator("a")).to_be_focused()
    await page.keyboard.press("j")
    await expect(row(page, CRASHING).locator("a")).to_be_focused()
    await page.keyboard.press("k")
    await expect(row(page, HOSTILE).locator("a")).to_be_focused()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_contain_text(CRASHING)
    await expect(heading).to_be_focused()
    await page.keyboard.press("]")
    await expect(heading).to_contain_text(SLOW)
    await page.keyboard.press("r")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"Restart {SLOW}?")
    await page.keyboard.press("Escape")
    await page.keyboard.press("u")
    await expect(row(page, FILTER)).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("crash loop")
    await expect(page.locator("table.plugins tbody tr:visible")).to_have_count(1)
    await heading.click()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("Keys and settings")


# --- Log -------------------------------------------------------------------------------------


async def test_the_log_stays_where_its_reader_is(page: Page, stage: Stage) -> None:
    log = await open_plugin(page, OBSERVER)
    await stage.lines(300, by=OBSERVER)
    await expect(log).to_contain_text("line 299 of a flood")
    await log.hover()
    await page.mouse.wheel(0, -900)
    await expect(page.get_by_role("button", name="Paused · follow")).to_be_visible()
    # The wheel is done when two looks see the same.
    place = "(log) => [log.scrollTop, log.scrollHeight, scrollY]"
    before = None
    while (now := await log.evaluate(place)) != before:
        before = now
        await page.evaluate("new Promise(requestAnimationFrame)")
    await stage.lines(3000, "more {}", by=OBSERVER)
    more = page.get_by_role("button", name="↓ 3,000 new lines · follow")
    await expect(more).to_be_visible()
    assert await log.evaluate(place) == before
    await more.click()
    await expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    await expect(log).to_contain_text("more 2999")
    assert await log.locator(".line").count() <= 2000
    assert await log.evaluate("(e) => e.scrollHeight - e.scrollTop - e.clientHeight") < 4


async def test_the_log_has_a_filter_and_levels(page: Page, stage: Stage) -> None:
    log = await open_plugin(page, FILTER)
    await expect(log).to_contain_text("two words are doubled list=words.txt")
    await expect(log.locator(".line.host").first).to_contain_text("HOST")
    await expect(log).not_to_contain_text("looked at words.txt")
    filtering = page.get_by_label("Filter the log")
    await filtering.fill("DOUBLED")
    await expect(log.locator(".line:visible")).to_have_count(1)
    await expect(log.locator(".line:visible mark")).to_have_text("doubled")
    await filtering.fill("nothing says this")
    await expect(page.get_by_text("No line fits the filter.")).to_be_visible()
    await filtering.fill("")
    await page.get_by_label("Level").select_option("error")
    await expect(log).to_contain_text("one word is no word")
    await expect(log).not_to_contain_text("two words are doubled")
    # What comes is chosen by the same level.
    await stage.lines(1, "a quiet line")
    await stage.lines(1, "ERROR a loud line")
    await expect(log).to_contain_text("a loud line")
    await expect(log).not_to_contain_text("a quiet line")
    await page.get_by_label("Level").select_option("trace")
    await expect(log).to_contain_text("looked at words.txt")


# --- Orders ----------------------------------------------------------------------------------


async def test_orders_ask_first_and_say_what_came_of_them(visit: Visits, own_stage: Stage) -> None:
    async with logged_in(visit, own_stage) as page:
        await open_plugin(page, FILTER)
        await _restart(page, own_stage)
        await page.go_back()
        await _stop(page)
        await page.keyboard.press("u")
        await _start_in_vain(page)


async def _restart(page: Page, stage: Stage) -> None:
    restart = page.get_by_role("button", name="Restart")
    await restart.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("the old one serves until then")
    await expect(dialog).to_contain_text(f"vconnect restart {FILTER}")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(restart).to_be_focused()
    assert stage.runtime.summary(FILTER).generation == 1

    await restart.click()
    await dialog.get_by_role("button", name="Restart").click()
    outcome = page.locator(".outcome")
    await expect(outcome).to_contain_text(f"Restart {FILTER}: done")
    await expect(outcome).to_contain_text("Now running, generation 2, pid")
    await expect(page.locator(".stateline")).to_contain_text("generation 2")
    await page.get_by_role("link", name="Host").click()
    await expect(page.get_by_label("Audit, newest first")).to_contain_text(f"restart {FILTER}")


async def _start_in_vain(page: Page) -> None:
    await open_plugin(page, CRASHING)
    await expect(page.locator(".whybox")).to_contain_text("No module named 'PIL'")
    await expect(page.locator(".whybox")).to_contain_text("Next: add it to its dependencies")
    await page.get_by_text("Show its last words").first.click()
    await expect(page.get_by_label("Last words").first).to_contain_text("ModuleNotFoundError")
    await page.get_by_role("button", name="Start").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    outcome = page.locator(".outcome.bad")
    await expect(outcome).to_contain_text("The plugin did not start")
    await expect(outcome).to_contain_text("exited: code 1")


async def _stop(page: Page) -> None:
    """A required plugin is stopped only by its name."""
    await page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("messages are refused as long as it does not serve")
    go = dialog.get_by_role("button", name="Stop")
    await expect(go).to_be_disabled()
    await dialog.get_by_role("textbox").fill("word")
    await expect(go).to_be_disabled()
    await dialog.get_by_role("textbox").fill(FILTER)
    await go.click()
    await expect(page.locator(".stateline")).to_contain_text("Stopped")
    await expect(page.get_by_role("button", name="Start")).to_be_visible()


async def test_a_configuration_is_refused_at_its_field(page: Page, stage: Stage) -> None:
    await open_plugin(page, FILTER)
    field, secret = page.get_by_label("max_length"), page.get_by_label("api_key")
    await expect(field).to_have_value("4096")
    await expect(page.get_by_label("per_minute")).to_have_value("60")
    await expect(secret).to_have_value("")
    await expect(secret).to_have_attribute("placeholder", "set, not shown")
    await field.fill("0")
    await page.get_by_role("button", name="Apply").click()
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("span.err", has_text="expected minimum 1")).to_be_visible()

    await field.fill("12")
    await page.get_by_label("per_minute").fill("30")
    await page.get_by_role("button", name="Show the change").click()
    await expect(page.get_by_text("max_length: 4096 → 12")).to_be_visible()
    await expect(page.get_by_text("limits.per_minute: 60 → 30")).to_be_visible()
    assert _values(stage)["max_length"] == 4096
    await secret.fill("another")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("api_key: *** → ***")).to_be_visible()
    await expect(field).to_have_value("12")
    await expect(secret).to_have_value("")
    assert _values(stage) == {"max_length": 12, "limits.per_minute": 30, "api_key": "***"}
    assert API_KEY not in await page.content()


def _values(stage: Stage) -> dict[str, Any]:
    return {one.key: one.value for one in stage.runtime.configuration.get(FILTER)}


# --- Console and Trace -----------------------------------------------------------------------


async def test_the_console_shows_what_each_plugin_did(page: Page) -> None:
    await page.get_by_role("link", name="Console").click()
    payload, outcome = page.get_by_label("Payload"), page.get_by_role("region", name="Outcome")
    await payload.fill('{\n "content": 1,\n "b" 2 }')
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_text("line 3, column 6")).to_be_visible()
    await payload.fill('{"content": "buy gold", "from_uid": "ada"}')
    await page.keyboard.press("Control+Enter")
    await expect(outcome).to_contain_text("2 asked · payload changed by 1")
    rows = outcome.locator(".wrow")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text(f"{FILTER}")
    await expect(rows.first.locator(".diff .m")).to_contain_text('content: "buy gold"')
    await expect(rows.first.locator(".diff .p")).to_contain_text('content: "buy ****"')
    await expect(rows.last).to_contain_text("ok: no change")
    command = """vconnect emit message.incoming '{"content":"buy gold","from_uid":"ada"}'"""
    await expect(page.locator(".commandline")).to_contain_text(command)

    await page.get_by_role("textbox", name="Payload").fill('{"content": "spam"}')
    await page.keyboard.press("Control+Enter")
    await expect(outcome).to_contain_text(f"Refused by {FILTER}")
    await expect(outcome).to_contain_text("no spam here")


async def test_the_trace_is_live_and_hides_payloads(page: Page, stage: Stage) -> None:
    event = "message.edited"  # which no other test sends
    await page.get_by_role("link", name="Trace").click()
    await until(lambda: stage.runtime.feed.is_followed("trace"), "the page's stream of traces")
    await stage.events(2, event=event)
    rows = page.locator("table.trace tbody tr", has_text=event)
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text(FILTER)
    await expect(rows.first).to_contain_text("Passed")
    await expect(rows.get_by_role("button", name="Show")).to_have_count(0)
    await page.get_by_role("button", name="Keep payloads").click()
    await expect(page.get_by_text("Payloads of new events are kept until")).to_be_visible()
    await stage.events(1, "what is kept", event)
    show = rows.first.get_by_role("button", name="Show")
    await expect(show).to_be_visible()
    await expect(page.get_by_text("what is kept")).to_have_count(0)
    await show.click()
    payload = page.get_by_label("Payload", exact=True)
    await expect(payload).to_contain_text('"content": "what is kept"')
    # Whoever reads keeps the place.
    await stage.events(1, "spam", event)
    more = page.get_by_role("button", name="new event")
    await more.click()
    await expect(rows.first).to_contain_text(f"Stopped by {FILTER}")
    await stage.events(1)
    await expect(page.locator("table.trace tbody tr").first).to_contain_text(SLOW)
    await page.get_by_label("Plugin").fill(SLOW)
    await expect(rows).to_have_count(0)
    await expect(page.locator("table.trace tbody tr").first).to_contain_text(SLOW)
    await page.get_by_label("Plugin").fill("")
    await page.get_by_role("searchbox", name="Event").fill(event)
    await expect(rows).to_have_count(4)
    await expect(page.locator("table.trace tbody tr", has_not_text=event)).to_have_count(0)


# --- Who may look and change -----------------------------------------------------------------


async def test_the_printed_address_opens_a_light_page_and_logs_in_once(
    visit: Visits, stage: Stage
) -> None:
    address = stage.server.login_url
    async with visit() as first:
        requests: list[Request] = []
        first.page.on("requestfinished", lambda one: requests.append(one))
        await first.page.goto(address)
        await expect(row(first.page, FILTER)).to_be_visible()
        assert first.page.url == f"{stage.url}#/"
        await _check_weight(requests, stage)
    async with visit() as second:
        await second.page.goto(address)
        await expect(second.page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(second.page.get_by_role("alert")).to_contain_text("the code has been used")
        assert second.page.url == f"{stage.url}#/"
        await second.page.get_by_label("Token").fill("no token of this host")
        await second.page.keyboard.press("Enter")
        await expect(second.page.get_by_role("alert")).to_contain_text("is not one of this host's")
        await second.page.get_by_label("Token").fill(stage.token)
        await second.page.keyboard.press("Enter")
        await expect(row(second.page, FILTER)).to_be_visible()


async def _check_weight(requests: list[Request], stage: Stage) -> None:
    """The page is light, and all of it is its own."""
    files = [one for one in requests if "/api/" not in one.url]
    assert all(one.url.startswith(stage.url) for one in files)
    assert {one.url.rpartition(".")[2] for one in files} >= {"js", "css"}
    sizes = await asyncio.gather(*(one.sizes() for one in files))
    sent = sum(one["responseBodySize"] + one["responseHeadersSize"] for one in sizes)
    assert 0 < sent <= _PAGE_BYTES


async def test_who_only_looks_is_told_why_nothing_can_be_changed(
    visit: Visits, stage: Stage
) -> None:
    async with visit() as visitor:
        page = visitor.page
        await page.goto(f"{stage.url}#/plugins/{FILTER}")
        await page.get_by_label("Token").fill(stage.view_token)
        await page.keyboard.press("Enter")
        await expect(page.locator("#fact-role")).to_have_text("view")
        why = "Your role is view: it changes nothing."
        for name in ("Restart", "Stop", "Kill", "Apply"):
            one = page.get_by_role("button", name=name)
            await expect(one).to_be_disabled()
            await expect(one).to_have_attribute("title", why)
        await expect(page.get_by_text(why).first).to_be_visible()
        await expect(page.get_by_label("api_key")).to_have_attribute(
            "placeholder", "set, not shown"
        )
        await page.keyboard.press("r")
        await expect(page.locator(".outcome")).to_contain_text(why)


async def test_a_lost_connection_and_an_ended_session_lose_nothing(
    visit: Visits, own_stage: Stage
) -> None:
    stage = own_stage
    async with logged_in(visit, stage) as page:
        log = await open_plugin(page, FILTER)
        await expect(page.get_by_role("button", name="Restart")).to_be_enabled()
        await stage.go_away()
        banner = page.locator("#banner")
        await expect(banner).to_contain_text("Connection lost. What you see is from")
        await expect(banner).to_contain_text(re.compile(r"Trying again in \d+ s|Trying now"))
        await expect(page.get_by_role("button", name="Restart")).to_be_disabled()
        await expect(page.locator(".stateline")).to_contain_text("Running")
        await expect(log).to_contain_text("loaded 4,112 words")
        await stage.lines(3, "meanwhile {}")
        await stage.come_back()
        # By itself or at once, whichever comes first: it may be trying at this moment.
        await banner.get_by_role("button", name="Try now").or_(page.get_by_label("Token")).click()
        # The new server knows no session of the old one.
        await expect(page.get_by_role("heading", name="Your session ended")).to_be_visible()
        await expect(page.get_by_label("Token")).to_be_focused()
        await expect(page.locator(".stateline")).to_contain_text("Running")
        await page.get_by_label("Token").fill(stage.token)
        await page.get_by_role("button", name="Log in").click()
        await expect(banner).to_be_hidden()
        await expect(page.get_by_role("button", name="Restart")).to_be_enabled()
        assert page.url.endswith(f"#/plugins/{FILTER}")
        await stage.lines(1, "after it came back")
        await expect(log).to_contain_text("after it came back")
        # Nothing of what came meanwhile is missing, and nothing is there twice.
        for number in range(3):
            await expect(log.locator(".line", has_text=f"meanwhile {number}")).to_have_count(1)
        await _end_the_session(page, stage)


async def _end_the_session(page: Page, stage: Stage) -> None:
    """The page asks for the token, and keeps what was being written."""
    await page.get_by_role("link", name="Console").click()
    await page.get_by_label("Payload").fill('{"content": "half written"}')
    await page.context.clear_cookies()
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_role("heading", name="Your session ended")).to_be_visible()
    await expect(page.get_by_label("Token")).to_be_focused()
    await page.get_by_label("Token").fill(stage.token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#banner")).to_be_hidden()
    await expect(page.get_by_label("Payload")).to_have_value('{"content": "half written"}')


# --- What it never does ----------------------------------------------------------------------


async def test_what_plugins_say_is_text(page: Page, stage: Stage) -> None:
    await expect(row(page, HOSTILE)).to_contain_text(MARKUP)
    await expect(row(page, HOSTILE)).to_contain_text("\\u202egnp.exe")
    log = await open_plugin(page, HOSTILE)
    await expect(page.locator(".phead")).to_contain_text(MARKUP)
    await expect(page.locator(".whybox")).to_contain_text(MARKUP)
    await expect(log).to_contain_text(f"{MARKUP} \\u202egnp.exe\\u200b")
    await page.get_by_text("Show its last words").click()
    await expect(page.get_by_label("Last words")).to_contain_text(MARKUP)
    await page.goto(f"{stage.url}#/plugins/{MARKUP}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    await expect(page.locator("main")).to_contain_text("There is no such plugin")
    await asyncio.sleep(0.5)  # the stream would be refused if it asked for that log
    await expect(page.locator("#link-word")).to_have_text("live")
    assert await page.locator("main script, main img").count() == 0


async def test_narrow_screens_never_scroll_sideways(page: Page, stage: Stage) -> None:
    for view in _VIEWS:
        await page.goto(stage.url + view)
        await expect(page.locator("main h1")).to_be_visible()
        for width in (390, 320):
            await page.set_viewport_size({"width": width, "height": 800})
            assert not await is_wide(page), (width, view)


@pytest.mark.parametrize(
    ("scheme", "widths"),
    [("light", (1440, 900, 390)), ("dark", (1440,))],  # colors are the same at each width
)
async def test_nothing_keeps_people_out(
    visit: Visits, stage: Stage, scheme: str, widths: tuple[int, ...]
) -> None:
    found: list[str] = []
    async with logged_in(visit, stage, color_scheme=scheme) as page:
        for view in _VIEWS:
            await page.goto(stage.url + view)
            await expect(page.locator("main h1")).to_be_visible()
            for width in widths:
                await page.set_viewport_size({"width": width, "height": 900})
                looked = (await Axe().run(page)).response
                assert len(looked["passes"]) > 10
                found += [
                    f"{view or '/'} at {width}: {fault['id']}: {node['html'][:200]}"
                    for fault in looked["violations"]
                    for node in fault["nodes"]
                ]
    assert not found, "\n".join(found)
