"""What the operator wants of an event: deadlines, failures, protected fields, overflow.

The tables ``[events."PATTERN"]`` of the settings are laid over each other for each event's name:
for every key the most specific table that has it wins, and below them all stand the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from vconnect.names import canonical_name, capability_matches, specificity

OnFailure = Literal["open", "closed", "default"]
Overflow = Literal["drop_oldest", "drop_newest", "block"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[events."PATTERN"]``; a key that is not there is taken from the next one.

    Attributes:
        timeout: How long one plugin may take for the event, in seconds.
        chain_timeout: How long all plugins of a chain together may take, in seconds.
        on_failure: What follows when a plugin answers with an error, answers badly, answers too
            late, crashes or is not connected: ``open`` goes on without it, ``closed`` ends the
            chain, ``default`` takes `default` for its answer.
        default: An answer as a plugin would give it (``docs/wire.md``, "Answers").
        protected: Top-level fields of the payload that a replacement may not change.
        may_change: Plugins that may change some of them all the same: name to fields.
        overflow: What a notification does that finds a plugin's queue full: ``drop_oldest``
            displaces the one that waits longest, ``drop_newest`` gives way, ``block`` waits.
    """

    timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    chain_timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    on_failure: OnFailure | msgspec.UnsetType = msgspec.UNSET
    default: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    protected: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    may_change: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET
    overflow: Overflow | msgspec.UnsetType = msgspec.UNSET


class EventPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one event; see `EventSettings`."""

    timeout: float
    chain_timeout: float
    on_failure: OnFailure = "open"
    default: dict[str, Any] = {}
    protected: tuple[str, ...] = ("from_uid",)
    may_change: dict[str, tuple[str, ...]] = {}
    overflow: Overflow = "drop_oldest"


def resolve_policy(
    event: str, tables: Mapping[str, EventSettings], defaults: EventPolicy
) -> EventPolicy:
    """Work out what holds for ``event``.

    Args:
        event: Its name.
        tables: The operator's tables by pattern.
        defaults: What holds where no table says otherwise.
    """
    covering = [pattern for pattern in tables if capability_matches(pattern, event)]
    values = msgspec.structs.asdict(defaults)
    for pattern in sorted(covering, key=specificity):
        table = msgspec.structs.asdict(tables[pattern])
        values |= {key: value for key, value in table.items() if value is not msgspec.UNSET}
    named = values["may_change"]
    values["may_change"] = {canonical_name(plugin): fields for plugin, fields in named.items()}
    return EventPolicy(**values)
