"""Fields of a payload that a plugin's replacement may not change."""

from __future__ import annotations

from typing import Any

import orjson

from vconnect.settings.events import EventPolicy


def restore_protected(
    policy: EventPolicy, plugin: str, before: Any, after: Any
) -> tuple[Any, tuple[str, ...]]:
    """Undo forbidden changes in a plugin's replacement payload.

    Args:
        policy: The event's policy.
        plugin: The canonical name of the plugin that replaced the payload.
        before: The payload that was sent to it, decoded.
        after: Its replacement.

    Returns:
        The payload for the following plugins, and the fields whose change was refused.
    """
    # The common case for events without users costs nothing.
    if not policy.protected:
        return after, ()
    if not isinstance(before, dict):
        return after, ()
    allowed = policy.may_change.get(plugin, ())
    fields = [field for field in policy.protected if field not in allowed]
    if not isinstance(after, dict):
        # Replacing the object with something else would remove all protected fields.
        refused = tuple(field for field in fields if field in before)
        return (before, refused) if refused else (after, ())
    refused = tuple(field for field in fields if _as_json(after, field) != _as_json(before, field))
    if not refused:
        return after, ()
    # A field that the plugin added is removed; one that it changed or removed is restored.
    kept = {field: before[field] for field in refused if field in before}
    rest = {key: value for key, value in after.items() if key not in refused}
    return rest | kept, refused


def changed_fields(before: Any, after: Any) -> tuple[str, ...]:
    """Return the fields that differ; ``("*",)`` if one of the two payloads is not an object."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return () if before == after else ("*",)
    fields = dict.fromkeys((*before, *after))
    return tuple(field for field in fields if _as_json(after, field) != _as_json(before, field))


def _as_json(payload: dict[str, Any], field: str) -> bytes | None:
    """Encode the field for comparison as JSON, where 1 is not true and a tuple is a list."""
    if field not in payload:
        return None
    # The order of keys does not matter in JSON.
    return orjson.dumps(payload[field], option=orjson.OPT_SORT_KEYS)
