"""Out-of-process plugins for asyncio servers.

The host and the SDK are imported on first use, so that a plugin process does not load the host, and
``vconnect --help`` loads neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# For type checkers and editors, which do not run `__getattr__`.
if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient as AdminClient
    from vconnect.admin.servers.asgi import asgi_app as asgi_app
    from vconnect.admin.servers.embedding import admin_app as admin_app
    from vconnect.admin.servers.server import AdminServer as AdminServer
    from vconnect.dispatch.host_calls import HostCall as HostCall
    from vconnect.dispatch.results import Outcome as Outcome
    from vconnect.dispatch.results import PluginResult as PluginResult
    from vconnect.dispatch.results import Refusal as Refusal
    from vconnect.host.manager import PluginRuntimeManager as PluginRuntimeManager
    from vconnect.plugins.runtime import PluginRuntime as PluginRuntime
    from vconnect.plugins.status import PluginStatus as PluginStatus
    from vconnect.plugins.status import Substate as Substate
    from vconnect.seeing.collector import VConnectCollector as VConnectCollector
    from vconnect.seeing.summary import PluginSummary as PluginSummary
    from vconnect.settings.load import load_settings as load_settings
    from vconnect.settings.model import Settings as Settings
    from vconnect.store.installer import PluginInstaller as PluginInstaller
    from vconnect.wire.server import UnixSocketServer as UnixSocketServer

    from .errors import AdminError as AdminError
    from .errors import ConfigError as ConfigError
    from .errors import HostCallError as HostCallError
    from .errors import HostUnreachableError as HostUnreachableError
    from .errors import InstallError as InstallError
    from .errors import ManifestError as ManifestError
    from .errors import PluginError as PluginError
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .errors import VConnectError as VConnectError
    from .sdk import Context as Context
    from .sdk import Plugin as Plugin
    from .sdk import PluginClient as PluginClient
    from .sdk import on as on
    from .sdk import run_plugin as run_plugin

    __version__: str

# The module of each public name.
_HOMES = {
    "AdminClient": "admin.client.client",
    "AdminServer": "admin.servers.server",
    "admin_app": "admin.servers.embedding",
    "asgi_app": "admin.servers.asgi",
    "AdminError": "errors",
    "HostCall": "dispatch.host_calls",
    "Settings": "settings.model",
    "load_settings": "settings.load",
    "Outcome": "dispatch.results",
    "PluginResult": "dispatch.results",
    "Refusal": "dispatch.results",
    "ConfigError": "errors",
    "HostCallError": "errors",
    "HostUnreachableError": "errors",
    "InstallError": "errors",
    "ManifestError": "errors",
    "PluginError": "errors",
    "RemoteProtocolError": "errors",
    "VConnectError": "errors",
    "PluginInstaller": "store.installer",
    "PluginRuntimeManager": "host.manager",
    "PluginRuntime": "plugins.runtime",
    "PluginSummary": "seeing.summary",
    "VConnectCollector": "seeing.collector",
    "Context": "sdk",
    "Plugin": "sdk",
    "PluginClient": "sdk",
    "on": "sdk",
    "run_plugin": "sdk",
    "UnixSocketServer": "wire.server",
    "PluginStatus": "plugins.status",
    "Substate": "plugins.status",
}

__all__ = sorted([*_HOMES, "__version__"])


# Hidden from type checkers: they would take every name for one that it knows.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module(".version", __name__).host_version() or "0+unknown"
        if name not in _HOMES:
            raise AttributeError(f"module 'vconnect' has no attribute {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
