"""What a caller gets for an event: each plugin's result, and the outcome of all."""

from __future__ import annotations

from typing import Any

import msgspec


class PluginResult(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin's result for one event.

    Attributes:
        plugin: The plugin's canonical name.
        ok: Whether the plugin answered without an error, or a default answer replaced its failure.
        data: The answer's data.
        error: The error text without the plugin's name; set even if there is a default answer.
        error_code: The error code (``docs/wire.md``), or ``None``.
        stop: Whether this result ended the chain.
        is_default: Whether `data` is the configured default answer, because the plugin failed.
        duration_ms: Milliseconds from sending to the answer.
    """

    plugin: str
    ok: bool
    data: Any = None
    error: str | None = None
    error_code: str | None = None
    stop: bool = False
    is_default: bool = False
    duration_ms: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a chain or a fan-out.

    Attributes:
        results: One for each plugin that was called, in chain order.
        stopped_by: The plugin that ended the chain, or ``None``.
        payload: The payload after the last plugin.
        reason: Why the chain ended at a plugin that failed (``on_failure = "closed"``), or
            ``None``.
    """

    results: list[PluginResult]
    stopped_by: str | None
    payload: Any
    reason: str | None = None
