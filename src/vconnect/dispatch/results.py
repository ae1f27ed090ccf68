"""What a caller learns of an event: each plugin's result, and the outcome of all."""

from __future__ import annotations

from typing import Any

import msgspec


class PluginResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one plugin made of one event.

    Attributes:
        ok: Whether it answered, and not with an error; or a default answer stood in for it.
        data: Its answer.
        error: What went wrong, in words, without the plugin's name; also beside a default answer.
        error_code: … as a word of the wire's vocabulary.
        stop: Whether it ended the chain.
        is_default: Whether `data` is the operator's default answer, because the plugin failed.
        duration_ms: From sending to the answer.
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
    """What came of a chain or a fan-out.

    Attributes:
        results: One for each plugin that was asked, in chain order.
        stopped_by: The plugin that ended the chain, or ``None``.
        payload: The payload as the last plugin left it.
        reason: Why the chain ended at a plugin that failed (``on_failure = "closed"``), or
            ``None``.
    """

    results: list[PluginResult]
    stopped_by: str | None
    payload: Any
    reason: str | None = None
