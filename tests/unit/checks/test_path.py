"""What a path is, and who looks at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.package_kit import manifest_bytes, write_package

from vconnect.checks.path import check_path
from vconnect.checks.report import Subject


def test_each_kind(tmp_path: Path) -> None:
    write_package(tmp_path / "a.vp")
    (tmp_path / "vconnect.toml").touch()
    (tmp_path / "plugin.json").write_bytes(manifest_bytes())
    subjects = {
        "a.vp": Subject.PACKAGE,
        "vconnect.toml": Subject.CONFIGURATION,
        "plugin.json": Subject.MANIFEST,
        ".": Subject.DIRECTORY,
    }
    for name, subject in subjects.items():
        assert check_path(tmp_path / name).subject is subject


def test_a_manifest_with_faults_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "plugin.json").write_bytes(manifest_bytes(capabilities=["a b"]))
    report = check_path(tmp_path / "plugin.json")
    assert (report.faults, report.is_unusable) == (1, True)


@pytest.mark.parametrize("name", ["pipe", "pipe.vp", "pipe.toml", "pipe.json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    report = check_path(tmp_path / name)
    assert [one.message for one in report.findings] == ["is neither a regular file nor a directory"]


def test_devices() -> None:
    assert check_path(Path("/dev/zero")).faults == 1


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_path(tmp_path / "none")
