"""What ``vconnect bench`` measures: each work sends one kind of event repeatedly."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["request", "chain", "fan-out"]
# One caller shows the latency, 64 (the default window) the throughput.
IN_FLIGHT = (1, 64)
CHAINS = (1, 4, 16)
FAN_OUTS = (1, 10, 100)
# Around the sizes at which the core changes its method: copied or viewed (1 KiB), kept or read
# directly (16 KiB), joined or passed on (64 KiB).
_PAYLOADS = {"128 B": 128, "1 KiB": 1024, "16 KiB": 16 * 1024, "1 MiB": 1024 * 1024}
# As many as the largest work needs; the others use the first of them.
PLUGINS = max(*CHAINS, *FAN_OUTS)

_SMALL = _PAYLOADS["128 B"]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the result.

    Attributes:
        name: Its name in the table.
        kind: How an event is sent to the plugins.
        plugins: How many plugins get it.
        in_flight: The number of concurrent callers, each of which waits for its answer.
        payload_bytes: The size of the payload as JSON, in each direction.
    """

    name: str
    kind: Kind = "request"
    plugins: int = 1
    in_flight: int = 1
    payload_bytes: int = _SMALL

    @property
    def event(self) -> str:
        """The name of the event."""
        return event_for(self.plugins)

    @property
    def payload(self) -> dict[str, Any]:
        """An object of exactly `payload_bytes` bytes of JSON."""
        return {"content": "x" * (self.payload_bytes - len('{"content":""}'))}


def all_works() -> list[Work]:
    """Return all works in the order of the table."""
    return [
        *(Work(name=f"request, {count} in flight", in_flight=count) for count in IN_FLIGHT),
        *(Work(name=f"chain of {count}", kind="chain", plugins=count) for count in CHAINS),
        *(Work(name=f"fan-out to {count}", kind="fan-out", plugins=count) for count in FAN_OUTS),
        *(
            Work(name=f"payload of {label}", payload_bytes=size)
            for label, size in _PAYLOADS.items()
        ),
    ]


def plugin_name(number: int) -> str:
    """Return the name of a plugin."""
    return f"bench-{number}"


def event_for(plugins: int) -> str:
    """Return the name of the event for the first ``plugins`` plugins."""
    return f"bench.first.{plugins}"


def events_of(number: int) -> list[str]:
    """List the events that plugin ``number`` declares."""
    return [event_for(count) for count in sorted({*CHAINS, *FAN_OUTS}) if number < count]
