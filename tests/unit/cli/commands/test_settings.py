"""The commands for settings: what they ask the host, print and return."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import ConfigError, ConfigRefusedError
from vconnect.operations.changes import Change
from vconnect.operations.configuration import ConfigChange
from vconnect.operations.reload import Reloaded

Printed = pytest.CaptureFixture[str]


class Host:
    """A host that writes down what it is asked."""

    def __init__(self, manager: FakeManager, path: str) -> None:
        self.manager = manager
        self._path = path

    def vconnect(self, *arguments: str) -> int:
        return run(root, [*arguments, "--admin", self._path])

    @property
    def asked(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        (asked,) = self.manager.configuration.asked
        return asked


@pytest.fixture
def host() -> Iterator[Host]:
    manager = FakeManager(plugin_summary("example"))
    manager.configuration.answer = ConfigChange(name="example", changes=[], how="asked")
    manager.reloaded = Reloaded()
    with served_beside(manager) as path:
        yield Host(manager, str(path))


@pytest.mark.parametrize("given", ["geheim\n", "geheim\r\n", "geheim"])
def test_a_text_from_the_standard_input(
    host: Host, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert host.vconnect("config", "set", "example", "a=1", "--stdin", "token") == 0
    assert host.asked[1] == ("example", {"a": 1, "token": "geheim"})


@pytest.mark.parametrize("given", [("a=1", "a=2"), ("a=1", "--stdin", "a")])
def test_a_key_has_one_value(host: Host, capsys: Printed, given: tuple[str, ...]) -> None:
    assert host.vconnect("config", "set", "example", *given) == 2
    assert "a key has two values" in capsys.readouterr().err


def test_a_change_needs_a_value(host: Host, capsys: Printed) -> None:
    assert host.vconnect("config", "set", "example") == 2
    assert "expected KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a=1", "a", 1),
        ("a.b=true", "a.b", True),
        ('a="1"', "a", "1"),
        ("a=plain words", "a", "plain words"),
        ("a=x=y", "a", "x=y"),
        ("a=[1, 'two']", "a", [1, "two"]),
        ("a={ b = 1 }", "a", {"b": 1}),
        ('"a=b".c=1', '"a=b".c', 1),
        ("a=", "a", ""),
        ("a=one\ntwo", "a", "one\ntwo"),
        ("a=1 # no", "a", 1),
    ],
)
def test_values_are_those_of_toml_and_else_text(
    host: Host, text: str, key: str, value: Any
) -> None:
    assert host.vconnect("config", "set", "example", text, "--dry-run") == 0
    method, arguments, options = host.asked
    assert (method, arguments) == ("set", ("example", {key: value}))
    assert (options["save"], options["dry_run"], options["unset"]) == (False, True, [])


def test_an_assignment_needs_a_value(host: Host, capsys: Printed) -> None:
    assert host.vconnect("config", "set", "example", "a") == 2
    assert "expected KEY=VALUE" in capsys.readouterr().err


def test_values_are_dropped(host: Host) -> None:
    assert host.vconnect("config", "unset", "example", "a", "b.c", "--save") == 0
    _, arguments, options = host.asked
    assert (arguments, options["unset"], options["save"]) == (("example", {}), ["a", "b.c"], True)


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (Reloaded(), 0),
        (Reloaded(needs_restart=["plugin_dir"]), 0),
        (Reloaded(failed={"example": "no"}), 1),
        (Reloaded(changes=[Change(name="a", action="install", result="installed")]), 0),
        (
            Reloaded(
                changes=[Change(name="a", action="install", result="failed", code="not_verified")]
            ),
            8,
        ),
    ],
)
def test_the_exit_code_of_a_reload(host: Host, done: Reloaded, code: int) -> None:
    host.manager.reloaded = done
    assert host.vconnect("reload") == code


@pytest.mark.parametrize(("error", "code"), [(ConfigError("no"), 2), (ConfigRefusedError("no"), 2)])
def test_an_invalid_configuration_and_a_refused_one(host: Host, error: Any, code: int) -> None:
    host.manager.failure = error
    assert host.vconnect("reload", "--dry-run") == code
