"""Out-of-process plugins for asyncio servers.

The host's side and the plugin author's side are imported on first use, so that a plugin process
never pays for the host, and ``vconnect --help`` for neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import HostCall as HostCall
    from .config import Settings as Settings
    from .config import load_settings as load_settings
    from .dispatcher import Outcome as Outcome
    from .dispatcher import PluginResult as PluginResult
    from .errors import ConfigError as ConfigError
    from .errors import HostCallError as HostCallError
    from .errors import InstallError as InstallError
    from .errors import ManifestError as ManifestError
    from .errors import PluginError as PluginError
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .errors import VConnectError as VConnectError
    from .installer import PluginInstaller as PluginInstaller
    from .manager import PluginRuntimeManager as PluginRuntimeManager
    from .plugin import PluginRuntime as PluginRuntime
    from .plugin import PluginSummary as PluginSummary
    from .sdk import Context as Context
    from .sdk import Plugin as Plugin
    from .sdk import PluginClient as PluginClient
    from .sdk import on as on
    from .sdk import run_plugin as run_plugin
    from .server import UnixSocketServer as UnixSocketServer
    from .status import PluginStatus as PluginStatus
    from .status import Substate as Substate

_HOMES = {
    "HostCall": "calls",
    "Settings": "config",
    "load_settings": "config",
    "Outcome": "dispatcher",
    "PluginResult": "dispatcher",
    "ConfigError": "errors",
    "HostCallError": "errors",
    "InstallError": "errors",
    "ManifestError": "errors",
    "PluginError": "errors",
    "RemoteProtocolError": "errors",
    "VConnectError": "errors",
    "PluginInstaller": "installer",
    "PluginRuntimeManager": "manager",
    "PluginRuntime": "plugin",
    "PluginSummary": "plugin",
    "Context": "sdk",
    "Plugin": "sdk",
    "PluginClient": "sdk",
    "on": "sdk",
    "run_plugin": "sdk",
    "UnixSocketServer": "server",
    "PluginStatus": "status",
    "Substate": "status",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(".version", __name__).host_version() or "0+unknown"
    if name not in _HOMES:
        raise AttributeError(f"module 'vconnect' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
