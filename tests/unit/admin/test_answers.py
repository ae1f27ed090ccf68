"""What the interface answers with."""

from __future__ import annotations

import msgspec
from tests.support.fake_manager import plugin_summary

from vconnect.admin.answers import LogEntries, PluginList


def test_answers_survive_the_way() -> None:
    listed = PluginList("here", 1.0, 60.0, [plugin_summary()])
    assert msgspec.json.decode(listed.to_json(), type=PluginList) == listed
    page = msgspec.convert({"records": [], "next": 0, "dropped": 0, "began": 1.0}, type=LogEntries)
    assert page.next == 0
