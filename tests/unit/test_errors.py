"""The tree of exceptions: as its docstring draws it, and with what each of them carries."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from vconnect import errors
from vconnect.errors import (
    AdminError,
    HandshakeError,
    HostCallError,
    PayloadError,
    PluginError,
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
    UnknownPluginError,
    VConnectError,
)


def drawn() -> Iterator[tuple[int, str]]:
    """Each name in the docstring's tree, with how far to the right it stands."""
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"\s{4}([│├└─ ]*)(\w+Error)\b", line):
            yield len(found[1]), found[2]


def test_the_drawing_is_the_tree() -> None:
    above: dict[int, type[Exception]] = {}
    for depth, name in drawn():
        kind = getattr(errors, name)
        nearest = max((other for other in above if other < depth), default=None)
        assert kind.__bases__[0] is (Exception if nearest is None else above[nearest])
        above[depth] = kind


def test_no_exception_is_left_out_of_the_drawing() -> None:
    defined = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {name for _, name in drawn()} == defined


def test_a_plugins_error_names_it_and_keeps_the_words() -> None:
    error = PluginError("example", "went away")
    assert str(error) == "example: went away"
    assert (error.plugin, error.message, error.code) == ("example", "went away", "internal")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UnknownPluginError, "unknown_plugin"),
        (PluginTimeoutError, "deadline_exceeded"),
        (PluginUnavailableError, "unavailable"),
        (errors.PluginStuckError, "unavailable"),
        (errors.PluginOverloadedError, "overloaded"),
        (PluginStartError, "start_failed"),
        (PluginReplyError, "internal"),
    ],
)
def test_each_kind_has_its_code_of_the_wire(kind: type[PluginError], code: str) -> None:
    assert kind("example", "no").code == code


def test_a_code_of_the_plugins_own_is_of_that_error_alone() -> None:
    assert PluginReplyError("example", "no", "teapot").code == "teapot"
    assert PluginReplyError("example", "no", "").code == ""
    assert PluginReplyError("example", "no").code == "internal"


def test_a_start_that_failed_is_final_unless_it_is_said() -> None:
    assert not PluginStartError("example", "no").is_transient


def test_those_who_catch_what_python_raises_catch_ours() -> None:
    assert issubclass(PluginTimeoutError, TimeoutError)
    assert issubclass(PayloadError, ValueError)
    assert not issubclass(VConnectError, OSError)


@pytest.mark.parametrize("kind", [RemoteProtocolError, HandshakeError, HostCallError])
def test_what_came_over_the_wire_has_a_code_beside_its_words(
    kind: type[RemoteProtocolError | HostCallError],
) -> None:
    error = kind("bad_json", "not JSON")
    assert (error.code, str(error)) == ("bad_json", "not JSON")


def test_an_administration_error_has_its_status() -> None:
    error = AdminError(404, "unknown_plugin", "no such plugin")
    assert (error.status, error.code, str(error)) == (404, "unknown_plugin", "no such plugin")
