"""What Ctrl-C does during an import; ``test_process`` presses it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from vconnect.cli.interrupts import as_usual, end_at_once, ending_at_once

CODE = """
import os, signal
from vconnect.cli.interrupts import ending_at_once
with ending_at_once():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
"""


def test_it_ends_the_process_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], timeout=30, check=False)
    assert done.returncode == 130


def test_afterwards_it_is_as_usual() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ending_at_once():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_what_somebody_else_has_set_stays(handler: object) -> None:
    before = signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    try:
        end_at_once()
        as_usual()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
