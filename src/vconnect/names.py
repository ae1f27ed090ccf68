"""How plugins are called, and how an event finds those that want it.

A plugin may be called ``example``, ``wk.plugin.example`` or ``v.plugin.example``; all three are
the plugin ``example``. Exactly one prefix is stripped, and names are compared as a whole, never
by substring.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

V = TypeVar("V")

PREFIXES = ("wk.plugin.", "v.plugin.")
MAX_NAME_LENGTH = 64

# Variables that a plugin's process gets. The SDK, the launcher and the state file read them.
HOST_PID_VARIABLE = "VCONNECT_HOST_PID"
PLUGIN_NAME_VARIABLE = "VCONNECT_PLUGIN_NAME"

LogLevel = Literal["trace", "debug", "info", "warn", "error"]

LOG_LEVELS: Mapping[str, int] = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40}
"""What ``--log-level`` takes, the lowest first, with the numbers of Python's `logging`."""

# sun_path of <sys/un.h>, without its closing zero.
MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103

# A name becomes a directory, a log prefix and a part of a URL: nothing that means something to
# any of them, and no leading dot or dash.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

NAME_RULE = (
    f"1 to {MAX_NAME_LENGTH} of the characters A-Z a-z 0-9 . _ -, beginning with a letter, "
    "a digit or _"
)

PATTERN_RULE = "an event (message.incoming), a family (message), or a wildcard (user.*, user.**, *)"
_PATTERN = re.compile(r"\*\*?|[^*\s]+?(\.\*\*?)?")


# Peers and callers choose event names, so their number has no natural end. The limit is far above
# what an application uses, and the cost of starting anew is one miss for each name in use.
MAX_CACHED_NAMES = 4096


class NameCache(dict[str, V]):
    """What a name stands for, worked out when the name is first looked up.

    A full cache is cleared: what is in use comes back at its next look-up, in one miss each. A
    look-up that raises caches nothing. ``cache[name]`` costs one dictionary look-up.

    Args:
        make: Works out the value of a name.
        limit: The number of names at which the cache is cleared.
    """

    def __init__(self, make: Callable[[str], V], limit: int = MAX_CACHED_NAMES) -> None:
        super().__init__()
        self._make = make
        self._limit = limit

    def __missing__(self, name: str) -> V:
        value = self._make(name)
        if len(self) >= self._limit:
            self.clear()
        self[name] = value
        return value


def canonical_name(name: str) -> str:
    """Strip one known prefix from ``name``.

    >>> canonical_name("wk.plugin.example")
    'example'
    >>> canonical_name("wk.plugin.v.plugin.x")
    'v.plugin.x'
    """
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def is_valid_name(name: str) -> bool:
    """Tell whether ``name`` (canonical) follows `NAME_RULE`."""
    return len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def is_pattern(text: str) -> bool:
    """Tell whether ``text`` can match an event, by `PATTERN_RULE`."""
    return _PATTERN.fullmatch(text) is not None


def capability_matches(capability: str, event: str) -> bool:
    """Tell whether a declared capability covers an event.

    A capability covers the event of the same name, every event of the family that it names
    (``message`` covers ``message.incoming`` and anything below), and what its wildcard says:
    ``*`` everything, ``user.*`` one level, ``user.**`` any depth.

    >>> capability_matches("message", "message.incoming")
    True
    >>> capability_matches("message", "messages.incoming")
    False
    >>> capability_matches("user.*", "user.device.added")
    False
    """
    if capability in ("*", "**") or capability == event:
        return True
    if capability.endswith(".**"):
        return event.startswith(capability[:-2])
    if capability.endswith(".*"):
        family = capability[:-1]
        return event.startswith(family) and "." not in event[len(family) :]
    return event.startswith(capability + ".")


def specificity(pattern: str) -> tuple[int, int]:
    """Rank patterns that cover the same event, a higher rank for a more specific one.

    More words win, then one level over any depth over the family; ``*`` comes last.

    >>> specificity("user.*") > specificity("user.**") > specificity("user") > specificity("*")
    True
    """
    words = pattern.split(".")
    literal = [word for word in words if "*" not in word]
    kind = {"*": 2, "**": 1}.get(words[-1], 0)
    return len(literal), kind
