"""Whether a package fits a host: its version of vconnect, and the interfaces that it offers.

An interface is a family and a whole number, such as ``chat/2``: a version of the application's
events. Its meaning is the application's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vconnect.errors import InstallError
from vconnect.names import split_interface

from .manifest import Manifest
from .semver import parse_range

_NUMBERS = re.compile(r"\d{1,9}(\.\d{1,9})*")


def agree(offered: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the highest version of each family that a host offers and a plugin is written for.

    >>> agree(["chat/1", "chat/2", "mod/1"], ["chat/2", "chat/1", "chat/3"])
    ('chat/2',)
    """
    highest: dict[str, int] = {}
    for family, number in {*map(split_interface, offered)} & {*map(split_interface, wanted)}:
        highest[family] = max(number, highest.get(family, 0))
    return tuple(f"{family}/{highest[family]}" for family in sorted(highest))


def problem_of_interfaces(
    offered: Iterable[str], wanted: Iterable[str], *, is_required: bool = False
) -> str:
    """Return why a plugin does not fit a host, with both lists; empty if it does.

    A family that the host does not offer at all is no obstacle as long as another one is agreed on.

    Args:
        offered: The interfaces that the host offers.
        wanted: Those that the plugin is written for; empty if its manifest has none.
        is_required: Whether a plugin must name one.
    """
    offered, wanted = tuple(offered), tuple(wanted)
    shown = f"this host offers {', '.join(offered) or 'none'}"
    if not wanted:
        return f"its manifest has no interface; {shown} (require_interface)" if is_required else ""
    families = {family for family, _ in map(split_interface, offered)}
    agreed = {family for family, _ in map(split_interface, agree(offered, wanted))}
    common = families & {family for family, _ in map(split_interface, wanted)}
    if agreed and agreed == common:
        return ""
    return (
        f"it is written for the interface {', '.join(wanted)}, and {shown}; if the application has "
        "it, add it to interfaces in the configuration"
    )


def check_host_version(manifest: Manifest, version: str, origin: str) -> None:
    """Refuse a package that requires another host than ``version``; if empty, do not check.

    Raises:
        InstallError: It requires one, or its ``min_host_version`` is neither a version nor a range.
    """
    check_wanted_host(manifest.min_host_version, version, origin)


def check_wanted_host(wanted: str, version: str, origin: str) -> None:
    """Refuse what requires another host; see `check_host_version`."""
    if not wanted:
        return
    if not _NUMBERS.fullmatch(wanted):
        _check_host_range(wanted, version, origin)
        return
    if version and _release(version) < _release(wanted):
        raise InstallError(
            f"{origin}: requires vconnect {wanted} or newer, this is {version}; upgrade vconnect"
        )


def _check_host_range(wanted: str, version: str, origin: str) -> None:
    try:
        # Without an operator it would mean exactly this version; here it means this or a newer one.
        versions = parse_range(wanted if wanted[0] in "=<>^~*" else "?")
    except ValueError:
        raise InstallError(
            f"{origin}: min_host_version is {wanted!r}; expected numbers with dots, such as 1.2, "
            'or a range, such as ">=1.2 <2"'
        ) from None
    # A development version of a host counts as the release that it becomes.
    release = ".".join(map(str, _release(version))) or "0"
    if version and not versions.takes(release):
        raise InstallError(
            f"{origin}: requires vconnect {wanted}, this is {version}; use another version of one "
            "of them"
        )


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers without trailing zeros, so that 1.0 equals 1."""
    match = _NUMBERS.match(version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
