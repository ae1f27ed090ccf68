"""Why an event gets no answer, in the words that its caller reads."""

from __future__ import annotations

from vconnect.errors import PluginOverloadedError, PluginStuckError, PluginUnavailableError


def closed(plugin: str | None) -> PluginUnavailableError:
    """Return the error of an event for a connection that has ended, or does not serve yet."""
    return PluginUnavailableError(plugin or "?", "its connection has ended")


def overloaded(plugin: str, limit: int, key: str) -> PluginOverloadedError:
    """Return the error of an event that finds its plugin's queue full.

    Args:
        plugin: The plugin.
        limit: How many events may wait.
        key: The setting that says so.
    """
    return PluginOverloadedError(
        plugin, f"{limit} events are already waiting ({key}); it is slower than its events arrive"
    )


def overloaded_in_bytes(plugin: str, held: int, limit: int) -> PluginOverloadedError:
    """Return the error of an event for whose bytes its plugin has no room left."""
    return PluginOverloadedError(
        plugin,
        f"its events that wait or are in flight have {held} bytes; the limit is {limit} "
        "(max_queued_bytes); it is slower than its events arrive",
    )


def all_overloaded_in_bytes(plugin: str, used: int, limit: int) -> PluginOverloadedError:
    """Return the error of an event for whose bytes all plugins together have no room left."""
    return PluginOverloadedError(
        plugin,
        f"the events that wait for all plugins together have {used} bytes; the limit is {limit} "
        "(max_total_queued_bytes)",
    )


def stuck(plugin: str, reason: str) -> PluginStuckError:
    """Return the error that ends the connection of a plugin that has stopped answering."""
    return PluginStuckError(plugin, f"{reason}; closing its connection")


def lost(
    plugin: str, error: BaseException | None, end_reason: str
) -> PluginStuckError | PluginUnavailableError:
    """Return the error of an event that the end of its connection leaves unanswered.

    Args:
        plugin: The plugin.
        error: What ended the connection, or ``None`` if the plugin closed it.
        end_reason: Why the plugin did, as far as its owner knows.
    """
    if isinstance(error, PluginStuckError):
        return PluginStuckError(plugin, error.message)
    if error is None:
        return PluginUnavailableError(plugin, f"{end_reason} before it answered")
    return PluginUnavailableError(plugin, f"its connection ended before it answered: {error}")
