"""Packages for tests, good and bad, made of real bytes."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

SCRIPT = b"#!/bin/sh\nexit 0\n"
MANIFEST: dict[str, Any] = {"name": "example", "version": "0.1.0"}


def manifest_bytes(**fields: Any) -> bytes:
    return json.dumps({**MANIFEST, **fields}).encode()


def file(name: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> tuple:
    """One member: a header with its contents."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str) -> tuple:
    return file(name, type=tarfile.DIRTYPE, mode=0o755)


def good_members(top: str = "", **fields: Any) -> list[tuple]:
    return [
        file(f"{top}plugin.json", manifest_bytes(**fields)),
        file(f"{top}example", SCRIPT, 0o755),
    ]


def tar_bytes(members: list[tuple], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def package_bytes(members: list[tuple], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    return gzip.compress(tar_bytes(members, tar_format), 1)


def write_package(path: Path, members: list[tuple] | None = None, **fields: Any) -> Path:
    path.write_bytes(package_bytes(good_members(**fields) if members is None else members))
    return path


def tree(directory: Path) -> dict[str, bytes | None]:
    """Every path below ``directory``: a file's bytes, or ``None`` for a directory."""
    return {
        path.relative_to(directory).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


def leftovers(plugin_dir: Path) -> list[str]:
    """What an installation has left in the store's private directory, besides its locks."""
    private = plugin_dir / ".vconnect"
    kept = {"store.lock", "locks", "staging", "partial"}
    return [
        *sorted(path.name for path in private.glob("*") if path.name not in kept),
        *sorted(path.name for path in private.glob("staging/*")),
        *sorted(path.name for path in private.glob("partial/*")),
    ]
