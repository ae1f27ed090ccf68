"""Bytes cut into lines, as many as may pass; the rest is counted without being looked at."""

from __future__ import annotations

from .text import MAX_LINE_BYTES


class LineSplitter:
    """Cuts a byte stream into lines; one that is too long is cut where the limit falls.

    Whatever comes, it holds no more than one line of the longest that is allowed.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._partial = b""
        self._skipping = False

    @property
    def is_skipping(self) -> bool:
        """Whether a line that was counted as skipped has not ended yet."""
        return self._skipping

    def feed(self, data: bytes, room: int) -> tuple[list[bytes], int]:
        """Take bytes.

        Args:
            data: What was read.
            room: How many lines are wanted.

        Returns:
            The lines that ``data`` completes, without their ends, ``room`` of them at most; and
            how many more there were. Of a line that is cut, each part counts while there is room
            and all that follows counts once.
        """
        if self._skipping:
            _, end, data = data.partition(b"\n")
            if not end:
                return [], 0
            self._skipping = False
        data, self._partial = self._partial + data, b""
        lines: list[bytes] = []
        position = 0
        while len(lines) < room:
            end_at = data.find(b"\n", position, position + self._max + 1)
            if end_at >= 0:
                lines.append(data[position:end_at])
                position = end_at + 1
            elif len(data) - position > self._max:
                lines.append(data[position : position + self._max])
                position += self._max
            else:
                self._partial = data[position:]
                return lines, 0
        return lines, self._skip(data, position)

    def finish(self) -> bytes:
        """Return what stands after the last line's end."""
        rest, self._partial = self._partial, b""
        self._skipping = False
        return rest

    def _skip(self, data: bytes, position: int) -> int:
        """Count the lines from ``position`` on: a flood has to be cheap, so no line is made."""
        if position == len(data):
            return 0
        self._skipping = not data.endswith(b"\n")
        return data.count(b"\n", position) + self._skipping
