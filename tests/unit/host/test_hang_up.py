"""A SIGHUP while the host is being started is remembered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from vconnect.host.hang_up import EarlyHangUp


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_it_does_not_end_the_process() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    early = EarlyHangUp()
    early.listen()
    assert not early.is_heard
    os.kill(os.getpid(), signal.SIGHUP)
    assert early.is_heard


def test_what_ignores_it_goes_on_to_do_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    early = EarlyHangUp()
    early.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not early.is_heard
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
