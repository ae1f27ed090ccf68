"""Rules in the syntax of ``.gitignore``: which files of a directory do not count, and why."""

# `pathspec` knows the syntax. Here is which rule wins: those of the file whose name ranks higher,
# then those of the deepest directory, then the last line.
#
# The files may be a plugin's. Some patterns take exponential time with `re`, which stops for nobody
# and lets nobody else run. So they are matched by `regex`, with a deadline, and a line that has
# missed it has no effect any more.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from .bounds import cut
from .durable import read_regular

# A file of rules is read into memory as a whole, also from directories that hold anything.
_MAX_BYTES = 1024 * 1024
_MAX_LINES = 10_000
_MAX_KNOWN = 50_000
# How long one line may look at one path, in seconds, and how many lines of a file may take longer.
_DEADLINE_S = 0.02
_MAX_SLOW = 20
_SHOWN_BYTES = 80


class Rule(msgspec.Struct, frozen=True):
    """One line that decides about a path.

    Attributes:
        ignores: Whether the path does not count; ``False`` if the line takes it back with ``!``.
        origin: Where the line is from: the path of a file, or what else names it.
        line: Its number, from 1.
        pattern: The line itself.
    """

    ignores: bool
    origin: str
    line: int
    pattern: str

    def __str__(self) -> str:
        return f"line {self.line} of {self.origin} ({self.pattern})"


class Patterns:
    """The rules of one file, or of one list of an operator.

    Args:
        lines: The lines.
        origin: Where they are from, for messages.

    Raises:
        ValueError: A line is not a valid pattern.
    """

    def __init__(self, lines: Iterable[str], origin: str) -> None:
        self._origin = origin
        self.lines = tuple(line.rstrip("\r\n") for line in lines)
        numbered = enumerate(self.lines, 1)
        # `pathspec` drops empty lines, and counts what is left.
        self._lines = [(number, line) for number, line in numbered if line]
        # Imported here, because most hosts have no such rules, and it takes a while.
        from pathspec import GitIgnoreSpec

        self._known: dict[str, Rule | None] = {}
        self._spec = GitIgnoreSpec.from_lines([line for _, line in self._lines])
        #: What is said of lines that have no effect, because they take too long.
        self.slow: list[str] = []
        # In place of what `pathspec` has compiled, whose interface is the same.
        self._compiled: list[Any] = list(self._spec.patterns)
        for pattern in self._compiled:
            if pattern.regex is not None:
                pattern.regex = _Limited(pattern.regex.pattern)

    @property
    def takes_back(self) -> bool:
        """Whether a line begins with ``!``."""
        return any(line.startswith("!") for _, line in self._lines)

    def rule(self, path: str, *, is_directory: bool = False) -> Rule | None:
        """Return the rule for a path relative to the file's directory, or ``None``."""
        if not self._lines:
            return None
        asked = f"{path}/" if is_directory else path
        # Asked about the same paths again and again, by each scan of a source.
        if asked not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[asked] = self._find(asked)
        return self._known[asked]

    def _find(self, path: str) -> Rule | None:
        while len(self.slow) < _MAX_SLOW:
            try:
                return self._match(path)
            except _SlowError as error:
                self._disable(error.regex)
        return None

    def _disable(self, regex: _Limited) -> None:
        """Take the effect from a line."""
        for (number, line), pattern in zip(self._lines, self._compiled, strict=True):
            if pattern.regex is regex:
                pattern.include = None
                self.slow.append(
                    f"line {number} of {self._origin} ({cut(line.strip(), _SHOWN_BYTES)}) takes "
                    "too long and has no effect; write it with fewer asterisks"
                )

    def _match(self, path: str) -> Rule | None:
        found = self._spec.check_file(path)
        if found.include is None or found.index is None:
            return None
        number, line = self._lines[found.index]
        return Rule(found.include, self._origin, number, line.strip())


class _SlowError(Exception):
    """A line has missed its deadline."""

    def __init__(self, regex: _Limited) -> None:
        super().__init__()
        self.regex = regex


class _Limited:
    """Stands for a compiled pattern of `re` in `pathspec`, and has a deadline."""

    def __init__(self, pattern: str) -> None:
        import regex

        self._regex = regex.compile(pattern)

    def search(self, text: str) -> Any:
        """Match like a compiled pattern; other threads run meanwhile."""
        try:
            return self._match(text)
        except TimeoutError:
            raise _SlowError(self) from None

    def _match(self, text: str) -> Any:
        return self._regex.search(text, timeout=_DEADLINE_S, concurrent=True)

    match = search  # every pattern is anchored; older versions of `pathspec` use this name


class IgnoreFiles:
    """The files of rules that have been read so far in one walk. Methods block.

    Args:
        names: The names of such files; a later name ranks higher.
        previous: Those of the walk before, which are not parsed again if they are the same.
    """

    def __init__(
        self, names: Sequence[str] = (".gitignore",), previous: IgnoreFiles | None = None
    ) -> None:
        self._names = names
        self._previous = {} if previous is None else previous._read
        # By name, then by directory; the root is "".
        self._read: dict[str, dict[str, Patterns]] = {name: {} for name in names}

    def takes_back(self, name: str) -> bool:
        """Return whether a file of this name, read so far, has a line that begins with ``!``."""
        return any(patterns.takes_back for patterns in self._read[name].values())

    def slow(self) -> list[str]:
        """Return what is said of the lines that have turned out to take too long."""
        read = (patterns for files in self._read.values() for patterns in files.values())
        return [words for patterns in read for words in patterns.slow]

    def enter(self, root: Path, relative: str) -> list[str]:
        """Read the files of one directory, before its entries are asked about.

        Returns:
            What is wrong with them; invalid files have no effect.
        """
        problems = []
        for name in self._names:
            shown = str(PurePosixPath(relative, name))
            try:
                text = read_regular(root / relative / name, _MAX_BYTES).decode("utf-8", "replace")
                lines = text.splitlines()
                if len(lines) > _MAX_LINES:
                    problems.append(f"{shown}: has more than {_MAX_LINES} lines")
                    continue
                known = self._previous.get(name, {}).get(relative)
                if known is None or known.lines != tuple(lines):
                    known = Patterns(lines, shown)
                self._read[name][relative] = known
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                problems.append(f"{shown}: cannot be read: {error.strerror}")
            except ValueError as error:
                problems.append(f"{shown}: {error}")
        return problems

    def rule(self, path: str, *, is_directory: bool = False) -> Rule | None:
        """Return the rule for a path relative to the root, or ``None`` if nothing decides.

        As with git, the entries of an ignored directory need not be asked about.
        """
        for name in reversed(self._names):
            if rule := self.rule_of(name, path, is_directory=is_directory):
                return rule
        return None

    def rule_of(self, name: str, path: str, *, is_directory: bool = False) -> Rule | None:
        """Return the rule for a path from the files of one name only."""
        read = self._read[name]
        if not read:
            return None
        directory = path.rpartition("/")[0]
        while True:
            if directory in read:
                below = path[len(directory) + 1 :] if directory else path
                if rule := read[directory].rule(below, is_directory=is_directory):
                    return rule
            if not directory:
                return None
            directory = directory.rpartition("/")[0]


def check_patterns(patterns: Sequence[str]) -> str:
    """Return what is wrong with patterns that an operator wrote, or an empty text."""
    for pattern in patterns:
        if ".." in pattern.split("/"):
            return f"{pattern!r} leads out of the directory; expected a path below it"
        try:
            Patterns([pattern], "")
        except ValueError as error:
            return f"{pattern!r} is not a valid .gitignore pattern: {error}"
    return ""
