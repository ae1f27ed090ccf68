"""Who sends a request, as the kernel says it."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served

from vconnect.admin.asking import who_asks
from vconnect.admin.client import AdminClient


async def test_each_order_is_logged_with_who_gave_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with served(FakeManager(plugin_summary())) as path, AdminClient(path) as client:
        await client.post("/api/plugins/example/stop")
    (told,) = [text for text in caplog.messages if text.startswith("audit: ")]
    assert told.startswith(f"audit: stop example by uid {os.geteuid()} (")
    assert told.endswith(") over the administration socket")


def test_one_who_has_gone_has_no_name() -> None:
    request = SimpleNamespace(transport=None)
    assert who_asks(request) == "somebody who has gone"  # type: ignore[arg-type]
