"""The policy for restarts: its defaults are those of the settings."""

from __future__ import annotations

import pytest

from vconnect.settings.model import Settings
from vconnect.settings.restarts import RestartPolicy


def test_the_defaults_are_those_of_the_settings() -> None:
    assert Settings().plugin_policy("example").restart == RestartPolicy()


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("restart", "mode", "never"),
        ("restart_delay", "delay", 1.5),
        ("restart_max_delay", "max_delay", 2.5),
        ("restart_reset_after", "reset_after", 3.5),
        ("crash_limit", "crash_limit", 4),
        ("crash_window", "crash_window", 5.5),
        ("after_crash_loop", "after_crash_loop", "give_up"),
        ("crash_hold", "hold", 6.5),
    ],
)
def test_each_setting_reaches_its_field_and_no_other(key: str, field: str, value: object) -> None:
    found = Settings(**{key: value}).plugin_policy("example").restart  # type: ignore[arg-type]
    changed = {
        name
        for name in RestartPolicy.__struct_fields__
        if getattr(found, name) != getattr(RestartPolicy(), name)
    }
    assert changed == {field}
    assert getattr(found, field) == value
