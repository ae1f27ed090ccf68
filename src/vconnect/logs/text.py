"""Text from strangers: what of it may be stored, and how it is shown."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 16 * 1024

# Terminal escapes and other control characters; a tab is harmless.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# What still steers a terminal, or begins a line, or turns the direction of what follows.
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def decode_line(line: bytes) -> str:
    """Decode for people: no line may steer a terminal or break the log's own lines."""
    return strip_controls(line.decode("utf-8", "replace").rstrip("\r"))


def strip_controls(text: str) -> str:
    """Take colors and control characters out."""
    # Most lines have none, and isprintable() is several times faster than the search.
    return text if text.isprintable() else _CONTROL.sub("", text)


def escape_controls(text: str) -> str:
    r"""Show control characters as escapes.

    >>> escape_controls("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
