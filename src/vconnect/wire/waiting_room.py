"""Connections that have not shaken hands: how many there may be, in all and per process."""

# As MaxStartups of OpenSSH: whoever only connects must not keep others out. A plugin connects once
# and says who it is at once, so the bounds are far above what any needs. If there are too many in
# all, the one that has waited longest makes room: it had its time.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

MAX_WAITING = 512
MAX_WAITING_OF_ONE = 128


class WaitingRoom:
    """The connections of one server before their handshakes."""

    def __init__(self) -> None:
        # By connection: its process, and what turns it away. The oldest first.
        self._waiting: dict[object, tuple[int, Callable[[str], None]]] = {}
        self._of: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, who: object, pid: int, turn_away: Callable[[str], None]) -> None:
        """Let a connection wait, or turn it or another one away.

        Args:
            who: The connection.
            pid: Its process.
            turn_away: Refuses it, with the reason; it must call `leave`.
        """
        self._waiting[who] = pid, turn_away
        self._of[pid] += 1
        if self._of[pid] > MAX_WAITING_OF_ONE:
            turn_away(
                f"{MAX_WAITING_OF_ONE} connections of PID {pid} have not shaken hands yet; "
                "a plugin needs one"
            )
        elif len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting.values()))[1]
            oldest(f"{MAX_WAITING} other connections have not shaken hands yet")

    def leave(self, who: object) -> None:
        """Forget a connection; it may have left already."""
        entered = self._waiting.pop(who, None)
        if entered is None:
            return
        self._of[entered[0]] -= 1
        if not self._of[entered[0]]:
            del self._of[entered[0]]
