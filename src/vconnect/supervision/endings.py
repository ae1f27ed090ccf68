"""From an instance's end to its verdict and its crash report."""

from __future__ import annotations

import logging
import time

from vconnect.errors import HandshakeError
from vconnect.names import EXIT_CONFIG
from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.restarts import Decision, Ended
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import SELF_EXPLANATORY, PluginStatus, Substate
from vconnect.processes.process import ExitStatus
from vconnect.wire.session import LostEvent

from .instance import Instance
from .verdict import Verdict

# Signals that a process brings upon itself: a failed assertion, an uncaught exception of C++, Node
# without memory. Its last words may say which.
_OWN_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")

_log = logging.getLogger(__name__)

# What operators and the kernel's limits send. A bug of the plugin ends it in another way.
_FROM_OUTSIDE = frozenset(
    "SIGHUP SIGINT SIGQUIT SIGKILL SIGTERM SIGXCPU SIGXFSZ SIGUSR1 SIGUSR2".split()
)


def stopped() -> Verdict:
    """Return the verdict of an instance that was asked to stop."""
    return Verdict(PluginStatus.STOPPED, Substate.EXITED)


def exited(instance: Instance, exit_status: ExitStatus) -> Verdict:
    """Return the verdict of an instance whose leader has exited."""
    # Asked before the cgroup is removed, and only if the exit may be a consequence of it.
    cgroup = instance.process.cgroup if instance.process is not None else None
    if cgroup is not None and not exit_status.is_clean and cgroup.was_out_of_memory():
        reason = (
            f"memory_limit: {exit_status}, by the kernel: its process tree reached "
            f"tree_limits.memory_bytes, which is {cgroup.memory_bytes}"
        )
        return Verdict(PluginStatus.ERROR, Substate.MEMORY_LIMIT, reason, Ended.FAILED)
    if instance.violation and exit_status.signal in (None, "SIGPIPE"):
        # Its connection was cut off, and it has only drawn the consequence.
        reason = f"{exit_status}, after {instance.violation}"
        return Verdict(PluginStatus.ERROR, Substate.EXITED, reason, Ended.FAILED)
    if exit_status.is_clean:
        reason = f"{exit_status}{_background(instance)}{_stranger(instance)}"
        return Verdict(PluginStatus.STOPPED, Substate.EXITED, reason, Ended.CLEANLY)
    if exit_status.signal:
        # Its last output is unrelated to a signal from outside.
        reason = str(exit_status)
        if exit_status.signal in _OWN_FAULTS:
            reason = _with_last_words(reason, instance, only_errors=True)
        return Verdict(PluginStatus.ERROR, Substate.KILLED, reason, Ended.FAILED)
    reason = _with_last_words(str(exit_status), instance)
    if exit_status.code == EXIT_CONFIG:  # the same configuration would be refused again
        return Verdict(PluginStatus.ERROR, Substate.BAD_CONFIG, reason, Ended.PERMANENT)
    return Verdict(PluginStatus.ERROR, Substate.EXITED, reason, Ended.FAILED)


def overdue(instance: Instance) -> Verdict:
    """Return the verdict of an instance that did not connect, or did not get ready, in time."""
    substate, missing = Substate.HANDSHAKE_TIMEOUT, "no handshake"
    if instance.start_due_at is not None:
        substate, missing = Substate.START_TIMEOUT, "connected, but not ready"
    elif instance.has_connected:
        missing = "its connection ended, and it has not connected again"
    elif instance.has_knocked:
        missing = "connected and sent no handshake"
    reason = _with_last_words(f"{missing} within {instance.patience:g} s", instance)
    reason += _stranger(instance)
    # Another program's process is not this host's to start again.
    ended = Ended.FAILED if instance.process is not None else None
    return Verdict(PluginStatus.ERROR, substate, reason, ended)


def refused(instance: Instance, error: HandshakeError) -> Verdict:
    """Return the verdict of an instance whose handshake was refused with `error`."""
    # The plugin itself declares that it cannot serve on this host. That is not a failure, and is
    # not retried.
    if error.code == "disabled":
        return Verdict(PluginStatus.STOPPED, Substate.DISABLED, str(error))
    if error.code == "handshake_timeout":
        return overdue(instance)
    # Permanent, because the same process with the same handshake would be refused again. Without
    # the plugin's last words: the refusal is the reason, and what it printed before is another.
    return Verdict(PluginStatus.ERROR, Substate.HANDSHAKE_REFUSED, str(error), Ended.PERMANENT)


def failed_start(substate: Substate, reason: str, how: Ended) -> Verdict:
    """Return the verdict of a generation that could not be started."""
    return Verdict(PluginStatus.ERROR, substate, reason, how)


def unkillable(left: str, verdict: Verdict) -> Verdict:
    """Return the verdict of an instance of which processes are left that cannot be killed.

    Args:
        left: Which, and why.
        verdict: Why the instance was ended.
    """
    # An operator has to look at it, and another process beside what is left may do harm.
    ended = None if verdict.ended is None else Ended.PERMANENT
    return Verdict(PluginStatus.ERROR, Substate.KILLING, left, ended)


def resting_substate(verdict: Verdict, decision: Decision) -> Substate:
    """Return the substate of a plugin that rests after a verdict, until its next start if any."""
    if verdict.substate in SELF_EXPLANATORY:
        return verdict.substate
    if decision.is_crash_loop:
        return Substate.CRASH_LOOP
    return verdict.substate if decision.delay is None else Substate.BACKOFF


def why_started(plugin: PluginRuntime, *, is_ordered: bool) -> str:
    """Return in one word why a plugin is started again, for the metric of restarts."""
    if is_ordered:
        return plugin.take_cause()
    substate, exit_status = plugin.substate_at_end, plugin.exit
    known = {
        Substate.MEMORY_LIMIT: "memory_limit",
        Substate.WATCHDOG: "watchdog",
        Substate.HANDSHAKE_TIMEOUT: "handshake_timeout",
        Substate.START_TIMEOUT: "handshake_timeout",
        Substate.DISCONNECTED: "connection_lost",
        Substate.WAITING: "required",
        Substate.SPAWN_FAILED: "required",
    }
    if substate in known:
        return known[substate]
    if exit_status is not None and exit_status.signal:
        return "signal"
    return "exit_code" if exit_status is not None and exit_status.code else "exit_zero"


def why_disconnected(error: Exception | None) -> str:
    """Return a text that says how a connection ended."""
    return "it closed its connection" if error is None else f"its connection ended: {error}"


def record_end(plugin: PluginRuntime, instance: Instance, verdict: Verdict, ran_for: float) -> None:
    """Record the end of a process, with a crash report if the end was not requested."""
    process = instance.process
    assert process is not None, "external plugins have no process to record"
    plugin.ended(process, process.exited.result(), tuple(process.log.last_stderr))
    if plugin.status is PluginStatus.STOPPING:
        _log.info("plugin %s has ended: %s", plugin.name, plugin.exit)
    if verdict.ended is None:
        return
    plugin.crashes.add(crash_report(instance, verdict, ran_for), suspects(instance, verdict))


def suspects(instance: Instance, verdict: Verdict) -> list[LostEvent]:
    """Return the events that may have caused an end: those that were being handled.

    An end that came from outside, or before the plugin was ready, is no event's fault.
    """
    if verdict.ended is not Ended.FAILED or verdict.substate is Substate.MEMORY_LIMIT:
        return []
    process = instance.process
    assert process is not None, "external plugins have no process to record"
    # If this host has killed it, the reason is in the verdict.
    is_killed = verdict.substate is Substate.KILLED
    if is_killed and process.exited.result().signal in _FROM_OUTSIDE:
        return []
    return [event for event in instance.lost_events if event.was_handled]


def crash_report(instance: Instance, verdict: Verdict, ran_for: float) -> CrashReport:
    """Build the report of an end that was not requested."""
    process = instance.process
    assert process is not None, "external plugins have no crash reports"
    exit_status = process.exited.result()
    return CrashReport(
        at=time.time(),
        generation=instance.generation,
        ran_for_s=ran_for,
        reason=verdict.reason,
        exit_code=exit_status.code,
        exit_signal=exit_status.signal,
        last_stderr=tuple(process.log.last_stderr),
        in_flight=tuple(event.event for event in instance.lost_events),
        max_rss_bytes=process.max_rss_bytes,
        cpu_s=process.cpu_s,
        said=instance.said if instance.said is not None else process.log.last_words(),
    )


def _background(instance: Instance) -> str:
    """Say so if a process has put itself into the background before its handshake.

    Its parent, which is the process that was started, exits then, and everything else is ended.
    """
    process = instance.process
    if process is None or instance.running_since is not None or not process.has_followers():
        return ""
    return "; it went into the background, but must run in the foreground"


def _stranger(instance: Instance) -> str:
    """Return why another process was refused under the name of a plugin that never connected."""
    if instance.refusal and instance.running_since is None:
        return f"; refused a connection: {instance.refusal}"
    return ""


def _with_last_words(reason: str, instance: Instance, *, only_errors: bool = False) -> str:
    """Add what the plugin said last on stderr about the reason, if it said anything."""
    if instance.process is None:
        return reason
    words = instance.process.log.last_words(only_errors=only_errors)
    return f"{reason}; last stderr: {words}" if words else reason
