"""The layout of plugin_dir."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from tests.support.package_kit import SCRIPT, manifest_bytes, tree

from vconnect.errors import InstallError
from vconnect.packages import store as store_module
from vconnect.packages.manifest import Manifest
from vconnect.packages.store import PluginStore
from vconnect.packages.swap import exchange


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


def add(directory: Path, manifest: bytes | None = None, *executables: str) -> Path:
    directory.mkdir(parents=True)
    if manifest is not None:
        (directory / "plugin.json").write_bytes(manifest)
    for name in executables:
        (directory / name).write_bytes(SCRIPT)
        (directory / name).chmod(0o755)
    return directory


def install(store: PluginStore, name: str = "example", content: bytes = b"") -> None:
    with store.staging() as staging:
        package = add(staging.path / "package", manifest_bytes(name=name), name)
        (package / "content").write_bytes(content)
        store.commit(package, Manifest(name=name))


def leftovers(store: PluginStore) -> list[str]:
    return [path.name for path in store.private.iterdir() if path.name != "lock"]


def test_nothing_installed(store: PluginStore) -> None:
    assert store.installed() == []
    assert not store.plugin_dir.exists()
    store.plugin_dir.mkdir()
    assert store.installed() == []
    assert not store.private.exists()  # listing writes nothing


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
    assert listed["zeta"].path == root / "wk.plugin.zeta"
    for name, words in {
        "broken": "plugin.json",
        "deep": "nested too deeply",
        "empty": "no plugin.json",
        "bad name": "is not a valid plugin name",
    }.items():
        assert words in listed[name].problem
        assert str(root / name) in listed[name].problem


def test_two_directories_for_one_plugin(store: PluginStore) -> None:
    add(store.plugin_dir / "example", manifest_bytes())
    add(store.plugin_dir / "wk.plugin.example", manifest_bytes())
    first, second = store.installed()
    assert first.problem == ""
    assert first.path.name == "example"
    assert "are the same plugin" in second.problem


@pytest.mark.parametrize("atomic", [True, False])
def test_install_and_replace(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    if not atomic:  # a file system that cannot swap
        monkeypatch.setattr(store_module, "exchange", lambda *_: False)
    install(store, content=b"old")
    install(store, content=b"new")
    [plugin] = store.installed()
    assert (plugin.path / "content").read_bytes() == b"new"
    assert leftovers(store) == []


@pytest.mark.parametrize("existing", ["Example", "wk.plugin.example", "v.plugin.EXAMPLE"])
def test_a_name_that_meets_another_directory(store: PluginStore, existing: str) -> None:
    add(store.plugin_dir / existing, manifest_bytes())
    before = tree(store.plugin_dir)
    with pytest.raises(InstallError, match="case or prefix"):
        install(store)
    assert {k: v for k, v in tree(store.plugin_dir).items() if ".vconnect" not in k} == before
    assert leftovers(store) == []


def test_a_file_in_the_way(store: PluginStore) -> None:
    store.plugin_dir.mkdir()
    (store.plugin_dir / "example").touch()
    with pytest.raises(InstallError, match="not a directory"):
        install(store)


def test_a_link_in_the_place_is_replaced_and_its_target_kept(store: PluginStore) -> None:
    elsewhere = add(store.plugin_dir.parent / "elsewhere", manifest_bytes(), "example")
    store.plugin_dir.mkdir()
    (store.plugin_dir / "example").symlink_to(elsewhere)
    install(store)
    assert not (store.plugin_dir / "example").is_symlink()
    assert (elsewhere / "example").exists()


def test_leftovers_of_the_dead_are_swept_and_the_living_spared(store: PluginStore) -> None:
    install(store)
    dead = add(store.private / "staging-dead", b"x")
    (store.private / "staging-file").touch()
    (store.private / "staging-link").symlink_to(store.plugin_dir / "example")
    with store.staging() as living:
        store.installed()
        assert not dead.exists()
        assert living.path.exists()
        assert leftovers(store) == [living.path.name]
        assert len(store.installed()) == 1
    assert leftovers(store) == []


def test_cut_short_between_the_two_renames(store: PluginStore) -> None:
    install(store, content=b"old")
    (store.plugin_dir / "example").rename(store.private / "replaced-example")
    [plugin] = store.installed()
    assert (plugin.path / "content").read_bytes() == b"old"
    add(store.private / "replaced-example", b"x")
    store.installed()
    assert (plugin.path / "content").read_bytes() == b"old"
    assert leftovers(store) == []


def test_a_held_lock_is_waited_for(store: PluginStore, monkeypatch: pytest.MonkeyPatch) -> None:
    install(store)
    holder = os.open(store.private / "lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, [holder])
    release.start()
    assert len(store.installed()) == 1
    release.join()


def test_a_lock_that_is_never_released(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(store)
    monkeypatch.setattr(store_module, "_LOCK_TIMEOUT_S", 0.05)
    holder = os.open(store.private / "lock", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(InstallError, match="held this lock"):
            install(store)
        assert len(store.installed()) == 1
        assert "without cleaning up" in caplog.text
        called_off = threading.Event()
        called_off.set()
        with pytest.raises(InstallError, match="was cancelled"):
            store.staging(called_off).open()
    finally:
        os.close(holder)


def test_close_twice_and_without_open(store: PluginStore) -> None:
    staging = store.staging()
    staging.close()
    staging.open()
    staging.close()
    staging.close()
    assert leftovers(store) == []


def test_plugin_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = PluginStore(tmp_path / "file" / "plugins")
    with pytest.raises(InstallError, match="cannot be written: Not a directory"):
        store.staging().open()
    with pytest.raises(InstallError, match="cannot be read: Not a directory"):
        PluginStore(tmp_path / "file").installed()


def test_exchange(tmp_path: Path) -> None:
    add(tmp_path / "a", b"a")
    add(tmp_path / "b", b"b")
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "plugin.json").read_bytes() == b"b"
    assert (tmp_path / "b" / "plugin.json").read_bytes() == b"a"
    with pytest.raises(OSError, match="No such file") as caught:
        exchange(tmp_path / "a", tmp_path / "none")
    assert caught.value.errno == errno.ENOENT
