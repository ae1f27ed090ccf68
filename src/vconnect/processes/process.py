"""One child process and everything that it starts: spawn, exit, signals, output."""

# A process is started as the leader of its own session. It has ended when the session is empty, not
# when its leader has exited. Until then the dead leader is not reaped: as long as it is a zombie,
# its PID cannot be reused, so a signal to the group cannot hit an unrelated process.

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from vconnect.descriptors import inherited_limit
from vconnect.errors import PluginStartError
from vconnect.logs.pipes import PluginOutput
from vconnect.logs.plugin_log import PluginLog
from vconnect.settings.limits import ResourceLimits

from ._spawn import spawn_into
from .cgroup import Cgroup
from .landlock import Landlock
from .procfs import has_proc
from .seccomp import make_filter, open_filter
from .tree import Origin, ProcessTree

# The machine is short of a resource, which may pass: a start that fails for this is tried again.
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
# A program that is open for writing cannot be executed. If another thread has just forked with the
# descriptor, that passes by itself before the next try; otherwise the supervisor tries again.
_BUSY_TRIES = 3
# The first and the longest pause between looks at a session that is ending. Nothing announces that
# a session is empty, so it is polled: soon at first, because most plugins exit at once.
_POLL_SECONDS = (0.002, 0.05)
# How long processes may take to die of SIGKILL, in seconds, and those that refuse our signals to
# end by themselves. What lives then hangs in the kernel or is another user's, perhaps forever.
_KILL_PATIENCE_S = 5.0
_REFUSED_PATIENCE_S = 1.0
_KILL_ROUND_S = 0.5

_log = logging.getLogger(__name__)


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start, and how.

    Attributes:
        plugin: The plugin's canonical name.
        argv: The program and its arguments.
        directory: The working directory.
        environment: The whole environment.
        limits: Resource limits, set right after the start.
        no_new_privs: Whether the process and its descendants can never gain privileges, for
            example through a setuid program.
        landlock: What the process may do at most, or ``None`` for no such restriction.
        is_filtered: Whether its system calls are filtered, see `seccomp`. It needs
            ``no_new_privs``, or ``is_wrapped`` and the program's option.
        is_wrapped: Whether the leader is ``bwrap`` and the plugin its child.
        cgroup: The cgroup to start the process in, if it has one.
        held: A descriptor that the process inherits and its descendants keep, or -1 for none: a
            lock that must last as long as they do.
    """

    plugin: str
    argv: tuple[str, ...]
    directory: Path
    environment: dict[str, str]
    limits: ResourceLimits = ResourceLimits()
    no_new_privs: bool = False
    landlock: Landlock | None = None
    is_filtered: bool = False
    is_wrapped: bool = False
    cgroup: Cgroup | None = None
    held: int = -1


class ExitStatus(msgspec.Struct, frozen=True):
    """How the leader ended: an exit code, or the signal that killed it; neither if unknown.

    Attributes:
        code: Its exit code, or ``None``.
        signal: The name of the signal that killed it, or ``None``.
        is_alive: Whether it was given up while it lived, because it cannot be ended.
    """

    code: int | None
    signal: str | None
    is_alive: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.is_alive:
            return "still running: it cannot be ended"
        if self.code is None and self.signal is None:
            return (
                "exited: its exit status was taken by another part of this program, "
                "or lost because that ignores SIGCHLD"
            )
        return f"killed by {self.signal}" if self.signal else f"exited: code {self.code}"


class SpawnedChild:
    """A child that was started by `_spawn`, with the part of `subprocess.Popen` that is used here.

    Attributes:
        pid: Its PID.
        returncode: ``None`` until `wait` has returned.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait until it exits, and reap it."""
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:  # the application has reaped it; `subprocess` returns 0 too
                self.returncode = 0
        return self.returncode


Child = subprocess.Popen[bytes] | SpawnedChild


class PluginProcess:
    """A running plugin: its leader, the session that it leads, and its output.

    If it has a cgroup, every process in that belongs to it too, even outside its session.

    Create it with `spawn`, in the event loop's thread.

    Attributes:
        pid: The leader's PID, which is also the ID of its process group and session.
        exited: Set to an `ExitStatus` as soon as the leader has exited.
        released: Set once the session is empty and the leader is reaped, or `end` has given up.
        directory: Its working directory.
        log: Its output.
        cgroup: Its own cgroup, or ``None``.
        max_rss_bytes: The leader's peak resident memory; ``None`` until it is reaped.
        cpu_s: The leader's processor time in seconds; ``None`` until it is reaped.
    """

    def __init__(self, spec: LaunchSpec, child: Child, log: PluginLog | None = None) -> None:
        self.pid = child.pid
        self.cgroup = spec.cgroup
        self.directory = spec.directory
        self.started_at = time.time()
        # Two clocks: calendar time for people, monotonic time for durations.
        self.started = time.monotonic()
        self.max_rss_bytes: int | None = None
        self.cpu_s: float | None = None
        #: Removes what was created on disk for this start alone. Blocks.
        self.remove_leftovers: Callable[[], None] = lambda: None
        self._plugin = spec.plugin
        self._is_wrapped = spec.is_wrapped
        self._tree = ProcessTree(child.pid, spec.cgroup, is_wrapped=spec.is_wrapped)
        self._child = child
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self.log = PluginOutput(log or PluginLog(spec.plugin), self._loop)
        self.released: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1
        self._is_given_up = False

    @classmethod
    def spawn(
        cls, spec: LaunchSpec, log: PluginLog | None = None, leftovers: ExitStack | None = None
    ) -> PluginProcess:
        """Start the process. Blocks for less than a millisecond (vfork).

        Args:
            spec: What to start.
            log: Where its output goes; by default to a new log.
            leftovers: Removes what was created on disk for this start alone. The process takes its
                callbacks over once it has started; see `remove_leftovers`.

        Raises:
            PluginStartError: The process cannot be started; the text has the path and the reason.
        """
        out_read, out_write, err_read, err_write = _two_pipes(spec)
        try:
            child = _start(spec, out_write, err_write)
            _hold(child, spec.limits)
        except (OSError, ValueError) as error:
            os.close(out_read)
            os.close(err_read)
            raise _spawn_error(spec, error) from error
        finally:
            # Only the child may hold the write ends: their last close is how the end is noticed.
            os.close(out_write)
            os.close(err_write)
        process = cls(spec, child, log)
        if leftovers is not None:
            process.remove_leftovers = leftovers.pop_all().close
        # Before the exit is watched, whose callback drains the pipes.
        process.log.add(out_read, "stdout")
        process.log.add(err_read, "stderr")
        process._watch_exit()
        return process

    @property
    def is_alive(self) -> bool:
        """Whether the leader is running, as far as this loop knows."""
        return not self.exited.done()

    def owns(self, pid: int) -> bool:
        """Return whether process ``pid`` belongs to this start, by its session or its group."""
        return self._tree.owns(pid)

    def begat(self, origin: Origin) -> bool:
        """Return whether a process belongs to this start, by its cgroup or its descent."""
        return self._tree.begat(origin)

    def has_followers(self) -> bool:
        """Return whether other processes of this start than its leader are alive. Reads /proc."""
        return self._tree.has_followers()

    async def end(
        self,
        grace: float,
        on_phase: Callable[[signal.Signals], None],
        *,
        interrupt: float = 0.0,
    ) -> str:
        """End the process tree: SIGINT, SIGTERM, then SIGKILL until the session is empty.

        A leader that has already exited makes no difference: what it left behind is ended the same
        way. It has an end itself: what survives SIGKILL for five seconds hangs in the kernel, and
        what belongs to another user cannot be killed at all. Then the process is released all the
        same. If cancelled, the processes stay as they are; call it again.

        Args:
            grace: Seconds from the first signal to SIGKILL.
            on_phase: Called before each signal.
            interrupt: How many of these seconds lie between SIGINT and SIGTERM, at most half of
                them; 0 for no SIGINT.

        Returns:
            Which processes are left and why they cannot be ended; empty if none is.
        """
        interrupt = min(interrupt, grace / 2)
        steps = [(signal.SIGINT, interrupt)] if interrupt else []
        steps.append((signal.SIGTERM, grace - interrupt))
        for number, patience in steps:
            if self._is_empty():
                break
            on_phase(number)
            self._tree.ask(number)
            await self._wait_until_empty(patience)
        left = ""
        if not self._is_empty():
            on_phase(signal.SIGKILL)
            left = await self._kill_until_empty()
        if left:
            _log.error("plugin %s: given up: %s", self._plugin, left)
        elif self._peek() is not None:
            # What /proc hides from us may be left, unseen. Until it is reaped, the dead leader
            # keeps its group's number from anyone else.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.release()
        return left

    def kill_now(self) -> None:
        """Send SIGKILL to the whole process tree, without waiting."""
        self._tree.kill()

    def release(self) -> None:
        """Read the rest of the output, reap the leader and close the pipes.

        A leader that lives has been given up. It is reaped when it ends after all.
        """
        self.log.close()
        if self.is_alive:
            self.exited.set_result(ExitStatus(None, None, is_alive=True))
            self._is_given_up = True
        elif self._child.returncode is None:
            self._reap()
        if not self.released.done():
            self.released.set_result(None)

    def why_gone(self) -> str:
        """Return how the leader has ended, even if that has not been noticed yet, or else empty.

        The end of a connection is often seen first.
        """
        if self.exited.done():
            return str(self.exited.result())
        seen = self._peek()
        if seen is None:
            return ""
        is_killed = seen.si_code != os.CLD_EXITED
        return str(
            ExitStatus(None, _signal_name(seen.si_status))
            if is_killed
            else ExitStatus(seen.si_status, None)
        )

    def _peek(self) -> os.waitid_result | None:
        """Return how the leader has exited if nobody has reaped it, without doing so."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return None

    def _reap(self) -> None:
        """Take the leader's exit status and resource usage from the kernel."""
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            self._child.wait()  # another part of this program has reaped it
            return
        self._child.returncode = os.waitstatus_to_exitcode(status)
        # ru_maxrss is in KiB on Linux and in bytes on macOS.
        self.max_rss_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self.cpu_s = usage.ru_utime + usage.ru_stime

    # Exit.

    def _watch_exit(self) -> None:
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except OSError:  # an old kernel, or no descriptor left: wait in a thread instead
                self._pidfd = -1
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._leader_exited)
        else:
            name = f"wait for {self._plugin}"
            # A daemon: waiting for a child must not keep the host from ending.
            threading.Thread(target=self._wait_in_thread, name=name, daemon=True).start()

    def _leader_exited(self) -> None:
        """Get the leader's exit status without reaping it."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        if self._is_given_up:
            self._reap()
            return
        try:
            result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:  # the application reaps all children, and got this one first
            self.log.drain()
            self.exited.set_result(ExitStatus(None, None))
            return
        assert result is not None
        # As `subprocess` does: a negative code stands for a signal.
        killed = result.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        self._set_exited(-result.si_status if killed else result.si_status)

    def _wait_in_thread(self) -> None:
        code = self._child.wait()
        with suppress(RuntimeError):  # the loop is closed, so there is nothing to notify
            self._loop.call_soon_threadsafe(self._set_exited, code)

    def _set_exited(self, code: int) -> None:
        if self._is_given_up:
            return
        self.log.drain()  # before `exited`, so that a crash report has the last lines
        if self._is_wrapped and code - 128 in signal.valid_signals():
            code = 128 - code  # like a shell, bwrap reports a signal as exit code 128 + signal
        if code < 0:
            self.exited.set_result(ExitStatus(None, _signal_name(-code)))
        else:
            self.exited.set_result(ExitStatus(code, None))

    # The session.

    def _is_empty(self) -> bool:
        # The process that we know counts, whatever /proc shows.
        if self.is_alive:
            return False
        if not has_proc() and self._child.returncode is None:
            self._reap()  # a zombie would keep its group from being empty
        return self._tree.is_empty(is_reaped=self._child.returncode is not None)

    async def _wait_until_empty(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        if self.is_alive:
            await asyncio.wait([self.exited], timeout=timeout)
        pause, longest = _POLL_SECONDS
        while not self._is_empty():
            left = until - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, longest)
        return True

    async def _kill_until_empty(self) -> str:
        """Kill until nothing is left or patience is over; return what is left."""
        began = time.monotonic()
        while True:
            self.kill_now()
            # New forks die with the next round.
            if await self._wait_until_empty(_KILL_ROUND_S):
                return ""
            waited = time.monotonic() - began
            if waited >= _KILL_PATIENCE_S or (
                waited >= _REFUSED_PATIENCE_S and self._tree.is_beyond_reach()
            ):
                return self._tree.who_is_left()


def _two_pipes(spec: LaunchSpec) -> tuple[int, int, int, int]:
    """Open both or none: a host that runs out of descriptors must not leak any."""
    opened: tuple[int, ...] = ()
    try:
        opened += os.pipe()
        opened += os.pipe()
    except OSError as error:
        for fd in opened:
            os.close(fd)
        raise _spawn_error(spec, error) from error
    out_read, out_write, err_read, err_write = opened
    return out_read, out_write, err_read, err_write


def _start(spec: LaunchSpec, stdout: int, stderr: int) -> Child:
    """Start the process, in its cgroup if it has one."""
    for _ in range(_BUSY_TRIES - 1):
        with suppress(_BusyProgramError):
            return _start_once(spec, stdout, stderr)
    return _start_once(spec, stdout, stderr)


class _BusyProgramError(OSError):
    """The program is open for writing."""


def _start_once(spec: LaunchSpec, stdout: int, stderr: int) -> Child:
    try:
        if sys.platform != "linux":
            return _popen(spec, stdout, stderr)
        return _spawn_child(spec, stdout, stderr)
    except OSError as error:
        if error.errno == errno.ETXTBSY:
            raise _BusyProgramError(*error.args[:2], error.filename) from None
        raise


def _spawn_child(spec: LaunchSpec, stdout: int, stderr: int) -> SpawnedChild:
    with ExitStack() as descriptors:
        cgroup = -1
        if spec.cgroup is not None:
            cgroup = spec.cgroup.open()
            descriptors.callback(os.close, cgroup)
        ruleset = -1
        if spec.landlock is not None:
            ruleset = spec.landlock.open()
            descriptors.callback(os.close, ruleset)
        # `bwrap` needs calls that the plugin may not make, so it is given the filter to read.
        filtered, read = b"", -1
        if spec.is_filtered and spec.is_wrapped:
            read = open_filter()
            descriptors.callback(os.close, read)
        elif spec.is_filtered:
            filtered = make_filter()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        descriptors.callback(os.close, nothing)
        try:
            pid = spawn_into(
                cgroup,
                spec.argv,
                spec.directory,
                spec.environment,
                nothing,
                stdout,
                stderr,
                spec.no_new_privs,
                spec.held,
                inherited_limit(),
                ruleset,
                read,
                filtered,
            )
        except OSError as error:
            is_of_cgroup = error.filename is None and error.errno not in _SHORTAGES
            if spec.cgroup is not None and is_of_cgroup:
                error.filename = str(spec.cgroup.path)  # neither the program nor its directory
            raise
    return SpawnedChild(pid)


def _popen(spec: LaunchSpec, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    # A child inherits what is blocked, and would not hear the signals that are to end it.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        return subprocess.Popen(
            spec.argv,
            cwd=spec.directory,
            env=spec.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=() if spec.held < 0 else (spec.held,),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hold(child: Child, limits: ResourceLimits) -> None:
    """Set the limits of a new process. If that fails, kill it: it must not run without them."""
    try:
        limits.apply(child.pid)
    except OSError:
        # The group, since the process may have forked before its limits failed.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def start_error(plugin: str, words: str, error: OSError | ValueError) -> PluginStartError:
    """Build the error for a failed start; it is transient if the machine is short of something."""
    number = error.errno if isinstance(error, OSError) else None
    return PluginStartError(
        plugin, words, is_transient=number in _SHORTAGES, is_momentary=number == errno.ETXTBSY
    )


def is_shortage(error: BaseException | None) -> bool:
    """Return whether an error, or one that it arose from, says that the machine is short.

    A file that cannot be read for want of a descriptor is not a bad file: the start is tried again.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return True
        error = error.__cause__ or error.__context__
    return False


def _spawn_error(spec: LaunchSpec, error: OSError | ValueError) -> PluginStartError:
    return start_error(spec.plugin, _spawn_problem(spec, error), error)


def _spawn_problem(spec: LaunchSpec, error: OSError | ValueError) -> str:
    program = spec.argv[0]
    if not isinstance(error, OSError):
        return f"cannot start {program}: {error}"
    words = error.strerror or str(error)
    if error.errno == errno.ETXTBSY:
        return f"cannot start {program}: it is still being written"
    if error.filename == os.devnull:
        if error.errno in _SHORTAGES:
            return f"cannot start {program}: {_lower(words)}"
        return (
            f"cannot start {program}: {os.devnull}: {_lower(words)}; a plugin's standard input is "
            "read from there, so this machine or container must have it"
        )
    # Python sets `filename` to the directory if that is what is missing.
    where = error.filename or program
    remedies = {
        PermissionError: f"; try: chmod +x {program}",
        FileNotFoundError: _missing_interpreter(program),
    }
    in_cgroup = spec.cgroup is not None and where == str(spec.cgroup.path)
    hint = "" if in_cgroup else remedies.get(type(error), "")
    if "Exec format" in words:
        hint = "; it is neither a program for this machine nor a script with a #! line"
    return f"cannot start {where}: {_lower(words)}{hint}"


def _missing_interpreter(program: str) -> str:
    """Name the interpreter of a script, whose absence the system reports as the script's own."""
    with suppress(OSError), Path(program).open("rb", buffering=0) as script:
        line = script.read(256).partition(b"\n")[0]
        words = line.removeprefix(b"#!").split()
        if line.startswith(b"#!") and words:
            return f"; the interpreter in its first line is not there: {os.fsdecode(words[0])}"
    return "; if the file is there, the interpreter in its first line is not"


def _lower(words: str) -> str:
    return f"{words[:1].lower()}{words[1:]}"
