"""How changes of settings are printed for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import orjson

from .output import clean, print_changes, print_table_of

# What each effect means, as `vconnect.settings.effects` has them.
_EFFECTS = {
    "now": "at once",
    "next connection": "at the next connection",
    "restart": "with its next process",
    "asked": "if the plugin accepts it",
    "plugins": "plugins are added or removed",
    "host": "needs a restart of the host; it stays",
}
_HOW = {
    "asked": "the plugin has taken it over",
    "restarted": "a new process has taken over",
    "kept": "its next start gets it",
    "unchanged": "unchanged",
    "planned": "planned; nothing was done",
}


def print_reloaded(done: Mapping[str, Any]) -> None:
    """Print what a reload did, or would do: what cannot change comes first."""
    host = sorted(done["host"], key=lambda one: one["effect"] != "host")
    rows = [("host", *_row(one)) for one in host]
    rows += [(name, *_row(one)) for name, some in done["plugins"].items() for one in some]
    if rows:
        print_table_of(("plugin", "key", "from", "to", "effect"), rows)
    elif not done["changes"]:
        click.echo("nothing has changed")
    if done["restarts"]:
        click.echo(f"replaced without a gap: {clean(', '.join(done['restarts']))}")
    if done["changes"]:
        print_changes(done["changes"])
    for note in done["notes"]:
        click.echo(f"note: {clean(note)}")
    for name, reason in done["failed"].items():
        click.echo(f"error: {clean(name)}: {clean(reason)}", err=True)


def print_config(values: Sequence[Mapping[str, Any]]) -> None:
    """Print a plugin's configuration, value by value."""
    if not values:
        click.echo("it has no configuration")
        return
    rows = [(one["key"], _shown(one["value"]), one["origin"]) for one in values]
    print_table_of(("key", "value", "from"), rows)


def print_config_change(change: Mapping[str, Any]) -> None:
    """Print what a change of a plugin's configuration did."""
    for one in change["changes"]:
        key = one["key"].removeprefix("config.")
        click.echo(clean(f"{key}: {_shown_in(one, 'from')} → {_shown_in(one, 'to')}"))
    saved = f"; saved to {change['saved']}" if change["saved"] else ""
    click.echo(clean(f"{change['name']}: {_HOW[change['how']]}{saved}"))


def _row(one: Mapping[str, Any]) -> Iterator[str]:
    yield one["key"]
    yield _shown_in(one, "from")
    yield _shown_in(one, "to")
    yield _EFFECTS[one["effect"]]


def _shown_in(one: Mapping[str, Any], field: str) -> str:
    return _shown(one[field]) if field in one else "-"


def _shown(value: Any) -> str:
    return value if value == "***" else orjson.dumps(value).decode()
