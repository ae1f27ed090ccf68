"""What findings are made of: their form, what they are found in, and parts of their words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from vconnect.logs.last_words import last_words
from vconnect.plugins.crashes import CrashReport
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.words import clock

# A plugin chooses its own words; here they are only part of a line.
MAX_WORDS = 200
# What is between the host's own words in a reason and what the plugin has printed last.
LAST_STDERR = "; last stderr: "
# Crash reports that belong to one story. Seconds.
_STORY_S = 600.0


class Finding(NamedTuple):
    """The answer to a question.

    Attributes:
        code: The cause in one word.
        cause: The cause, in words.
        next: The step to take; empty if there is none.
        since: Since when, in Unix seconds; ``None`` if that is unknown.
        facts: Numbers that the words are made of.
    """

    code: str
    cause: str
    next: str = ""
    since: float | None = None
    facts: Mapping[str, Any] = {}


def unexplained(plugin: PluginSummary, _: Surroundings) -> Finding:
    """Return what the state alone says of a plugin that does not serve."""
    return Finding("unknown", plugin.reason or f"{plugin.status}")


class Surroundings(NamedTuple):
    """What else an explanation needs.

    Attributes:
        find: Returns the summary of another plugin, by any of its names.
        sent: How many events of each name the application has sent.
        path: The plugins that wait for the one that is explained, each for the next.
        explain: Returns why another plugin does not serve; `vconnect.seeing.why.explain` sets it.
    """

    find: Callable[[str], PluginSummary | None]
    sent: Mapping[str, int]
    path: tuple[str, ...] = ()
    explain: Callable[[PluginSummary, Surroundings], Finding] = unexplained


#: In the order in which an operator needs the answers.
Questions: TypeAlias = tuple[Callable[[PluginSummary, Surroundings], Finding | None], ...]


# Parts of what is told.


def story(plugin: PluginSummary) -> list[CrashReport]:
    """Return the crash reports that explain the present: the recent ones."""
    if not plugin.crashes:
        return []
    until = plugin.crashes[-1].at - _STORY_S
    return [crash for crash in plugin.crashes if crash.at >= max(until, plugin.forgotten_at)]


def is_recent(plugin: PluginSummary) -> bool:
    """Return whether a plugin that runs has been restarted a moment ago."""
    return plugin.reason.startswith("restarted: ")


def is_ours(reason: str) -> bool:
    """Return whether the host has killed the process for another reason, which is told."""
    return not reason.startswith(("killed by", "exited"))


def span(ends: list[CrashReport]) -> float:
    """Return in how many seconds these ends have come, at least one."""
    return max(1.0, round(ends[-1].at - ends[0].at))


def counted(events: tuple[str, ...]) -> str:
    """Name the first of some events, and say how many more there are."""
    return events[0] if len(events) == 1 else f"{events[0]} and {len(events) - 1} more"


def last_said(plugin: PluginSummary) -> str:
    """Return the last words of its last process; empty if that has printed nothing."""
    if plugin.crashes:
        return words_of(plugin.crashes[-1])
    return last_words(list(plugin.last_stderr)) if plugin.last_stderr else ""


def words_of(crash: CrashReport) -> str:
    """Return its last words before the host sent it a signal, whose traces are no cause."""
    return last_words(list(crash.last_stderr)) if crash.said is None else crash.said


def next_try(plugin: PluginSummary) -> str:
    """Say when a plugin is started again; empty if it is not."""
    if plugin.next_retry_at is None:
        return ""
    if plugin.next_retry_at < time.time() + 1:
        return ". It is tried again at once"
    return f". Next try {clock(plugin.next_retry_at)}"


def told_by_host(reason: str) -> str:
    """Return a reason without what the plugin itself has printed last."""
    return reason.partition(LAST_STDERR)[0]


def run_on(reason: str) -> str:
    """Return a reason as a part of a sentence: what the plugin has printed follows a colon."""
    return reason.replace(LAST_STDERR, ": ")


def split(reason: str) -> tuple[str, str]:
    """Separate what is wrong from the advice that the host's own texts have behind it."""
    cause, mark, advice = reason.rpartition("; ")
    if not mark or advice.startswith("last stderr"):
        return reason, ""
    return cause, advice.removeprefix("try: ").removeprefix("to ")
