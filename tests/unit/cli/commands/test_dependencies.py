"""``vconnect pack`` with dependencies; no index is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.package_kit import manifest_bytes
from tests.support.wheel_kit import make_wheel

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.environments.locked import LOCK, WHEELS

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "one"
    directory.mkdir()
    (directory / "plugin.json").write_bytes(manifest_bytes(name="one", entry="plugin.py"))
    (directory / "plugin.py").write_text("#!/usr/bin/env python3\n")
    (directory / "plugin.py").chmod(0o755)
    (directory / "requirements.txt").write_text("lib\n")
    make_wheel(tmp_path / "wheels")
    return directory


def pack(*options: str) -> int:
    return run(root, ["pack", "one", *options])


def test_they_are_locked_and_packed(source: Path, capsys: Printed) -> None:
    assert pack() == 0
    assert "declares dependencies, and the package has no lock file" in capsys.readouterr().err
    assert pack("--wheels", "--find-links", "wheels", "--no-index") == 0
    told = capsys.readouterr()
    assert f"{WHEELS}/lib-1.0-py3-none-any.whl" in told.out
    assert LOCK in told.out
    assert told.err == ""
    assert pack() == 0


def test_what_is_declared_since_is_told(source: Path, capsys: Printed) -> None:
    assert pack("--lock", "--find-links", "wheels", "--no-index") == 0
    (source / "requirements.txt").write_text("lib>=1\n")
    assert pack() == 1
    assert "make it anew with: vconnect pack --lock" in capsys.readouterr().err
    assert pack("--lock", "--find-links", "wheels", "--no-index") == 0


@pytest.mark.parametrize(
    "options", [("--python", "3.11"), ("--no-index",), ("--wheel-platform", "any")]
)
def test_options_without_their_command_are_told(
    source: Path, capsys: Printed, options: tuple[str, ...]
) -> None:
    assert pack(*options) == 2
    assert "are for --lock and --wheels" in capsys.readouterr().err
