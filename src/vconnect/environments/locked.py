"""``_vconnect/requirements.lock``: exactly which files the dependencies of a plugin are.

It is what pip and uv read: ``name==version`` with hashes. The first line says what it was made
from.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from vconnect.durable import read_regular
from vconnect.errors import InstallError

from .declared import Declared

#: What belongs to vconnect in a package.
PRIVATE = "_vconnect"
LOCK = f"{PRIVATE}/requirements.lock"
WHEELS = f"{PRIVATE}/wheels"

_MAX_BYTES = 4 * 1024 * 1024
_HEAD = "# vconnect requirements 1"
_INPUTS = re.compile(rf"{_HEAD} (?P<digest>[0-9a-f]{{64}})")
_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,254})==(?P<version>[^\s;]{1,100})(?: ?;(?P<marker>.*))?"
)
_HASH = " --hash="
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the file.

    Attributes:
        inputs: The digest of what was declared; see `Declared.digest`.
        versions: The version of each distribution, by its normalized name.
        hashes: The sha256 of each file that may be installed, in hex.
        conditional: The distributions that are not for every Python and platform.
    """

    inputs: str
    versions: dict[str, str]
    hashes: frozenset[str] = frozenset()
    conditional: frozenset[str] = frozenset()


def read_lock(package: Path) -> Locked | None:
    """Read the lock file of a package or a plugin's directory, if it has one. Blocks.

    Raises:
        InstallError: It cannot be read, or has anything but pinned versions with hashes: an option
            in it could lead elsewhere.
    """
    file = package / LOCK
    try:
        data = read_regular(file, _MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InstallError(f"{LOCK}: cannot be read: {error.strerror}") from None
    try:
        return parse_lock(data.decode() if len(data) <= _MAX_BYTES else "")
    except UnicodeDecodeError:
        raise InstallError(f"{LOCK}: is not UTF-8") from None


def parse_lock(text: str) -> Locked:
    """Parse the text of a lock file.

    Raises:
        InstallError: See `read_lock`.
    """
    first, _, body = text.partition("\n")
    head = _INPUTS.fullmatch(first.strip())
    if head is None:
        raise InstallError(f"{LOCK} was not written by `vconnect pack --lock`; use that")
    versions: dict[str, str] = {}
    found: set[str] = set()
    conditional: set[str] = set()
    for line in _joined(body):
        pin, *hashes = line.split(_HASH)
        pinned = _PINNED.fullmatch(pin)
        # Nothing that could be an option, wherever a tool would look for one.
        is_odd = " -" in pin or not hashes or not all(map(_SHA256.fullmatch, hashes))
        if pinned is None or is_odd:
            raise InstallError(
                f"{LOCK} has {line[:100]!r}; expected NAME==VERSION --hash=sha256:…; make it anew "
                "with: vconnect pack --lock"
            )
        name = canonicalize_name(pinned["name"])
        versions[name] = pinned["version"]
        found |= {one.removeprefix("sha256:") for one in hashes}
        conditional |= {name} if pinned["marker"] else set()
    return Locked(
        inputs=head["digest"],
        versions=versions,
        hashes=frozenset(found),
        conditional=frozenset(conditional),
    )


def write_lock(declared: Declared, resolved: str) -> str:
    """Return the text of a lock file.

    Args:
        declared: What was declared.
        resolved: What a resolver made of it.
    """
    lines = "\n".join(_joined(resolved))
    return f"{_HEAD} {declared.digest}\n{lines}\n"


def check_lock(declared: Declared, lock: Locked) -> None:
    """Refuse a lock file that was made from something else.

    Raises:
        InstallError: It was.
    """
    if lock.inputs != declared.digest:
        raise InstallError(
            f"{LOCK} was made from other dependencies than {declared.origin} declares now; make it "
            "anew with: vconnect pack --lock"
        )


def _joined(text: str) -> list[str]:
    """Return the lines with those that continue them, without comments and further spaces."""
    lines, parts = [], []
    for line in text.splitlines():
        parts += line.removesuffix("\\").split()
        if line.endswith("\\"):
            continue
        if joined := " ".join(parts).partition("#")[0].strip():
            lines.append(joined)
        parts = []
    return [*lines, *([" ".join(parts)] if parts else [])]
