"""The plugin author's side: everything that a plugin written in Python needs.

    from vconnect import Context, Plugin, on, run_plugin

It never imports the host. `docs/plugin-authors.md` teaches it; `vconnect.sdk.testing` drives a
plugin with no host at all.
"""

from __future__ import annotations

from .client import PluginClient
from .context import Context
from .handlers import on
from .main import run_plugin
from .plugin import Plugin

__all__ = ["Context", "Plugin", "PluginClient", "on", "run_plugin"]
