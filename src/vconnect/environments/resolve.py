"""From declared dependencies to a lock file, and to the wheels that it names.

This is the author's part: it asks the index that they use, with their own settings.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vconnect.durable import replace_file
from vconnect.errors import InstallError

from .declared import SDK, Declared, read_declared
from .installs import find_uv, pip_command
from .kit import LIBRARIES
from .locked import LOCK, WHEELS, Locked, check_lock, parse_lock, read_lock, write_lock
from .python import Python, ask_python
from .records import check_wheels
from .tools import run_tool

_MODE = 0o644


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an author wants of the dependencies of a package.

    Attributes:
        pythons: The versions of Python that they are for, such as ``3.11``; by default the one
            that runs this.
        platforms: The platforms of wheels, such as ``manylinux_2_28_x86_64``; by default this one.
        directories: Further directories of wheels.
        index: The address of a package index; by default what pip and uv are set to.
        is_offline: Whether to use the directories alone.
    """

    pythons: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    index: str = ""
    is_offline: bool = False


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every step needs."""

    wanted: Wanted
    python: Python
    scratch: Path
    uv: str

    @property
    def origin(self) -> list[str]:
        """The options that say where distributions may come from."""
        options = [text for one in self.wanted.directories for text in ("--find-links", str(one))]
        if self.wanted.is_offline:
            return [*options, "--no-index"]
        return [*options, *(["--index-url", self.wanted.index] if self.wanted.index else [])]


async def lock_dependencies(
    source: Path, wanted: Wanted, *, executable: str, uv: str | None = None
) -> Locked:
    """Write the lock file of a plugin's directory.

    Args:
        source: The directory.
        wanted: What is wanted.
        executable: The interpreter that resolves.
        uv: The path of uv; empty to use pip; by default uv if it is there.

    Raises:
        InstallError: It declares no dependencies, or they cannot be resolved: the text has the
            resolver's words.
    """
    declared = read_declared(source)
    if declared is None:
        raise InstallError(
            f"{source} declares no dependencies; expected them in pyproject.toml, in the metadata "
            "block of plugin.py, or in requirements.txt"
        )
    declared.check_sdk()
    text = write_lock(declared, await resolve(declared, wanted, executable=executable, uv=uv))
    lock = parse_lock(text)
    replace_file(source / LOCK, text.encode(), _MODE)
    (source / LOCK).parent.chmod(0o755)
    return lock


async def resolve(
    declared: Declared, wanted: Wanted, *, executable: str, uv: str | None = None
) -> str:
    """Return pinned versions with hashes for what is declared; see `lock_dependencies`."""
    python = await ask_python(executable)
    with tempfile.TemporaryDirectory(prefix="vconnect-lock-") as scratch:
        job = _Job(
            wanted=wanted,
            python=python,
            scratch=Path(scratch),
            uv=find_uv() if uv is None else uv,
        )
        inputs, limits = job.scratch / "inputs.txt", job.scratch / "limits.txt"
        inputs.write_text("\n".join(declared.requirements) + "\n", encoding="utf-8")
        limits.write_text("\n".join(_needs_of_kit()) + "\n", encoding="utf-8")
        return await (_by_uv if job.uv else _by_pip)(job, inputs, limits)


async def _by_uv(job: _Job, inputs: Path, limits: Path) -> str:
    pythons = job.wanted.pythons or (job.python.short,)
    argv = [job.uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
    argv += ["--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    # A library may need the kit, too; the host has it, and an index need not.
    without = job.scratch / "without.txt"
    without.write_text(f"{SDK} ; python_version < '0'\n", encoding="utf-8")
    argv += ["--only-binary", ":all:", "--override", str(without), "--constraint", str(limits)]
    argv += ["--python", job.python.executable, "--python-version", min(pythons, key=_numbers)]
    argv += ["--universal"] if len(pythons) > 1 or job.wanted.platforms else []
    argv += ["--offline"] if job.wanted.is_offline else []
    return await run_tool(
        "resolving the dependencies", [*argv, *job.origin, str(inputs)], os.environ, job.scratch
    )


async def _by_pip(job: _Job, inputs: Path, limits: Path) -> str:
    if any(one != job.python.short for one in job.wanted.pythons) or job.wanted.platforms:
        raise InstallError(
            "only uv can lock for another Python or platform; install it: pip install uv"
        )
    report = job.scratch / "report.json"
    argv = [*pip_command(job.python), "install", "--quiet", "--dry-run", "--ignore-installed"]
    argv += ["--only-binary", ":all:", "--report", str(report), "--constraint", str(limits)]
    argv += ["--disable-pip-version-check", *job.origin, "-r", str(inputs)]
    await run_tool("resolving the dependencies", argv, os.environ, job.scratch)
    lines = []
    for one in msgspec.json.decode(report.read_bytes())["install"]:
        name, version = one["metadata"]["name"], one["metadata"]["version"]
        if canonicalize_name(name) != SDK:
            digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
            lines.append(f"{canonicalize_name(name)}=={version} --hash=sha256:{digest}")
    return "\n".join(sorted(lines))


async def fetch_wheels(source: Path, wanted: Wanted, *, executable: str) -> list[Path]:
    """Put the wheels that a lock file names into ``_vconnect/wheels`` of a plugin's directory.

    Args:
        source: The directory.
        wanted: What is wanted.
        executable: The interpreter whose pip downloads.

    Raises:
        InstallError: There is no lock file, or something has no wheel: the text has pip's words.
    """
    if read_lock(source) is None:
        raise InstallError(f"{source / LOCK} is missing; make it with: vconnect pack --lock")
    python = await ask_python(executable)
    target = source / WHEELS
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    before = {one.name for one in target.glob("*.whl")}
    with tempfile.TemporaryDirectory(prefix="vconnect-wheels-") as scratch:
        job = _Job(wanted=wanted, python=python, scratch=Path(scratch), uv="")
        fetched = Path(scratch, "wheels")
        locked = ["--require-hashes", "-r", str((source / LOCK).absolute())]
        for version in wanted.pythons or (python.short,):
            await _download(job, version, fetched, locked)
            if version != python.short:
                await _download(job, version, fetched, _needs_of_kit())
        kept = _take(fetched, target)
    for name in before - {one.name for one in kept}:
        (target / name).unlink()  # of an earlier lock file
    return kept


async def _download(job: _Job, version: str, target: Path, wanted: Sequence[str]) -> None:
    argv = [*pip_command(job.python), "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    argv += ["--disable-pip-version-check", "--dest", str(target), *job.origin]
    if version != job.python.short:
        argv += ["--python-version", version, "--implementation", "cp"]
    for platform in job.wanted.platforms:
        argv += ["--platform", platform]
    what = f"fetching wheels for Python {version}; build those that are missing, and name their "
    await run_tool(f"{what}directory with --find-links", [*argv, *wanted], os.environ, job.scratch)


def _take(fetched: Path, target: Path) -> list[Path]:
    kept = []
    for wheel in sorted(fetched.glob("*.whl")):
        replace_file(target / wheel.name, wheel.read_bytes(), _MODE)
        kept.append(target / wheel.name)
    return kept


def check_source(source: Path) -> str:
    """Refuse a plugin's directory whose lock file is old. Blocks.

    Returns:
        What an author should know about its dependencies, or an empty text.

    Raises:
        InstallError: The lock file was made from other dependencies, or cannot be used.
    """
    declared, lock = read_declared(source), read_lock(source)
    if declared is None and lock is not None:
        raise InstallError(
            f"{LOCK} is there, and {source} declares no dependencies any more; remove "
            f"{source / LOCK} and {source / WHEELS}, or declare them"
        )
    if lock is not None:
        check_wheels(source / WHEELS, lock)
    if declared is not None and lock is not None:
        check_lock(declared, lock)
    if declared is not None and lock is None:
        return (
            f"{declared.origin} declares dependencies, and the package has no lock file of them: "
            "the host's Python must have them. To lock them, use: vconnect pack --lock --wheels"
        )
    return ""


def _needs_of_kit() -> list[str]:
    """Return the requirements of the kit, which the dependencies must not exclude."""
    found = map(Requirement, metadata.requires(SDK) or ())
    return [str(one) for one in found if canonicalize_name(one.name) in LIBRARIES]


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, version.split(".")))
    except ValueError:
        raise InstallError(
            f"{version!r} is no version of Python; expected one such as 3.11"
        ) from None
