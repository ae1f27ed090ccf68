"""Types of the tables of events in flight; the docstrings are in ``_inflight.pyx``."""

from asyncio import Future
from typing import final

from typing_extensions import disjoint_base

from ._stream import StreamCore

@final
class Call: ...

@final
class ByteBudget:
    def __init__(self, limit: int) -> None: ...
    def room(self, future: Future[None]) -> None: ...
    @property
    def limit(self) -> int: ...
    @property
    def used(self) -> int: ...

@disjoint_base
class AnsweredStream(StreamCore):
    @property
    def held_bytes(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def unasked(self) -> int: ...

@disjoint_base
class InFlight: ...

@final
class InOrder(InFlight): ...

@final
class ByNumber(InFlight): ...
