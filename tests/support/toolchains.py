"""Which compilers and interpreters of other languages run here.

Being on the ``PATH`` is not enough: the ``cargo`` of a rustup without a toolchain is there, and
fails at once.
"""

from __future__ import annotations

import functools
import subprocess

import pytest

_VERSION = {"go": ("version",)}  # all others take --version
_PATIENCE_S = 20.0


@functools.cache
def runs(tool: str) -> bool:
    """Return whether a tool starts and can print its version; it is asked once a session."""
    try:
        done = subprocess.run(
            [tool, *_VERSION.get(tool, ("--version",))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def needs(*tools: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where one of these tools is missing or does not run."""
    missing = [tool for tool in tools if not runs(tool)]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)}: missing, or installed but not runnable"
    )
