"""Who else can change what is at a path."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from vconnect.safe_paths import find_danger, is_given_to

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "a" / "b" / "c"
    made.mkdir(mode=0o700, parents=True)
    for one in (made, *made.parents[:2]):
        one.chmod(0o755)
    return made


def test_what_is_ours_is_safe(place: Path) -> None:
    assert find_danger(place) == ""
    assert find_danger(place / "missing" / "too") == ""


@pytest.mark.parametrize("above", [0, 1, 2])
def test_every_directory_on_the_way_counts(place: Path, above: int) -> None:
    one = (place, *place.parents)[above]
    one.chmod(0o777)
    assert find_danger(place) == f"{one} can be changed by everybody (mode 0777)"
    one.chmod(0o1777)
    assert find_danger(place) == ""


@AS_ROOT
@pytest.mark.parametrize("above", [0, 1, 2])
def test_of_another_user(place: Path, above: int) -> None:
    one = (place, *place.parents)[above]
    os.chown(one, 65534, 65534)
    assert find_danger(place) == f"{one} belongs to user nobody"


@AS_ROOT
def test_a_group_that_others_are_in(place: Path) -> None:
    os.chown(place, 0, 65534)
    place.chmod(0o775)
    assert find_danger(place) == f"{place} can be changed by its group (mode 0775)"


def test_our_own_group_is_nobody_else(place: Path) -> None:
    os.chown(place, -1, os.getegid())
    place.chmod(0o775)
    assert find_danger(place) == ""


def test_both_ways_of_a_link_count(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.mkdir(parents=True)
    link = place / "link"
    link.symlink_to(target)
    assert find_danger(link) == ""
    target.parent.chmod(0o777)
    assert find_danger(link) == f"{target.parent} can be changed by everybody (mode 0777)"
    target.parent.chmod(0o755)
    place.chmod(0o777)
    assert find_danger(link) == f"{place} can be changed by everybody (mode 0777)"


def test_what_has_been_checked_is_not_checked_again(place: Path, tmp_path: Path) -> None:
    program = place / "plugin" / "program"
    program.parent.mkdir()
    program.touch()
    place.chmod(0o777)
    assert find_danger(program, below=place) == ""
    program.parent.chmod(0o777)
    assert "can be changed by everybody" in find_danger(program, below=place)
    # What leads out of it is checked as a whole.
    program.parent.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "program").touch()
    program.unlink()
    program.symlink_to(elsewhere / "program")
    assert find_danger(program, below=place) == ""
    elsewhere.chmod(0o777)
    assert "elsewhere can be changed by everybody" in find_danger(program, below=place)


@AS_ROOT
def test_what_root_has_given_to_a_user() -> None:
    with tempfile.TemporaryDirectory(dir="/run") as made:
        home = Path(made) / "user"
        (home / "run").mkdir(parents=True)
        Path(made).chmod(0o755)
        for one in (home, home / "run"):
            os.chown(one, 65534, 65534)
        socket = home / "run" / "x.sock"
        socket.touch()
        os.chown(socket, 65534, 65534)
        assert is_given_to(socket, 65534)
        assert not is_given_to(socket, 65533)
        Path(made).chmod(0o1777)  # anybody may have made it there
        assert not is_given_to(socket, 65534)


def test_a_file_counts_as_well(place: Path) -> None:
    file = place / "vconnect.toml"
    file.write_text("")
    file.chmod(0o666)
    assert find_danger(file) == f"{file} can be changed by everybody (mode 0666)"
    file.chmod(0o644)
    assert find_danger(file) == ""
