"""Wheels made by code, so that no test asks an index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vconnect.environments.declared import read_declared
from vconnect.environments.locked import LOCK, WHEELS, write_lock

PURE = "py3-none-any"


def make_wheel(
    directory: Path,
    name: str = "lib",
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    *,
    tag: str = PURE,
    requires: tuple[str, ...] = (),
) -> Path:
    """Write a wheel with one module, which knows its version, and a script."""
    directory.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    members = {
        f"{name}.py": f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-version = {name}:main\n",
    }
    wheel = directory / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        rows = [_add(archive, member, text.encode()) for member, text in members.items()]
        record = "".join([*rows, f"{info}/RECORD,,\n"])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), record)
    return wheel


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> str:
    archive.writestr(zipfile.ZipInfo(name), data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def lock_of(*wheels: Path) -> str:
    """Return what a resolver would say of some wheels."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


def add_dependencies(source: Path, *versions: str, name: str = "lib") -> None:
    """Let a plugin's directory declare, lock and contain versions of a library."""
    (source / "requirements.txt").write_text("".join(f"{name}=={one}\n" for one in versions))
    wheels = [make_wheel(source / WHEELS, name, one) for one in versions]
    declared = read_declared(source)
    assert declared is not None
    (source / LOCK).write_text(write_lock(declared, lock_of(*wheels)))
