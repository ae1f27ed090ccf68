"""Parts that were handed out follow other settings."""

from __future__ import annotations

import pytest

from vconnect.settings.live import LiveSettings
from vconnect.settings.model import Settings
from vconnect.settings.parts import HeartbeatSettings, SupervisionSettings


def test_a_part_has_the_new_values_and_stays_the_same_object() -> None:
    live = LiveSettings(Settings(heartbeat=1.0))
    part, supervision = live.part(HeartbeatSettings), live.part(SupervisionSettings)
    shutdown = supervision.shutdown
    live.follow(Settings(heartbeat=2.0, stop_timeout=7.0))
    assert live.now.heartbeat == 2.0
    assert (part.heartbeat, part.patience) == (2.0, 6.0)
    assert supervision.shutdown is shutdown
    assert shutdown.stop_timeout == 7.0
    assert live.part(HeartbeatSettings) is part


def test_nobody_else_can_write_to_a_part() -> None:
    part = LiveSettings(Settings()).part(HeartbeatSettings)
    with pytest.raises(AttributeError):
        part.heartbeat = 5.0
