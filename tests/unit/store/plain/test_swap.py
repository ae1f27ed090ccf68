"""Exchanging two names in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest
from tests.support.package_kit import tree

from vconnect.store.plain.swap import exchange


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old"
    path.mkdir()
    (path / "a").write_bytes(b"old")
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new ü"
    path.mkdir()
    (path / "b").write_bytes(b"new")
    return path


class KernelThatSays:
    """A C library whose call fails in one way."""

    def __init__(self, number: int) -> None:
        self._number = number

    def renameat2(self, *_: object) -> int:
        ctypes.set_errno(self._number)
        return -1

    renamex_np = renameat2


def test_two_directories_change_places(old: Path, new: Path) -> None:
    inodes = old.stat().st_ino, new.stat().st_ino
    assert exchange(old, new)
    assert (tree(old), tree(new)) == ({"b": b"new"}, {"a": b"old"})
    assert (new.stat().st_ino, old.stat().st_ino) == inodes


def test_twice_is_as_before(old: Path, new: Path) -> None:
    assert exchange(old, new)
    assert exchange(new, old)
    assert (tree(old), tree(new)) == ({"a": b"old"}, {"b": b"new"})


def test_a_directory_and_a_link_change_places_and_the_link_is_not_followed(
    old: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert exchange(old, link)
    assert old.readlink() == Path("nowhere")
    assert tree(link) == {"a": b"old"}


@pytest.mark.parametrize("turned", [False, True])
def test_a_name_that_is_missing_is_an_error_with_both_names(
    old: Path, tmp_path: Path, turned: bool
) -> None:
    missing = tmp_path / "missing"
    names = (missing, old) if turned else (old, missing)
    with pytest.raises(FileNotFoundError) as caught:
        exchange(*names)
    assert (caught.value.filename, caught.value.filename2) == tuple(map(str, names))
    assert tree(old) == {"a": b"old"}
    assert not missing.exists()


def test_a_directory_does_not_change_places_with_what_is_in_it(old: Path) -> None:
    (old / "inner").mkdir()
    # The kernel says the same of this as of a file system that cannot do it.
    assert not exchange(old, old / "inner")
    assert sorted(tree(old)) == ["a", "inner"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_system_that_cannot_do_it_says_so_and_changes_nothing(
    old: Path, new: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: KernelThatSays(number))
    assert not exchange(old, new)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES, errno.EBUSY, errno.EROFS])
def test_a_refusal_is_an_error(
    old: Path, new: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: KernelThatSays(number))
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        exchange(old, new)
    assert caught.value.errno == number


def test_a_library_older_than_the_call_cannot_do_it(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert not exchange(old, new)
    assert tree(old) == {"a": b"old"}
