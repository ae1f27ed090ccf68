"""Why a plugin does not serve, or serves badly, and what to do: one explanation for all views."""

# The idea: a list of questions (`reasons`), asked in the order in which an operator needs the
# answers. The first one that has an answer is the explanation, and what else has one follows as
# `also`. Nothing is looked up here: a summary has all the facts, so that the same words come from
# the command line, the page and the interface.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from vconnect.plain import Plain

from .reasons.down import OF_DOWN
from .reasons.finding import Finding, Questions, unexplained
from .reasons.finding import Surroundings as Surroundings
from .reasons.up import OF_UP
from .summary import Also, PluginSummary
from .words import duration


class Why(Plain, frozen=True, kw_only=True):
    """Why a plugin does not serve, or that it does.

    Attributes:
        plugin: The plugin.
        serving: Whether it would be asked now.
        code: The cause in one word; ``healthy`` if there is none.
        cause: The cause, in words.
        next: The step to take; empty if there is none.
        since: Since when, in Unix seconds; ``None`` if that is unknown.
        facts: Numbers that the words are made of.
        also: What else is wrong.
    """

    plugin: str
    serving: bool
    code: str
    cause: str
    next: str = ""
    since: float | None = None
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    also: tuple[Also, ...] = ()

    def in_words(self) -> str:
        """Return the cause and the next step, in one line."""
        return f"{self.cause}. Next: {self.next}" if self.next else self.cause


def explain(plugin: PluginSummary, around: Surroundings) -> Why:
    """Say why a plugin does not serve, or what is wrong with its service."""
    first, *rest = list(_findings(plugin, around)) or [_healthy(plugin, around)]
    return Why(
        plugin=plugin.name,
        serving=plugin.serving,
        code=first.code,
        cause=first.cause,
        next=first.next,
        since=first.since,
        facts=dict(first.facts),  # a copy: it may be shared
        also=tuple(Also(one.code, one.cause) for one in rest),
    )


def explained(plugin: PluginSummary, around: Surroundings) -> PluginSummary:
    """Return a summary with its explanation; of one that is well, without words."""
    why = explain(plugin, around)
    is_well = why.code == "healthy"
    return msgspec.structs.replace(
        plugin,
        code=why.code,
        why="" if is_well else why.cause,
        next="" if is_well else why.next,
        since=why.since,
        also=why.also,
    )


def _findings(plugin: PluginSummary, around: Surroundings) -> Iterator[Finding]:
    """Find what is wrong with a plugin, the most urgent first."""
    around = around._replace(explain=_decisive)
    for questions in (OF_DOWN, *((one,) for one in OF_UP)):
        if (finding := _first(questions, plugin, around)) is not None:
            yield finding


def _decisive(plugin: PluginSummary, around: Surroundings) -> Finding:
    """Return the finding that explains a plugin."""
    return next(_findings(plugin, around), None) or _healthy(plugin, around)


def _first(questions: Questions, plugin: PluginSummary, around: Surroundings) -> Finding | None:
    answers = (question(plugin, around) for question in questions)
    return next((answer for answer in answers if answer is not None), None)


def _healthy(plugin: PluginSummary, around: Surroundings) -> Finding:
    if not plugin.serving:
        return unexplained(plugin, around)
    parts = []
    if plugin.events_per_s:
        parts.append(f"{plugin.events_per_s:.3g} events/s")
    if plugin.latency is not None:
        latency = plugin.latency
        parts.append(
            f"p50 {duration(latency.p50_s)}, p99 {duration(latency.p99_s)} of {latency.count:,}"
        )
    parts.append("none passed over" if parts else "no event in the last minute")
    return Finding("healthy", f"runs: {', '.join(parts)}")
