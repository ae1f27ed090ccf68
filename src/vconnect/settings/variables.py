"""The host's variables ``VCONNECT_*``: which ones there are, and which ones are probably typos."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from vconnect.names import (
    HOST_PID_VARIABLE,
    INTERFACE_VARIABLE,
    PACKAGE_DIR_VARIABLE,
    PLUGIN_NAME_VARIABLE,
)

from .model import Settings

PREFIX = "VCONNECT_"
# Tables cannot be set by a variable.
TABLES = ("config", "options", "events", "env", "sources")

# What plugins get, commands read, and the tests and the build of vconnect itself use.
_OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in "ADMIN DATA_DIR CFLAGS LDFLAGS WERROR TRACE SOAK_S TEST_FAIL".split()
) | {HOST_PID_VARIABLE, PLUGIN_NAME_VARIABLE, PACKAGE_DIR_VARIABLE, INTERFACE_VARIABLE}
# Secrets, the tokens of private servers, and whatever plugins call their own: not for a log.
_NEVER = re.compile(rf"{PREFIX}(SECRET_.*_FILE|TOKEN_.*)")
# One more would take different words for typos, as in LOG_DIR and DATA_DIR.
_MAX_EDITS = 2


def variable_of(key: str) -> str:
    """Return the variable that sets a key of `Settings`."""
    return PREFIX + key.upper()


def find_mistakes(names: Iterable[str], passed_on: Collection[str] = ()) -> list[str]:
    """Describe the variables that look like the host's, but are not read.

    Args:
        names: The names of all variables.
        passed_on: The names of those that plugins inherit, which are theirs.
    """
    keys = [key for key in Settings.__struct_fields__ if key not in TABLES]
    known = [*map(variable_of, keys), f"{PREFIX}ADMIN"]
    taken = {*known, *_OTHERS, *passed_on}
    mistakes = []
    for name in sorted(names):
        if not name.startswith(PREFIX) or name in taken or _NEVER.fullmatch(name):
            continue
        key = name.removeprefix(PREFIX).lower()
        if key in TABLES:
            remedy = "use --config FILE" if key == "config" else "use the configuration file"
            mistakes.append(f"{name} is ignored: a table cannot be set by a variable; {remedy}")
            continue
        distance, near = min((count_edits(name, one), one) for one in known)
        if distance <= _MAX_EDITS:
            mistakes.append(f"{name} is ignored: unknown variable; did you mean {near}?")
    return mistakes


def count_edits(one: str, other: str) -> int:
    """Count the characters to insert, delete, replace or swap with their neighbor.

    >>> count_edits("WINDW", "WINDOW"), count_edits("DEBGU", "DEBUG")
    (1, 1)
    """
    # Row by row: what it costs to turn the beginnings of `one` into each beginning of `other`.
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != wanted))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
