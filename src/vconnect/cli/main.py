"""The entry point of the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import RawIOBase, TextIOWrapper
from typing import NoReturn

from .interrupts import end_at_once


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit the process with its exit code.

    Args:
        arguments: The arguments; by default ``sys.argv[1:]``.
    """
    end_at_once()
    # Imported here, where Ctrl-C cannot be lost.
    from vconnect.descriptors import open_standard

    from .boundary import run
    from .root import root

    # Before anything is opened, which would get the number of what is closed.
    open_standard()
    _prepare_streams()
    code = run(root, sys.argv[1:] if arguments is None else arguments)
    end_at_once()
    # The only place that ends the process: everything below returns a code, which tests can look
    # at.
    sys.exit(code)


def _prepare_streams() -> None:
    if isinstance(sys.stdout, TextIOWrapper) and isinstance(sys.stdout.buffer, RawIOBase):
        # With PYTHONUNBUFFERED, what could not be written would be forgotten, and with it that it
        # was stdout that failed. Commands flush by themselves.
        sys.stdout = open(  # noqa: SIM115
            sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, closefd=False
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name in another script must not fail on a terminal whose encoding lacks it.
            stream.reconfigure(errors="backslashreplace")
