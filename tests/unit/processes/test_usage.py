"""Samples of a session that is there: our own."""

from __future__ import annotations

import os
import sys
import time

import pytest

from vconnect.processes.usage import Sampler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def test_processor_time_is_a_difference() -> None:
    sampler, session = Sampler(), os.getsid(0)
    assert sampler.measure([session])[session].cpu_percent is None
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    usage = sampler.measure([session])[session]
    assert usage.cpu_percent is not None
    assert usage.cpu_percent > 1
    assert usage.processes >= 1
    assert usage.threads >= usage.processes
    assert usage.rss_bytes > 1 << 20


def test_who_is_not_there_is_left_out() -> None:
    assert Sampler().measure([1 << 22]) == {}
    assert Sampler().measure([]) == {}
