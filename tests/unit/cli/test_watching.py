"""The screen of ``vconnect top``."""

from __future__ import annotations

from tests.support.fake_manager import FakeManager, plugin_summary, served

from vconnect import AdminClient
from vconnect.cli.watching import Screen, look


async def test_keys_move_and_explain() -> None:
    manager = FakeManager(*(plugin_summary(name, serving=True) for name in ("one", "two")))
    async with served(manager) as path, AdminClient(path) as client:
        frame = await look(client)
        assert "2" in frame.head() or frame.head()
        screen = Screen(client, 1.0)
        await screen._look()
        text = screen.draw().plain
        assert "one" in text
        assert "two" in text
        assert max(map(len, text.splitlines())) <= 200
        assert await screen.press("p")
        assert await screen.press("s")
        assert not await screen.press("q")
