"""What was seen of each index: an older copy must not hide what is new, nor be sent again."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec

from vconnect.durable import read_own, read_regular, replace_file
from vconnect.errors import InstallError, VerificationError
from vconnect.packages.source import Edition

from .document import MAX_INDEX_BYTES

_log = logging.getLogger(__name__)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of an index.

    Attributes:
        index: Where it is, without credentials.
        serial: Its number.
        signer: The number of the key that had signed it; empty if nobody had.
        sha256: The digest of the copy of it that is beside this; empty for none.
        edition: Which file that copy is.
    """

    index: str
    serial: int = 0
    signer: str = ""
    sha256: str = ""
    edition: Edition | None = None


class Copy(NamedTuple):
    """An index as it was downloaded last.

    Attributes:
        data: Its bytes, which were checked.
        edition: Which file it is.
    """

    data: bytes
    edition: Edition


class Serials:
    """Remembers the indexes of a host. Every method blocks.

    Args:
        directory: Where; it need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Several installations may read one index at the same time.
        self._lock = threading.Lock()

    def check(self, index: str, serial: int, signer: str) -> None:
        """Refuse an older copy of an index; remember a newer one.

        Args:
            index: Where it is, without credentials.
            serial: Its number.
            signer: The number of the key that has signed it; empty if nobody has.

        Raises:
            VerificationError: It is older than the one that was seen last, or not signed as that
                one was.
            InstallError: What was seen cannot be read or written.
        """
        with self._lock:
            self._check(index, serial, signer)

    def copy_of(self, index: str) -> Copy | None:
        """Return what was downloaded last; ``None`` if it was not kept, or was changed."""
        file = self._file(index)
        with self._lock:
            try:
                seen = self._read(file, index)
                if seen.edition is None:
                    return None
                data = read_regular(_copy_beside(file), MAX_INDEX_BYTES + 1)
            except (InstallError, OSError) as error:
                _log.warning("%s is downloaded as a whole: %s", index, error)
                return None
        is_same = hashlib.sha256(data).hexdigest() == seen.sha256
        return Copy(data, seen.edition) if is_same else None

    def keep(self, index: str, copy: Copy) -> None:
        """Keep what was downloaded, after `check`. A disk that refuses is only a warning."""
        file = self._file(index)
        with self._lock:
            try:
                seen = self._read(file, index)
                replace_file(_copy_beside(file), copy.data)
                digest = hashlib.sha256(copy.data).hexdigest()
                seen = msgspec.structs.replace(seen, sha256=digest, edition=copy.edition)
                replace_file(file, msgspec.json.encode(seen) + b"\n")
            except (InstallError, OSError) as error:
                _log.warning("%s is not kept: %s", index, error)

    def _check(self, index: str, serial: int, signer: str) -> None:
        file = self._file(index)
        seen = self._read(file, index)
        now = msgspec.structs.replace(seen, serial=serial, signer=signer)
        if serial < seen.serial:
            raise VerificationError(
                f"{index}: its serial is {serial}, and {seen.serial} was seen before: this is an "
                f"old copy; if it was made anew on purpose, remove {file}"
            )
        if seen.signer and not now.signer:
            raise VerificationError(
                f"{index}: was signed by {seen.signer} before, and has no signature of a trusted "
                f"key now; if that is meant, remove {file}"
            )
        if now != seen:
            try:
                replace_file(file, msgspec.json.encode(now) + b"\n")
            except OSError as error:
                raise InstallError(f"{file}: cannot be written: {error.strerror}") from error

    def _file(self, index: str) -> Path:
        return self._directory / f"{hashlib.sha256(index.encode()).hexdigest()[:16]}.json"

    def _read(self, file: Path, index: str) -> Seen:
        try:
            return msgspec.json.decode(read_own(file), type=Seen)
        except FileNotFoundError:
            return Seen(index=index)
        except (OSError, msgspec.MsgspecError) as error:
            raise InstallError(
                f"{file}: cannot be read: {error}; remove it to trust {index} anew"
            ) from error


def _copy_beside(file: Path) -> Path:
    return file.with_suffix(".copy")
