"""Which compilers and interpreters of other languages run here.

Being on the ``PATH`` is not enough: the ``cargo`` of a rustup without a toolchain is there, and
fails at once.
"""

from __future__ import annotations

import pytest
from examples.demo import runs as runs


def needs(*tools: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where one of these tools is missing or does not run."""
    missing = [tool for tool in tools if not runs(tool)]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)}: missing, or installed but not runnable"
    )
