"""Settings are read again from where they came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.errors import ConfigError
from vconnect.settings.source import SettingsSource


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "vconnect.toml"
    made.write_text("[plugins]\nwindow = 5\nevent_timeout = 2.0\n")
    return made


def test_options_and_variables_win_over_the_file(file: Path) -> None:
    source = SettingsSource(
        file=file, environ={"VCONNECT_EVENT_TIMEOUT": "3"}, overrides={"window": 9, "debug": None}
    )
    settings = source.load()
    assert (settings.window, settings.event_timeout, settings.debug) == (9, 3.0, False)
    assert source.file_alone().window == 5


def test_a_change_that_has_no_effect_is_told_with_what_sets_the_key(file: Path) -> None:
    source = SettingsSource(
        file=file,
        environ={"VCONNECT_EVENT_TIMEOUT": "3"},
        overrides={"window": 9, "socket_path": None},
        options={"window": "--the-window"},
    )
    before = source.file_alone()
    assert source.without_effect(before, before) == []
    file.write_text("[plugins]\nwindow = 6\nevent_timeout = 4.0\nmax_queued = 1\n")
    assert source.without_effect(before, source.file_alone()) == [
        "event_timeout: is set by VCONNECT_EVENT_TIMEOUT; the file's change has no effect",
        "window: is set by --the-window; the file's change has no effect",
    ]


def test_a_file_that_others_may_write_is_not_obeyed_later_either(file: Path) -> None:
    source = SettingsSource(file=file)
    source.load()
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="is not obeyed"):
        source.load()
    assert SettingsSource(file=file, overrides={"insecure_paths": True}).load().window == 5


def test_without_a_file_there_are_defaults() -> None:
    assert SettingsSource().load().window == 64
