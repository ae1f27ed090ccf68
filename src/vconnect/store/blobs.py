"""Packages that clients have sent to the host, kept until they are installed.

A client on another machine, or one whose files the host cannot see, sends the bytes first, and then
names them as the source of an installation: ``sha256:`` and their digest.
"""

# What is sent goes into a file without a name of its own, and gets the name once its digest is
# right: a file with a name is complete. Nobody says when a package is no longer needed, so the
# oldest make room for new ones.

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from vconnect.durable import make_directories, sync
from vconnect.errors import VerificationError
from vconnect.threads import in_thread

# So long may be between the sending and the installation. Seconds.
_KEPT_S = 24 * 3600.0
_NEW = ".new-"


class Blobs:
    """The packages that were sent to one host.

    Args:
        directory: Where they are kept; made with the first one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def receive(self, digest: str, parts: AsyncIterator[bytes], max_bytes: int) -> bool:
        """Keep what is sent, and return whether it is new.

        A cancellation, or an error of ``parts``, leaves nothing.

        Args:
            digest: Its sha256, as 64 lower-case hex digits.
            parts: Yields it; it is this iterator's task to end before there is too much.
            max_bytes: How much is kept in all; older packages make room.

        Raises:
            VerificationError: It has another digest.
            OSError: It cannot be written.
        """
        await in_thread(None, self._make_room, max_bytes)
        incoming = await in_thread(None, _Incoming, self._directory)
        try:
            async for part in parts:
                await in_thread(None, incoming.write, part)
            return await in_thread(None, incoming.complete, self._directory / digest)
        finally:
            await in_thread(None, incoming.close)

    def _make_room(self, max_bytes: int) -> None:
        """Remove what is too old, and the oldest beyond the limit. Blocks."""
        make_directories(self._directory)
        kept = 0
        for modified, size, path in sorted(self._found(), reverse=True):
            is_old = abs(time.time() - modified) > _KEPT_S
            kept += size
            # A file without a name of its own is still being written, unless it is old.
            if is_old or (kept > max_bytes and not path.name.startswith(_NEW)):
                path.unlink(missing_ok=True)

    def _found(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):
                status = path.lstat()
                found.append((status.st_mtime, status.st_size, path))
        return found


class _Incoming:
    """A package that is being sent. Every method blocks.

    Args:
        directory: Where it will be.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor, name = tempfile.mkstemp(prefix=_NEW, dir=directory)
        self._path = Path(name)
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add to it.

        Raises:
            OSError: The disk was the reason.
        """
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def complete(self, target: Path) -> bool:
        """Give it its name, and return whether there was no such package.

        Raises:
            VerificationError: The digest is not the one that its name says.
            OSError: The disk was the reason.
        """
        found = self._digest.hexdigest()
        if found != target.name:
            raise VerificationError(
                f"the sha256 of what was sent is {found}, and {target.name} was announced; send "
                "the package to the address of its own sha256"
            )
        os.fsync(self._descriptor)
        is_new = not target.exists()
        self._path.replace(target)
        sync(target.parent)
        return is_new

    def close(self) -> None:
        """End it; what is not complete is removed."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)
