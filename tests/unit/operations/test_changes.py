"""What a change is called, and the line that says who asked for it."""

from __future__ import annotations

import time

import pytest

from vconnect.errors import (
    ConflictError,
    InstallError,
    StateError,
    UnknownPluginError,
    VConnectError,
)
from vconnect.operations.changes import Change, audit, failure, this_user


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ConflictError("it is there"), "conflict", "it is there"),
        (InstallError("no package"), "install_error", "no package"),
        (UnknownPluginError("x", "no such plugin"), "unknown_plugin", "no such plugin"),
        (StateError("newer"), "state_error", "newer"),
    ],
)
def test_a_failure_has_a_code_and_a_reason(error: VConnectError, code: str, reason: str) -> None:
    made = failure("upgrade", "x", error)
    assert made.is_failure
    assert (made.name, made.action, made.code, made.reason) == ("x", "upgrade", code, reason)


def test_each_change_is_logged_with_who_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    began = time.monotonic() - 0.25
    made = Change(name="x", action="upgrade", before="1", after="2", result="switched")
    assert audit(made, "uid 7", began).took_s >= 0.25
    failed = Change(name="y", action="install", result="failed", reason="no package")
    audit(failed, "uid 7", began)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told[0][0] == "INFO"
    assert told[0][1].startswith("audit: upgrade x 1 → 2 by uid 7: switched in 0.2")
    assert told[1][0] == "WARNING"
    assert told[1][1].endswith(" s: no package")


def test_a_user_is_named() -> None:
    assert this_user().startswith("uid ")
