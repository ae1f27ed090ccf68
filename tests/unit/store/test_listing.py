"""What is in plugin_dir: plugins, what cannot be used, and what is not a plugin at all."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.support.package_kit import manifest_bytes
from tests.support.store_kit import add, install, plain

from vconnect.errors import InstallError
from vconnect.store.listing import locate
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


def test_what_is_listed(store: PluginStore) -> None:
    root = store.plugin_dir
    add(root / "wk.plugin.zeta", manifest_bytes(name="zeta"))
    add(root / "alpha", manifest_bytes(name="wk.plugin.alpha", version="2"))
    add(root / "bare", None, "bare", "other")
    add(root / "broken", b"{")
    add(root / "deep", b"[" * 100_000)
    add(root / "empty")
    add(root / "bad name", manifest_bytes())
    add(root / ".hidden", manifest_bytes())
    (root / "file.sock").touch()
    listed = {plugin.name: plugin for plugin in store.installed()}
    assert list(listed) == ["alpha", "bad name", "bare", "broken", "deep", "empty", "zeta"]
    assert listed["alpha"].manifest is not None
    assert listed["alpha"].manifest.version == "2"
    assert (listed["bare"].manifest, listed["bare"].problem) == (None, "")
    assert listed["zeta"].path == listed["zeta"].home == root / "wk.plugin.zeta"
    for name, words in {
        "broken": "plugin.json",
        "deep": "nested too deeply",
        "empty": "no plugin.json",
        "bad name": "is not a valid plugin name",
    }.items():
        assert words in listed[name].problem
        assert str(root / name) in listed[name].problem


def test_what_is_no_plugin_is_passed_over(
    store: PluginStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add(store.plugin_dir / "lost+found")
    add(store.plugin_dir / "my notes")
    plain(store)
    assert [plugin.name for plugin in store.installed()] == ["example"]
    assert f"{store.plugin_dir / 'lost+found'} is not a plugin; it is skipped" in caplog.text
    # A program under a name that cannot be is a mistake of somebody's.
    add(store.plugin_dir / "my plugin", None, "run")
    assert [plugin.name for plugin in store.installed() if plugin.problem] == ["my plugin"]


def test_two_directories_for_one_plugin(store: PluginStore) -> None:
    add(store.plugin_dir / "example", manifest_bytes())
    add(store.plugin_dir / "wk.plugin.example", manifest_bytes())
    for plugin in store.installed():
        assert "wk.plugin.example are the same plugin; remove all but one" in plugin.problem
        assert plugin.conflict == plugin.problem


def test_a_current_that_leads_elsewhere_is_a_problem(store: PluginStore) -> None:
    version = install(store)
    link = version.home / "current"
    link.unlink()
    link.symlink_to("/")
    (plugin,) = store.installed()
    assert (plugin.current, plugin.path) == (None, version.home)
    assert "leads to /; expected versions/VERSION" in plugin.problem
    with pytest.raises(InstallError, match="leads to /"):
        locate(version.home)


def test_what_a_start_uses_is_looked_up_once(store: PluginStore) -> None:
    version = install(store)
    assert locate(version.home).version == version
    assert locate(version.home).path == version.package
    other = plain(store, "other")
    assert (locate(other).path, locate(other).version) == (other, None)


def test_a_version_that_was_made_current_does_not_wait_any_more(store: PluginStore) -> None:
    install(store, "1")
    second = install(store, "2")
    store.home("example").switch(second)  # and the record could not be written
    (plugin,) = store.installed()
    assert (plugin.current, plugin.next) == (second, None)
