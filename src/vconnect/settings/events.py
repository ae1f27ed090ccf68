"""The operator's choices for events: deadlines, failures, protected fields, overflow."""

# The tables `[events."PATTERN"]` are merged for each event's name. For each key, the most specific
# table that has it wins; the defaults come last.

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from vconnect.names import canonical_name, capability_matches, specificity

from .match import Match

OnFailure = Literal["open", "closed", "default"]
Overflow = Literal["drop_oldest", "drop_newest", "block"]
Role = Literal["filter", "transform", "observer"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[events."PATTERN"]``; a missing key is taken from a less specific table.

    Attributes:
        timeout: Seconds that one plugin may take for the event.
        chain_timeout: Seconds that all plugins of a chain may take together.
        on_failure: What happens if a plugin answers with an error, invalidly or too late, crashes
            or is not connected: ``open`` continues without it, ``closed`` ends the chain,
            ``default`` uses `default` as its answer.
        default: An answer in the form that a plugin sends (``docs/wire.md``, "Answers").
        protected: Top-level fields of the payload that a replacement may not change.
        may_change: Exceptions: the plugins that may change protected fields, and which.
        requires: Plugins without whose good answer the event goes no further, whatever the reason.
        overflow: What happens to a notification if the plugin's queue is full: ``drop_oldest``
            drops the one that has waited longest, ``drop_newest`` drops the new one, ``block``
            waits.
    """

    timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    chain_timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    on_failure: OnFailure | msgspec.UnsetType = msgspec.UNSET
    default: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    protected: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    may_change: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET
    overflow: Overflow | msgspec.UnsetType = msgspec.UNSET
    requires: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class PluginEventOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[plugins.options.NAME.events."PATTERN"]``: what one plugin may do with an event.

    Attributes:
        role: A ``filter`` may stop the chain and replace the payload, a ``transform`` may only
            replace it, and an ``observer`` may do neither: it is notified, and not waited for.
        on_failure: Overrides the event's.
        timeout: Seconds that the plugin may take for the event; overrides all other timeouts but
            that of the chain.
        match: Conditions on the payload; if it does not match, the plugin is not asked.
    """

    role: Role | msgspec.UnsetType = msgspec.UNSET
    on_failure: OnFailure | msgspec.UnsetType = msgspec.UNSET
    timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    match: Match | msgspec.UnsetType = msgspec.UNSET


class EventChoices(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one plugin for one event; see `PluginEventOptions`."""

    role: Role = "filter"
    on_failure: OnFailure | None = None
    timeout: float | None = None
    match: Match = {}


class EventPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of one event; see `EventSettings` for the attributes."""

    timeout: float
    chain_timeout: float
    on_failure: OnFailure = "open"
    default: dict[str, Any] = {}
    # A plugin that can change it can impersonate another user.
    protected: tuple[str, ...] = ("from_uid",)
    may_change: dict[str, tuple[str, ...]] = {}
    overflow: Overflow = "drop_oldest"
    requires: tuple[str, ...] = ()


def resolve_policy(
    event: str, tables: Mapping[str, EventSettings], defaults: EventPolicy
) -> EventPolicy:
    """Compute the policy of ``event``.

    Args:
        event: The event's name.
        tables: The operator's tables by pattern.
        defaults: The values for keys that no table has.
    """
    chosen = _merged(event, tables)
    # Shared by all events that no table covers: a plugin can make up any number of names.
    if not chosen and not defaults.may_change:
        return defaults
    values = msgspec.structs.asdict(defaults) | chosen
    named = values["may_change"]
    values["may_change"] = {canonical_name(plugin): fields for plugin, fields in named.items()}
    return EventPolicy(**values)


def resolve_choices(event: str, tables: Mapping[str, PluginEventOptions]) -> EventChoices:
    """Compute one plugin's options for ``event``, from its tables by pattern."""
    return EventChoices(**_merged(event, tables))


def _merged(event: str, tables: Mapping[str, msgspec.Struct]) -> dict[str, Any]:
    covering = [pattern for pattern in tables if capability_matches(pattern, event)]
    values: dict[str, Any] = {}
    # From general to specific, so that the most specific table is merged last and wins.
    for pattern in sorted(covering, key=specificity):
        table = msgspec.structs.asdict(tables[pattern])
        values |= {key: value for key, value in table.items() if value is not msgspec.UNSET}
    return values


def problem_of_roles(
    events: Mapping[str, EventSettings], plugin: str, tables: Mapping[str, PluginEventOptions]
) -> str:
    """Return why a plugin's options contradict an event that requires it, or an empty string.

    Args:
        events: The tables of all events.
        plugin: The plugin's canonical name.
        tables: Its own tables.
    """
    # Names only: what a wildcard covers is known when an event occurs; then the requirement wins.
    for event in dict.fromkeys(name for name in (*events, *tables) if "*" not in name):
        required = _merged(event, events).get("requires", ())
        choices = resolve_choices(event, tables)
        key = "role" if choices.role == "observer" else "match" if choices.match else ""
        if key and plugin in map(canonical_name, required):
            return (
                f"events.{event!r}.{key}: the event requires this plugin, so it must be asked "
                "every time; remove one of the two"
            )
    return ""
