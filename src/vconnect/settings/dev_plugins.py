"""The plugins that run from source, as they are written: ``"name:path"``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vconnect.errors import ConfigError
from vconnect.names import NAME_RULE, canonical_name, may_be_named

from .paths import absolute_path


class DevPlugin(msgspec.Struct, frozen=True):
    """A plugin that runs from source.

    Attributes:
        name: Its canonical name.
        path: The absolute path of its source directory.
    """

    name: str
    path: Path


def parse_dev_plugin(text: str) -> DevPlugin:
    """Parse ``"name:path"``, split at the first colon.

    Raises:
        ConfigError: There is no colon or no path, or the name is invalid.
    """
    name, _, path = text.partition(":")
    if not path:
        raise ConfigError(f"dev plugin {text!r}: expected NAME:PATH, such as example:./example")
    return dev_plugin(name, path)


def dev_plugin(name: str, path: str | Path) -> DevPlugin:
    """Build a `DevPlugin` from a name and a source directory.

    Raises:
        ConfigError: The name is invalid, or there is no home directory for a ``~``.
    """
    plugin = canonical_name(name)
    if not may_be_named(plugin):
        raise ConfigError(f"dev plugin '{name}:{path}': the name is {name!r}; expected {NAME_RULE}")
    return DevPlugin(plugin, absolute_path(path))
