"""Logs of several plugins as one; ``integration/test_watching`` follows real ones."""

from __future__ import annotations

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root

pytestmark = pytest.mark.usefixtures("clean_surroundings")


def test_several_plugins_are_one_log_in_the_order_of_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manager = FakeManager(plugin_summary("one"), plugin_summary("two"))
    for name in ("one", "two", "one"):
        manager.says(name, f"said by {name}")
    with served_beside(manager) as path:
        assert run(root, ["logs", "one", "two", "-n", "20", "--admin", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("said by one") == 2
    assert out.count("said by two") == 1
    assert all("one" in line or "two" in line for line in out.splitlines())
