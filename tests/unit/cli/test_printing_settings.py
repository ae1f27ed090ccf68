"""What people read about changes of settings."""

from __future__ import annotations

import msgspec
import pytest

from vconnect.cli.printing_settings import print_config, print_config_change, print_reloaded
from vconnect.operations.changes import Change
from vconnect.operations.configuration import ConfigChange
from vconnect.operations.reload import Reloaded
from vconnect.settings.differences import Difference

Printed = pytest.CaptureFixture[str]
LIVE = Difference(key="event_timeout", before=5.0, after=3.0, effect="now")
STAYS = Difference(key="plugin_dir", before="/a", after="/b", effect="host")
ASKED = Difference(key="config.token\x1b", after="***", effect="asked")


def test_what_cannot_change_comes_first(capsys: Printed) -> None:
    done = Reloaded(
        host=[LIVE, STAYS],
        plugins={"one": [ASKED]},
        restarts=["one", "two"],
        notes=["window: is set by --window"],
        failed={"one": "unlucky"},
        changes=[Change(name="three", action="install", after="1", result="installed")],
    )
    print_reloaded(msgspec.to_builtins(done))
    printed = capsys.readouterr()
    lines = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert lines == [
        "plugin key from to effect",
        'host plugin_dir "/a" "/b" needs a restart of the host; it stays',
        "host event_timeout 5.0 3.0 at once",
        "one config.token\\x1b - *** if the plugin accepts it",
        "replaced without a gap: one, two",
        "three 1 installed",
        "note: window: is set by --window",
    ]
    assert printed.err == "error: one: unlucky\n"


def test_nothing_is_said_in_words(capsys: Printed) -> None:
    print_reloaded(msgspec.to_builtins(Reloaded()))
    print_config([])
    assert capsys.readouterr().out == "nothing has changed\nit has no configuration\n"


def test_a_configuration(capsys: Printed) -> None:
    print_config([{"key": "a.b", "value": [1], "origin": "manifest"}])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["key value from", "a.b [1] manifest"]


def test_a_change_of_a_configuration(capsys: Printed) -> None:
    change = ConfigChange(name="one", changes=[ASKED], how="restarted", saved="/c.toml")
    print_config_change(msgspec.to_builtins(change))
    assert capsys.readouterr().out == (
        "token\\x1b: - → ***\none: a new process has taken over; saved to /c.toml\n"
    )
