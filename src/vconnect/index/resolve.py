"""Which version of a plugin is meant, and which of its files is for this machine."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from vconnect.errors import InstallError, VerificationError
from vconnect.packages.fitness import check_wanted_host
from vconnect.packages.platforms import ANY, fits
from vconnect.packages.semver import Version
from vconnect.packages.source import platform_name
from vconnect.packages.wanted import Wanted
from vconnect.version import host_version

from .document import IndexedFile, IndexedPlugin, IndexedVersion

_SHOWN = 5


class Machine(msgspec.Struct, frozen=True):
    """What a package must fit.

    Attributes:
        platform: The platform, such as ``linux-amd64``.
        host_version: The version of vconnect.
    """

    platform: str
    host_version: str


class Chosen(NamedTuple):
    """A version, and the file of it that is for this machine.

    Attributes:
        version: The version.
        file: The file.
        passed_over: Why a higher version was not taken; empty if there is none.
    """

    version: IndexedVersion
    file: IndexedFile
    passed_over: str = ""


def this_machine() -> Machine:
    """Return what a package must fit here."""
    is_musl = "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE"))
    return Machine(platform_name() + ("-musl" if is_musl else ""), host_version())


def choose(
    plugin: IndexedPlugin, wanted: Wanted, here: Machine, *, locked: str = "", sha256: str = ""
) -> Chosen:
    """Return the version that is meant.

    It is the one that is locked, unless an upgrade is asked for; else the highest in the range that
    fits this machine. One that was withdrawn is taken only if it is locked.

    Args:
        plugin: The plugin.
        wanted: What is asked for.
        here: What it must fit.
        locked: The version that is locked; empty for none.
        sha256: The digest that the file must have; empty for any.

    Raises:
        VerificationError: No file has the digest.
        InstallError: No version is in the range, or none fits.
    """
    there = [one for one in plugin.versions if wanted.versions.takes(one.version)]
    usable = [one for one in there if one.yanked is None or one.version == locked]
    if sha256:
        return _with_digest(usable, wanted, here, sha256)
    if not usable:
        raise InstallError(_why_none(plugin, there, wanted))
    ranked = sorted(usable, key=lambda one: _rank(one, locked, wanted), reverse=True)
    chosen = next(filter(None, (_fitting(one, here) for one in ranked)), None)
    if chosen is None:
        raise InstallError(f"{wanted.name} {_why_not(ranked[0], here)}")
    version = chosen.version.version
    if wanted.is_upgrade and wanted.versions.takes(locked) and Version(version) < Version(locked):
        raise InstallError(
            f"{wanted.name} {locked} is installed, and the index has at most {version} for this "
            f"machine; to go back to that, use: vconnect install {wanted.name}@{version} --upgrade"
        )
    if chosen.version is not ranked[0]:
        chosen = chosen._replace(passed_over=_why_not(ranked[0], here))
    return chosen


def _fitting(version: IndexedVersion, here: Machine) -> Chosen | None:
    file = _file_for(version, here)
    return Chosen(version, file) if file and not _problem_of_host(version, here) else None


def _why_not(version: IndexedVersion, here: Machine) -> str:
    """Say why a version does not fit this machine."""
    if _file_for(version, here) is not None:
        return f"{version.version} {_problem_of_host(version, here)}"
    return (
        f"{version.version} has builds for {_platforms(version)} only; this machine is "
        f"{here.platform}"
    )


def _rank(version: IndexedVersion, locked: str, wanted: Wanted) -> tuple[bool, Version]:
    return version.version == locked and not wanted.is_upgrade, Version(version.version)


def _with_digest(
    there: Iterable[IndexedVersion], wanted: Wanted, here: Machine, sha256: str
) -> Chosen:
    for version in there:
        for file in version.files:
            if file.sha256 == sha256 and fits(file.platform, here.platform):
                return Chosen(version, file)
    raise VerificationError(
        f"{wanted.text}: the index has no file with sha256 {sha256}, which was asked for"
    )


def _file_for(version: IndexedVersion, here: Machine) -> IndexedFile | None:
    """Return the file that fits best: exactly, on every platform, or with another C library."""
    suitable = [one for one in version.files if fits(one.platform, here.platform)]
    exactly = [here.platform, ANY]
    return min(
        suitable,
        key=lambda one: exactly.index(one.platform) if one.platform in exactly else len(exactly),
        default=None,
    )


def _problem_of_host(version: IndexedVersion, here: Machine) -> str:
    try:
        check_wanted_host(version.min_host_version, here.host_version, "")
    except InstallError as error:
        return str(error).removeprefix(": ")
    return ""


def _platforms(version: IndexedVersion) -> str:
    return ", ".join(file.platform for file in version.files) or "no platform"


def _why_none(plugin: IndexedPlugin, there: Sequence[IndexedVersion], wanted: Wanted) -> str:
    if there:
        return (
            f"{wanted.name} {there[0].version} was withdrawn: {there[0].yanked}; the index has no "
            f"other version{f' in {wanted.versions.text}' if wanted.versions.text else ''}"
        )
    known = [one.version for one in plugin.versions if one.yanked is None]
    more = ", …" if len(known) > _SHOWN else ""
    shown = ", ".join(known[:_SHOWN]) + more if known else "none"
    range_text = wanted.versions.text or "a range without pre-releases"
    return f"{wanted.name}: no version is in {range_text}; there are: {shown}"
