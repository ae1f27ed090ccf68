"""What Ctrl-C does while modules are imported: it ends the process at once."""

# An import runs callbacks in which Python ignores exceptions, so that KeyboardInterrupt may be lost
# there, and the command would go on. Nothing has been done yet that would have to be undone.

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_CODE = 130  # as a shell reports SIGINT


def end_at_once() -> None:
    """Let Ctrl-C end the process at once, unless it is ignored or handled."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def as_usual() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process at once, for the time of an import."""
    end_at_once()
    try:
        yield
    finally:
        as_usual()


def _end(_: int, __: object) -> None:
    os._exit(_CODE)
