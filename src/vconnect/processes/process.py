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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec

from vconnect.errors import PluginStartError
from vconnect.logs.pipes import PluginOutput
from vconnect.logs.plugin_log import PluginLog
from vconnect.settings.limits import ResourceLimits

from ._spawn import spawn_into
from .cgroup import Cgroup
from .no_new_privileges import without_new_privileges
from .procfs import HAS_PROC, ProcessStat, members

# The machine is short of a resource, which may pass: a start that fails for this is tried again.
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
# The first and the longest pause between looks at a session that is ending. Nothing announces that
# a session is empty, so it is polled: soon at first, because most plugins exit at once.
_POLL_SECONDS = (0.002, 0.05)

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
    is_wrapped: bool = False
    cgroup: Cgroup | None = None
    held: int = -1


class ExitStatus(msgspec.Struct, frozen=True):
    """How the leader ended: an exit code, or the signal that killed it; neither if unknown."""

    code: int | None
    signal: str | None

    @property
    def is_clean(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.code is None and self.signal is None:
            return "exited: its exit status was taken by another part of this program"
        return f"killed by {self.signal}" if self.signal else f"exited: code {self.code}"


class SpawnedChild:
    """A child that was started in a cgroup, with the part of `subprocess.Popen` that is used here.

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
        released: Set once the session is empty and the leader is reaped.
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
        self.remove_leftovers: Callable[[], None] = _nothing
        self._plugin = spec.plugin
        self._is_wrapped = spec.is_wrapped
        self._child = child
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self.log = PluginOutput(log or PluginLog(spec.plugin), self._loop)
        self.released: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1

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
        try:
            return os.getsid(pid) == self.pid or os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return False

    async def end(
        self,
        grace: float,
        on_phase: Callable[[signal.Signals], None],
        *,
        interrupt: float = 0.0,
    ) -> None:
        """End the process tree: SIGINT, SIGTERM, then SIGKILL until the session is empty.

        A leader that has already exited makes no difference: what it left behind is ended the same
        way. If cancelled, the processes stay as they are; call it again.

        Args:
            grace: Seconds from the first signal to SIGKILL.
            on_phase: Called before each signal.
            interrupt: How many of these seconds lie between SIGINT and SIGTERM, at most half of
                them; 0 for no SIGINT.
        """
        interrupt = min(interrupt, grace / 2)
        steps = [(signal.SIGINT, interrupt)] if interrupt else []
        steps.append((signal.SIGTERM, grace - interrupt))
        for number, patience in steps:
            if self._is_empty():
                break
            on_phase(number)
            self._signal(number)
            await self._wait_until_empty(patience)
        if not self._is_empty():
            on_phase(signal.SIGKILL)
            await self._kill_until_empty()
        await asyncio.wait([self.exited])  # awaiting it directly would cancel it with this task
        self.release()

    def kill_now(self) -> None:
        """Send SIGKILL to the whole process tree, without waiting."""
        self._signal(signal.SIGKILL)
        # After the session: `cgroup.kill` also reaches what has forked since that was listed.
        if self.cgroup is not None:
            self.cgroup.kill()

    def release(self) -> None:
        """Read the rest of the output, reap the leader and close the pipes."""
        self.log.close()
        if self._child.returncode is None:
            self._reap()
        if not self.released.done():
            self.released.set_result(None)

    def _reap(self) -> None:
        """Take the leader's exit status and resource usage from the kernel."""
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            self._child.wait()  # another part of this program has reaped it
            return
        self._child.returncode = os.waitstatus_to_exitcode(status)
        # ru_maxrss is in KiB on Linux and in bytes on macOS.
        self.max_rss_bytes = usage.ru_maxrss * (1024 if HAS_PROC else 1)
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
        self.log.drain()  # before `exited`, so that a crash report has the last lines
        if self._is_wrapped and code - 128 in signal.valid_signals():
            code = 128 - code  # like a shell, bwrap reports a signal as exit code 128 + signal
        if code < 0:
            self.exited.set_result(ExitStatus(None, _signal_name(-code)))
        else:
            self.exited.set_result(ExitStatus(code, None))

    # The session.

    def _is_empty(self) -> bool:
        if HAS_PROC:
            try:
                return next(self._members(), None) is None
            except OSError:  # no descriptor left to look with; assume the worse
                return False
        # Without /proc only the group can be tested, and only once the leader is reaped.
        if self.is_alive:
            return False
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM when only zombies are left
            return True
        return False

    def _members(self) -> Iterator[ProcessStat]:
        """Yield the living processes of its session, and those of its cgroup outside of it."""
        yield from members((self.pid,))
        if self.cgroup is not None:
            yield from (stat for stat in self.cgroup.living() if stat.session != self.pid)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the group, and to processes that have left it for one of their own."""
        if self._is_wrapped and number is not signal.SIGKILL:
            self._signal_wrapped(number)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        if not HAS_PROC:
            return
        with suppress(OSError):  # no descriptor left to look with; the next round may have one
            for member in self._members():
                # The others of the group already have the signal.
                if member.group != self.pid:
                    with suppress(ProcessLookupError):
                        os.kill(member.pid, number)

    def _signal_wrapped(self, number: signal.Signals) -> None:
        """Signal all but `bwrap`, whose exit would kill the plugin before its grace period ends."""
        with suppress(OSError):
            pids = [member.pid for member in self._members()]
            # If only `bwrap` is left, it gets the signal after all.
            for pid in [pid for pid in pids if pid != self.pid] or pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

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

    async def _kill_until_empty(self) -> None:
        self.kill_now()
        # A process in an uninterruptible system call dies only after it; new forks die each second.
        while not await self._wait_until_empty(1.0):
            _log.warning("%s is still alive after SIGKILL (PID %d)", self._plugin, self.pid)
            self.kill_now()


def _nothing() -> None:
    """Do nothing: the default where nothing has to be removed."""


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
    """Start the process in its cgroup, or else in the host's."""
    if spec.cgroup is not None:
        return _start_in(spec.cgroup, spec, stdout, stderr)
    # Without a cgroup there is no need for our own `vfork`.
    start = partial(_popen, spec, stdout, stderr)
    return without_new_privileges(start) if spec.no_new_privs else start()


def _start_in(cgroup: Cgroup, spec: LaunchSpec, stdout: int, stderr: int) -> SpawnedChild:
    with ExitStack() as descriptors:
        directory = cgroup.open()
        descriptors.callback(os.close, directory)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        descriptors.callback(os.close, nothing)
        try:
            pid = spawn_into(
                directory,
                spec.argv,
                spec.directory,
                spec.environment,
                nothing,
                stdout,
                stderr,
                spec.no_new_privs,
                spec.held,
            )
        except OSError as error:
            if error.filename is None and error.errno not in _SHORTAGES:
                error.filename = str(cgroup.path)  # it is neither the program nor its directory
            raise
    return SpawnedChild(pid)


def _popen(spec: LaunchSpec, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
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
    is_transient = isinstance(error, OSError) and error.errno in _SHORTAGES
    return PluginStartError(plugin, words, is_transient=is_transient)


def _spawn_error(spec: LaunchSpec, error: OSError | ValueError) -> PluginStartError:
    return start_error(spec.plugin, _spawn_problem(spec, error), error)


def _spawn_problem(spec: LaunchSpec, error: OSError | ValueError) -> str:
    program = spec.argv[0]
    if not isinstance(error, OSError):
        return f"cannot start {program}: {error}"
    words = error.strerror or str(error)
    # Python sets `filename` to the directory if that is what is missing.
    where = error.filename or program
    remedies = {
        PermissionError: f"; try: chmod +x {program}",
        FileNotFoundError: "; if the file is there, the interpreter in its first line is not",
    }
    in_cgroup = spec.cgroup is not None and where == str(spec.cgroup.path)
    hint = "" if in_cgroup else remedies.get(type(error), "")
    if "Exec format" in words:
        hint = "; it is neither a program for this machine nor a script with a #! line"
    return f"cannot start {where}: {words[0].lower()}{words[1:]}{hint}"
