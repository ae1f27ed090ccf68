"""What a change of a plugin did, and who asked for it."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal

import msgspec

from vconnect.errors import (
    ConsentRequiredError,
    PluginError,
    VConnectError,
)
from vconnect.sockets.credentials import user_in_words

#: ``unchanged``: it was so already. ``installed``: the first version. ``switched``: another version
#: serves. ``granted``: the version that was there has more permissions. ``repaired``: its files are
#: those of its package again. ``waiting``: the next start tries it. ``failed``: what was there
#: before is there still.
Outcome = Literal[
    "unchanged",
    "installed",
    "switched",
    "granted",
    "repaired",
    "waiting",
    "removed",
    "found",
    "gone",
    "planned",
    "failed",
]

_log = logging.getLogger(__name__)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did to one plugin.

    Attributes:
        name: The plugin's canonical name; what was given instead, if it is not known.
        action: What was asked for, such as ``upgrade``.
        before: The version before; empty for none.
        after: The version afterwards, or that would be; empty for none.
        digest: The sha256 of the package of the version afterwards; empty if there is none.
        result: See `Outcome`.
        code: A code for the failure, such as ``conflict``; empty without one.
        reason: Why it failed, or what is to be done; empty if there is nothing to say.
        permissions: What it asks for that nobody has granted yet.
        took_s: How many seconds it took.
    """

    name: str
    action: str
    before: str = ""
    after: str = ""
    digest: str = ""
    result: Outcome
    code: str = ""
    reason: str = ""
    permissions: tuple[str, ...] = ()
    took_s: float = 0.0

    @property
    def is_failure(self) -> bool:
        """Whether what was asked for was not done."""
        return self.result == "failed"


def failure(action: str, name: str, error: VConnectError) -> Change:
    """Describe a change that was refused or failed."""
    permissions = error.permissions if isinstance(error, ConsentRequiredError) else ()
    return Change(
        name=name,
        action=action,
        result="failed",
        code=error.code,
        # The row begins with the name.
        reason=words_of(error).removeprefix(f"{name}: "),
        permissions=permissions,
    )


def words_of(error: VConnectError) -> str:
    """Return the words of an error, without the name of the plugin, which the reader knows."""
    return error.message if isinstance(error, PluginError) else str(error)


def given_up(action: str, name: str) -> Change:
    """Describe a change whose caller was cancelled."""
    reason = "its caller was cancelled; a start that has begun goes on"
    return Change(name=name, action=action, result="failed", code="cancelled", reason=reason)


def this_user() -> str:
    """Name the user of this process."""
    return user_in_words(os.geteuid())


def audit(change: Change, by: str, began: float) -> Change:
    """Log who asked for a change and what came of it; return it with the time it took.

    Args:
        change: The change.
        by: Who asked for it.
        began: When it began, in seconds of `time.monotonic()`.
    """
    change = msgspec.structs.replace(change, took_s=round(time.monotonic() - began, 3))
    versions = " → ".join(filter(None, (change.before, change.after))) or "-"
    level = logging.WARNING if change.is_failure else logging.INFO
    words = f": {change.reason}" if change.reason else ""
    _log.log(
        level,
        "audit: %s %s %s by %s: %s in %.2f s%s",
        *(change.action, change.name, versions, by, change.result, change.took_s, words),
    )
    return change
