"""Selects the event loop that a host runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vconnect.errors import ConfigError


def loop_factory(wanted: bool | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the event loop; ``None`` for asyncio's own.

    Args:
        wanted: ``True`` for uvloop, ``False`` for asyncio's own, ``None`` for uvloop if it is
            installed.

    Raises:
        ConfigError: uvloop is required but not installed.
    """
    if wanted is False:
        return None
    try:
        # Imported here, because uvloop is optional and slow to load.
        import uvloop
    except ImportError:
        if wanted is None:
            return None
        raise ConfigError(
            "uvloop is not installed; install it (pip install uvloop), or run with --no-uvloop"
        ) from None
    return uvloop.new_event_loop
