"""Limits how many plugins start at the same time."""

# Many simultaneous starts would overload the machine, and with it the host. A plugin holds a slot
# for the costly part of its start: until its handshake, but no longer than `_HOLD_S`, since a
# plugin that is slow by then mostly waits. Plugins from source have slots of their own, which they
# hold until their handshake: a compiler keeps a processor busy for minutes, and must not keep
# installed plugins from starting.
#
# Whoever is waited for is served first: a plugin that has crashed and an operator's order come
# before the first starts of a host.

from __future__ import annotations

import asyncio
from collections.abc import Callable

# An installed plugin that has not connected by then is waiting for something. Seconds.
_HOLD_S = 2.0
# How many plugins a reason names.
_MAX_NAMED = 3


class StartSlots:
    """The slots of one host.

    Args:
        count: The number of slots for installed plugins, and again for those from source.
    """

    def __init__(self, count: int) -> None:
        self._installed = _Pool(count)
        self._builds = _Pool(count)

    def resize(self, count: int) -> None:
        """Allow another number of simultaneous starts. Those in progress go on."""
        self._installed.resize(count)
        self._builds.resize(count)

    def slot(self, plugin: str, wake: Callable[[], None], *, is_build: bool = False) -> StartSlot:
        """Return a supervisor's handle, which does not hold a slot yet.

        Args:
            plugin: The plugin's name, for those that wait for it.
            wake: Called when it is worth trying again.
            is_build: Whether the plugin is started from source.
        """
        if is_build:
            return StartSlot(self._builds, plugin, wake, None)
        return StartSlot(self._installed, plugin, wake, _HOLD_S)


class StartSlot:
    """One supervisor's claim to a slot. Created by `StartSlots.slot`.

    Attributes:
        plugin: The name of its plugin.
        wake: Called when it is worth trying again.
    """

    def __init__(
        self, pool: _Pool, plugin: str, wake: Callable[[], None], hold: float | None
    ) -> None:
        self.plugin = plugin
        self.wake = wake
        self._pool = pool
        self._hold = hold
        self._timer: asyncio.TimerHandle | None = None
        self._is_held = False

    def try_acquire(self, *, is_urgent: bool = True) -> bool:
        """Take a slot, or queue for one. Returns true as well if it already holds one.

        Args:
            is_urgent: Whether it comes before those that are not.
        """
        if self._is_held:
            return True
        if self._pool.acquire(self, is_urgent=is_urgent):
            self._is_held = True
            if self._hold is not None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._hold, self.release)
        return self._is_held

    def leave_queue(self) -> None:
        """Stop waiting. A supervisor that tries again at once keeps its turn."""
        self._pool.leave(self)

    def release(self) -> None:
        """Give back the slot, if any: the costly part of the start is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_held:
            self._is_held = False
            self._pool.release(self)

    def waits_for(self) -> str:
        """Return a text that names the plugins that hold the slots."""
        names = self._pool.holders()
        shown = ", ".join(names[:_MAX_NAMED])
        more = len(names) - _MAX_NAMED
        return f"waits for {shown} and {more} more" if more > 0 else f"waits for {shown}"


class _Pool:
    """Slots of one kind, and who waits for them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._holders: dict[StartSlot, None] = {}  # sets that keep their order
        self._urgent: dict[StartSlot, None] = {}
        self._queue: dict[StartSlot, None] = {}
        self._called: set[StartSlot] = set()  # have been woken, and a slot is kept for each

    def resize(self, count: int) -> None:
        self._count = count
        self._wake_next()

    def acquire(self, slot: StartSlot, *, is_urgent: bool) -> bool:
        if slot in self._called:
            self._called.remove(slot)
        elif not self._is_open_to(is_urgent=is_urgent):
            self._line_up(slot, is_urgent=is_urgent)
            return False
        self._holders[slot] = None
        return True

    def release(self, slot: StartSlot) -> None:
        self._holders.pop(slot, None)
        self._wake_next()

    def leave(self, slot: StartSlot) -> None:
        """Remove a waiter. If it had been woken, the next one is woken instead."""
        self._urgent.pop(slot, None)
        self._queue.pop(slot, None)
        self._called.discard(slot)
        self._wake_next()

    def holders(self) -> list[str]:
        return [slot.plugin for slot in self._holders]

    def _is_open_to(self, *, is_urgent: bool) -> bool:
        """Return whether a slot is free and no one else is ahead in the queue."""
        if self._urgent or (self._queue and not is_urgent):
            return False
        return self._free() > 0

    def _free(self) -> int:
        return self._count - len(self._holders) - len(self._called)

    def _line_up(self, slot: StartSlot, *, is_urgent: bool) -> None:
        # Trying again keeps its place; a wait that has become urgent moves to the other queue.
        if is_urgent:
            self._queue.pop(slot, None)
            self._urgent.setdefault(slot, None)
        elif slot not in self._urgent:
            self._queue.setdefault(slot, None)

    def _wake_next(self) -> None:
        """Wake as many waiters as there are slots: waking all would make N starts cost N² tries."""
        while self._free() > 0 and (queue := self._urgent or self._queue):
            slot = next(iter(queue))
            del queue[slot]
            self._called.add(slot)
            slot.wake()
