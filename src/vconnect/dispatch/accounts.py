"""What the answers of one plugin to another may cost the host."""

# The plugin that answers decides how large its answer is, and the one that asks decides how often.
# So neither may pay alone: if the caller did, a hostile plugin could keep it from its other work
# with huge answers; if the one that answers did, a hostile caller could do that to it. Each pair
# has an account of its own, and what is refused when it is overdrawn is the next call of this pair.

from __future__ import annotations

import time
from collections.abc import Callable

from vconnect.bucket import Bucket
from vconnect.errors import HostCallError

# Seconds of processor time: at once, and per second.
_BURST = 0.010
_RATE = 0.050


class Account:
    """The account of the calls of one plugin to another.

    Args:
        clock: Returns monotonic seconds.
    """

    __slots__ = ("_bucket",)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = Bucket(_BURST, _RATE, clock)

    def pay(self, seconds: float) -> None:
        """Charge processor time."""
        self._bucket.take(seconds)

    def check(self, plugin: str) -> None:
        """Refuse another call while the account is overdrawn.

        Raises:
            HostCallError: ``overloaded``; it says when the next call is possible.
        """
        if self._bucket.level() < 0:
            raise HostCallError(
                "overloaded",
                f"the answers of {plugin} to this plugin are too large for their number; the next "
                f"call is possible in {self._bucket.seconds_until(0):.1f} s",
            )
