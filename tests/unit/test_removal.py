"""Trees are removed whatever is in them, and nothing outside of them is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.deep import nest

from vconnect.removal import remove_tree


def test_a_tree_of_files_and_directories_goes(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_text("x")
    (top / "a" / "b" / "file").write_text("x")
    os.mkfifo(top / "a" / "pipe")
    remove_tree(top)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("levels", [1, 3000])
def test_depth_does_not_matter(tmp_path: Path, levels: int) -> None:
    top = tmp_path / "top"
    top.mkdir()
    nest(top, levels)
    remove_tree(top)
    assert not top.exists()


@pytest.mark.parametrize("place", ["top", "inside"])
def test_links_are_removed_and_not_followed(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("x")
    outside.chmod(0o755)
    top = tmp_path / "top"
    if place == "inside":
        top.mkdir()
        (top / "link").symlink_to(outside)
    else:
        top.symlink_to(outside)
    remove_tree(top)
    assert not os.path.lexists(top)
    assert (outside / "file").read_text() == "x"
    assert outside.stat().st_mode & 0o777 == 0o755


def test_directories_without_permissions_go_too(tmp_path: Path) -> None:
    closed = tmp_path / "top" / "a" / "closed"
    (closed / "b").mkdir(parents=True)
    for directory in (closed / "b", closed, closed.parent, closed.parent.parent):
        directory.chmod(0)
    remove_tree(tmp_path / "top")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    remove_tree(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove it")
def test_what_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed" / "top").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o500)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "closed" / "top")
    (tmp_path / "closed").chmod(0o700)
