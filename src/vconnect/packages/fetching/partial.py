"""Downloads that are not complete, and what must be the same so that they can be continued.

A part is continued only if its server gave the file a strong ETag, which names these very bytes,
and only from the address that it came from. All of it is hashed: what is on the disk too.
"""

# A kept part is two files: `NAME`, the bytes, and `NAME.json`, the mark. The lock of `NAME` belongs
# to the download that adds to it. The bytes are emptied before the mark changes, and the mark is
# removed before the bytes move away, so a kill at any moment leaves bytes that fit their mark, or
# bytes without one, which are worth nothing. A power cut may leave anything: what is wrong then has
# another digest, or is no archive, and it is not kept a second time.

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from multidict import CIMultiDictProxy
from yarl import URL

from vconnect.durable import open_regular, replace_file, try_lock
from vconnect.removal import remove_tree

_CHUNK_BYTES = 1024 * 1024
_KEPT_S = 24 * 3600.0
# A mark is far smaller, as is an ETag of any server.
_LARGEST_MARK = 64 * 1024
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,1024}"')
_NAME = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Another process may remove or complete a part between our open and our lock.
_TRIES = 5

_log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """What a response said of the file that it began.

    Attributes:
        etag: Its strong ETag, with the quotes.
        total: The size of the file; ``None`` if the response did not say.
        place: Where it came from; see `place_of`.
    """

    etag: str
    total: int | None
    place: str


def place_of(url: URL) -> str:
    """Return a digest of an address without what changes from day to day: its query.

    >>> place_of(URL("https://h/a?sig=1")) == place_of(URL("https://h/a?sig=2"))
    True
    """
    place = f"{url.scheme}://{url.raw_host}:{url.port}{url.raw_path}"
    return hashlib.sha256(place.encode()).hexdigest()


def mark_of(url: URL, headers: CIMultiDictProxy[str], total: int | None) -> Mark | None:
    """Return the mark of a response; ``None`` if what it begins cannot be continued."""
    etag = _etag(headers)
    return Mark(etag, total, place_of(url)) if etag else None


def why_not_continued(headers: CIMultiDictProxy[str], mark: Mark, size: int) -> str:
    """Return why a response with a part of a file does not continue ours; empty if it does."""
    text = headers.get("Content-Range", "")
    found = _RANGE.fullmatch(text)
    if found is None:
        return f"its Content-Range is {text[:80]!r}"
    start, end, total = map(int, found.groups())
    if start != size:
        return f"it begins at byte {start}, and {size} was asked for"
    if not start <= end < total or mark.total not in (None, total):
        return f"its Content-Range is {text!r}, and the file had {mark.total} bytes"
    if (etag := _etag(headers)) != mark.etag:
        return f"its ETag is {etag or 'missing or weak'}, and it was {mark.etag}"
    return ""


def _etag(headers: CIMultiDictProxy[str]) -> str:
    """Return the strong ETag; empty without exactly one."""
    found = headers.getall("ETag", [])
    return found[0] if len(found) == 1 and _STRONG.fullmatch(found[0]) else ""


class Part:
    """The file of a download, while it is not complete. Its methods block.

    Args:
        descriptor: The open file, which is empty unless there is a mark.
        path: Where it is.
        note: The file for the mark; ``None`` if it is not kept when the download is interrupted.

    Attributes:
        size: The bytes so far.
        mark: What must be the same to continue; ``None`` if it cannot be continued.
    """

    def __init__(self, descriptor: int, path: Path, note: Path | None = None) -> None:
        self._descriptor = descriptor
        self._path = path
        self._note = note
        self._digest = hashlib.sha256()
        self.size = 0
        self.mark: Mark | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it stays when it is closed."""
        return self._note is not None and self.mark is not None and self.size > 0

    def conditions(self, url: URL) -> dict[str, str]:
        """Return the headers that ask an address for the rest only."""
        if not self.size or self.mark is None or self.mark.place != place_of(url):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.mark.etag}

    def begin(self, mark: Mark | None = None) -> None:
        """Throw away what is there, and begin a file with another mark.

        Raises:
            OSError: The disk was the reason.
        """
        os.ftruncate(self._descriptor, 0)
        self.size, self.mark = 0, None
        self._digest = hashlib.sha256()
        if self._note is not None:
            if mark is None:
                self._note.unlink(missing_ok=True)
            else:
                replace_file(self._note, msgspec.json.encode(mark))
        self.mark = mark

    def resume(self, stop: threading.Event) -> None:
        """Take up what is on the disk, after hashing it.

        Args:
            stop: Set by another thread to end this early.

        Raises:
            OSError: The disk was the reason.
        """
        size = os.fstat(self._descriptor).st_size
        mark = _read_mark(self._note) if self._note is not None and size else None
        if mark is None or (mark.total is not None and size >= mark.total):
            self.begin()
            return
        while not stop.is_set():
            chunk = os.pread(self._descriptor, _CHUNK_BYTES, self.size)
            if not chunk:
                break
            self._digest.update(chunk)
            self.size += len(chunk)
        # If it ended early, the download is over, and all of the bytes stay for the next one.
        self.size, self.mark = size, mark

    def write(self, data: bytes) -> None:
        """Add to it.

        Raises:
            OSError: The disk was the reason.
        """
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, self.size)
            self._digest.update(rest[:written])
            self.size += written
            rest = rest[written:]

    def drop(self) -> None:
        """Keep nothing of it when it is closed."""
        self.mark = None

    def complete(self, target: Path) -> str:
        """Move it to where a complete file is expected, and return its sha256 in hex.

        Raises:
            OSError: The disk was the reason.
        """
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        if self._path != target:
            self._path.rename(target)
        os.close(self._descriptor)
        self._descriptor = -1
        return self._digest.hexdigest()

    def close(self) -> None:
        """End it, and remove it unless it `is_kept`. May be called repeatedly.

        Raises:
            OSError: It cannot be removed.
        """
        if self._descriptor < 0:
            return
        try:
            if not self.is_kept:
                # The lock is still held, so this is the file that was opened.
                if self._note is not None:
                    self._note.unlink(missing_ok=True)
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


def new_part(target: Path) -> Part:
    """Return a part that is continued within one download only. Blocks.

    Raises:
        OSError: The file cannot be created, or exists.
    """
    # Never through a link, or into an existing file.
    return Part(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), target)


class Parts:
    """The interrupted downloads that are kept in a directory. Its methods block.

    Args:
        directory: The directory; the one above it exists and is private.
        max_bytes: How much is kept in all, and of one.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def open(self, source: str, stop: threading.Event) -> Part | None:
        """Open the part of a source, with what is there of it.

        Args:
            source: The whole address.
            stop: Set by another thread to end this early.

        Returns:
            The part; ``None`` if another download has it, or the directory cannot be used.
        """
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self.sweep()
            name = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
            return self._open(self._directory / name, stop)
        except OSError as error:
            _log.warning(
                "%s cannot be used, so an interrupted download will begin anew: %s",
                error.filename or self._directory,
                error.strerror or error,
            )
            return None

    def sweep(self) -> None:
        """Remove what is older than a day, what is no part, and the oldest beyond the limit.

        What another download has is left alone.

        Raises:
            OSError: Something cannot be removed.
        """
        if not self._directory.is_dir():
            return
        found: list[tuple[float, int, str]] = []
        for name in self._names():
            with self._claimed(name) as status:
                if status is None:
                    continue
                if abs(time.time() - status.st_mtime) > _KEPT_S or not self._is_marked(name):
                    self._remove(name)
                else:
                    found.append((status.st_mtime, status.st_size, name))
        kept = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if kept <= self._max_bytes:
                break
            with self._claimed(name) as status:
                if status is not None:
                    self._remove(name)
            kept -= size

    def _names(self) -> list[str]:
        """Return the names of the parts, after removing what has no such name."""
        names = set()
        for path in list(self._directory.iterdir()):
            name = path.name.partition(".")[0]
            if _NAME.fullmatch(name):
                names.add(name)
            else:
                remove_tree(path)
        return sorted(names)

    def _open(self, path: Path, stop: threading.Event) -> Part | None:
        for _ in range(_TRIES):
            descriptor = os.open(path, _WRITE, 0o600)
            try:
                _check(os.fstat(descriptor), path)
                if not try_lock(descriptor):
                    break
                if _is_at(descriptor, path):
                    part = Part(descriptor, path, _note_of(path))
                    part.resume(stop)
                    descriptor = -1
                    return part
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        _log.info("another download of this address is under way; this one begins on its own")
        return None

    @contextmanager
    def _claimed(self, name: str) -> Iterator[os.stat_result | None]:
        """Lock a part, and yield its status; ``None`` if it is gone, or in use."""
        path = self._directory / name
        try:
            descriptor = os.open(path, _READ)
        except OSError:  # missing, or a link
            self._remove(name)
            yield None
            return
        try:
            status = os.fstat(descriptor)
            if not _is_ours(status):
                self._remove(name)
                yield None
            elif try_lock(descriptor) and _is_at(descriptor, path):
                yield status
            else:
                yield None
        finally:
            os.close(descriptor)

    def _is_marked(self, name: str) -> bool:
        return _read_mark(_note_of(self._directory / name)) is not None

    def _remove(self, name: str) -> None:
        # With what a kill left of a note that was being written.
        for path in (self._directory / name, *self._directory.glob(f"{name}.*")):
            remove_tree(path)


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_mark(note: Path) -> Mark | None:
    """Return the mark of a part; ``None`` without a readable one."""
    try:
        with open_regular(note, os.O_NOFOLLOW) as file:
            mark = msgspec.json.decode(file.read(_LARGEST_MARK), type=Mark)
    except (OSError, msgspec.MsgspecError):
        return None
    return mark if _STRONG.fullmatch(mark.etag) else None


def _is_ours(status: os.stat_result) -> bool:
    is_single = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return is_single and status.st_uid == os.geteuid()


def _check(status: os.stat_result, path: Path) -> None:
    if not _is_ours(status):
        raise OSError(errno.EPERM, "it is not a regular file that only this user has", str(path))


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
