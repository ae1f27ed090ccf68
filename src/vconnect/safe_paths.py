"""Paths that only this user can change."""

# Whoever can write to a directory decides what is run or read from it; and whoever can write to one
# above it can replace it. So the whole way counts, as in `safe_path` of OpenSSH: every directory on
# it belongs to us or root, and nobody else may write to it, unless it is sticky like /tmp. With
# links, both ways count: the one that is written, and the one that it leads.

from __future__ import annotations

import grp
import os
import pwd
import stat
from functools import cache
from pathlib import Path


def find_danger(path: Path, below: Path | None = None) -> str:
    """Return who else can change what is at a path, in words; empty if nobody can. Blocks.

    What is missing is no danger: it will be created by us. Of a file, its directories are checked
    and that it is ours or root's.

    Args:
        path: What we trust.
        below: A directory that has been checked before, with those above it.
    """
    written = Path(os.path.abspath(path))  # noqa: PTH100 - resolves no links, unlike resolve()
    checked = {below, below and Path(os.path.realpath(below))}
    for way in dict.fromkeys((written, Path(os.path.realpath(path)))):
        for place in (way, *way.parents):
            if place in checked:
                break
            if danger := _danger_of(place):
                return danger
    return ""


def is_given_to(path: Path, uid: int) -> bool:
    """Return whether a path is a user's because root has given it to them. Blocks.

    So are ``/run/vconnect`` and ``/home/ada``, which nobody but root can have made; what is below
    ``/tmp`` may be anybody's trap.
    """
    way = Path(os.path.realpath(path))
    for place in (*reversed(way.parents), way):
        found = place.lstat()
        if found.st_uid not in _trusted():
            return found.st_uid == uid
        if found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
            return False
    return False


def _danger_of(place: Path) -> str:
    try:
        found = place.lstat()
    except OSError:
        return ""
    if found.st_uid not in _trusted():
        return f"{place} belongs to {_name_of(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        return ""
    others = found.st_mode & stat.S_IWOTH
    group = found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)
    if not (others or group) or (found.st_mode & stat.S_ISVTX and stat.S_ISDIR(found.st_mode)):
        return ""
    whose = "everybody" if others else "its group"
    return f"{place} can be changed by {whose} (mode {stat.S_IMODE(found.st_mode):04o})"


def _trusted() -> set[int]:
    # In a user namespace, the owner of what belongs to root outside is some other number.
    return {0, os.geteuid(), _owner_of_root()}


@cache
def _owner_of_root() -> int:
    return os.lstat("/").st_uid


def _is_private_group(gid: int) -> bool:
    """Return whether a group has no other member than us, as is usual for a user's own group."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and not set(group.gr_mem) - {user.pw_name}


def _name_of(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
