"""What a package may call of the host: what it asks for, and what the operator has granted."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from vconnect.errors import ConfigError, ConsentRequiredError, ManifestError
from vconnect.packages.manifest import MANIFEST_NAME, read_manifest_if_any

from .layout import InstalledVersion
from .lock_file import Locked

#: Grants whatever a package asks for.
EVERYTHING = ("*",)


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for and granted before.

    Attributes:
        asked: What the current version asks for; it was decided about.
        granted: What of it was granted, and what the lock file has.
    """

    asked: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()


def consent_before(current: InstalledVersion | None, locked: Locked | None) -> Before:
    """Find out what was granted to a plugin before. Blocks.

    Args:
        current: Its current version, if there is one.
        locked: What the lock file has of it, which counts on another machine too.
    """
    granted = set(locked.permissions) if locked is not None else set()
    if current is None:
        return Before(granted=frozenset(granted))
    try:
        manifest = read_manifest_if_any(current.package / MANIFEST_NAME)
    except ManifestError:
        manifest = None  # it is replaced because it is broken
    asked = manifest.permissions if manifest is not None else ()
    granted |= set(asked if current.granted is None else current.granted)
    return Before(asked=frozenset(asked), granted=frozenset(granted))


def configured_grant(before: Before, consent: str) -> Collection[str] | None:
    """Return what is granted to a package that the configuration names; see `decide`.

    Whoever has written the configuration has chosen the first version, with what it asks for. More
    in a later one is another decision.

    Args:
        before: What was decided before.
        consent: The setting: ``ask`` or ``allow``.
    """
    is_first = not before.asked and not before.granted
    return EVERYTHING if is_first or consent == "allow" else None


def new_permissions(asked: Iterable[str], before: Before) -> tuple[str, ...]:
    """Return what a version asks for that nobody has decided about."""
    return tuple(one for one in asked if one not in before.asked | before.granted)


def decide(
    plugin: str, version: str, asked: Iterable[str], before: Before, grant: Collection[str] | None
) -> tuple[str, ...]:
    """Return what of the permissions that a version asks for is granted.

    Args:
        plugin: The plugin's name.
        version: The version.
        asked: What it asks for.
        before: What was decided before, which holds.
        grant: What is granted now; `EVERYTHING` for all of it but what was declined before, which
            must be named; ``None`` if nobody was asked.

    Raises:
        ConsentRequiredError: It asks for something new, and nobody was asked.
        ConfigError: Something is granted that it does not ask for.
    """
    wanted = tuple(asked)
    new = new_permissions(wanted, before)
    if new and grant is None:
        raise ConsentRequiredError(
            f"{plugin} {version} asks for {'new ' if before.asked else ''}permissions: "
            f"{', '.join(new)}; to grant them, use --yes, or --grant with those that it may have",
            new,
        )
    given = frozenset(grant or ())
    if given == frozenset(EVERYTHING):
        return tuple(one for one in wanted if one in before.granted or one in new)
    if strange := sorted(given - set(wanted)):
        raise ConfigError(
            f"{plugin} {version} does not ask for {', '.join(strange)}; it asks for "
            f"{', '.join(wanted) or 'nothing'}"
        )
    return tuple(one for one in wanted if one in before.granted or one in given)
