"""Why a plugin does not serve, or serves badly, and what to do: one explanation for all views."""

# The idea: a list of questions, asked in the order in which an operator needs the answers. The
# first one that has an answer is the explanation, and what else has one follows as `also`. Nothing
# is looked up here: a summary has all the facts, so that the same words come from the command line,
# the page and the interface.

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from heapq import nlargest
from typing import Any, NamedTuple, TypeAlias

import msgspec

from vconnect.bounds import cut
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
# From how similar two names are on, one of them may be a slip; "login" and "logout" are not.
_SIMILAR = 0.88
# Names that are compared: the most frequent events, and the first capabilities.
_MAX_COMPARED = 100
_MAX_WANTED = 20
# Which part of the answers may be errors without a word.
_FEW_ERRORS = 0.01
# A plugin chooses its own words; here they are only part of a line.
_MAX_WORDS = 200
# Methods of HTTP, as the length of a frame that begins with them.
_HTTP = frozenset(
    int.from_bytes(word, "big") for word in (b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"HTTP")
)
# What the kernel sends at a limit of the operator's.
_LIMIT_OF_SIGNAL = {"SIGXCPU": "limits.cpu_s"}
# Kinds of errors that say more than their words.
_TELLING = ("SyntaxError", "IndentationError", "TabError")
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
    step = f"mend it, then vconnect start {plugin.name}"
    if "forms a cycle: " in plugin.reason:
        cause, advice = _split(plugin.reason)
        # What waits for itself has a good manifest: it only does not fit the others.
        then = f"{advice}, then vconnect start {plugin.name}" if advice else step
        return _Finding("cycle", cause, then)
    cause = _without_path(plugin.reason.removeprefix("bad manifest: "))
    return _Finding("bad_manifest", f"bad manifest: {cause}", step)


def _without_path(text: str) -> str:
    """Leave out how a decoder marks the place of a fault."""
    return text.replace("$.", "").replace("`", "")


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
    step = f"{advice or 'mend that'}, then vconnect start {plugin.name}"
    if "vconnect" in advice:  # it says already how it is started
        step = advice
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
            if _speaks_http(plugin.reason):
                cause, advice = "it speaks HTTP, not the protocol", "see wire.md for what it is"
            step = advice or "see the codes of refusals in wire.md"
            return _Finding("handshake_refused", f"handshake refused: {cause}", step)
        case Substate.HANDSHAKE_TIMEOUT if "sent no handshake" in plugin.reason:
            cause = plugin.reason.partition("; ")[0]
            step = "its first frame must be the handshake; see wire.md"
            return _Finding("no_handshake", cause, step)
        case Substate.HANDSHAKE_TIMEOUT if "not connected again" in plugin.reason:
            cause = plugin.reason.partition("; ")[0]
            step = (
                f"it must keep its connection open, or connect again; vconnect logs {plugin.name}"
            )
            return _Finding("connection_ended", cause, step)
        case Substate.HANDSHAKE_TIMEOUT:
            return _not_connected(plugin)
        case Substate.START_TIMEOUT:
            cause = plugin.reason.partition("; last stderr")[0]
            step = f"see what it waits for: vconnect logs {plugin.name}; or raise start_timeout"
            return _Finding("not_ready", cause, step)
    return None


def _speaks_http(reason: str) -> bool:
    """Return whether the length of a first frame is really the beginning of a request of HTTP."""
    size = re.search(r"frame of (\d+) bytes", reason)
    return size is not None and int(size[1]) in _HTTP


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
    table = f"[plugins.config.{plugin.name}]"
    if not plugin.reason.startswith("exited"):
        # The host has refused it, because of the schema in the manifest.
        cause, advice = _split(plugin.reason.removeprefix("invalid configuration: "))
        cause = f"its configuration does not fit: {_without_path(cause)}"
        step = f"{advice or f'mend {table}'}, then vconnect reload"
        return _Finding("config_refused", cause, step)
    cause = plugin.reason.partition("; last stderr: ")[2] or "it does not say what is wrong"
    step = (
        f"mend {table}, then vconnect reload, or vconnect start {plugin.name} "
        "if the cause is elsewhere"
    )
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
    limit = _LIMIT_OF_SIGNAL.get(ends[-1].exit_signal or "", "")
    reached = f", because it reached {limit}" if limit else ""
    cause = f"killed by {ends[-1].exit_signal}{reached}{times}{flight}{_next_try(plugin)}"
    step = f"vconnect status {plugin.name} --crashes"
    if limit:
        step = f"raise {limit} in its options, or find what uses it up"
    return _Finding("killed", cause, step, ends[0].at, {"times": len(ends)})


def _exits(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    ends = [crash for crash in _story(plugin) if crash.exit_code is not None]
    if not ends or plugin.serving or ends[-1] is not plugin.crashes[-1]:
        return None
    if plugin.status not in (PluginStatus.ERROR, PluginStatus.STOPPED, PluginStatus.STARTING):
        return None
    last = ends[-1]
    if _is_ours(last.reason):
        return None  # its exit code only says how it took the host's signal
    times = f", {len(ends)} times in {duration(_span(ends))}" if len(ends) > 1 else ""
    after = f" after {duration(last.ran_for_s)}" if last.ran_for_s else " before it connected"
    said = _words_of(last)
    known = _known_of(last.reason)
    words = known or _shortened(said) or "it printed nothing"
    cause = f"exits with code {last.exit_code}{after}{times}: {words}{_next_try(plugin)}"
    step = f"vconnect logs {plugin.name}"
    if "No module named" in said or "Cannot find module" in said:
        step = "add it to its dependencies"
    elif "went into the background" in known:
        step = f"let it run in the foreground, then vconnect start {plugin.name}"
    elif known:
        step = f"vconnect status {plugin.name} --crashes"
    elif not said and not last.ran_for_s:
        step = "it must connect to the --socket that it gets, and stay; see wire.md"
    return _Finding("exits", cause, step, ends[0].at, {"times": len(ends)})


def _known_of(reason: str) -> str:
    """Return what the host knows itself about an exit, which counts more than the last words."""
    for mark in ("it went into the background", "refused a connection: ", "its connection ended: "):
        if mark in reason:
            return cut(mark + reason.partition(mark)[2].partition("; last stderr")[0], _MAX_WORDS)
    return ""


def _shortened(said: str) -> str:
    """Return the last words without the kind of the error, where they say enough without it."""
    kind, _, rest = said.partition(": ")
    # Python puts the kind first; the operator looks for what is missing. A bare key says nothing.
    is_plain = re.fullmatch(r"\w*(?:Error|Exception)", kind) and " " in rest.strip()
    return rest if is_plain and kind not in _TELLING else said


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
    return _Finding("circuit_open", f"circuit open: {what}", step, facts={"failures": count})


def _last_error(plugin: PluginSummary) -> str:
    return f"; the last: {cut(plugin.last_error, _MAX_WORDS)}" if plugin.last_error else ""


def _new_process_failed(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    """Tell of a version or a source that does not start, while the old process serves on."""
    if plugin.status is not PluginStatus.RUNNING:
        return None
    if plugin.reason.endswith("; the version before it runs"):
        cause = plugin.reason.replace("; last stderr: ", ": ")
        step = f"vconnect logs {plugin.name}; then install a version that starts"
        return _Finding("new_process_failed", f"runs, but {cause}", step)
    begin, end = "a new process failed: ", "; the old one keeps running"
    if not plugin.reason.startswith(begin):
        return None
    cause = plugin.reason.removeprefix(begin).removesuffix(end)
    cause = cause.replace("; last stderr: ", ": ")
    logs = f"vconnect logs {plugin.name}"
    step = (
        f"mend its source; {logs}" if plugin.dev else f"{logs}; then vconnect restart {plugin.name}"
    )
    cause = f"runs, but its new process failed: {cause}; the old one serves"
    return _Finding("new_process_failed", cause, step)


def _errors(plugin: PluginSummary, _: Surroundings) -> _Finding | None:
    count = sum(plugin.outcomes.get(outcome, 0) for outcome in ("error", "bad_answer"))
    asked = sum(plugin.outcomes.values()) - plugin.outcomes.get("notified", 0)
    # The circuit has words of its own for them.
    if not plugin.serving or plugin.breaker != "closed" or count <= _FEW_ERRORS * asked:
        return None
    of = f"{count:,} of {many(asked, 'answer')} in the last minute"
    cause = f"runs, but {of} {'was an error' if count == 1 else 'were errors'}{_last_error(plugin)}"
    return _Finding("errors", cause, f"vconnect logs {plugin.name}", facts={"errors": count})


def _restarted(plugin: PluginSummary, around: Surroundings) -> _Finding | None:
    if not plugin.serving or not _is_recent(plugin) or plugin.quarantine:
        return None
    if any(question(plugin, around) for question in (_memory, _hung, _killed)):
        return None  # it has said so
    cause = plugin.reason.removeprefix("restarted: ").replace("; last stderr: ", ": ")
    step = f"vconnect status {plugin.name} --crashes"
    return _Finding("restarted", f"runs again after its end: {cut(cause, _MAX_WORDS)}", step)


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
    ends = [crash.reason for crash in plugin.crashes if first.event in crash.in_flight]
    if ends:
        reason = ends[-1].replace("; last stderr: ", ": ")
        cause += f" ({cut(reason, _MAX_WORDS)})"
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
    if not wants:
        busiest = max(around.sent, key=lambda event: around.sent[event])
        came = f"{busiest} came, {many(around.sent[busiest], 'time')}"
        cause = f"runs, but nobody asks it: it declares no capability; {came}"
        return _Finding("never_asked", cause, "add what it handles to its capabilities")
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
        return _Finding("never_asked", cause, "mend its capabilities")
    cause = f"runs, but nobody asks it: no {matched[0]} met the conditions of its match"
    return _Finding("never_asked", cause, f"look at match in plugins.options.{plugin.name}")


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
    *(_conflict, _manifest, _stopped, _cannot_serve, _waits, _waits_for_slot, _spawn, _handshake),
    *(_refuses_config, _files_changed, _cannot_end, _memory, _hung, _killed, _exits),
    *(_other_error, _in_between),
)
#: What is wrong with its service. Several of these may hold.
_OF_UP: _Questions = (
    *(_circuit, _new_process_failed, _quarantine, _errors, _queue, _never_asked, _slow),
    *(_refused_changes, _restarted, _passed_over),
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
    if plugin.crashes:
        return _words_of(plugin.crashes[-1])
    return last_words(list(plugin.last_stderr)) if plugin.last_stderr else ""


def _words_of(crash: CrashReport) -> str:
    """Return its last words before the host sent it a signal, whose traces are no cause."""
    return last_words(list(crash.last_stderr)) if crash.said is None else crash.said


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
