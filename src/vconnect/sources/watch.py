"""Detects which source files of a plugin have changed."""

# Two scans of a directory are compared, because only they tell what has changed, in whatever way:
# by a rename, behind a link, or between two looks. The system's notifications tell when to scan.
# Where there are none, or not enough, and for what they cannot see, there is a scan now and then.

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from .notifications import Identity, Notifications
from .scan import Scan, Scanner, Source, Stamp

# A change counts once nothing has changed for one look. If only the same files go on changing, it
# counts after a while, and whatever happens, it counts at last. Seconds.
_SAME_FILES = 1.0
_AT_LAST = 10.0
# The longest time between two scans; a short scan is repeated sooner. Seconds.
_LONGEST_PAUSE = 10.0
_SHORTEST_PAUSE = 1.0
# A scan may take one percent of the time; if there are no notifications, five.
_PAUSE_PER_SCAN = 100.0
_PAUSE_PER_SCAN_ALONE = 20.0


class Change(msgspec.Struct, frozen=True):
    """What has changed in one source.

    Attributes:
        files: The files relative to the source directory, sorted; they may not exist any more.
        seen_at: When the first of them was seen, as monotonic time.
    """

    files: tuple[str, ...]
    seen_at: float


class SourceWatch:
    """Remembers the state of the sources. Methods block; call them in one thread at a time.

    Attributes:
        stop: Set by another thread to end a call of `look` early.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._trees: dict[Source, _Tree] = {}
        self._notifications = Notifications()

    def look(self, sources: Mapping[Source, float]) -> tuple[dict[str, Change], list[str]]:
        """Return what has changed by plugin, once it has settled, and what the operator must know.

        A source that is seen for the first time has changed if a file is newer than its time here,
        which is when the plugin was started, in Unix seconds. One that is missing is forgotten.
        """
        for forgotten in self._trees.keys() - sources.keys():
            del self._trees[forgotten]
        for source, started_at in sources.items():
            if source not in self._trees:
                self._trees[source] = _Tree(source, started_at)
        told = self._notifications.drain()
        changes, warnings = {}, []
        for source, tree in self._trees.items():
            if self.stop.is_set():
                break
            change = tree.look(told, self._notifications.cover(source.name))
            if change is not None:
                changes[source.name] = change
            warnings += tree.new_warnings()
        warnings += self._follow()
        return changes, warnings

    def close(self) -> None:
        """Stop watching."""
        self._notifications.close()
        self._trees.clear()

    def _follow(self) -> list[str]:
        """Watch the directories that there are now."""
        wanted = {source.name: tree.directories for source, tree in self._trees.items()}
        renewed, warnings = self._notifications.follow(wanted)
        if renewed:
            # What happened while there were no notifications shows in another scan.
            for tree in self._trees.values():
                tree.is_due = True
        return warnings


class _Tree:
    """One source over time."""

    def __init__(self, source: Source, started_at: float) -> None:
        self._source = source
        self._scanner = Scanner(source)
        self._warned: set[str] = set()
        self._warnings: list[str] = []
        self._started_at = started_at
        self._taken: dict[str, Stamp] | None = None  # the state that the plugin runs with
        self._last = Scan()
        self._changed: frozenset[str] = frozenset()
        self._seen_at = 0.0
        self._grown_at = 0.0
        self._scan_after = 0.0
        self.is_due = True

    @property
    def directories(self) -> dict[str, Identity]:
        return self._last.directories

    def new_warnings(self) -> list[str]:
        """Return what has not been said yet."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def look(self, told: Iterable[str], is_notified: bool) -> Change | None:
        """Scan if that is due, and return what has changed once it has settled."""
        now = time.monotonic()
        heard = any(self._scanner.concerns(path, self._last) for path in told)
        if not (heard or self.is_due or self._changed or now >= self._scan_after):
            return None
        scan = self._scanner.scan()
        self.is_due = False
        took = time.monotonic() - now
        pause = took * (_PAUSE_PER_SCAN if is_notified else _PAUSE_PER_SCAN_ALONE)
        self._scan_after = now + min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._warn(scan.problems)
        previous, self._last = self._last, scan
        if self._taken is None:
            self._taken = _older_than(scan.files, self._started_at)
            previous = scan
        return self._settled(previous, scan, now)

    def _settled(self, previous: Scan, scan: Scan, now: float) -> Change | None:
        assert self._taken is not None
        changed = frozenset(_difference(self._taken, scan.files))
        if not changed:
            self._changed = changed
            return None
        is_first = not self._changed
        if is_first:
            self._seen_at = now
        if not changed <= self._changed:
            self._grown_at = now
        self._changed = changed | self._changed
        is_still = not is_first and not any(_difference(previous.files, scan.files))
        if is_still or now - self._grown_at >= _SAME_FILES or now - self._seen_at >= _AT_LAST:
            self._taken, self._changed = scan.files, frozenset()
            return Change(tuple(sorted(changed)), self._seen_at)
        return None

    def _warn(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                self._warnings.append(f"plugin {self._source.name}: {problem}")


def _older_than(files: dict[str, Stamp], started_at: float) -> dict[str, Stamp]:
    """Return the files that are as they were at a time in Unix seconds."""
    # The time of the last change of anything: no program can set it, and a rename sets it too.
    at = started_at * 1e9
    return {path: stamp for path, stamp in files.items() if stamp.changed <= at}


def _difference(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> Iterator[str]:
    for path, stamp in after.items():
        if stamp.differs(before.get(path)):
            yield path
    yield from before.keys() - after.keys()
