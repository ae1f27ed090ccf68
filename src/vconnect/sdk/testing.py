"""Run a plugin without a host or a socket, in its author's tests.

For example::

    answer = asyncio.run(call(Example, "message.incoming", {"content": "hello"}))
    assert answer == {"status": "ok", "data": {"type": 1, "content": "got hello"}}

Events and answers are encoded as JSON as on the wire, so that what cannot be sent fails here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from vconnect._framing import HEADER_BYTES, encode_frame, parse_message

from .answering import encode_answer, handle
from .context import Context
from .handlers import find_handler, settle
from .plugin import Plugin, check_plugin, convert_config


async def call(
    plugin: type[Plugin] | Plugin,
    event: str,
    payload: Any = None,
    *,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Send one event to a plugin and return its answer.

    Args:
        plugin: A class, which is started and stopped for this call; or an instance from `started`,
            which keeps its state between calls.
        event: The event's name.
        payload: The event's payload.
        config: The configuration as the host would send it; only with a class.

    Returns:
        The answer as the host gets it: ``status``, and where applicable ``data``, ``message``,
        ``flow`` or ``payload``.

    Raises:
        TypeError: ``config`` is given with an instance, or the class is invalid.
        PayloadError: The payload is not JSON.
    """
    if isinstance(plugin, type):
        async with started(plugin, config) as instance:
            return await call(instance, event, payload)
    if config is not None:
        raise TypeError("config is for a class; an instance was started with its own")
    context = Context(plugin, event, _over_the_wire({"payload": payload})["payload"])
    # The same function that serves events of a host, so exceptions become answers here, too.
    await handle(context, find_handler(plugin, plugin._handlers, event))
    return _parse(encode_answer(context))


@asynccontextmanager
async def started(
    plugin: type[Plugin], config: Mapping[str, Any] | None = None
) -> AsyncIterator[Any]:
    """Start a plugin as a handshake does, and stop it at the end.

    Args:
        plugin: The class.
        config: The configuration as the host would send it.

    Yields:
        The instance, for `call`.

    Raises:
        ConfigError: The configuration does not match the plugin's ``config_type``.
        TypeError: A class attribute of the plugin is invalid.
    """
    instance = plugin()
    check_plugin(instance)
    instance.config = convert_config(instance, _over_the_wire(dict(config or {})))
    await settle(instance.on_start())
    try:
        yield instance
    finally:
        await settle(instance.on_stop())


def _over_the_wire(message: dict[str, Any]) -> dict[str, Any]:
    return _parse(encode_frame(message))


def _parse(frame: bytes) -> dict[str, Any]:
    message: dict[str, Any] = parse_message(frame[HEADER_BYTES:])
    return message
