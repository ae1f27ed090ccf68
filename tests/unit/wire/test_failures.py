"""Why an event gets no answer."""

from __future__ import annotations

import pytest

from vconnect.errors import (
    PluginOverloadedError,
    PluginStuckError,
    PluginUnavailableError,
    RemoteProtocolError,
)
from vconnect.wire.failures import (
    all_overloaded_in_bytes,
    closed,
    lost,
    overloaded,
    overloaded_in_bytes,
    stuck,
)


def test_a_closed_connection_names_its_plugin_as_far_as_it_is_known() -> None:
    assert "echo" in str(closed("echo"))
    assert "?" in str(closed(None))


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        (overloaded("echo", 8, "max_queued"), "max_queued"),
        (overloaded_in_bytes("echo", 10, 8), "max_queued_bytes"),
        (all_overloaded_in_bytes("echo", 10, 8), "max_total_queued_bytes"),
    ],
)
def test_what_is_full_is_named_with_its_setting_and_its_limit(
    error: PluginOverloadedError, setting: str
) -> None:
    assert f"({setting})" in error.message
    assert "8" in error.message


def test_a_stuck_plugin_costs_its_connection() -> None:
    assert stuck("echo", "it sleeps").message == "it sleeps; closing its connection"


def test_what_is_lost_tells_why_the_connection_ended() -> None:
    by_itself = lost("echo", None, "it exited with code 3")
    assert isinstance(by_itself, PluginUnavailableError)
    assert by_itself.message == "it exited with code 3 before it answered"
    by_error = lost("echo", RemoteProtocolError("bad_json", "not JSON"), "")
    assert "not JSON" in by_error.message
    by_sleep = lost("echo", stuck("echo", "it sleeps"), "")
    assert isinstance(by_sleep, PluginStuckError)
    assert by_sleep.message == "it sleeps; closing its connection"
