"""The SDK: everything that a plugin written in Python needs.

    from vconnect import Context, Plugin, on, run_plugin

================== ============================================================
`plugin`           the base class
`context`          one event, as a handler gets it
`handlers`         which method handles which event
`main`             ``run_plugin``: arguments, log level, exit codes
`client`           the connection to the host, kept up
`host_client`      calls to the host
`classic_pipeline` events of the classic dialect, answered in order
`native_pipeline`  events of the native dialect, answered in any order
`answering`        what both share: calling handlers, answers, backpressure
`testing`          runs a plugin without a host
================== ============================================================

It never imports the host. `docs/plugin-authors.md` is the guide.
"""

from __future__ import annotations

from .client import PluginClient
from .context import Context
from .handlers import on
from .main import run_plugin
from .plugin import Plugin

__all__ = ["Context", "Plugin", "PluginClient", "on", "run_plugin"]
