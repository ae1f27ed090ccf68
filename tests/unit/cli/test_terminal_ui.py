"""The terminal interface, driven by textual's pilot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served
from tests.support.lab import until
from textual.widgets import RichLog, Static

from vconnect.admin.client.client import AdminClient
from vconnect.cli.terminal_ui import Ui

EVIL = "[bold]\x1b[2J\u202e"


@pytest.fixture
def manager() -> FakeManager:
    manager = FakeManager(
        plugin_summary("a", state="running", shape="running", serving=True),
        plugin_summary(
            "b", state="error", shape="error", serving=False, why=f"no disk {EVIL}", next="buy one"
        ),
    )
    manager.says("a", "first of a")
    manager.says("b", f"first of b {EVIL}", "error")
    return manager


@asynccontextmanager
async def shown(manager: FakeManager) -> AsyncIterator[tuple[Ui, Any]]:
    async with served(manager) as path, AdminClient(path) as client:
        app = Ui(client)
        async with app.run_test(size=(100, 30)) as pilot:
            yield app, pilot


def text_of(app: Ui, place: str) -> str:
    return str(app.query_one(f"#{place}", Static).render())


def log_of(app: Ui) -> str:
    return "\n".join(line.text for line in app.query_one("#log", RichLog).lines)


async def test_it_shows_the_list_the_log_and_why(manager: FakeManager) -> None:
    async with shown(manager) as (app, pilot):
        assert text_of(app, "head") == "1 of 2 does not serve. Next: vconnect why b"
        await pilot.pause()
        assert "first of a" in log_of(app)
        await pilot.press("down")
        await until(lambda: "no disk" in text_of(app, "why"))
        assert r"[bold]\x1b[2J\u202e. Next: buy one" in text_of(app, "why")
        for _ in range(40):
            await pilot.pause(0.05)
            if "first of b" in log_of(app):
                break
        assert r"first of b [bold]\x1b[2J\u202e" in log_of(app)
        assert "first of a" not in log_of(app)


async def test_keys_give_orders(manager: FakeManager) -> None:
    async with shown(manager) as (app, pilot):
        for key, order in (("r", "restart"), ("x", "release"), ("s", "stop")):
            await pilot.press(key)
            for _ in range(60):
                await pilot.pause(0.05)
                if f"{order} a: done" in text_of(app, "why"):
                    break
            assert (order, "a") in manager.calls
        await pilot.press("u")
        for _ in range(60):
            await pilot.pause(0.05)
            if manager.packages.asked:
                break
        assert manager.packages.asked[0][:2] == ("upgrade", (["a"],))


async def test_the_log_is_filtered_and_paused(manager: FakeManager) -> None:
    manager.says("a", "needle")
    async with shown(manager) as (app, pilot):
        await pilot.press("slash", *"needle", "enter")
        await pilot.pause()
        assert "needle" in log_of(app)
        assert "first of a" not in log_of(app)
        await pilot.press("y")
        assert app.clipboard == "INFO  needle"
        await pilot.press("f")
        assert "paused" in text_of(app, "why")
        await pilot.press("question_mark")
        assert "y copy" in text_of(app, "why")
        await pilot.press("q")


async def test_who_quits_while_the_host_is_asked_sees_no_traceback(manager: FakeManager) -> None:
    async with shown(manager) as (app, pilot):
        await pilot.pause()
        await app.query_one("#plugins").remove()  # as when the screen goes
        await app._look_again()
        app._say("too late")
