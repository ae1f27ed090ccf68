"""Which event loop a host runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from vconnect.errors import ConfigError

if TYPE_CHECKING:
    pass


def loop_factory(wanted: bool | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Choose the event loop.

    Args:
        wanted: ``True`` for uvloop, ``False`` for asyncio's own, ``None`` for uvloop if it is
            installed.

    Raises:
        ConfigError: uvloop is wanted and not installed.
    """
    if wanted is False:
        return None
    try:
        import uvloop
    except ImportError:
        if wanted is None:
            return None
        raise ConfigError(
            "uvloop is not installed; install it (pip install uvloop), or run with --no-uvloop"
        ) from None
    return uvloop.new_event_loop
