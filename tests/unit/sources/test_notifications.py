"""Watching directories, and what happens if the system does not."""

import pytest
from tests.support.wire_kit import until

from vconnect.sources import notifications as module
from vconnect.sources.notifications import Notifications


def identity(path):
    status = path.stat()
    return status.st_dev, status.st_ino


@pytest.fixture
def watched():
    notifications = Notifications()
    yield notifications
    notifications.close()


async def test_changes_in_watched_directories_are_told(watched, tmp_path):
    wanted = {"a": {str(tmp_path): identity(tmp_path)}}
    assert watched.follow(wanted) == (True, [])
    assert watched.cover("a")
    (tmp_path / "x.py").write_text("x")
    await until(lambda: str(tmp_path / "x.py") in watched.drain())
    assert watched.follow(wanted) == (False, [])
    assert watched.follow({}) == (False, [])
    assert watched.drain() == set()


async def test_another_directory_in_its_place_is_watched_too(watched, tmp_path):
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    watched.follow({"a": {str(place): identity(place)}})
    place.rename(tmp_path / "old")
    other.rename(place)
    assert watched.follow({"a": {str(place): identity(place)}}) == (True, [])
    (place / "x.py").write_text("x")
    await until(lambda: str(place / "x.py") in watched.drain())


def test_a_directory_that_is_gone_again_is_no_problem(watched, tmp_path):
    assert watched.follow({"a": {str(tmp_path / "gone"): (0, 0)}}) == (False, [])
    assert not watched.cover("a")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("OS file watch limit reached. about [...]"), "fs.inotify.max_user_watches"),
        (RuntimeError("Error: Too many open files (os error 24)"), "fs.inotify.max_user_instances"),
        (PermissionError("Permission denied"), "Permission denied"),
    ],
)
def test_without_room_the_largest_goes_without(watched, tmp_path, monkeypatch, error, words):
    made = []
    original = module._new_notify

    def limited(paths):
        if len(paths) > 1:
            raise error
        made.append(paths)
        return original(paths)

    monkeypatch.setattr(module, "_new_notify", limited)
    large = tmp_path / "large"
    large.mkdir()
    (large / "sub").mkdir()
    small = {str(tmp_path): identity(tmp_path)}
    many = {str(path): identity(path) for path in (large, large / "sub")}
    renewed, warnings = watched.follow({"small": small, "large": many})
    assert renewed
    assert made == [{str(tmp_path)}]
    (warning,) = warnings
    assert "plugin large" in warning
    assert "2 directories" in warning
    assert words in warning
    # Said once, and not tried again until its directories are others.
    assert watched.follow({"small": small, "large": many}) == (False, [])


def test_watching_that_has_ended_begins_again(watched, tmp_path):
    wanted = {"a": {str(tmp_path): identity(tmp_path)}}
    watched.follow(wanted)
    watched._notify.close()
    assert watched.drain() == set()
    assert watched.follow(wanted) == (True, [])


def test_a_source_with_very_many_directories_is_not_watched(watched, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_MAX_DIRECTORIES", 1)
    many = {str(tmp_path / name): (0, number) for number, name in enumerate("ab")}
    assert watched.follow({"a": many}) == (False, [])
