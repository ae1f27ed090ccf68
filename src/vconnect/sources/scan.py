"""One look at the source directory of a plugin: which files count, and their state."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from vconnect.ignored import IgnoreFiles, Patterns

from .notifications import Identity

# What compilers and interpreters read. Other files, such as logs, databases and data, change while
# a plugin runs, and must not restart it.
_SOURCE_SUFFIXES = frozenset(
    """
    .py .pyi .pyx .pxd .rs .go .js .mjs .cjs .jsx .ts .mts .cts .tsx .c .h .cc .cpp .cxx .hpp .hh
    .zig .java .kt .swift .cs .php .pl .rb .lua .ex .exs .proto .sh
    """.split()
)
_BUILD_FILES = frozenset(
    "plugin.json package.json pyproject.toml requirements.txt requirements.lock Cargo.toml go.mod "
    "tsconfig.json".split()
)
_RULES = ".gitignore"
# Products of a build and dependencies: large, and rewritten by the build that a change starts.
_IGNORED_DIRECTORIES = frozenset(
    {"target", "node_modules", "__pycache__", "build", "dist", "venv", "vendor"}
)
# Keeps each scan short, for example if the source directory is a home directory.
_MAX_FILES = 20_000
_MAX_DIRECTORIES = 5_000


class Source(msgspec.Struct, frozen=True):
    """A directory to watch.

    Attributes:
        name: The plugin's name.
        path: Its source directory.
        ignore: Patterns of files that do not count.
        also: Patterns of files that count whatever they are called.
    """

    name: str
    path: Path
    ignore: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class Stamp(NamedTuple):
    """What is compared of a file.

    Attributes:
        size: Its size.
        modified: When its contents changed, as programs may set it.
        node: Its inode number.
        changed: When anything about it or about a link to it changed.
        place: Where the last link leads through which it is reached.
    """

    size: int
    modified: int
    node: int
    changed: int
    place: str = ""

    def differs(self, other: Stamp | None) -> bool:
        """Return whether this is another file, or another state of it."""
        if other is None or self[:2] != other[:2] or self.place != other.place:
            return True
        # Two files that were swapped. Some file systems invent new inode numbers now and then, but
        # no new times; and a change of the mode changes the time, but not the number.
        return self.node != other.node and self.changed != other.changed


class Scan(msgspec.Struct):
    """The state of a source directory.

    Attributes:
        files: The files that count, relative to it.
        directories: The directories that were looked at, by their absolute paths.
        targets: Where files lie that are links.
        problems: What keeps it from being complete.
    """

    files: dict[str, Stamp] = {}
    directories: dict[str, Identity] = {}
    targets: set[str] = set()
    problems: list[str] = []


class _Link(NamedTuple):
    """The last link through which something is reached.

    Attributes:
        place: Where it leads.
        made_at: When the newest link on the way was made, in nanoseconds.
    """

    place: str
    made_at: int


class Scanner:
    """Looks at the files of one source."""

    def __init__(self, source: Source) -> None:
        self._root = os.path.abspath(source.path)  # noqa: PTH100 - links in it must stay
        self._ignore = Patterns(source.ignore, "watch_ignore")
        self._also = Patterns(source.also, "watch_also")
        self._rules: IgnoreFiles | None = None
        # Their directories are entered even if they do not count otherwise.
        self._also_paths = [pattern.lstrip("/") for pattern in source.also]

    def scan(self) -> Scan:
        """Look at everything that counts."""
        scan = Scan()
        rules = self._rules = IgnoreFiles([_RULES], self._rules)
        seen: set[Identity] = set()
        # Directories first and links to directories after them, so that a directory that is
        # reached both ways has its own name. Each is entered once, so cycles end.
        root = _Link(os.path.realpath(self._root), _linked_at(self._root))
        pending, linked = deque([("", False, root)]), deque[tuple[str, bool, _Link]]()
        while pending or linked:
            relative, only_also, link = (pending or linked).popleft()
            for entry, path in self._entries(relative, scan, rules, seen):
                if not _is_directory(entry):
                    if self._counts(path, rules, only_also):
                        _add(entry, path, link, scan)
                elif (inner := self._enters(path, rules, only_also)) is None:
                    continue
                elif entry.is_symlink():
                    linked.append((path, inner, _follow(entry, link)))
                else:
                    pending.append((path, inner, link))
            if len(scan.files) >= _MAX_FILES or len(scan.directories) >= _MAX_DIRECTORIES:
                scan.problems.append(
                    f"its source directory has more than {_MAX_FILES} source files or "
                    f"{_MAX_DIRECTORIES} directories, and changes in the others are not noticed; "
                    f"leave some out with watch_ignore, or in {_RULES}"
                )
                break
        scan.problems += rules.slow()
        return scan

    def concerns(self, path: str, last: Scan) -> bool:
        """Return whether a path that the system told may be of a file that counts."""
        if path in last.targets or path in last.directories:
            return True
        directory, name = os.path.split(path)
        if directory not in last.directories:
            return False
        if _is_source(name) or name == _RULES:
            return True
        relative = os.path.relpath(path, self._root)
        if _matches(self._also, relative):
            return True
        return not _is_ignored_directory(name) and Path(path).is_dir()

    def _entries(
        self, relative: str, scan: Scan, rules: IgnoreFiles, seen: set[Identity]
    ) -> Iterator[tuple[os.DirEntry[str], str]]:
        path = os.path.join(self._root, relative) if relative else self._root  # noqa: PTH118
        try:
            status = os.stat(path)  # noqa: PTH116 - called for each directory of each scan
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                return
            seen.add(identity)
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return  # not readable, or deleted meanwhile
        if _is_utf8(path):  # notifications are for no other names
            scan.directories[path] = identity
        scan.problems += rules.enter(Path(self._root), relative)
        for entry in found:
            yield entry, f"{relative}/{entry.name}" if relative else entry.name

    def _enters(self, path: str, rules: IgnoreFiles, only_also: bool) -> bool | None:
        """Return whether only `also` counts in a directory, or ``None`` if nothing does."""
        own = self._ignore.rule(path, is_directory=True)
        if own is not None and own.ignores:
            return None
        name = path.rpartition("/")[2]
        if own is None and not only_also:
            rule = rules.rule(path, is_directory=True)
            only_also = _is_ignored_directory(name) or (rule is not None and rule.ignores)
        if not only_also:
            return False
        reaches = any(pattern.startswith(f"{path}/") for pattern in self._also_paths)
        return True if reaches or _matches(self._also, path, is_directory=True) else None

    def _counts(self, path: str, rules: IgnoreFiles, only_also: bool) -> bool:
        name = path.rpartition("/")[2]
        own = self._ignore.rule(path)
        if own is not None and own.ignores:
            return False
        if _matches(self._also, path):
            return True
        if only_also or not _is_source(name):
            return False
        rule = rules.rule(path) if own is None else None
        return rule is None or not rule.ignores


def _add(entry: os.DirEntry[str], path: str, link: _Link, scan: Scan) -> None:
    try:
        status = entry.stat()
    except OSError:
        return  # it was deleted meanwhile, or is a link to nowhere
    if entry.is_symlink():
        link = _follow(entry, link)
        scan.targets.add(link.place)
    scan.files[path] = Stamp(
        size=status.st_size,
        modified=status.st_mtime_ns,
        node=status.st_ino,
        changed=max(status.st_ctime_ns, link.made_at),
        place=link.place,
    )


def _follow(entry: os.DirEntry[str], link: _Link) -> _Link:
    try:
        made_at = entry.stat(follow_symlinks=False).st_ctime_ns
    except OSError:
        made_at = 0  # it was deleted meanwhile
    return _Link(os.path.realpath(entry.path), max(made_at, link.made_at))


def _linked_at(path: str) -> int:
    """Return when the newest link in a path was made, in nanoseconds; 0 without one."""
    made_at = 0
    for part in (path, *map(str, Path(path).parents)):
        try:
            status = os.lstat(part)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            made_at = max(made_at, status.st_ctime_ns)
    return made_at


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_source(name: str) -> bool:
    if name.startswith("."):
        return False
    return name in _BUILD_FILES or os.path.splitext(name)[1] in _SOURCE_SUFFIXES  # noqa: PTH122


def _is_ignored_directory(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED_DIRECTORIES


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _matches(patterns: Patterns, path: str, *, is_directory: bool = False) -> bool:
    rule = patterns.rule(path, is_directory=is_directory)
    return rule is not None and rule.ignores
