"""Limits how many plugins start at the same time."""

# Many simultaneous starts would overload the machine, and with it the host. A plugin holds a slot
# from its start until its handshake, or until it is clear that there will be none.

from __future__ import annotations

from collections.abc import Callable


class StartSlots:
    """The slots of one host.

    Args:
        count: The number of slots.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: dict[StartSlot, None] = {}  # a set that keeps its order

    def slot(self, wake: Callable[[], None]) -> StartSlot:
        """Return a supervisor's handle, which does not hold a slot yet.

        Args:
            wake: Called when it is worth trying again.
        """
        return StartSlot(self, wake)

    def _acquire(self, slot: StartSlot) -> bool:
        if self._free > 0:
            self._free -= 1
            return True
        self._queue[slot] = None
        return False

    def _release(self) -> None:
        self._free += 1
        self._wake_next()

    def _leave(self, slot: StartSlot) -> None:
        """Remove a waiter from the queue. If it had been woken, the next one is woken instead."""
        self._queue.pop(slot, None)
        self._wake_next()

    def _wake_next(self) -> None:
        """Wake one waiter: waking all for each slot would make N starts cost N² attempts."""
        if self._free > 0 and self._queue:
            slot = next(iter(self._queue))
            del self._queue[slot]
            slot.wake()


class StartSlot:
    """One supervisor's claim to a slot. Created by `StartSlots.slot`.

    Attributes:
        wake: Called when it is worth trying again.
    """

    def __init__(self, slots: StartSlots, wake: Callable[[], None]) -> None:
        self._slots = slots
        self._is_held = False
        self.wake = wake

    def try_acquire(self) -> bool:
        """Take a slot, or queue for one. Returns true as well if it already holds one."""
        if not self._is_held:
            self._is_held = self._slots._acquire(self)
        return self._is_held

    def leave_queue(self) -> None:
        """Stop waiting. The next attempt queues at the end."""
        self._slots._leave(self)

    def release(self) -> None:
        """Give back the slot, if any: the plugin has started, or never will."""
        if self._is_held:
            self._is_held = False
            self._slots._release()
