"""What is wrong with the service of a plugin that is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from heapq import nlargest

from vconnect.bounds import cut
from vconnect.names import capability_matches
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.words import duration, many

from .down import hung, killed, memory
from .finding import MAX_WORDS, Finding, Questions, Surroundings, is_recent, run_on

# A plugin that has run for less time may simply not have been asked yet. Seconds.
_NEW_S = 5.0
# From how similar two names are on, one of them may be a slip; "login" and "logout" are not.
_SIMILAR = 0.88
# Names that are compared: the most frequent events, and the first capabilities.
_MAX_COMPARED = 100
_MAX_WANTED = 20
# Which part of the answers may be errors without a word.
_FEW_ERRORS = 0.01

# The questions. Each returns a finding, or `None` if it does not apply.


def _circuit(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.breaker == "closed" or plugin.status is not PluginStatus.RUNNING:
        return None
    late = _failing(plugin)
    count = plugin.failures_in_a_row
    answers = "1 answer" if count == 1 else f"{count} answers in a row"
    if late is not None and late[1] == "late":
        timeout = f"{duration(late[2])}" if late[2] else "their deadline"
        what = f"{answers} came after {timeout}"
        step = f'make it faster, or raise events."{late[0]}".timeout'
    else:
        what = f"{answers} {'was an error' if count == 1 else 'were errors'}{_last_error(plugin)}"
        step = f"see what it says: vconnect logs {plugin.name}"
    refused = plugin.passed_over.get("refused", 0)
    skipped = plugin.passed_over.get("skipped", 0)
    if refused:
        what += f"; {many(refused, 'event')} refused in the last minute"
    elif skipped:
        what += f"; {many(skipped, 'event')} went on without it in the last minute"
    if plugin.breaker == "half_open":
        step += "; the next event tries it"
    else:
        step += f"; the next probe is in {max(1, round(plugin.next_probe_s or 0))} s"
    return Finding("circuit_open", f"circuit open: {what}", step, facts={"failures": count})


def _failing(plugin: PluginSummary) -> tuple[str, str, float | None] | None:
    """Return the event that fails most often, how, and its deadline."""
    worst: tuple[int, str, str, float | None] | None = None
    for one in plugin.latency_by_event:
        for outcome in ("late", "error", "lost", "bad_answer"):
            count = one.outcomes.get(outcome, 0)
            if count and (worst is None or count > worst[0]):
                worst = (count, one.event, outcome, one.timeout_s)
    return None if worst is None else worst[1:]


def _last_error(plugin: PluginSummary) -> str:
    return f"; the last: {cut(plugin.last_error, MAX_WORDS)}" if plugin.last_error else ""


def _new_process_failed(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    """Tell of a version or a source that does not start, while the old process serves on."""
    if plugin.status is not PluginStatus.RUNNING:
        return None
    if plugin.reason.endswith("; the version before it runs"):
        cause = run_on(plugin.reason)
        step = f"vconnect logs {plugin.name}; then install a version that starts"
        return Finding("new_process_failed", f"runs, but {cause}", step)
    begin, end = "a new process failed: ", "; the old one keeps running"
    if not plugin.reason.startswith(begin):
        return None
    cause = run_on(plugin.reason.removeprefix(begin).removesuffix(end))
    logs = f"vconnect logs {plugin.name}"
    step = (
        f"mend its source; {logs}" if plugin.dev else f"{logs}; then vconnect restart {plugin.name}"
    )
    cause = f"runs, but its new process failed: {cause}; the old one serves"
    return Finding("new_process_failed", cause, step)


def _errors(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    count = sum(plugin.outcomes.get(outcome, 0) for outcome in ("error", "bad_answer"))
    asked = sum(plugin.outcomes.values()) - plugin.outcomes.get("notified", 0)
    # The circuit has words of its own for them.
    if not plugin.serving or plugin.breaker != "closed" or count <= _FEW_ERRORS * asked:
        return None
    of = f"{count:,} of {many(asked, 'answer')} in the last minute"
    cause = f"runs, but {of} {'was an error' if count == 1 else 'were errors'}{_last_error(plugin)}"
    return Finding("errors", cause, f"vconnect logs {plugin.name}", facts={"errors": count})


def _restarted(plugin: PluginSummary, around: Surroundings) -> Finding | None:
    if not plugin.serving or not is_recent(plugin) or plugin.quarantine:
        return None
    if any(question(plugin, around) for question in (memory, hung, killed)):
        return None  # it has said so
    cause = run_on(plugin.reason.removeprefix("restarted: "))
    step = f"vconnect status {plugin.name} --crashes"
    return Finding("restarted", f"runs again after its end: {cut(cause, MAX_WORDS)}", step)


def _quarantine(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if not plugin.quarantine:
        return None
    first = plugin.quarantine[0]
    count = len(plugin.quarantine)
    which = f"{first.event} {first.fingerprint[:8]}"
    if count == 1:
        cause = f"runs, but one event is in quarantine: {which} crashed it twice"
    else:
        cause = f"runs, but {count} events are in quarantine, such as {which}, which crashed it"
    ends = [crash.reason for crash in plugin.crashes if first.event in crash.in_flight]
    if ends:
        cause += f" ({cut(run_on(ends[-1]), MAX_WORDS)})"
    return Finding("quarantine", cause, f"mend it, then vconnect release {plugin.name}")


def _queue(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    queue, dropped = plugin.queue, plugin.dropped_last_minute
    is_full = queue.limit > 0 and queue.events >= 0.8 * queue.limit
    if not plugin.serving or not (is_full or dropped):
        return None
    # Notifications have a smaller limit than all events together.
    if dropped:
        lost = f"{many(dropped, 'notification')} dropped in the last minute"
        cause = f"runs, but its queue is full: {queue.events:,} waiting, {lost}"
    else:
        cause = f"runs, but its queue is filling: {queue.events:,} of {queue.limit:,}"
    wanted = plugin.events_per_s or 0.0
    step = f"it got {wanted:.1f} events a second; make it faster, or send it less (match)"
    return Finding("queue_full", cause, step, facts={"dropped": dropped})


def _never_asked(plugin: PluginSummary, around: Surroundings) -> Finding | None:
    is_new = plugin.uptime_s is None or plugin.uptime_s < _NEW_S
    if not plugin.serving or plugin.events or is_new or not around.sent:
        return None
    if plugin.passed_over_total:
        return None
    wants = (*plugin.capabilities, *plugin.subscriptions)
    if not wants:
        busiest = max(around.sent, key=lambda event: around.sent[event])
        came = f"{busiest} came, {many(around.sent[busiest], 'time')}"
        cause = f"runs, but nobody asks it: it declares no capability; {came}"
        return Finding("never_asked", cause, "add what it handles to its capabilities")
    matched = [
        event for event in around.sent if any(capability_matches(one, event) for one in wants)
    ]
    if not matched:
        # Its event may only not have come yet. What has come under nearly its name is suspect.
        few = wants[:_MAX_WANTED]
        slip = next(((one, event) for one in few if (event := _meant(one, around.sent))), None)
        if slip is None:
            return None
        seen = f"{slip[1]} was, {many(around.sent[slip[1]], 'time')}"
        cause = f'runs, but nobody asks it: it wants "{slip[0]}", which was never sent; {seen}'
        return Finding("never_asked", cause, "mend its capabilities")
    cause = f"runs, but nobody asks it: no {matched[0]} met the conditions of its match"
    return Finding("never_asked", cause, f"look at match in plugins.options.{plugin.name}")


def _meant(capability: str, sent: Mapping[str, int]) -> str:
    """Return the event that a mistyped capability probably means; empty if there is none."""
    for event in nlargest(_MAX_COMPARED, sent, key=lambda event: sent[event]):
        # A family is compared with the family of the event.
        levels = capability.count(".") + 1
        name = event if levels > event.count(".") else ".".join(event.split(".")[:levels])
        # What differs only in its number is another one of a series.
        is_series = re.sub(r"\d", "", capability) == re.sub(r"\d", "", name)
        if not is_series and _are_similar(capability, name):
            return event
    return ""


@lru_cache(maxsize=4096)  # it takes long, and is asked for every summary
def _are_similar(one: str, other: str) -> bool:
    matcher = SequenceMatcher(None, one, other)
    return matcher.real_quick_ratio() >= _SIMILAR and matcher.ratio() >= _SIMILAR


def _slow(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if not plugin.is_slow or plugin.latency is None:
        return None
    share = f"{plugin.share:.0%} of the chain's time" if plugin.share is not None else ""
    p99 = f"p99 {duration(plugin.latency.p99_s)}"
    cause = f"slow: {', '.join(filter(None, (share, p99)))} in the last minute"
    return Finding("slow", cause, f"vconnect tail --plugin {plugin.name} --slow 50ms")


def _refused_changes(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if not plugin.refused_changes:
        return None
    count = many(plugin.refused_changes, "change")
    cause = f"runs, but {count} of protected fields were refused"
    return Finding("refused_changes", cause, "see protected and may_change in the event's table")


def _passed_over(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    count = sum(plugin.passed_over.values())
    if not plugin.serving or not count:
        return None
    refused = plugin.passed_over.get("refused", 0)
    became = f"{refused:,} of them refused" if refused else "they went on without it"
    cause = f"runs, but {many(count, 'event')} passed it over in the last minute; {became}"
    return Finding("passed_over", cause, f"vconnect tail --passed-over --plugin {plugin.name}")


#: What is wrong with its service. Several of these may hold.
OF_UP: Questions = (
    *(_circuit, _new_process_failed, _quarantine, _errors, _queue, _never_asked, _slow),
    *(_refused_changes, _restarted, _passed_over),
)
