"""The version of vconnect."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def host_version() -> str:
    """Return the installed version; empty in a source tree that was never installed."""
    try:
        return metadata.version("vconnect")
    # An empty version is not compared with what packages require, see `check_host_version`.
    except metadata.PackageNotFoundError:
        return ""
