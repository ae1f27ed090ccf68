"""Fields of a payload that a plugin's replacement may not change."""

from __future__ import annotations

from typing import Any

import orjson

from vconnect.settings.events import EventPolicy


def restore_protected(
    policy: EventPolicy, plugin: str, before: Any, after: Any
) -> tuple[Any, tuple[str, ...]]:
    """Undo what a plugin's replacement payload may not change.

    Args:
        policy: Of the event.
        plugin: Canonical name of who replaced it.
        before: The payload that it was sent.
        after: Its replacement.

    Returns:
        The payload for the plugins after it, and the fields whose change was refused.
    """
    if not policy.protected:
        return after, ()
    if not isinstance(before, dict):
        before = orjson.loads(orjson.dumps(before))  # what the plugin got: a dataclass is an object
        if not isinstance(before, dict):
            return after, ()
    allowed = policy.may_change.get(plugin, ())
    fields = [field for field in policy.protected if field not in allowed]
    if not isinstance(after, dict):
        # A payload of another kind would drop them all.
        refused = tuple(field for field in fields if field in before)
        return (before, refused) if refused else (after, ())
    refused = tuple(field for field in fields if _as_json(after, field) != _as_json(before, field))
    if not refused:
        return after, ()
    kept = {field: before[field] for field in refused if field in before}
    rest = {key: value for key, value in after.items() if key not in refused}
    return rest | kept, refused


def _as_json(payload: dict[str, Any], field: str) -> bytes | None:
    """The field as the wire has it: there 1 is not true, and a tuple is a list."""
    if field not in payload:
        return None
    return orjson.dumps(payload[field], option=orjson.OPT_SORT_KEYS)
