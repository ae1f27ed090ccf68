"""From a plain directory to a store directory, and what is made of a killed migration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.package_kit import leftovers
from tests.support.store_kit import add, current, install, plain, waiting

from vconnect.store.home import CARRIED
from vconnect.store.plain import migration
from vconnect.store.plain.swap import exchange
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


@pytest.fixture(params=["exchange", "renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renames":  # a file system that cannot exchange
        monkeypatch.setattr(migration, "exchange", lambda *_: False)
    return str(request.param)


def test_the_old_files_are_a_version_and_the_directory_is_the_same(
    store: PluginStore, way: str
) -> None:
    home = plain(store, version="0.9")
    (home / "state.db").write_bytes(b"rows")
    inode = home.stat().st_ino
    install(store, "1")
    (plugin,) = store.installed()
    assert (plugin.problem, current(store), waiting(store)) == ("", "0.9", "1")
    assert plugin.current.is_legacy
    # A process whose working directory it is goes on as before.
    assert plugin.path.stat().st_ino == inode
    assert (plugin.path / "state.db").read_bytes() == b"rows"
    assert leftovers(store.plugin_dir) == []
    # Or which knows its files by their paths.
    assert (home / "state.db").read_bytes() == b"rows"
    (home / "state.db").write_bytes(b"more")
    assert (plugin.path / "state.db").read_bytes() == b"more"


def test_the_old_paths_go_with_the_old_files(store: PluginStore, way: str) -> None:
    path = plain(store, version="0.9")
    (path / "current").write_text("a file of the plugin")
    install(store, "1")
    home = store.home("example")
    legacy = home.current()
    assert (legacy.package / "current").read_text() == "a file of the plugin"
    (legacy.directory / CARRIED).touch()
    home.switch(home.next_version())
    home.set_next(None)
    home.collect(2)
    assert (path / "plugin.json").exists()
    home.collect(1)
    left = sorted(entry.name for entry in path.iterdir())
    assert left == ["current", "store.json", "versions"]


def test_one_without_a_manifest_or_with_an_odd_one(store: PluginStore, way: str) -> None:
    add(store.plugin_dir / "example", None, "example")
    add(store.plugin_dir / "other", b'{"name": "other", "version": "1/2"}', "other")
    for name in ("example", "other"):
        install(store, "1", name=name)
        assert store.home(name).current().directory.name.startswith("0+legacy-")
        assert waiting(store, name) == "1"


def test_a_link_is_replaced_and_its_target_kept(store: PluginStore, way: str) -> None:
    elsewhere = plain(PluginStore(store.plugin_dir.parent / "elsewhere"), version="0.9")
    store.plugin_dir.mkdir()
    (store.plugin_dir / "example").symlink_to(f"../elsewhere/{elsewhere.name}")
    install(store, "1")
    assert not (store.plugin_dir / "example").is_symlink()
    assert (elsewhere / "example").exists()
    assert (current(store), waiting(store)) == ("0.9", "1")
    assert store.home("example").current().package.resolve() == elsewhere
    assert leftovers(store.plugin_dir) == []


@pytest.mark.parametrize("killed_at", ["sync", "exchange", "rename"])
def test_killed_between(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch, way: str, killed_at: str
) -> None:
    """The whole matrix of steps is in tests/fault/test_install_kill.py."""
    home = plain(store, version="0.9")
    (home / "state.db").write_bytes(b"rows")

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    def exchange_and_die(*paths: Path) -> bool:
        exchange(*paths)
        raise Killed

    with monkeypatch.context() as patched:
        if killed_at == "exchange":
            patched.setattr(migration, "exchange", exchange_and_die)
        elif killed_at == "sync":
            patched.setattr(migration, "sync", kill)
        else:
            patched.setattr(Path, "rename", kill)
        with pytest.raises(Killed):
            install(store, "1")
    (plugin,) = store.installed()
    assert plugin.problem == ""
    assert (plugin.path / "state.db").read_bytes() == b"rows"
    assert leftovers(store.plugin_dir) == []
    install(store, "1")
    assert (current(store), waiting(store)) == ("0.9", "1")


def test_what_belongs_to_nobody_is_left(
    store: PluginStore, caplog: pytest.LogCaptureFixture
) -> None:
    install(store)
    strange = add(store.private / "replaced-example", b"x")
    assert len(store.installed()) == 1
    assert strange.exists()
    assert "it is left as it is" in caplog.text


def test_a_link_that_was_exchanged_is_removed(store: PluginStore) -> None:
    install(store)
    link = store.private / "replaced-example"
    link.symlink_to("/")
    assert len(store.installed()) == 1
    assert not os.path.lexists(link)
