"""What an installation leaves in plugin_dir, and what the next one makes of leftovers."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from tests.support.package_kit import leftovers, manifest_bytes, tree
from tests.support.store_kit import add, current, install, plain, waiting

from vconnect.errors import ConflictError, InstallError, VerificationError
from vconnect.store import locks as locks_module
from vconnect.store.layout import Receipt
from vconnect.store.store import PluginStore


@pytest.fixture
def store(tmp_path: Path) -> PluginStore:
    return PluginStore(tmp_path / "plugins")


def test_nothing_installed(store: PluginStore) -> None:
    assert store.installed() == []
    assert not store.plugin_dir.exists()
    store.plugin_dir.mkdir()
    assert store.installed() == []
    assert not store.private.exists()  # listing writes nothing


def test_the_first_version_is_current_and_the_second_waits(store: PluginStore) -> None:
    first = install(store, "1")
    second = install(store, "2")
    (plugin,) = store.installed()
    assert (plugin.current, plugin.next) == (first, second)
    assert (plugin.home, plugin.path) == (store.plugin_dir / "example", first.package)
    assert leftovers(store.plugin_dir) == []


def test_what_is_installed_is_never_written(store: PluginStore) -> None:
    version = install(store)
    modes = {path.name: path.stat().st_mode & 0o777 for path in version.package.rglob("*")}
    assert modes == {"plugin.json": 0o444, "content": 0o444, "example": 0o555}
    assert version.package.stat().st_mode & 0o777 == 0o555
    assert (version.directory / "install.json").stat().st_mode & 0o777 == 0o444
    assert store.plugin_dir.stat().st_mode & 0o777 == 0o700
    assert version.home.stat().st_mode & 0o777 == 0o700


def test_a_version_is_found_by_its_digest(store: PluginStore) -> None:
    version = install(store)
    found = store.with_digest(version.digest)
    assert found is not None
    assert found.current == version
    assert store.with_digest("0" * 64) is None
    # The same begin is not the same package.
    assert store.with_digest(version.digest[:16] + "0" * 48) is None


def test_another_package_whose_digest_begins_the_same_is_refused(store: PluginStore) -> None:
    version = install(store)
    with store.staging() as staging:
        package = add(staging.path / "package", manifest_bytes(version="1"), "example")
        twin = Receipt(name="example", version="1", sha256=version.digest[:16] + "0" * 48)
        with pytest.raises(InstallError, match="another package"):
            store.commit(package, twin)
    assert store.home("example").all_versions() == [version]


def test_a_version_that_two_install_at_once_is_put_in_place_once(store: PluginStore) -> None:
    first = install(store, "1")
    inode = first.package.stat().st_ino
    assert install(store, "1") == first
    second = install(store, "2")
    assert install(store, "2") == second
    assert (current(store), waiting(store)) == ("1", "2")
    assert install(store, "1") == first  # wanted last
    assert (current(store), waiting(store)) == ("1", "")
    assert first.package.stat().st_ino == inode


def test_a_broken_version_is_replaced_by_the_same_package(store: PluginStore) -> None:
    install(store, "1")
    version = install(store, "2")
    (version.directory / "install.json").unlink()
    assert waiting(store) == ""
    assert install(store, "2") == version
    assert waiting(store) == "2"
    assert leftovers(store.plugin_dir) == []


def test_without_a_current_version_the_installed_one_becomes_it(store: PluginStore) -> None:
    install(store, "1")
    (store.plugin_dir / "example" / "current").unlink()
    install(store, "2")
    assert (current(store), waiting(store)) == ("2", "")


def test_what_was_wanted_last_is_tried(store: PluginStore) -> None:
    first, second = install(store, "1"), install(store, "2")
    assert store.choose("example", first.digest).next is None
    assert store.choose("example", second.digest).next == second
    assert store.choose("example", "0" * 64) is None


@pytest.mark.parametrize("existing", ["Example", "wk.plugin.example", "v.plugin.EXAMPLE"])
def test_a_name_that_meets_another_directory(store: PluginStore, existing: str) -> None:
    add(store.plugin_dir / existing, manifest_bytes())
    before = tree(store.plugin_dir)
    with pytest.raises(InstallError, match="case or prefix"):
        install(store)
    assert {k: v for k, v in tree(store.plugin_dir).items() if ".vconnect" not in k} == before
    assert leftovers(store.plugin_dir) == []


def test_a_plugin_that_has_a_reserved_name_already_keeps_it(store: PluginStore) -> None:
    plain(store, "host")
    install(store, "2", name="host")
    assert waiting(store, "host") == "2"


def test_a_file_in_the_way(store: PluginStore) -> None:
    store.plugin_dir.mkdir()
    (store.plugin_dir / "example").touch()
    with pytest.raises(InstallError, match="not a directory"):
        install(store)


def test_a_plain_directory_becomes_one_of_the_versions(store: PluginStore) -> None:
    plain(store, version="0.9")
    install(store, "1")
    assert (current(store), waiting(store)) == ("0.9", "1")
    assert leftovers(store.plugin_dir) == []


def test_leftovers_of_the_dead_are_swept_and_the_living_spared(store: PluginStore) -> None:
    install(store)
    places = [
        add(store.private / "staging" / "dead", b"x"),
        add(store.private / "staging-old", b"x"),  # of an older vconnect
        store.private / "staging" / "file",
        store.private / "staging" / "link",
    ]
    places[2].touch()
    places[3].symlink_to(store.plugin_dir / "example")
    with store.staging() as living:
        store.installed()
        assert [path for path in places if os.path.lexists(path)] == []
        assert leftovers(store.plugin_dir) == [living.path.name]
        assert len(store.installed()) == 1
    assert leftovers(store.plugin_dir) == []


def test_the_old_version_of_an_older_vconnect_is_put_back(store: PluginStore) -> None:
    store.private.mkdir(parents=True)
    add(store.private / "replaced-example", manifest_bytes(version="0.9"), "example")
    (plugin,) = store.installed()
    assert plugin.manifest.version == "0.9"
    add(store.private / "replaced-example", manifest_bytes(version="0.8"), "example")
    (plugin,) = store.installed()
    assert plugin.manifest.version == "0.9"
    assert leftovers(store.plugin_dir) == []


def test_a_held_lock_is_waited_for(store: PluginStore) -> None:
    install(store)
    (store.private / "staging" / "left").mkdir()
    holder = os.open(store.private / "store.lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, [holder])
    release.start()
    assert len(store.installed()) == 1
    release.join()
    assert leftovers(store.plugin_dir) == []


def test_a_lock_that_is_never_released(
    store: PluginStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(store)
    monkeypatch.setattr(locks_module, "_TIMEOUT_S", 0.05)
    holder = os.open(store.private / "store.lock", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(InstallError, match="held this lock"):
            install(store, "2")
        assert len(store.installed()) == 1
        assert caplog.text == ""
        (store.private / "staging" / "left").mkdir()
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
    assert leftovers(store.plugin_dir) == []


def test_plugin_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = PluginStore(tmp_path / "file" / "plugins")
    with pytest.raises(InstallError, match="cannot be written: Not a directory"):
        store.staging().open()
    with pytest.raises(InstallError, match="cannot be read: Not a directory"):
        PluginStore(tmp_path / "file").installed()


@pytest.mark.parametrize("kind", ["store", "plain"])
def test_a_plugin_is_removed_with_all_of_its_versions(store: PluginStore, kind: str) -> None:
    if kind == "store":
        install(store, "1")
        install(store, "2")
    else:
        plain(store)
    store.uninstall("example")
    assert store.installed() == []
    assert not (store.plugin_dir / "example").exists()
    assert leftovers(store.plugin_dir) == []
    with pytest.raises(InstallError, match="example is not there"):
        store.uninstall("example")


def test_a_removal_waits_for_another_change(store: PluginStore, monkeypatch) -> None:
    install(store)
    monkeypatch.setattr(locks_module, "_TIMEOUT_S", 0.1)
    refused = pytest.raises(ConflictError, match=r"an upgrade .* is under way")
    with store.changing("example", "an upgrade"), refused:
        PluginStore(store.plugin_dir).uninstall("example")
    assert len(store.installed()) == 1


def test_what_is_locked_follows_what_is_current(tmp_path: Path) -> None:
    store = PluginStore(tmp_path / "plugins", lock_file=tmp_path / "vconnect.lock")
    assert store.locks is not None
    first = install(store, "1")
    install(store, "2")  # it waits
    entry = store.locks.entries()["example"]
    (file,) = entry.files.values()
    assert (entry.version, file.sha256) == ("1", first.digest)
    store.check_locked("example", "1", first.digest, None)
    with pytest.raises(VerificationError):
        store.check_locked("example", "1", "0" * 64, None)
    store.uninstall("example")
    assert store.locks.entries() == {}


def test_a_lock_file_that_cannot_be_written_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = PluginStore(tmp_path / "plugins", lock_file=tmp_path / "file" / "vconnect.lock")
    store.lock("example")  # nothing is installed
    home = install(store, "1").home
    assert home.exists()
    assert "plugin example is not locked: " in caplog.text
