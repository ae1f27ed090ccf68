"""The environment of a plugin's process: an allowlist of the host's environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# What a plugin inherits from the host's environment. An allowlist, because a host's environment
# often contains credentials; the operator adds names with `inherit_env`.
INHERITED = tuple(
    """
    HOME USER LOGNAME LANG LANGUAGE LC_ALL LC_CTYPE LC_MESSAGES TZ TMPDIR SSL_CERT_FILE
    SSL_CERT_DIR
    """.split()
)


# A plugin run from source is compiled first, and compilers keep their caches in these places.
INHERITED_BY_DEV = tuple(
    """
    CARGO_HOME RUSTUP_HOME RUSTUP_TOOLCHAIN CARGO_TARGET_DIR GOPATH GOCACHE GOMODCACHE
    GOROOT GOFLAGS XDG_CACHE_HOME NODE_PATH npm_config_cache CC CXX
    """.split()
)


def plugin_environment(
    host: Mapping[str, str],
    extra: Mapping[str, str],
    *,
    inherit: tuple[str, ...],
    dev: bool,
    programs: Path | None = None,
) -> dict[str, str]:
    """Build a plugin's environment: an allowlist of the host's, overridden by ``extra``.

    The directory of the host's own Python comes first on the PATH, so that a plugin that begins
    with ``#!/usr/bin/env python3`` finds the SDK that is installed beside the host. Before it comes
    the directory ``programs`` of the plugin's own environment, if it has one.
    """
    names = (*INHERITED, *(INHERITED_BY_DEV if dev else ()), *inherit)
    kept = {name: host[name] for name in names if name in host}
    python = str(Path(sys.executable).parent)
    own = [str(programs)] if programs is not None else []
    kept["PATH"] = os.pathsep.join([*own, python, host.get("PATH", os.defpath)])
    kept["PYTHONUNBUFFERED"] = "1"  # output shows up when it is printed, not when a buffer is full
    return kept | dict(extra)
