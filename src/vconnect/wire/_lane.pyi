"""Types of a lane; the docstrings are in ``_lane.pyx``."""

from asyncio import BufferedProtocol, Future
from collections.abc import Callable
from typing import Any, Protocol

from typing_extensions import disjoint_base

from vconnect._framing import Event, EventName

from ._fan_out import Delivery
from ._inflight import AnsweredStream, ByteBudget
from ._latency import Rows

class Account(Protocol):
    """Is charged for answers, in seconds of processor time."""

    def pay(self, seconds: float) -> None: ...

class LaneOwner(Protocol):
    """The callbacks of a serving lane; the first two only in the native dialect.

    ``held_loop`` reports a read that took longer than 100 ms, ``charged`` a long piece of
    unsolicited work, and ``writable`` that calls can be served again: the peer has read most of
    what was sent, or it is no longer over budget.
    """

    def called(self, payload: bytes) -> bool: ...
    def abandoned(self, number: int) -> None: ...
    def held_loop(self, seconds: float) -> None: ...
    def charged(self, seconds: float) -> None: ...
    def writable(self) -> None: ...
    def disconnected(self, error: Exception | None) -> None: ...

@disjoint_base
class LaneCore(AnsweredStream):
    def serve(
        self,
        owner: LaneOwner,
        plugin: str,
        *,
        window: int,
        max_queued: int,
        max_abandoned: int,
        stuck_after: float,
        read_data: Callable[[dict[str, Any]], Any] | None = ...,
        native: bool = ...,
        max_notified: int = ...,
        max_queued_bytes: int = ...,
        total: ByteBudget | None = ...,
        max_frame_bytes: int | None = ...,
        max_answer_bytes: int | None = ...,
        max_values: int = ...,
        max_keys: int = ...,
        rows: Rows | None = ...,
    ) -> None: ...
    def call(
        self, message: Event | bytes, deadline: float, hops: int = ..., began: float = ...
    ) -> Future[dict[str, Any]]: ...
    def request(
        self,
        name: EventName,
        payload: object,
        timeout: float,
        hops: int = ...,
        account: Account | None = ...,
        trace: str | None = ...,
    ) -> Future[Any]: ...
    def deliver(
        self,
        message: Event | bytes,
        delivery: Delivery,
        deadline: float,
        hops: int = ...,
        began: float = ...,
    ) -> None: ...
    def tell(
        self, message: Event | bytes, overflow: str = ..., hops: int = ..., published: bool = ...
    ) -> bool: ...
    def room(self, message: Event | bytes) -> Future[None]: ...
    def charge_call(self, size: int) -> None: ...
    def release_call(self, size: int) -> None: ...
    def read_call(self, payload: bytes) -> dict[str, Any] | None: ...
    def sweep(self) -> None: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def lost(self) -> list[bytes]: ...
    @property
    def dropped(self) -> int: ...
    @property
    def displaced(self) -> int: ...

class Lane(LaneCore, BufferedProtocol): ...
