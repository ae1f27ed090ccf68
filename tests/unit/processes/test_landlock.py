"""Rulesets of the kernel; what they deny is tried in `tests/fault/test_sandbox_levels.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vconnect.processes import landlock as module
from vconnect.processes.bubblewrap import View
from vconnect.processes.landlock import Landlock, find_obstacle, landlock_for, supported_version

needs_landlock = pytest.mark.skipif(not supported_version(), reason="this kernel has no Landlock")


def view(network: bool = False) -> View:
    return View(
        package=Path("/package"),
        directory=Path("/data"),
        socket=Path("/run/host.sock"),
        secrets=Path("/secrets"),
        writable=(Path("/data"), Path("/tmp/own")),
        readable=(Path("/opt/models"),),
        network=network,
    )


def test_it_follows_from_the_view() -> None:
    made = landlock_for(view())
    assert made.writable == ("/data", "/tmp/own")
    assert {"/package", "/secrets", "/opt/models", "/usr", "/proc"} <= set(made.readable)
    assert not made.network
    assert landlock_for(view(network=True)).network


@pytest.mark.parametrize(
    ("version", "network", "words"),
    [
        (0, True, "no Landlock (Linux 5.13"),
        (3, False, "(version 3) cannot take the network away"),
        (3, True, ""),
        (4, False, ""),
    ],
)
def test_what_a_kernel_cannot_do_is_said(monkeypatch, version, network, words) -> None:
    monkeypatch.setattr(module, "supported_version", lambda: version)
    problem = find_obstacle(view(network))
    assert words in problem
    assert bool(words) == bool(problem)


def test_older_kernels_are_asked_for_what_they_have() -> None:
    assert module._file_rights(1) == (1 << 13) - 1
    assert module._file_rights(4) == (1 << 15) - 1
    assert module._file_rights(9) == (1 << 16) - 1
    assert [module._size_for(version) for version in (1, 3, 4, 5, 6, 9)] == [8, 8, 16, 16, 24, 24]


@needs_landlock
def test_missing_paths_are_left_out_and_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    ruleset = Landlock((str(tmp_path / "missing"), "/usr"), (str(tmp_path),), True).open()
    os.close(ruleset)
    with pytest.raises(NotADirectoryError):
        Landlock(("/dev/null/x",), (), True).open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
