"""Detects that the source of a plugin has changed."""

# It polls. Reading a few thousand file times costs a few milliseconds twice a second, in a thread.
# It works on every file system and in every container, unlike the kernel's notifications.

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# What compilers, interpreters and build tools read. Other files, such as logs and databases, change
# while a plugin runs, and must not restart it.
_SOURCE_SUFFIXES = frozenset(
    """
    .py .pyx .rs .go .mod .sum .js .mjs .cjs .ts .tsx .c .h .cc .cpp .hpp .zig .java .kt
    .rb .lua .sh .toml .json .yaml .yml
    """.split()
)
# Products of a build and dependencies: large, and rewritten by the build that a change starts.
_IGNORED_DIRECTORIES = frozenset(
    {"target", "node_modules", "__pycache__", "build", "dist", "venv", "vendor"}
)
# Keeps each look short, for example if the source directory is a home directory.
_MAX_FILES = 20_000

Stamp = tuple[int, int, int]


class SourceWatch:
    """Remembers the state of the sources. Methods block; call them in one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[Path, Stamp] = {}
        self._unsettled: dict[Path, Stamp] = {}

    def changed(self, directories: list[Path]) -> list[Path]:
        """Return the directories whose source has changed and then stayed the same for one call.

        A directory that is seen for the first time has not changed. So an editor or a checkout that
        writes many files has until the next call to finish.
        """
        found = [directory for directory in directories if self._has_changed(directory)]
        for forgotten in self._known.keys() - set(directories):
            del self._known[forgotten]
            self._unsettled.pop(forgotten, None)
        return found

    def _has_changed(self, directory: Path) -> bool:
        now = stamp(directory)
        if self._known.setdefault(directory, now) == now:
            self._unsettled.pop(directory, None)
            return False
        if self._unsettled.get(directory) != now:
            self._unsettled[directory] = now
            return False
        self._known[directory] = now
        del self._unsettled[directory]
        return True


def stamp(directory: Path) -> Stamp:
    """Summarize the source files below ``directory``: number, total size, sum of their times."""
    count = size = newest = 0
    for entry in _source_files(directory):
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it was deleted meanwhile
        count += 1
        # A sum of times also changes if a file is replaced by an older one.
        size += found.st_size
        newest += found.st_mtime_ns
        if count >= _MAX_FILES:
            break
    return count, size, newest


def _source_files(directory: Path) -> Iterator[os.DirEntry[str]]:
    pending = [os.fspath(directory)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # not readable, or deleted meanwhile
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _IGNORED_DIRECTORIES:
                    pending.append(entry.path)
            elif Path(entry.name).suffix in _SOURCE_SUFFIXES:
                yield entry
