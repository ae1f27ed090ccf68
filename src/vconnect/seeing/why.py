"""Why a plugin does not serve, or serves badly, and what to do: one explanation for all views."""

# The idea: a list of questions, asked in the order in which an operator needs the answers. The
# first one that has an answer is the explanation, and what else has one follows as `also`. Nothing
# is looked up here: a summary has all the facts, so that the same words come from the command line,
# the page and the interface.

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from vconnect.logs.last_words import last_words
from vconnect.names import capability_matches
from vconnect.plain import Plain
from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.status import PluginStatus, Substate

from .summary import Also, PluginSummary
from .words import ago, clock, duration, many

# A plugin that has run for less time may simply not have been asked yet. Seconds.
_NEW_S = 5.0
# Plugins that wait for each other, in one explanation.
_MAX_PATH = 8
# Crash reports that belong to one story. Seconds.
_STORY_S = 600.0


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


class Surroundings(NamedTuple):
    """What else an explanation needs.

    Attributes:
        find: Returns the summary of another plugin, by any of its names.
        sent: How many events of each name the application has sent.
        path: The plugins that wait for the one that is explained, each for the next.
    """

    find: Callable[[str], PluginSummary | None]
    sent: Mapping[str, int]
    path: tuple[str, ...] = ()


class _Finding(NamedTuple):
    code: str
    cause: str
    next: str = ""
    since: float | None = None
    facts: Mapping[str, Any] = {}


_Questions: TypeAlias = tuple[Callable[[PluginSummary, Surroundings], _Finding | None], ...]


def explain(plugin: PluginSummary, around: Surroundings) -> Why:
    """Say why a plugin does not serve, or what is wrong with its service."""
    found = [
        finding
        for questions in (_OF_DOWN, *((one,) for one in _OF_UP))
        if (finding := _first(questions, plugin, around)) is not None
    ]
    first = found[0] if found else _healthy(plugin)
    return Why(
        plugin=plugin.name,
        serving=plugin.serving,
        code=first.code,
        cause=first.cause,
        next=first.next,
        since=first.since,
        facts=dict(first.facts),  # a copy: it may be shared
        also=tuple(Also(one.code, one.cause) for one in found[1:]),
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


# The questions. Each returns a finding, or `None` if it does not apply.


def _manifest(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.BAD_MANIFEST:
        return None
    cause = plugin.reason.removeprefix("bad manifest: ")
    cause = cause.replace("$.", "").replace("`", "")
    return _Finding("bad_manifest", f"bad manifest: {cause}", "mend it; it is tried again at once")


def _conflict(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if not plugin.conflict:
        return None
    cause, advice = _split(plugin.conflict)
    return _Finding("name_conflict", cause, advice or "give each plugin a name of its own")


def _stopped(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    is_down = plugin.status in (PluginStatus.STOPPED, PluginStatus.INSTALLED)
    if not is_down or plugin.desired == "running" or plugin.substate is Substate.DISABLED:
        return None
    if plugin.is_disabled:
        return _by_order(plugin, "disabled", f"vconnect enable {plugin.name}")
    if plugin.ordered_at is not None:
        return _by_order(plugin, "stopped", f"vconnect start {plugin.name}")
    return _Finding("not_started", "not started yet", f"vconnect start {plugin.name}")


def _by_order(plugin: PluginSummary, done: str, command: str) -> _Finding:
    by = f" by {plugin.ordered_by}," if plugin.ordered_by else ""
    at = f" {ago(plugin.ordered_at)}" if plugin.ordered_at is not None else ""
    return _Finding(done, f"{done}{by}{at}".rstrip(","), command, plugin.ordered_at)


def _cannot_serve(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.DISABLED:
        return None
    said = plugin.reason or "it gives no reason"
    step = f"give it what it needs, then vconnect start {plugin.name}"
    return _Finding("cannot_serve", f"says that it cannot serve here: {said}", step)


def _spawn(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.SPAWN_FAILED or plugin.requires:
        return None
    cause, advice = _split(plugin.reason.removeprefix("cannot start "))
    if missing := re.fullmatch(r"the interpreter in its first line is not there: (.+)", advice):
        file = cause.removesuffix(": no such file or directory")
        cause = f"{file} asks for the interpreter {missing[1]}, which is not there"
        advice = "install it, or change line 1"
    step = advice or f"mend that, then vconnect start {plugin.name}"
    return _Finding("spawn_failed", f"cannot start: {cause}", step)


def _waits(plugin: PluginSummary, around: Surroundings) -> _Finding | None:
    if plugin.serving or not plugin.requires:
        return None
    for name in plugin.requires:
        other = around.find(name)
        if other is None:
            cause = f"waits for {name}, which is not installed"
            return _Finding("waits_for", cause, f"vconnect install {name}", facts={"for": name})
        if not other.serving:
            path = (*around.path, plugin.name)
            if other.name in path or len(path) > _MAX_PATH:
                cause = f"waits for {other.name}, which is not serving"
                return _Finding("waits_for", cause, facts={"for": other.name})
            theirs = explain(other, around._replace(path=path))
            cause = f"waits for {other.name}, which is {_as_adjective(theirs)}"
            step = theirs.next or f"vconnect why {other.name}"
            return _Finding("waits_for", cause, step, facts={"for": other.name})
    return None


def _as_adjective(why: Why) -> str:
    if why.code in ("stopped", "disabled"):
        return re.sub(r",? [^,]* ago$", "", why.cause)
    return f"not serving ({why.cause})"


def _waits_for_slot(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.WAITING:
        return None
    return _Finding("starting", f"waits to be started: {plugin.reason or 'others start first'}")


def _handshake(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    match plugin.substate:
        case Substate.HANDSHAKE_REFUSED:
            cause, advice = _split(plugin.reason)
            step = advice or "see the codes of refusals in wire.md"
            return _Finding("handshake_refused", f"handshake refused: {cause}", step)
        case Substate.HANDSHAKE_TIMEOUT if "sent no handshake" in plugin.reason:
            cause = plugin.reason.partition("; ")[0]
            step = "its first frame must be the handshake; see wire.md"
            return _Finding("no_handshake", cause, step)
        case Substate.HANDSHAKE_TIMEOUT:
            return _not_connected(plugin)
        case Substate.START_TIMEOUT:
            cause = plugin.reason.partition("; last stderr")[0]
            step = f"see what it waits for: vconnect logs {plugin.name}; or raise start_timeout"
            return _Finding("not_ready", cause, step)
    return None


def _not_connected(plugin: PluginSummary) -> _Finding:
    within = re.search(r"within ([\d.]+ s)", plugin.reason)
    tries = sum("no handshake" in crash.reason for crash in _story(plugin))
    printed = _said(plugin)
    cause = (
        f"did not connect within {within[1] if within else 'its time'} of its start "
        f"({many(max(tries, 1), 'try') if tries <= 1 else f'{tries} tries'}); "
        f"it printed {f'last: {printed}' if printed else 'nothing'}"
    )
    step = f"does it open --socket? See vconnect logs {plugin.name}"
    return _Finding("not_connected", cause, step, facts={"tries": tries})


def _refuses_config(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.BAD_CONFIG:
        return None
    cause = plugin.reason.partition("; last stderr: ")[2] or "it does not say what is wrong"
    step = f"mend [plugins.config.{plugin.name}], then vconnect reload"
    return _Finding("config_refused", f"refuses its configuration: {cause}", step)


def _files_changed(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.CHANGED:
        return None
    cause, advice = _split(plugin.reason)
    return _Finding("changed", cause, advice)


def _memory(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    ends = [crash for crash in _story(plugin) if crash.reason.startswith("memory_limit")]
    if not ends or (plugin.serving and not _is_recent(plugin)):
        return None
    used = re.search(r"with (\d+) bytes .* memory_limit_bytes is (\d+)", ends[-1].reason)
    tree = re.search(r"tree_limits\.memory_bytes, which is (\d+)", ends[-1].reason)
    if used:
        size = f"{int(used[1]) >> 20:,} of {int(used[2]) >> 20:,} MiB"
        step = "raise memory_limit_bytes in its options, or find the leak"
    else:
        size = f"{int(tree[1]) >> 20:,} MiB" if tree else ""
        step = "raise tree_limits.memory_bytes in its options, or find the leak"
    times = f" {many(len(ends), 'time')}" if len(ends) > 1 else ""
    cause = f"ended at its memory limit{times}: {size}"
    return _Finding("memory_limit", cause, step, ends[0].at, {"times": len(ends)})


def _hung(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    ends = [crash for crash in _story(plugin) if "pings" in crash.reason or "hung" in crash.reason]
    if not ends or (plugin.serving and not _is_recent(plugin)):
        return None
    times = {1: "once", 2: "twice"}.get(len(ends), f"{len(ends)} times")
    cause = f"hung and was replaced {times}: {ends[-1].reason.partition('; last stderr')[0]}"
    return _Finding("hung", cause, "move what blocks into a thread", ends[0].at)


def _killed(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    ends = [crash for crash in _story(plugin) if crash.exit_signal]
    if not ends or ends[-1] is not plugin.crashes[-1]:
        return None
    # What runs again and no longer gets the event that killed it has another story.
    is_over = plugin.serving and (plugin.quarantine or not _is_recent(plugin))
    if is_over or _is_ours(ends[-1].reason):
        return None
    times = f" {len(ends)} times in {duration(_span(ends))}" if len(ends) > 1 else ""
    flight = f" while it had {_counted(ends[-1].in_flight)} in flight" if ends[-1].in_flight else ""
    cause = f"killed by {ends[-1].exit_signal}{times}{flight}{_next_try(plugin)}"
    step = f"vconnect status {plugin.name} --crashes"
    return _Finding("killed", cause, step, ends[0].at, {"times": len(ends)})


def _exits(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    ends = [crash for crash in _story(plugin) if crash.exit_code is not None]
    if not ends or plugin.serving or ends[-1] is not plugin.crashes[-1]:
        return None
    if plugin.status not in (PluginStatus.ERROR, PluginStatus.STOPPED, PluginStatus.STARTING):
        return None
    last = ends[-1]
    times = f", {len(ends)} times in {duration(_span(ends))}" if len(ends) > 1 else ""
    after = f" after {duration(last.ran_for_s)}" if last.ran_for_s else " before it connected"
    said = last_words(list(last.last_stderr))
    # Python puts the kind of an error first; the operator looks for what is missing.
    words = re.sub(r"^\w*(?:Error|Exception): ", "", said) if said else "it printed nothing"
    cause = f"exits with code {last.exit_code}{after}{times}: {words}{_next_try(plugin)}"
    step = f"vconnect logs {plugin.name}"
    if "No module named" in said or "Cannot find module" in said:
        step = "add it to its dependencies"
    elif not said and not last.ran_for_s:
        step = "it must connect to the --socket that it gets, and stay; see wire.md"
    return _Finding("exits", cause, step, ends[0].at, {"times": len(ends)})


def _cannot_end(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.substate is not Substate.KILLING or plugin.status is not PluginStatus.ERROR:
        return None
    cause, advice = _split(plugin.reason)
    return _Finding("cannot_end", cause, advice or "look at these processes; the kernel holds them")


def _other_error(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.status is PluginStatus.ERROR:
        cause, advice = _split(plugin.reason or str(plugin.substate) or "failed")
        step = advice or f"vconnect logs {plugin.name}"
        return _Finding("failed", f"{cause}{_next_try(plugin)}", step)
    is_down = plugin.status is PluginStatus.STOPPED
    if is_down and plugin.desired == "running":
        cause = f"ended by itself: {plugin.reason or 'exited with code 0'}{_next_try(plugin)}"
        return _Finding("ended", cause, f"vconnect start {plugin.name}, or see restart")
    return None


def _in_between(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if plugin.status is PluginStatus.STARTING:
        why = plugin.reason or {
            Substate.SPAWNED: "it has not connected yet",
            Substate.INITIALIZING: "connected, and not ready yet",
        }.get(plugin.substate, "it has not connected yet")
        return _Finding("starting", f"starting: {why}")
    if plugin.status is PluginStatus.STOPPING:
        return _Finding("stopping", f"stopping: {plugin.reason or plugin.substate}")
    return None


def _circuit(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
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
        what = f"{answers} {'was an error' if count == 1 else 'were errors'}"
        step = f"see what it says: vconnect logs {plugin.name}"
    refused = plugin.passed_over.get("refused", 0)
    skipped = plugin.passed_over.get("skipped", 0)
    if refused:
        what += f"; {many(refused, 'event')} refused in the last minute"
    elif skipped:
        what += f"; {many(skipped, 'event')} went on without it in the last minute"
    probe = max(1, round(plugin.next_probe_s or 0))
    step += f"; the next probe is in {probe} s"
    return _Finding("circuit_open", f"circuit open: {what}", step, facts={"failures": count})


def _quarantine(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if not plugin.quarantine:
        return None
    first = plugin.quarantine[0]
    count = len(plugin.quarantine)
    which = f"{first.event} {first.fingerprint[:8]}"
    if count == 1:
        cause = f"runs, but one event is in quarantine: {which} crashed it twice"
    else:
        cause = f"runs, but {count} events are in quarantine, such as {which}, which crashed it"
    return _Finding("quarantine", cause, f"mend it, then vconnect release {plugin.name}")


def _queue(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
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
    return _Finding("queue_full", cause, step, facts={"dropped": dropped})


def _never_asked(plugin: PluginSummary, around: Surroundings) -> _Finding | None:
    is_new = plugin.uptime_s is None or plugin.uptime_s < _NEW_S
    if not plugin.serving or plugin.events or is_new or not around.sent:
        return None
    if plugin.passed_over_total:
        return None
    wants = (*plugin.capabilities, *plugin.subscriptions)
    busiest = max(around.sent, key=lambda event: around.sent[event])
    seen = f"{busiest} was, {many(around.sent[busiest], 'time')}"
    if not wants:
        cause = (
            f"runs, but nobody asks it: it declares no capability; {seen.replace('was', 'came')}"
        )
        return _Finding("never_asked", cause, "add what it handles to its capabilities")
    matched = [
        event for event in around.sent if any(capability_matches(one, event) for one in wants)
    ]
    if not matched:
        shown = ", ".join(f'"{one}"' for one in wants[:3])
        cause = f"runs, but nobody asks it: it wants {shown}, which was never sent; {seen}"
        return _Finding("never_asked", cause, "mend its capabilities")
    cause = f"runs, but nobody asks it: no {matched[0]} met the conditions of its match"
    return _Finding("never_asked", cause, f"look at match in plugins.options.{plugin.name}")


def _slow(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if not plugin.is_slow or plugin.latency is None:
        return None
    share = f"{plugin.share:.0%} of the chain's time" if plugin.share is not None else ""
    p99 = f"p99 {duration(plugin.latency.p99_s)}"
    cause = f"slow: {', '.join(filter(None, (share, p99)))} in the last minute"
    return _Finding("slow", cause, f"vconnect tail --plugin {plugin.name} --slow 50ms")


def _refused_changes(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    if not plugin.refused_changes:
        return None
    count = many(plugin.refused_changes, "change")
    cause = f"runs, but {count} of protected fields were refused"
    return _Finding("refused_changes", cause, "see protected and may_change in the event's table")


def _passed_over(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    count = sum(plugin.passed_over.values())
    if not plugin.serving or not count:
        return None
    refused = plugin.passed_over.get("refused", 0)
    became = f"{refused:,} of them refused" if refused else "they went on without it"
    cause = f"runs, but {many(count, 'event')} passed it over in the last minute; {became}"
    return _Finding("passed_over", cause, f"vconnect tail --passed-over --plugin {plugin.name}")


def _healthy(plugin: PluginSummary) -> _Finding:
    if not plugin.serving:
        return _Finding("unknown", plugin.reason or f"{plugin.status}")
    parts = []
    if plugin.events_per_s:
        parts.append(f"{plugin.events_per_s:.3g} events/s")
    if plugin.latency is not None:
        latency = plugin.latency
        parts.append(
            f"p50 {duration(latency.p50_s)}, p99 {duration(latency.p99_s)} of {latency.count:,}"
        )
    parts.append("none passed over" if parts else "no event in the last minute")
    return _Finding("healthy", f"runs: {', '.join(parts)}")


#: Why it is not there, or not for long. One answer is enough: the others would only repeat it.
_OF_DOWN: _Questions = (
    *(_manifest, _conflict, _stopped, _cannot_serve, _waits, _waits_for_slot, _spawn, _handshake),
    *(_refuses_config, _files_changed, _cannot_end, _memory, _hung, _killed, _exits),
    *(_other_error, _in_between),
)
#: What is wrong with its service. Several of these may hold.
_OF_UP: _Questions = (
    *(_circuit, _quarantine, _queue, _never_asked, _slow, _refused_changes, _passed_over),
)


def _first(questions: _Questions, plugin: PluginSummary, around: Surroundings) -> _Finding | None:
    answers = (question(plugin, around) for question in questions)
    return next((answer for answer in answers if answer is not None), None)


# What findings are made of.


def _story(plugin: PluginSummary) -> list[CrashReport]:
    """Return the crash reports that explain the present: the recent ones."""
    if not plugin.crashes:
        return []
    until = plugin.crashes[-1].at - _STORY_S
    return [crash for crash in plugin.crashes if crash.at >= max(until, plugin.forgotten_at)]


def _is_recent(plugin: PluginSummary) -> bool:
    """Return whether a plugin that runs has been restarted a moment ago."""
    return plugin.reason.startswith("restarted: ")


def _is_ours(reason: str) -> bool:
    """Return whether the host has killed the process for another reason, which is told."""
    return not reason.startswith(("killed by", "exited"))


def _span(ends: list[CrashReport]) -> float:
    return max(1.0, round(ends[-1].at - ends[0].at))


def _counted(events: tuple[str, ...]) -> str:
    return events[0] if len(events) == 1 else f"{events[0]} and {len(events) - 1} more"


def _said(plugin: PluginSummary) -> str:
    lines = plugin.crashes[-1].last_stderr if plugin.crashes else plugin.last_stderr
    return last_words(list(lines)) if lines else ""


def _next_try(plugin: PluginSummary) -> str:
    if plugin.next_retry_at is None:
        return ""
    if plugin.next_retry_at < time.time() + 1:
        return ". It is tried again at once"
    return f". Next try {clock(plugin.next_retry_at)}"


def _failing(plugin: PluginSummary) -> tuple[str, str, float | None] | None:
    """Return the event that fails most often, how, and its deadline."""
    worst: tuple[int, str, str, float | None] | None = None
    for one in plugin.latency_by_event:
        for outcome in ("late", "error", "lost", "bad_answer"):
            count = one.outcomes.get(outcome, 0)
            if count and (worst is None or count > worst[0]):
                worst = (count, one.event, outcome, one.timeout_s)
    return None if worst is None else worst[1:]


def _split(reason: str) -> tuple[str, str]:
    """Separate what is wrong from the advice that the host's own texts have behind it."""
    cause, mark, advice = reason.rpartition("; ")
    if not mark or advice.startswith("last stderr"):
        return reason, ""
    return cause, advice.removeprefix("try: ").removeprefix("to ")
