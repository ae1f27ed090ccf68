"""What the commands' tests share: a host that answers, and nothing of ours around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.plugins.status import PluginStatus


@pytest.fixture
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory and home, with no variable of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VCONNECT_ADMIN", "VCONNECT_ADMIN_PATH", "VCONNECT_SOCKET_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def manager() -> FakeManager:
    return FakeManager(
        plugin_summary(),
        plugin_summary(
            "broken", serving=False, status=PluginStatus.ERROR, reason="exited: code 2", pid=None
        ),
    )


@pytest.fixture
def admin(manager: FakeManager) -> Iterator[str]:
    with served_beside(manager) as path:
        yield str(path)
