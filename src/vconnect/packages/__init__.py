"""Plugin packages, from a source's name to a directory that can be started.

==============  ==================================================================
`tar`           a bounded reader of gzip-compressed tar: bytes in, members out
`archive`       what a package may hold, and unpacking it below one directory
`pack`          making a package from a directory
`fetch`         a source as written, to a file on this machine
`download`      the part of `fetch` that talks HTTP; imported when first needed
`store`         the layout of ``plugin_dir``: staging, atomic swap, recovery
`swap`          exchanging two directories in one step
`launch`        the command line that starts a plugin
`worker`        blocking work in a thread that never outlives its caller
==============  ==================================================================
"""

from __future__ import annotations

from .archive import unpack
from .command import dev_command, host_arguments, production_command
from .fetch import fetch
from .pack import pack
from .source import expand_source
from .store import InstalledPlugin, PluginStore

__all__ = [
    "InstalledPlugin",
    "PluginStore",
    "dev_command",
    "expand_source",
    "fetch",
    "host_arguments",
    "pack",
    "production_command",
    "unpack",
]
