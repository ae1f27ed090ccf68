"""Which sockets of a directory are those that hosts are administered by."""

# A host has two sockets, and their names are settings. So each is asked in HTTP, which a socket for
# plugins does not speak. That leaves a warning in the log of its host, so what is known from an
# administration socket to be one for plugins is not asked.

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from pathlib import Path

_WAIT_S = 1.0
_REQUEST = b"GET /api/host HTTP/1.0\r\nHost: vconnect\r\n\r\n"


def admin_sockets(paths: Iterable[Path]) -> list[Path]:
    """Return those of some sockets that are administration sockets, and served.

    One that accepts a connection and does not answer counts: its host may be busy.
    """
    found: list[Path] = []
    known: set[Path] = set()
    for path in sorted(paths, key=_likely_first):
        if path.resolve() in known:
            continue
        answer = _ask(path)
        if answer is not None and b"HTTP/".startswith(answer[:5]):
            found.append(path)
            known |= _socket_for_plugins(answer)
    return sorted(found)


def _likely_first(path: Path) -> tuple[bool, Path]:
    return "admin" not in path.name, path


def _ask(path: Path) -> bytes | None:
    """Return the answer; what there was of it in time; ``None`` if there is nobody to ask."""
    answer = b""
    until = time.monotonic() + _WAIT_S
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_WAIT_S)
        try:
            probe.connect(str(path))
            probe.sendall(_REQUEST)
            while time.monotonic() < until and (part := probe.recv(65536)):
                answer += part
        except TimeoutError:
            return answer
        except OSError:
            pass
    return answer or None


def _socket_for_plugins(answer: bytes) -> set[Path]:
    """Return the other socket of the host that has answered."""
    try:
        path = json.loads(answer.partition(b"\r\n\r\n")[2])["socket_path"]
        return {Path(path).resolve()}
    except (ValueError, KeyError, TypeError, OSError):
        return set()
