"""The decoder in 30 lines of Python: slow, obvious, and the oracle for the compiled one."""

from __future__ import annotations


class ReferenceDecoder:
    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.buffer = b""
        self.code = ""

    def feed(self, data: bytes) -> list[bytes]:
        """Return payloads; after an error (its word is in ``code``), none any more."""
        if self.code:
            return []
        self.buffer += data
        payloads = []
        while len(self.buffer) >= 4:
            length = int.from_bytes(self.buffer[:4], "big")
            if length == 0 or length > self.max_frame_bytes:
                self.code = "frame_too_large" if length else "empty_frame"
                return []
            if len(self.buffer) < 4 + length:
                break
            payloads.append(self.buffer[4 : 4 + length])
            self.buffer = self.buffer[4 + length :]
        return payloads
