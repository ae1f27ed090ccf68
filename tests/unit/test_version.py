"""The version: of what is installed, or none."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import pytest

import vconnect
from vconnect.version import host_version


@pytest.fixture(autouse=True)
def _unread() -> Iterator[None]:
    host_version.cache_clear()
    yield
    host_version.cache_clear()


def test_it_is_what_is_installed() -> None:
    assert host_version() == metadata.version("vconnect") == vconnect.__version__


def test_a_tree_that_was_never_installed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert host_version() == ""
    assert vconnect.__version__ == "0+unknown"


def test_the_disk_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(metadata, "version", lambda name: asked.append(name) or "1.2")
    assert [host_version(), host_version()] == ["1.2", "1.2"]
    assert asked == ["vconnect"]
