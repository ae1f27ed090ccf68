"""The SDK: everything that a plugin written in Python needs.

    from vconnect import Context, Plugin, on, run_plugin

It never imports the host. `docs/plugin-authors.md` is the guide; `vconnect.sdk.testing` runs a
plugin without a host.
"""

from __future__ import annotations

from .client import PluginClient
from .context import Context
from .handlers import on
from .main import run_plugin
from .plugin import Plugin

__all__ = ["Context", "Plugin", "PluginClient", "on", "run_plugin"]
