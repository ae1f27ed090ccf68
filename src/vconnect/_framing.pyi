"""Types of frames and events; the docstrings are in ``_framing.pyx``."""

from typing import Any, Final, final

HEADER_BYTES: Final[int]
DEFAULT_MAX_FRAME_BYTES: Final[int]

def encode_frame(message: object, max_frame_bytes: int = ...) -> bytes: ...
def parse_message(payload: bytes | bytearray | memoryview) -> Any: ...

@final
class EventName:
    def __init__(self, classic: bytes, native: bytes, is_own: bool = False) -> None: ...

@final
class Event:
    def __init__(
        self,
        name: EventName,
        payload: object,
        max_frame_bytes: int = ...,
        trace: str | None = ...,
    ) -> None: ...
    @property
    def classic_frame(self) -> bytes: ...
    def native_frame(self, number: int, deadline_ms: int, hops: int = ...) -> bytes: ...

@final
class FrameDecoder:
    def __init__(self, max_frame_bytes: int = ...) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]: ...
    def finish(self) -> None: ...
    @property
    def buffered_bytes(self) -> int: ...
