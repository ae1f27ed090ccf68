"""Names of plugins for a shell."""

from __future__ import annotations

import click
import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.commands.completion import complete_plugin
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")


def complete(begun: str, admin: str) -> list[str]:
    context = click.Context(root)
    context.params["admin"] = admin
    return complete_plugin(context, click.Argument(["name"]), begun)


def test_it_offers_the_plugins_of_the_host() -> None:
    with served_beside(FakeManager(plugin_summary("chat"), plugin_summary("chart"))) as path:
        assert complete("cha", str(path)) == ["chart", "chat"]
        assert complete("chat", str(path)) == ["chat"]


def test_without_a_host_it_is_silent() -> None:
    assert complete("", "/nowhere/admin.sock") == []
