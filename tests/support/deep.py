"""Directories in directories, deeper than any path can say."""

from __future__ import annotations

import os
from pathlib import Path


def nest(top: Path, levels: int) -> None:
    """Make directories in each other below ``top``, step by step: a path would be too long."""
    start = Path.cwd()
    os.chdir(top)
    try:
        for _ in range(levels):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(start)
