"""What a caller gets for an event: each plugin's result, and the outcome of all."""

from __future__ import annotations

from typing import Any

from vconnect.plain import Plain


class PluginResult(Plain, frozen=True, kw_only=True):
    """One plugin's result for one event.

    Attributes:
        plugin: The plugin's canonical name.
        ok: Whether the plugin answered without an error, or a default answer replaced its failure.
        data: The answer's data.
        error: The error text without the plugin's name, also of a failure that a default answer
            replaces; if that is an error itself, its own.
        error_code: The error code (``docs/wire.md``), or ``None``.
        stop: Whether this result ended the chain.
        changed: The fields of the payload that the plugin's replacement has changed; ``("*",)`` if
            one of the two payloads is not an object.
        is_default: Whether `data` is the configured default answer, because the plugin failed.
        duration_ms: Milliseconds from sending to the answer.
        passed_over: Why the event was not sent to the plugin, such as ``circuit_open`` or
            ``quarantine``; ``None`` if it was sent.
    """

    plugin: str
    ok: bool
    data: Any = None
    error: str | None = None
    error_code: str | None = None
    stop: bool = False
    is_default: bool = False
    duration_ms: float = 0.0
    changed: tuple[str, ...] = ()
    passed_over: str | None = None


class Refusal(Plain, frozen=True, kw_only=True):
    """Why an event went no further, in one form whatever the reason.

    Attributes:
        plugin: The plugin that stopped it, or whose answer is missing.
        code: The plugin's own code for a stop, or ``stopped``; else the error code of the failure
            (``docs/wire.md``).
        message: The plugin's own words, or those of the failure.
        details: What else the plugin says, or ``None``.
    """

    plugin: str
    code: str
    message: str
    details: Any = None


class Outcome(Plain, frozen=True):
    """The outcome of a chain or a fan-out.

    Attributes:
        results: One for each plugin that was called, in chain order.
        stopped_by: The plugin that ended the chain, or whose answer was required; or ``None``.
        payload: The payload after the last plugin.
        reason: Why the chain ended at a plugin that failed (``on_failure = "closed"``), or
            ``None``.
        refusal: Why it went no further, or ``None`` if it did.
    """

    results: list[PluginResult]
    stopped_by: str | None
    payload: Any
    reason: str | None = None
    refusal: Refusal | None = None


def refused_by(result: PluginResult) -> Refusal:
    """Build the refusal of a plugin that has stopped a chain, from its own words if it has any."""
    plugin = result.plugin
    if result.error is not None and not (result.is_default and result.ok):
        return Refusal(plugin=plugin, code=result.error_code or "internal", message=result.error)
    said = result.data if isinstance(result.data, dict) else {}
    code, message = said.get("code"), said.get("message")
    return Refusal(
        plugin=plugin,
        code=code if isinstance(code, str) and code else "stopped",
        message=message if isinstance(message, str) and message else f"{plugin} stopped it",
        details=said.get("details"),
    )
