"""What ends a host, and how: a signal, or the guardian's death."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .hang_up import EarlyHangUp

if TYPE_CHECKING:
    from .guardian import Lifeline


EXIT_KILLED = 130  # as a shell reports SIGINT: 128 + 2
EXIT_UNGUARDED = 1

# GNU timeout signals a process and then its group, and others do likewise. Two signals of one kind
# within this time are one wish; a human who repeats one takes longer. Seconds.
_ONE_WISH_S = 0.5
# SIGHUP is also among these, if the terminal is gone.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
# By default these kill, and some programs send them without asking, such as log rotation.
_MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)

_log = logging.getLogger(__name__)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:  # ENXIO: there is none, or it was closed
        return False
    return True


class Interrupts:
    """Handles requests to end: signals, and the guardian's death.

    Args:
        work: The task to cancel at the first request.
        kill_plugins: Called at the second request.
        lifeline: The connection to the guardian, if there is one.
        reload: Called at each SIGHUP; by default it ends the host.
        early: Has heard a SIGHUP that came before.

    Attributes:
        count: How many requests there were.
        exit_code: The exit code for the process.
    """

    def __init__(
        self,
        work: asyncio.Task[object],
        kill_plugins: Callable[[], None],
        lifeline: Lifeline | None,
        reload: Callable[[], None] | None = None,
        early: EarlyHangUp | None = None,
    ) -> None:
        self._early = early
        self._reload = reload
        self._had_terminal = has_terminal()
        self.count = 0
        self.exit_code = 0
        # When each kind of signal was last counted.
        self._counted: dict[signal.Signals, float] = {}
        self._work = work
        self._kill_plugins = kill_plugins
        self._lifeline = lifeline

    @contextmanager
    def handled(self) -> Iterator[Interrupts]:
        """Handle the signals inside a ``with`` block."""
        loop = asyncio.get_running_loop()
        numbers = list(_ENDING)
        # nohup ignores SIGHUP, and expects that to stay so.
        hears_hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        for number in numbers:
            loop.add_signal_handler(number, self._interrupt, number)
        if hears_hangup:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            numbers.append(signal.SIGHUP)
            if self._early is not None and self._early.is_heard:
                loop.call_soon(self._hang_up)
        for number in _MEANINGLESS:
            loop.add_signal_handler(number, self._ignore, number)
        if self._lifeline is not None:
            self._lifeline.watch(loop, self._guardian_lost)
        try:
            yield self
        finally:
            for number in (*numbers, *_MEANINGLESS):
                loop.remove_signal_handler(number)
            if self._lifeline is not None:
                self._lifeline.close()

    def _interrupt(self, number: signal.Signals) -> None:
        if self._lifeline is not None and self._lifeline.is_echo(number):
            return
        now = time.monotonic()
        if now - self._counted.get(number, -_ONE_WISH_S) < _ONE_WISH_S:
            return
        self._counted[number] = now
        self.count += 1
        if self.count == 1:
            _log.info("received %s: stopping plugins (repeat to kill them)", number.name)
            self._work.cancel()
        elif self.count == 2:
            _log.warning("received %s again: killing plugins", number.name)
            self.exit_code = EXIT_KILLED
            self._kill_plugins()
        else:
            # Something hangs that even SIGKILL does not end. The guardian or systemd cleans up.
            os._exit(EXIT_KILLED)

    def _hang_up(self) -> None:
        """Reload, unless the terminal that the host was started from is gone."""
        is_closed = self._had_terminal and not has_terminal()
        if self._reload is None or is_closed:
            self._interrupt(signal.SIGHUP)
            return
        # Asked in any case, once for each signal. An echo means no second reload, but the kernel's
        # signal after the guardian's death means none.
        if not (self._lifeline is not None and self._lifeline.is_echo(signal.SIGHUP)):
            self._begin_reload(self._reload)

    def _begin_reload(self, reload: Callable[[], None]) -> None:
        if self.count:
            _log.info("received SIGHUP, which has no effect while the host is stopping")
            return
        _log.info("received SIGHUP: reading the configuration again")
        reload()

    def _ignore(self, number: signal.Signals) -> None:
        if self._lifeline is None or not self._lifeline.is_echo(number):
            _log.info("received %s, which this host ignores", number.name)

    def _guardian_lost(self) -> None:
        """Shut down in order: without a guardian, a kill would leave plugins behind."""
        self.exit_code = self.exit_code or EXIT_UNGUARDED
        if not self.count:
            self.count = 1
            _log.error("the guardian has died: stopping plugins (send a signal to kill them)")
            self._work.cancel()
