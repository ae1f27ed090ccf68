"""The names of plugins, and which events a capability matches.

A plugin can be called ``example``, ``wk.plugin.example`` or ``v.plugin.example``; all three are the
plugin ``example``. Exactly one prefix is removed, and names are compared as a whole, never by
substring.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from typing import Literal

PREFIXES = ("wk.plugin.", "v.plugin.")
# Leaves room for a suffix in file names, which have at most 255 bytes.
MAX_NAME_LENGTH = 64

# Variables in a plugin's environment. The SDK, the launcher and the state file use them.
HOST_PID_VARIABLE = "VCONNECT_HOST_PID"
PLUGIN_NAME_VARIABLE = "VCONNECT_PLUGIN_NAME"
INTERFACE_VARIABLE = "VCONNECT_INTERFACE"
PACKAGE_DIR_VARIABLE = "VCONNECT_PACKAGE_DIR"

LogLevel = Literal["trace", "debug", "info", "warn", "error"]

LOG_LEVELS: Mapping[str, int] = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40}
"""The values of ``--log-level``, lowest first, with the levels of Python's `logging`."""

RESERVED_PREFIX = "vconnect."
"""What the names of the host's own events begin with."""

#: The configuration file, in the working directory.
DEFAULT_CONFIG_FILE = "vconnect.toml"

EXIT_CONFIG = 78
"""The exit code of a plugin that cannot use its configuration: EX_CONFIG of sysexits.h."""

# The size of sun_path in <sys/un.h>, without its terminating zero.
MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103

# A name is used as a directory, a log prefix and a part of a URL. So it has no characters that are
# special in any of them, and no leading dot or dash.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

# `may_be_named` of the canonical name, as one pattern for JSON Schema.
_PREFIX = "(?:" + "|".join(map(re.escape, PREFIXES)) + ")"
PLUGIN_NAME_PATTERN = f"{_PREFIX}?(?!{_PREFIX})(?=.{{1,{MAX_NAME_LENGTH}}}$){_NAME.pattern}"
"""What the whole of a plugin's name matches, with its prefix if it has one."""

NAME_RULE = (
    f"1 to {MAX_NAME_LENGTH} of the characters A-Z a-z 0-9 . _ -, beginning with a letter, "
    "a digit or _, with at most one of the prefixes wk.plugin. and v.plugin."
)

INTERFACE_PATTERN = "[a-z][a-z0-9.-]{0,63}/[1-9][0-9]{0,5}"
"""What the whole of an interface matches, such as ``chat/2``."""

INTERFACE_RULE = "a family and a whole number, such as chat/2"

_INTERFACE = re.compile(INTERFACE_PATTERN)
PACKAGE_SUFFIXES = (".vp", ".wkp")
"""What the name of a package file ends in."""

# A name, and which versions of it. Everything else is a path or an address.
_REQUEST = re.compile(rf"(?P<name>{_NAME.pattern})(?:@(?P<versions>[^/]*))?")

PATTERN_RULE = "an event (message.incoming), a family (message), or a wildcard (user.*, user.**, *)"
_PATTERN = re.compile(r"\*\*?|[^*\s]+(\.\*\*?)?")


_ALIKE = str.maketrans({"0": "o", "O": "o", "1": "l", "I": "l", ".": "", "-": "", "_": ""})


def look_alike(name: str) -> str:
    """Return what a canonical name looks like: equal for names that people take for each other.

    >>> look_alike("Word_Filter") == look_alike("w0rd-fi1ter")
    True
    """
    return name.translate(_ALIKE).lower()


def is_interface(text: str) -> bool:
    """Return whether a text is an interface, see `INTERFACE_RULE`."""
    return _INTERFACE.fullmatch(text) is not None


def split_interface(interface: str) -> tuple[str, int]:
    """Split a valid interface into its family and its number."""
    family, _, number = interface.partition("/")
    return family, int(number)


# Peers and callers choose event names, so their number is not limited by itself. This limit is far
# above what an application uses; with names of 255 bytes at most, a full cache is about a megabyte.


def canonical_name(name: str) -> str:
    """Remove one known prefix from ``name``.

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
    """Return whether ``name`` (canonical) has the characters of `NAME_RULE`."""
    return len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def may_be_named(name: str) -> bool:
    """Return whether a plugin may have ``name`` (canonical); see `NAME_RULE`.

    One that still begins with a prefix would be two names: its own, and what remains without that.

    >>> may_be_named("x"), may_be_named("v.plugin.x")
    (True, False)
    """
    return is_valid_name(name) and not name.startswith(PREFIXES)


def split_request(source: str) -> tuple[str, str] | None:
    """Split a source that is ``NAME[@RANGE]`` of an index; ``None`` if it is a path or an address.

    The text decides, never what is on the disk: a path has a slash or the suffix of a package.

    >>> split_request("example@^1.2"), split_request("example.vp"), split_request("./example")
    (('example', '^1.2'), None, None)
    """
    found = _REQUEST.fullmatch(source)
    if found is None or source.lower().endswith(PACKAGE_SUFFIXES):
        return None
    return found["name"], found["versions"] or ""


def is_pattern(text: str) -> bool:
    """Return whether ``text`` can match an event; see `PATTERN_RULE`."""
    return _PATTERN.fullmatch(text) is not None


def are_patterns(texts: Collection[str]) -> bool:
    """Return whether each of ``texts`` is what `is_pattern` wants.

    >>> are_patterns(["message", "user.*"]), are_patterns(["message", "a b"]), are_patterns([])
    (True, False, True)
    """
    # The usual ones need no look at each: a peer may send a thousand, again and again.
    have_no_space = " ".join(texts).split() == list(texts)
    return have_no_space and all(is_pattern(text) for text in texts if "*" in text)


def capability_matches(capability: str, event: str) -> bool:
    """Return whether a declared capability matches an event.

    A capability matches the event with the same name, every event of the family with that name
    (``message`` matches ``message.incoming`` and everything below), and what its wildcard means:
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
    # Cut before the last dot or star, so that `user.*` does not match `users`.
    if capability.endswith(".**"):
        return event.startswith(capability[:-2])
    if capability.endswith(".*"):
        family = capability[:-1]
        return event.startswith(family) and "." not in event[len(family) :]
    return event.startswith(capability + ".")


def matching_patterns(event: str) -> frozenset[str]:
    """Return every pattern that matches an event; see `capability_matches`.

    There are two for each level of its name. So a name is compared with thousands of patterns by
    looking a few up, and who declares many costs nobody anything.

    >>> sorted(matching_patterns("user.added"))
    ['*', '**', 'user', 'user.*', 'user.**', 'user.added']
    """
    found = {"*", "**", event}
    end = event.find(".")
    while end >= 0:
        family = event[:end]
        if not family.endswith(".*"):  # that is a pattern itself, and stands for one level only
            found.add(family)
        found.add(f"{family}.**")
        if "." not in event[end + 1 :]:
            found.add(f"{family}.*")
        end = event.find(".", end + 1)
    return frozenset(found)


def specificity(pattern: str) -> tuple[int, int]:
    """Rank patterns that match the same event; more specific patterns rank higher.

    More words rank higher, then one level above any depth above the family; ``*`` is lowest.

    >>> specificity("user.*") > specificity("user.**") > specificity("user") > specificity("*")
    True
    """
    words = pattern.split(".")
    literal = [word for word in words if "*" not in word]
    kind = {"*": 2, "**": 1}.get(words[-1], 0)
    return len(literal), kind


def is_below(place: str, beginning: str) -> bool:
    """Return whether a path or an address begins with another one, and not only with its letters.

    Args:
        place: An absolute path, or an address with scheme and host in lower case.
        beginning: The other one; scheme and host in any case.

    >>> is_below("https://a.example/x.vp", "https://A.example")
    True
    >>> is_below("https://a.example.org/x.vp", "https://a.example")
    False
    """
    scheme, separator, rest = beginning.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        beginning = f"{scheme.lower()}://{host.lower()}{slash}{path}"
    if not place.startswith(beginning):
        return False
    return beginning.endswith("/") or place[len(beginning) :][:1] in ("", "/")
