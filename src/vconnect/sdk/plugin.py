"""`Plugin`: the base class for plugin authors."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec import inspect

from vconnect.errors import ConfigError
from vconnect.names import INTERFACE_VARIABLE, NAME_RULE, canonical_name, may_be_named
from vconnect.validation import place_and_words
from vconnect.wire.messages import NATIVE_VERSIONS

from .context import Context
from .handlers import check_pattern, collect_handlers
from .host_client import Host

_Fields: TypeAlias = inspect.DataclassType | inspect.StructType | inspect.TypedDictType
_WITH_FIELDS = (inspect.DataclassType, inspect.StructType, inspect.TypedDictType)
_LISTS = (inspect.ListType, inspect.VarTupleType)


class Plugin:
    """A plugin: class attributes describe it, methods do its work.

    Every method may be plain or ``async``. Methods run on the plugin's event loop, one at a time
    unless `concurrency` is set; use ``asyncio.to_thread`` for blocking work.

    Attributes:
        plugin_no: The plugin's name, such as ``wk.plugin.example``.
        version: Its version, shown by the host.
        priority: Its position in a chain; plugins with a higher priority get each event first.
        capabilities: The events, families and wildcards that the host sends; by default those of
            the `on` handlers.
        concurrency: How many ``async`` handlers may run at the same time. Their answers are sent in
            the order of the events to a classic host, and as they finish to a native host.
        config_type: A dataclass or `msgspec.Struct` to convert the configuration to; by default it
            stays the ``dict`` that the host sent.
        config: The configuration; available from `on_start` on.
    """

    plugin_no: str = ""
    version: str = "0.0.0"
    priority: int = 0
    capabilities: Sequence[str] = ()
    concurrency: int = 1
    config_type: type[Any] | None = None
    config: Any = None

    _handlers: ClassVar[Mapping[str, str]] = {}
    _host: Host | None = None
    _told_keys: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # When the class is defined, so that two handlers for one pattern fail at import.
        cls._handlers = collect_handlers(cls)

    @property
    def name(self) -> str:
        """The canonical name: `plugin_no` without its prefix."""
        return canonical_name(self.plugin_no)

    @property
    def interface(self) -> str:
        """The version of the application's events that the host has chosen, such as ``chat/2``.

        It is the highest one of those in the manifest's ``interface`` that the host offers, and
        empty without that key. With more than one family, they are separated by spaces.
        """
        return os.environ.get(INTERFACE_VARIABLE, "")

    @property
    def log(self) -> logging.Logger:
        """The plugin's log, which goes to stderr and from there to the host's log."""
        return logging.getLogger(self.name)

    @property
    def host(self) -> Host:
        """The host, for calls from the plugin (native dialect only)."""
        # On first use, so that a subclass need not call `super().__init__()`.
        if self._host is None:
            self._host = Host()
        return self._host

    def on_start(self) -> Awaitable[None] | None:
        """Prepare: called once, after the first handshake and before the first event.

        `config` is set. The plugin is `Starting` until this has returned: it gets no events, and
        an older version keeps running. An exception ends the process, and the host shows it; the
        older version stays. A `ConfigError` says that only another configuration can help: the
        host does not try again soon. If the plugin is stopped meanwhile, an ``async`` method is
        cancelled at its next ``await``, and `on_stop` is not called.
        """
        return None

    def on_stop(self) -> Awaitable[None] | None:
        """Clean up: called once, after the last event, if `on_start` has completed."""
        return None

    def on_config_update(self, config: Any) -> Awaitable[None] | None:  # noqa: ARG002
        """Accept a changed configuration, received while running or with a new connection.

        Args:
            config: The new configuration. ``self.config`` is still the old one, and stays so if
                this method raises.
        """
        return None

    def on_event(self, ctx: Context) -> Awaitable[None] | None:  # noqa: ARG002
        """Handle an event that no `on` handler matches. The return value is ignored."""
        return None


def check_plugin(plugin: Plugin) -> None:
    """Reject an invalid plugin before it connects, with an error that its author understands.

    Raises:
        TypeError: A class attribute is invalid; the text says which and what is allowed.
    """
    origin = type(plugin).__name__
    if not isinstance(plugin.plugin_no, str) or not may_be_named(plugin.name):
        raise TypeError(
            f"{origin}.plugin_no is {plugin.plugin_no!r}; expected a name such as "
            f"'wk.plugin.example': after the prefix, {NAME_RULE}"
        )
    if not isinstance(plugin.version, str):
        raise TypeError(f"{origin}.version is {plugin.version!r}; expected a string")
    if type(plugin.priority) is not int:
        raise TypeError(f"{origin}.priority is {plugin.priority!r}; expected an integer")
    if type(plugin.concurrency) is not int or plugin.concurrency < 1:
        raise TypeError(f"{origin}.concurrency is {plugin.concurrency!r}; expected 1 or more")
    # A string is a sequence of strings too, but never what was meant.
    if isinstance(plugin.capabilities, str):
        raise TypeError(
            f"{origin}.capabilities is the string {plugin.capabilities!r}; expected a list"
        )
    for pattern in plugin.capabilities:
        check_pattern(pattern, f"{origin}.capabilities")
    if not plugin.capabilities and not plugin._handlers:
        plugin.log.warning(
            "%s has no capabilities and no @on handler: it will not get any events", origin
        )


def build_handshake(plugin: Plugin, *, is_ready: bool = True) -> dict[str, Any]:
    """Build the plugin's first frame (``docs/wire.md``, "Handshake").

    Args:
        plugin: The plugin.
        is_ready: Whether it can serve at once; otherwise it will say so with ``plugin.ready``.
    """
    handshake = {
        "type": "handshake",
        "plugin_no": plugin.plugin_no,
        "version": plugin.version,
        "priority": plugin.priority,
        "capabilities": list(plugin.capabilities or plugin._handlers),
        # A classic host ignores this key, so one handshake serves both dialects.
        "protocol_versions": list(NATIVE_VERSIONS),
        # If it crashes, the host suspects only the events that it was handling.
        "concurrency": plugin.concurrency,
    }
    return handshake if is_ready else {**handshake, "ready": False}


def convert_config(plugin: Plugin, values: Mapping[str, Any]) -> Any:
    """Convert the configuration from the host to the plugin's ``config_type``.

    Raises:
        ConfigError: It does not match; the text begins with the path, such as ``$.name``.
    """
    if plugin.config_type is None:
        return values
    try:
        config = msgspec.convert(values, plugin.config_type)
    except msgspec.ValidationError as error:
        raise ConfigError(": ".join(place_and_words(error))) from None
    _warn_of_unknown_keys(plugin, values)
    return config


def _warn_of_unknown_keys(plugin: Plugin, values: Mapping[str, Any]) -> None:
    """Warn of keys that the ``config_type`` does not have, which are most often typos."""
    unknown = tuple(_unknown_keys(values, inspect.type_info(plugin.config_type), "$"))
    # An update is checked and then made, and each new connection brings the configuration again.
    if unknown != plugin._told_keys:
        plugin._told_keys = unknown
        for words in unknown:
            plugin.log.warning("unknown key in the configuration: %s", words)


def _unknown_keys(value: Any, kind: inspect.Type, place: str) -> Iterator[str]:
    """Describe each key in a value that its type has no field for."""
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    for one in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(one, _WITH_FIELDS) and isinstance(value, Mapping):
            yield from _unknown_fields(value, one, place)
        elif isinstance(one, inspect.DictType) and isinstance(value, Mapping):
            for name, entry in value.items():
                yield from _unknown_keys(entry, one.value_type, f"{place}.{name}")
        elif isinstance(one, _LISTS) and isinstance(value, list):
            for index, entry in enumerate(value):
                yield from _unknown_keys(entry, one.item_type, f"{place}[{index}]")


def _unknown_fields(value: Mapping[str, Any], kind: _Fields, place: str) -> Iterator[str]:
    tag = None
    if isinstance(kind, inspect.StructType) and kind.tag_field is not None:
        tag = kind.tag_field
        if value.get(tag) != kind.tag:
            return  # it is for another type of the union
    fields = {field.encode_name: field.type for field in kind.fields}
    for name, entry in value.items():
        if name in fields:
            yield from _unknown_keys(entry, fields[name], f"{place}.{name}")
        elif name != tag:
            near = get_close_matches(name, fields, n=1)
            yield f"{place}.{name}" + (f"; did you mean {near[0]!r}?" if near else "")
