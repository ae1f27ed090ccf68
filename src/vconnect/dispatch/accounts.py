"""What the calls of one plugin to another may cost the host, and the plugin that is called."""

# The plugin that answers decides how large its answer is, and the one that asks decides how often.
# So neither may pay alone: if the caller did, a hostile plugin could keep it from its other work
# with huge answers; if the one that answers did, a hostile caller could do that to it. Each pair
# has an account of its own, and what is refused when it is overdrawn is the next call of this pair.
#
# A caller that gives up early leaves its call with the plugin that is called, where it keeps its
# slot until the answer comes. So calls are counted until then, or one plugin could fill the window
# of another with calls that it no longer waits for.

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from vconnect.bucket import Bucket
from vconnect.errors import HostCallError
from vconnect.plugins.runtime import PluginRuntime

T = TypeVar("T")
_ByPlugin: TypeAlias = WeakKeyDictionary[PluginRuntime, T]

# Seconds of processor time: at once, and per second.
_BURST = 0.010
_RATE = 0.050
MAX_UNANSWERED = 16
"""Calls of one plugin to another that wait for the answer, those that were given up included."""


class Accounts:
    """The accounts of all pairs. They belong to plugins, and outlive their connections."""

    def __init__(self) -> None:
        self._of: _ByPlugin[_ByPlugin[Account]] = WeakKeyDictionary()

    def between(self, caller: PluginRuntime, target: PluginRuntime) -> Account:
        """Return the account of the calls of one plugin to another."""
        accounts = self._of.get(caller)
        if accounts is None:
            accounts = self._of[caller] = WeakKeyDictionary()
        account = accounts.get(target)
        if account is None:
            account = accounts[target] = Account()
        return account


class Account:
    """The account of the calls of one plugin to another.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        unanswered: How many calls have been passed on and not been answered.
    """

    __slots__ = ("_bucket", "unanswered")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = Bucket(_BURST, _RATE, clock)
        self.unanswered = 0

    def enter(self) -> None:
        """Count a call that is passed on."""
        self.unanswered += 1

    def leave(self) -> None:
        """Count one that was answered, or whose connection has ended."""
        self.unanswered -= 1

    def pay(self, seconds: float) -> None:
        """Charge processor time."""
        self._bucket.take(seconds)

    def check(self, plugin: str) -> None:
        """Refuse another call while the account is overdrawn, or too many are unanswered.

        Raises:
            HostCallError: ``overloaded``; it says when the next call is possible.
        """
        if self.unanswered >= MAX_UNANSWERED:
            raise HostCallError(
                "overloaded",
                f"{plugin} has not answered {self.unanswered} calls of this plugin, including "
                f"those that it no longer waits for; {MAX_UNANSWERED} are allowed",
            )
        if self._bucket.level() < 0:
            raise HostCallError(
                "overloaded",
                f"reading the answers of {plugin} to this plugin takes the host too much time; "
                f"{_BURST * 1000:g} ms at once and {_RATE * 1000:g} ms per second are allowed, and "
                f"the next call is possible in {self._bucket.seconds_until(0):.1f} s",
            )
