"""The parts of the settings have the keys' names and values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vconnect.settings import parts
from vconnect.settings.model import Settings
from vconnect.settings.parts import HeartbeatSettings, SupervisionSettings

KINDS = [
    kind
    for kind in vars(parts).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]


def keys_of(part: msgspec.Struct) -> dict[str, Any]:
    """Every key of a part and of the parts in it."""
    found: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(part).items():
        found |= keys_of(value) if isinstance(value, msgspec.Struct) else {name: value}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_part_is_a_key_with_its_value(kind: type[msgspec.Struct]) -> None:
    settings = Settings()
    for key, value in keys_of(settings.part(kind)).items():
        assert value == getattr(settings, key)


def test_parts_follow_what_the_operator_wants() -> None:
    settings = Settings(stop_timeout=9.0, max_queued=3, heartbeat=2.0, heartbeat_misses=5)
    part = settings.part(SupervisionSettings)
    assert part.shutdown.stop_timeout == 9.0
    assert part.connection.max_queued == 3
    assert part.heartbeats == HeartbeatSettings(heartbeat=2.0, heartbeat_misses=5)
    assert part.heartbeats.patience == 10.0


def test_a_part_with_a_field_that_is_no_key_is_a_mistake() -> None:
    class Wrong(msgspec.Struct):
        no_such_key: int

    with pytest.raises(AttributeError, match="no_such_key"):
        Settings().part(Wrong)


def test_the_controllers_that_some_plugins_limits_need() -> None:
    options = {
        "a": {"tree_limits": {"memory_bytes": 1 << 20, "processes": 9}},
        "b": {"tree_limits": {"processes": 9}},
        "c": {},
    }
    settings = msgspec.convert({"options": options}, Settings)
    assert settings.needed_controllers == ["memory", "pids"]
    assert Settings().needed_controllers == []
