"""Notices that the source of a plugin has changed.

It polls: a few thousand file times cost a few milliseconds twice a second, in a thread, and work on
every file system and in every container, which the kernel's notifications do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_SOURCE_SUFFIXES = frozenset(
    {
        *(".py", ".pyx", ".rs", ".go", ".mod", ".sum", ".js", ".mjs", ".cjs", ".ts", ".tsx"),
        *(".c", ".h", ".cc", ".cpp", ".hpp", ".zig", ".java", ".kt", ".rb", ".lua", ".sh"),
        *(".toml", ".json", ".yaml", ".yml"),
    }
)
_IGNORED_DIRECTORIES = frozenset(
    {"target", "node_modules", "__pycache__", "build", "dist", "venv", "vendor"}
)
_MAX_FILES = 20_000

Stamp = tuple[int, int, int]


class SourceWatch:
    """Remembers what the sources looked like. Methods block; call them in one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[Path, Stamp] = {}
        self._unsettled: dict[Path, Stamp] = {}

    def changed(self, directories: list[Path]) -> list[Path]:
        """Return the directories whose source has changed and then stayed so for one look.

        A directory that is seen for the first time has not changed. An editor or a checkout that
        writes many files is given the time until the next call to finish.
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
    """Sum up the source files below ``directory``: how many, how large, and when written last."""
    count = size = newest = 0
    for entry in _source_files(directory):
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it went while we looked
        count += 1
        # A sum of times also notices a file that is replaced by an older one.
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
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _IGNORED_DIRECTORIES:
                    pending.append(entry.path)
            elif Path(entry.name).suffix in _SOURCE_SUFFIXES:
                yield entry
