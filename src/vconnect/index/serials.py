"""The number of each index that was seen last: an older copy must not hide what is new."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import InstallError, VerificationError


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of an index.

    Attributes:
        index: Where it is, without credentials.
        serial: Its number.
        signer: The number of the key that had signed it; empty if nobody had.
    """

    index: str
    serial: int = 0
    signer: str = ""


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
            self._check(Seen(index=index, serial=serial, signer=signer))

    def _check(self, now: Seen) -> None:
        index, serial = now.index, now.serial
        file = self._file(index)
        seen = self._read(file, index)
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
