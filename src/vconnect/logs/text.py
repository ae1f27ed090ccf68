"""Text from untrusted sources: what may be stored of it, and how it is displayed."""

from __future__ import annotations

import re

# A longer line is split, so that no plugin can make the host buffer a line of any length.
MAX_LINE_BYTES = 16 * 1024

# Terminal escape sequences and control characters, except the tab, which is harmless. The second
# kind of sequence sets a title or the like, and holds text up to a bell or its own end.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
# What starts a new line (U+2028), changes the direction of the text after it, or is invisible and
# makes two texts look alike. Not the joiners of emoji and scripts, U+200C and U+200D.
UNSAFE_BEYOND_ASCII = (
    r"\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e0fff"
)
_UNSAFE = re.compile(rf"[\x00-\x08\x0a-\x1f{UNSAFE_BEYOND_ASCII}]")


def decode_line(line: bytes) -> str:
    """Decode for display: no line may steer a terminal or break up the log's own lines.

    A progress bar that overwrites itself becomes its steps, with a space between them.
    """
    return strip_controls(line.decode("utf-8", "replace").rstrip("\r").replace("\r", " "))


def strip_controls(text: str) -> str:
    """Remove escape sequences and control characters."""
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
