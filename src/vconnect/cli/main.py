"""The entry point of the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from vconnect.descriptors import open_standard

from .boundary import run
from .root import root


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit the process with its exit code.

    Args:
        arguments: The arguments; by default ``sys.argv[1:]``.
    """
    # Before anything is opened, which would get the number of what is closed.
    open_standard()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name in another script must not fail on a terminal whose encoding lacks it.
            stream.reconfigure(errors="backslashreplace")
    # The only place that ends the process: everything below returns a code, which tests can look
    # at.
    sys.exit(run(root, sys.argv[1:] if arguments is None else arguments))
