"""The doctor finds what is wrong with a machine, and names the step to take."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from vconnect.checks import doctor
from vconnect.checks.doctor import Check, diagnose, examine
from vconnect.settings.model import Settings

Usage = namedtuple("Usage", "total used free")


def settings_in(directory: Path) -> Settings:
    return Settings(
        plugin_dir=str(directory / "plugins"), socket_path=str(directory / "run" / "r.sock")
    )


def found(settings: Settings, name: str) -> Check:
    return next(one for one in examine(settings).checks if one.id == name)


def test_an_empty_home_is_well(tmp_path: Path) -> None:
    diagnosis = examine(settings_in(tmp_path))
    assert diagnosis.ok
    ids = [one.id for one in diagnosis.checks]
    assert ids[:4] == ["socket", "admin", "plugins", "state"]
    assert len(set(ids)) == len(ids)
    assert all(one.next or one.level == "ok" for one in diagnosis.checks)
    assert not (tmp_path / "plugins").exists()


def test_a_socket_that_others_can_reach_is_a_problem(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    path = Path(settings.socket_path)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.chmod(0o600)
        assert found(settings, "socket").detail == f"{path}, 0600, ours"
        path.chmod(0o666)
        check = found(settings, "socket")
    assert (check.level, check.next.startswith("chmod 600")) == ("fail", True)
    path.unlink()
    path.write_text("")
    assert found(settings, "socket").detail == f"{path} is no socket"


def test_a_directory_that_everybody_writes_to_is_a_problem(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    plugins = Path(settings.plugin_dir)
    plugins.mkdir()
    plugins.chmod(0o777)
    check = found(settings, "plugins")
    assert (check.level, check.next) == ("fail", f"chmod o-w {plugins}")


@pytest.mark.parametrize(
    ("total", "free", "level"),
    [(100 << 30, 50 << 30, "ok"), (10 << 30, 100 << 20, "fail"), (40 << 30, 3 << 30, "warn")],
)
def test_a_full_disk_is_a_problem(
    total: int, free: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
    assert found(settings_in(tmp_path), "disk").level == level


@pytest.mark.parametrize(
    ("count", "level"), [(None, "ok"), (65536, "ok"), (1024, "warn"), (64, "fail")]
)
def test_few_descriptors_are_a_problem(
    count: int | None, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "limit", lambda: count)
    assert found(settings_in(tmp_path), "files").level == level


def test_what_a_dead_host_has_left_is_named(tmp_path: Path) -> None:
    diagnosis = examine(settings_in(tmp_path), [("greeter", 4711)])
    assert not diagnosis.ok
    assert "greeter (PID 4711)" in diagnosis.checks[-1].detail
    assert diagnose([Check("x", "warn", "y", "z")]).ok
