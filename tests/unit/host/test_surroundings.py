"""What a host does about what it inherits."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from vconnect.host import surroundings
from vconnect.host.surroundings import log_beginning, warn_of_limit, warn_of_variables
from vconnect.settings.model import Settings


def told(code: str) -> list[str]:
    """Run code in a process of its own, whose signals and descriptors it may change."""
    code = f"import signal, os\nfrom vconnect.host.surroundings import *\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_signals_are_let_through_and_a_hangup_stays_ignored():
    code = """
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
put_right()
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
    print(signal.getsignal(number).name)
"""
    assert told(code) == ["0", "SIG_DFL", "SIG_DFL", "SIG_DFL", "SIG_IGN"]


def test_a_handler_stays():
    code = """
signal.signal(signal.SIGTERM, print)
put_right()
print(signal.getsignal(signal.SIGTERM) is print)
"""
    assert told(code) == ["True"]


def test_an_application_that_ignores_its_children_is_told(caplog: pytest.LogCaptureFixture):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        log_beginning(Settings())
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "ignores SIGCHLD" in caplog.text
    caplog.clear()
    log_beginning(Settings())
    assert "SIGCHLD" not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="no other system is expected to have one")
def test_a_missing_proc_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    log_beginning(Settings())
    assert "/proc" not in caplog.text
    monkeypatch.setattr(surroundings, "has_proc", lambda: False)
    log_beginning(Settings())
    assert "no /proc that shows this process" in caplog.text


@pytest.mark.parametrize(
    ("allowed", "plugins", "words"),
    [
        (None, 10_000, ""),
        (1024, 246, ""),
        (1024, 247, "may open 1024 descriptors, but 247 plugins need about 1028; raise the limit"),
    ],
)
def test_a_limit_that_is_too_low_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    allowed: int | None,
    plugins: int,
    words: str,
):
    monkeypatch.setattr(surroundings, "limit", lambda: allowed)
    warn_of_limit(plugins)
    assert words in caplog.text
    assert bool(caplog.text) is bool(words)


def test_a_variable_that_is_probably_a_typo_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("VCONNECT_WINDW", "3")
    monkeypatch.setenv("VCONNECT_LOG_DIRS", "x")
    warn_of_variables(Settings(inherit_env=("VCONNECT_LOG_DIRS",)))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.endswith("unknown variable; did you mean VCONNECT_WINDOW?")
