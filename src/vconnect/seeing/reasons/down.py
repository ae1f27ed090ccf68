"""Why a plugin is not there, or not for long."""

from __future__ import annotations

import re

from vconnect.bounds import cut
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.words import ago, duration, many

from .finding import (
    LAST_STDERR,
    MAX_WORDS,
    Finding,
    Questions,
    Surroundings,
    counted,
    is_ours,
    is_recent,
    last_said,
    next_try,
    span,
    split,
    story,
    told_by_host,
    words_of,
)

# Plugins that wait for each other, in one explanation.
_MAX_PATH = 8
# Methods of HTTP, as the length of a frame that begins with them.
_HTTP = frozenset(
    int.from_bytes(word, "big") for word in (b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"HTTP")
)
# What the kernel sends at a limit of the operator's.
_LIMIT_OF_SIGNAL = {"SIGXCPU": "limits.cpu_s"}
# Kinds of errors that say more than their words.
_TELLING = ("SyntaxError", "IndentationError", "TabError")

# The questions. Each returns a finding, or `None` if it does not apply.


def _manifest(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.BAD_MANIFEST:
        return None
    step = f"mend it, then vconnect start {plugin.name}"
    if "forms a cycle: " in plugin.reason:
        cause, advice = split(plugin.reason)
        # What waits for itself has a good manifest: it only does not fit the others.
        then = f"{advice}, then vconnect start {plugin.name}" if advice else step
        return Finding("cycle", cause, then)
    cause = _without_path(plugin.reason.removeprefix("bad manifest: "))
    return Finding("bad_manifest", f"bad manifest: {cause}", step)


def _without_path(text: str) -> str:
    """Leave out how a decoder marks the place of a fault."""
    return text.replace("$.", "").replace("`", "")


def _conflict(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if not plugin.conflict:
        return None
    cause, advice = split(plugin.conflict)
    return Finding("name_conflict", cause, advice or "give each plugin a name of its own")


def _stopped(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    is_down = plugin.status in (PluginStatus.STOPPED, PluginStatus.INSTALLED)
    if not is_down or plugin.desired == "running" or plugin.substate is Substate.DISABLED:
        return None
    if plugin.is_disabled:
        return _by_order(plugin, "disabled", f"vconnect enable {plugin.name}")
    if plugin.ordered_at is not None:
        return _by_order(plugin, "stopped", f"vconnect start {plugin.name}")
    return Finding("not_started", "not started yet", f"vconnect start {plugin.name}")


def _by_order(plugin: PluginSummary, done: str, command: str) -> Finding:
    by = f" by {plugin.ordered_by}," if plugin.ordered_by else ""
    at = f" {ago(plugin.ordered_at)}" if plugin.ordered_at is not None else ""
    return Finding(done, f"{done}{by}{at}".rstrip(","), command, plugin.ordered_at)


def _cannot_serve(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.DISABLED:
        return None
    said = plugin.reason or "it gives no reason"
    step = f"give it what it needs, then vconnect start {plugin.name}"
    return Finding("cannot_serve", f"says that it cannot serve here: {said}", step)


def _spawn(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.SPAWN_FAILED:
        return None
    # What was missed then serves by now, or `_waits` had the answer: it is about to be tried again.
    if plugin.requires and plugin.reason.startswith("requires "):
        return None
    cause, advice = split(plugin.reason.removeprefix("cannot start "))
    if missing := re.fullmatch(r"the interpreter in its first line is not there: (.+)", advice):
        file = cause.removesuffix(": no such file or directory")
        cause = f"{file} asks for the interpreter {missing[1]}, which is not there"
        advice = "install it, or change line 1"
    step = f"{advice or 'mend that'}, then vconnect start {plugin.name}"
    if "vconnect" in advice:  # it says already how it is started
        step = advice
    return Finding("spawn_failed", f"cannot start: {cause}", step)


def _waits(plugin: PluginSummary, around: Surroundings) -> Finding | None:
    if plugin.serving or not plugin.requires:
        return None
    for name in plugin.requires:
        other = around.find(name)
        if other is None:
            cause = f"waits for {name}, which is not installed"
            return Finding("waits_for", cause, f"vconnect install {name}", facts={"for": name})
        if not other.serving:
            path = (*around.path, plugin.name)
            if other.name in path or len(path) > _MAX_PATH:
                cause = f"waits for {other.name}, which is not serving"
                return Finding("waits_for", cause, facts={"for": other.name})
            theirs = around.explain(other, around._replace(path=path))
            cause = f"waits for {other.name}, which is {_as_adjective(theirs)}"
            step = theirs.next or f"vconnect why {other.name}"
            return Finding("waits_for", cause, step, facts={"for": other.name})
    return None


def _as_adjective(finding: Finding) -> str:
    if finding.code in ("stopped", "disabled"):
        return re.sub(r",? [^,]* ago$", "", finding.cause)
    return f"not serving ({finding.cause})"


def _waits_for_slot(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.WAITING:
        return None
    return Finding("starting", f"waits to be started: {plugin.reason or 'others start first'}")


def _handshake(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    match plugin.substate:
        case Substate.HANDSHAKE_REFUSED:
            cause, advice = split(plugin.reason)
            if _speaks_http(plugin.reason):
                cause, advice = "it speaks HTTP, not the protocol", "see wire.md for what it is"
            step = advice or "see the codes of refusals in wire.md"
            return Finding("handshake_refused", f"handshake refused: {cause}", step)
        case Substate.HANDSHAKE_TIMEOUT if "sent no handshake" in plugin.reason:
            cause = plugin.reason.partition("; ")[0]
            step = "its first frame must be the handshake; see wire.md"
            return Finding("no_handshake", cause, step)
        case Substate.HANDSHAKE_TIMEOUT if "not connected again" in plugin.reason:
            cause = plugin.reason.partition("; ")[0]
            step = (
                f"it must keep its connection open, or connect again; vconnect logs {plugin.name}"
            )
            return Finding("connection_ended", cause, step)
        case Substate.HANDSHAKE_TIMEOUT:
            return _not_connected(plugin)
        case Substate.START_TIMEOUT:
            cause = told_by_host(plugin.reason)
            step = f"see what it waits for: vconnect logs {plugin.name}; or raise start_timeout"
            return Finding("not_ready", cause, step)
    return None


def _speaks_http(reason: str) -> bool:
    """Return whether the length of a first frame is really the beginning of a request of HTTP."""
    size = re.search(r"frame of (\d+) bytes", reason)
    return size is not None and int(size[1]) in _HTTP


def _not_connected(plugin: PluginSummary) -> Finding:
    within = re.search(r"within ([\d.]+ s)", plugin.reason)
    tries = sum("no handshake" in told_by_host(crash.reason) for crash in story(plugin))
    printed = last_said(plugin)
    cause = (
        f"did not connect within {within[1] if within else 'its time'} of its start "
        f"({many(max(tries, 1), 'try') if tries <= 1 else f'{tries} tries'}); "
        f"it printed {f'last: {printed}' if printed else 'nothing'}"
    )
    step = f"does it open --socket? See vconnect logs {plugin.name}"
    return Finding("not_connected", cause, step, facts={"tries": tries})


def _refuses_config(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.BAD_CONFIG:
        return None
    table = f"[plugins.config.{plugin.name}]"
    if not plugin.reason.startswith("exited"):
        # The host has refused it, because of the schema in the manifest.
        cause, advice = split(plugin.reason.removeprefix("invalid configuration: "))
        cause = f"its configuration does not fit: {_without_path(cause)}"
        step = f"{advice or f'mend {table}'}, then vconnect reload"
        return Finding("config_refused", cause, step)
    cause = plugin.reason.partition(LAST_STDERR)[2] or "it does not say what is wrong"
    step = (
        f"mend {table}, then vconnect reload, or vconnect start {plugin.name} "
        "if the cause is elsewhere"
    )
    return Finding("config_refused", f"refuses its configuration: {cause}", step)


def _files_changed(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.CHANGED:
        return None
    cause, advice = split(plugin.reason)
    return Finding("changed", cause, advice)


def memory(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    """Tell of a plugin that has been ended because it used too much memory."""
    ends = [crash for crash in story(plugin) if crash.reason.startswith("memory_limit")]
    if not ends or (plugin.serving and not is_recent(plugin)):
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
    return Finding("memory_limit", cause, step, ends[0].at, {"times": len(ends)})


def hung(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    """Tell of a plugin that did not answer the host's pings."""
    ends = [crash for crash in story(plugin) if re.search("pings|hung", told_by_host(crash.reason))]
    if not ends or (plugin.serving and not is_recent(plugin)):
        return None
    times = {1: "once", 2: "twice"}.get(len(ends), f"{len(ends)} times")
    cause = f"hung and was replaced {times}: {told_by_host(ends[-1].reason)}"
    return Finding("hung", cause, "move what blocks into a thread", ends[0].at)


def killed(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    """Tell of a plugin that a signal has ended which the host did not send."""
    ends = [crash for crash in story(plugin) if crash.exit_signal]
    if not ends or ends[-1] is not plugin.crashes[-1]:
        return None
    # What runs again and no longer gets the event that killed it has another story.
    is_over = plugin.serving and (plugin.quarantine or not is_recent(plugin))
    if is_over or is_ours(ends[-1].reason):
        return None
    times = f" {len(ends)} times in {duration(span(ends))}" if len(ends) > 1 else ""
    flight = f" while it had {counted(ends[-1].in_flight)} in flight" if ends[-1].in_flight else ""
    limit = _LIMIT_OF_SIGNAL.get(ends[-1].exit_signal or "", "")
    reached = f", because it reached {limit}" if limit else ""
    cause = f"killed by {ends[-1].exit_signal}{reached}{times}{flight}{next_try(plugin)}"
    step = f"vconnect status {plugin.name} --crashes"
    if limit:
        step = f"raise {limit} in its options, or find what uses it up"
    return Finding("killed", cause, step, ends[0].at, {"times": len(ends)})


def _exits(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    ends = [crash for crash in story(plugin) if crash.exit_code is not None]
    if not ends or plugin.serving or ends[-1] is not plugin.crashes[-1]:
        return None
    if plugin.status not in (PluginStatus.ERROR, PluginStatus.STOPPED, PluginStatus.STARTING):
        return None
    last = ends[-1]
    if is_ours(last.reason):
        return None  # its exit code only says how it took the host's signal
    times = f", {len(ends)} times in {duration(span(ends))}" if len(ends) > 1 else ""
    after = f" after {duration(last.ran_for_s)}" if last.ran_for_s else " before it connected"
    said = words_of(last)
    known = _known_of(last.reason)
    words = known or _shortened(said) or "it printed nothing"
    cause = f"exits with code {last.exit_code}{after}{times}: {words}{next_try(plugin)}"
    step = f"vconnect logs {plugin.name}"
    if "No module named" in said or "Cannot find module" in said:
        step = "add it to its dependencies"
    elif "went into the background" in known:
        step = f"let it run in the foreground, then vconnect start {plugin.name}"
    elif known:
        step = f"vconnect status {plugin.name} --crashes"
    elif not said and not last.ran_for_s:
        step = "it must connect to the --socket that it gets, and stay; see wire.md"
    return Finding("exits", cause, step, ends[0].at, {"times": len(ends)})


def _known_of(reason: str) -> str:
    """Return what the host knows itself about an exit, which counts more than the last words."""
    for mark in ("it went into the background", "refused a connection: ", "its connection ended: "):
        if mark in reason:
            return cut(mark + told_by_host(reason.partition(mark)[2]), MAX_WORDS)
    return ""


def _shortened(said: str) -> str:
    """Return the last words without the kind of the error, where they say enough without it."""
    kind, _, rest = said.partition(": ")
    # Python puts the kind first; the operator looks for what is missing. A bare key says nothing.
    is_plain = re.fullmatch(r"\w*(?:Error|Exception)", kind) and " " in rest.strip()
    return rest if is_plain and kind not in _TELLING else said


def _cannot_end(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.substate is not Substate.KILLING or plugin.status is not PluginStatus.ERROR:
        return None
    cause, advice = split(plugin.reason)
    return Finding("cannot_end", cause, advice or "look at these processes; the kernel holds them")


def _other_error(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.status is PluginStatus.ERROR:
        cause, advice = split(plugin.reason or str(plugin.substate) or "failed")
        step = advice or f"vconnect logs {plugin.name}"
        return Finding("failed", f"{cause}{next_try(plugin)}", step)
    is_down = plugin.status is PluginStatus.STOPPED
    if is_down and plugin.desired == "running":
        cause = f"ended by itself: {plugin.reason or 'exited with code 0'}{next_try(plugin)}"
        return Finding("ended", cause, f"vconnect start {plugin.name}, or see restart")
    return None


def _in_between(plugin: PluginSummary, _: Surroundings) -> Finding | None:
    if plugin.status is PluginStatus.STARTING:
        why = plugin.reason or {
            Substate.SPAWNED: "it has not connected yet",
            Substate.INITIALIZING: "connected, and not ready yet",
        }.get(plugin.substate, "it has not connected yet")
        return Finding("starting", f"starting: {why}")
    if plugin.status is PluginStatus.STOPPING:
        return Finding("stopping", f"stopping: {plugin.reason or plugin.substate}")
    return None


#: Why it is not there, or not for long. One answer is enough: the others would only repeat it.
OF_DOWN: Questions = (
    *(_conflict, _manifest, _stopped, _cannot_serve, _waits, _waits_for_slot, _spawn, _handshake),
    *(_refuses_config, _files_changed, _cannot_end, memory, hung, killed, _exits),
    *(_other_error, _in_between),
)
