"""How many names a peer or a package may give, and how long they and its words may be."""

# The models are NATS subjects and the short strings of AMQP: 255 bytes are enough for a name, and
# what is compared with each new event must be few.

from __future__ import annotations

from collections.abc import Collection
from reprlib import Repr

MAX_NAME_BYTES = 255
"""The maximum length of the name of an event, a method, a capability or a pattern, in UTF-8."""

MAX_VERSION_BYTES = 64
"""The maximum length of a plugin's version, in UTF-8."""

MAX_WORDS_BYTES = 1024
"""What is kept of a reason or an error message, in UTF-8."""

MAX_CAPABILITIES = 256
MAX_SUBSCRIPTIONS = 1024
MAX_PERMISSIONS = 256
MAX_REQUIREMENTS = 256
MAX_INTERFACES = 16


def find_excess(names: Collection[str], limit: int) -> str:
    """Return which bound a list of names exceeds, and how; empty if none.

    >>> find_excess(["message.incoming"], MAX_CAPABILITIES)
    ''
    >>> find_excess(["a", "b"], 1)
    'has 2 entries; the limit is 1'
    """
    if len(names) > limit:
        return f"has {len(names)} entries; the limit is {limit}"
    # The usual ones need no look at each: a peer may send a thousand, again and again.
    if max(map(len, names), default=0) <= MAX_NAME_BYTES and "".join(names).isascii():
        return ""
    for name in names:
        if (size := size_of(name)) > MAX_NAME_BYTES:
            return f"has an entry of {size} bytes; the limit is {MAX_NAME_BYTES}"
    return ""


def size_of(text: str) -> int:
    """Return the length of a text in UTF-8; half a surrogate pair counts as three bytes."""
    return len(text.encode("utf-8", "surrogatepass"))


def cut(words: str, limit: int = MAX_WORDS_BYTES) -> str:
    """Shorten words that a plugin chose, and say so.

    >>> cut("x" * 5000, 20)
    'xxxxxxxxxxxxxxxxxxxx… (5000 bytes)'
    """
    # A character has at most four bytes, so most words need no look at their bytes.
    if len(words) * 4 <= limit or (size := size_of(words)) <= limit:
        return words
    kept = words.encode("utf-8", "surrogatepass")[:limit].decode("utf-8", "ignore")
    return f"{kept}… ({size} bytes)"


_SHORT = Repr()
# With reprlib's own limits, a value of 6 x 6 x 6 … lists is shown in 50,000 steps.
_SHORT.maxlevel = 2
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 4
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def shown(value: object) -> str:
    """Return a value that a peer sent as an error shows it: some of it, in a few steps.

    >>> shown([[1, [2, [3]]], "x"])
    "[[1, [...]], 'x']"
    """
    return _SHORT.repr(value)
