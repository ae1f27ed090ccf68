"""The dashboard page in a real browser: what it shows, what it asks, and what it never does."""

from __future__ import annotations

import re

from playwright.async_api import Browser, Page, expect
from tests.browser.conftest import Stage, open_page

FILTER = "word-filter"
MARKUP = "<script>alert(1)</script>"


def row(page: Page, name: str):
    return page.locator(f'table.plugins tr[data-name="{name}"]')


async def is_wide(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth > innerWidth")


async def test_says_what_is_wrong_and_where(page: Page, page_url: str) -> None:
    await page.goto(page_url)
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("2 of 9 plugins do not serve, and messages are refused")
    await expect(page).to_have_title("(2) vconnect · chat-1")
    await expect(row(page, FILTER)).to_contain_text("Circuit open")
    await expect(row(page, FILTER)).to_contain_text("10 answers in a row came after 200 ms")
    await expect(row(page, FILTER).locator(".shape")).to_have_count(1)
    await expect(row(page, "geoip")).to_contain_text("Stopped")
    # What is not known is not zero.
    await expect(row(page, "geoip").locator(".c-lat")).to_have_text("\N{EN DASH}")
    await expect(page.locator(".answer")).to_have_count(4)
    await expect(page.locator(".answer").first).to_contain_text(
        re.compile(r"word-filter: 21\d refused")
    )
    await expect(page.locator(".seg.over")).to_contain_text("word-filter")
    assert await page.locator("table.plugins tbody tr").first.get_attribute("data-name") == FILTER


async def test_gray_rows_come_late_and_a_problem_is_told(
    page: Page, page_url: str, stage: Stage
) -> None:
    await stage.go_away()
    await page.goto(page_url)
    await expect(page.locator("#banner")).to_contain_text(
        "This host answers 503: the host is stopping"
    )
    await expect(page.locator("table.skel tr")).to_have_count(6)
    await stage.come_back()
    await page.get_by_role("button", name="Try now").click()
    await expect(row(page, FILTER)).to_be_visible()


async def test_log_stays_where_the_reader_is(page: Page, page_url: str, stage: Stage) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    log = page.get_by_role("log")
    await expect(log).to_contain_text("loaded 4,112 words")
    await stage.lines(FILTER, 300)
    await expect(log).to_contain_text("line 299 of a flood")
    await log.hover()
    await page.mouse.wheel(0, -900)
    follow = page.get_by_role("button", name="Paused · follow")
    await expect(follow).to_be_visible()
    await page.wait_for_timeout(200)
    before = await log.evaluate("(e) => [e.scrollTop, e.scrollHeight, scrollY]")
    await stage.lines(FILTER, 5000)
    more = page.get_by_role("button", name=re.compile(r"5,0\d\d new lines · follow"))
    await expect(more).to_be_visible()
    assert await log.evaluate("(e) => [e.scrollTop, e.scrollHeight, scrollY]") == before
    await more.click()
    await expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    await expect(log).to_contain_text("line 4999 of a flood")
    assert await log.locator(".line").count() <= 2000
    assert await log.evaluate("(e) => e.scrollHeight - e.scrollTop - e.clientHeight") < 4


async def test_log_level_and_filter(page: Page, page_url: str, stage: Stage) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    log = page.get_by_role("log")
    await expect(log).to_contain_text("stats: checked")
    await page.get_by_label("Filter the log").fill("PROBE failed")
    await expect(log.locator(".line:visible mark").first).to_have_text("probe failed")
    assert await log.locator(".line:visible", has_not_text="probe failed").count() == 0
    await page.get_by_label("Filter the log").fill("nothing says this")
    await expect(page.get_by_text("No line fits the filter.")).to_be_visible()
    await page.get_by_label("Filter the log").fill("")
    await page.get_by_label("Level").select_option("error")
    await expect(log).to_contain_text("handler of message.incoming failed")
    await expect(log).not_to_contain_text("stats: checked")


async def test_restart_asks_first_and_says_what_came_of_it(page: Page, page_url: str) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    await page.get_by_role("button", name="Restart").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("the old one serves until then")
    await expect(dialog).to_contain_text("vconnect restart word-filter")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Restart")).to_be_focused()
    await page.get_by_role("button", name="Restart").click()
    await dialog.get_by_role("button", name="Restart").click()
    await expect(page.locator(".outcome")).to_contain_text("Restart word-filter: done")
    await expect(page.locator(".stateline")).to_contain_text("Running")


async def test_stop_of_a_required_plugin_needs_its_name(page: Page, page_url: str) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    await page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog")
    go = dialog.get_by_role("button", name="Stop")
    await expect(go).to_be_disabled()
    await dialog.get_by_role("textbox").fill(FILTER)
    await go.click()
    await expect(page.locator(".stateline")).to_contain_text("Stopped")


async def test_configuration_is_refused_at_its_field(page: Page, page_url: str) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    field = page.get_by_label("max_length")
    await expect(field).to_have_value("4096")
    await field.fill("0")
    await page.get_by_role("button", name="Apply").click()
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_text("0 is below the minimum of 1")).to_be_visible()
    assert await page.get_by_label("api_key").get_attribute("placeholder") == "set, not shown"
    await field.fill("12")
    await page.get_by_role("button", name="Show the change").click()
    await expect(page.get_by_text("max_length: 4096 → 12")).to_be_visible()
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("Changed at")).to_be_visible()
    await expect(page.get_by_label("max_length")).to_have_value("12")


async def test_view_role_is_told_why_it_cannot_change(
    page: Page, page_url: str, stage: Stage
) -> None:
    await stage.role("view")
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    await expect(page.get_by_role("button", name="Restart")).to_be_disabled()
    await expect(page.get_by_text("Your role is view: it changes nothing.").first).to_be_visible()


async def test_console_shows_what_each_plugin_did(page: Page, page_url: str) -> None:
    await page.goto(f"{page_url}#/console")
    await page.get_by_label("Payload").fill('{\n "content": 1,\n "b" 2 }')
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_text("line 3, column 6")).to_be_visible()
    await page.get_by_label("Payload").fill('{"content": "hola a todos, buy gold"}')
    await page.keyboard.press("Control+Enter")
    outcome = page.get_by_role("region", name="Outcome")
    await expect(outcome).to_contain_text("4 asked, 1 passed over · payload changed by 2")
    await expect(outcome.locator(".wrow")).to_have_count(5)
    await expect(outcome.locator(".diff .p").first).to_contain_text(
        'content: "hola a todos, *** ****"'
    )
    await expect(outcome).to_contain_text("tried to change from_uid: refused, it is protected")
    await expect(page.locator(".commandline")).to_contain_text(
        'vconnect emit message.incoming \'{"content":"hola a todos, buy gold"}\''
    )


async def test_trace_is_live_and_hides_payloads(page: Page, page_url: str, stage: Stage) -> None:
    await page.goto(f"{page_url}#/trace")
    rows = page.locator("table.trace tbody tr")
    await expect(rows.first).to_contain_text("message.incoming")
    await expect(page.get_by_text("Circuit open", exact=False).first).to_be_visible()
    await page.get_by_label("Plugin").fill("translate")
    await expect(page.locator("table.trace tbody tr", has_not_text="translate")).to_have_count(0)
    await page.get_by_label("Plugin").fill("")
    await expect(page.get_by_role("button", name="Show", exact=True)).to_have_count(0)
    await page.get_by_role("button", name="Keep payloads").click()
    await stage.events(3)
    show = page.get_by_role("button", name="Show", exact=True).first
    await expect(page.get_by_text("from_uid")).to_have_count(0)
    await show.click()
    await expect(page.get_by_text("from_uid")).to_have_count(1)


async def test_connection_lost_and_back(page: Page, page_url: str, stage: Stage) -> None:
    await page.goto(f"{page_url}#/plugins/{FILTER}")
    await expect(page.get_by_role("button", name="Restart")).to_be_enabled()
    await stage.go_away()
    banner = page.locator("#banner")
    await expect(banner).to_contain_text("Connection lost. What you see is from")
    await expect(banner).to_contain_text(re.compile(r"Trying again in \d+ s|Trying now"))
    await expect(page.get_by_role("button", name="Restart")).to_be_disabled()
    await expect(page.locator(".stateline")).to_contain_text("Circuit open")
    await stage.come_back()
    await banner.get_by_role("button", name="Try now").click()
    await expect(banner).to_be_hidden()
    await expect(page.get_by_role("button", name="Restart")).to_be_enabled()
    await stage.lines(FILTER, 1, "after it came back")
    await expect(page.get_by_role("log")).to_contain_text("after it came back")


async def test_session_ends_and_the_view_is_kept(page: Page, page_url: str) -> None:
    await page.goto(f"{page_url}#/host")
    await expect(page.get_by_text("1 problem, 1 warning")).to_be_visible()

    async def refuse(route):
        await route.fulfill(
            status=401,
            content_type="application/problem+json",
            body='{"code": "session_ended", "detail": "it ended"}',
        )

    await page.route("**/api/doctor", refuse)
    await page.keyboard.press("d")
    await expect(page.get_by_role("heading", name="Your session ended")).to_be_visible()
    await expect(page.get_by_label("Token")).to_be_focused()
    await expect(page.get_by_role("heading", name="Doctor")).to_be_visible()
    await page.unroute("**/api/doctor")
    await page.route("**/api/session", lambda route: route.fulfill(status=204))
    await page.get_by_label("Token").fill("a token")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#banner")).to_be_hidden()
    assert page.url.endswith("#/host")


async def test_code_of_the_printed_address_leaves_the_address(page: Page, page_url: str) -> None:
    sent = []

    async def accept(route):
        sent.append(route.request.post_data_json)
        await route.fulfill(status=204)

    await page.route("**/api/session", accept)
    await page.goto(f"{page_url}#/login/once-only")
    await expect(row(page, FILTER)).to_be_visible()
    assert sent == [{"code": "once-only"}]
    assert "once-only" not in page.url


async def test_hostile_strings_are_text(page: Page, page_url: str, stage: Stage) -> None:
    await stage.hostile()
    await page.goto(page_url)
    await expect(row(page, "evil")).to_contain_text(MARKUP)
    await expect(row(page, "evil")).to_contain_text("\\u202e")
    await row(page, "evil").locator("a").click()
    await expect(page.get_by_role("log")).to_contain_text(MARKUP)
    await expect(page.locator(".whybox")).to_contain_text(MARKUP)
    await page.goto(f"{page_url}#/plugins/{MARKUP}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    assert await page.locator("main script, main img").count() == 0


async def test_keys_lead_everywhere(page: Page, page_url: str) -> None:
    await page.goto(page_url)
    await expect(row(page, FILTER)).to_be_visible()
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(row(page, "archive").locator("a")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("archive")
    await page.keyboard.press("[")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(FILTER)
    await page.keyboard.press("u")
    await expect(row(page, FILTER)).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("translate")
    await expect(page.locator("table.plugins tbody tr:visible")).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.get_by_role("heading", level=1).click()
    await page.keyboard.press("?")
    await page.get_by_label("Single-letter keys").uncheck()
    await page.keyboard.press("Escape")
    await page.keyboard.press("t")
    assert await page.evaluate("document.documentElement.dataset.theme ?? null") is None


async def test_narrow_screens_never_scroll_sideways(
    browser: Browser, page_url: str, stage: Stage
) -> None:
    await stage.hostile()
    for width in (390, 320):
        page = await open_page(browser, viewport={"width": width, "height": 800})
        for view in ("", f"#/plugins/{FILTER}", "#/plugins/evil", "#/console", "#/trace", "#/host"):
            await page.goto(page_url + view)
            await expect(page.locator("#link-word")).to_have_text("live")
            await page.wait_for_timeout(300)
            assert not await is_wide(page), (width, view)
        await page.context.close()


async def test_dark_theme_follows_the_system_and_is_remembered(
    browser: Browser, page_url: str, stage: Stage
) -> None:
    page = await open_page(browser, color_scheme="dark")
    await page.goto(page_url)
    ground = "getComputedStyle(document.body.parentElement).backgroundColor"
    assert await page.evaluate(ground) == "rgb(13, 16, 20)"
    await page.get_by_role("button", name="Switch theme").click()
    assert await page.evaluate(ground) == "rgb(244, 245, 247)"
    await page.reload()
    assert await page.evaluate(ground) == "rgb(244, 245, 247)"
