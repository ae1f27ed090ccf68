"""Splits bytes into lines, as many as may pass; further lines are counted without a copy."""

from __future__ import annotations

from .text import MAX_LINE_BYTES


class LineSplitter:
    """Splits a byte stream into lines; a line that is too long is split at the limit.

    It never holds more than one line of the maximum length.
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
        """Process bytes.

        Args:
            data: The bytes that were read.
            room: The maximum number of lines to return.

        Returns:
            The lines that ``data`` completes, without their ends, at most ``room``; and how many
            more there were. Of a line that is split, each part that is returned counts as a line,
            and the rest counts once.
        """
        # The rest of a line that was already counted as skipped must not show up as a line.
        if self._skipping:
            _, end, data = data.partition(b"\n")
            if not end:
                return [], 0
            self._skipping = False
        data, self._partial = self._partial + data, b""
        lines: list[bytes] = []
        position = 0
        while len(lines) < room:
            # One more than the limit, so that a line of exactly that length finds its end.
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
        """Return what follows the last line end."""
        rest, self._partial = self._partial, b""
        self._skipping = False
        return rest

    def _skip(self, data: bytes, position: int) -> int:
        """Count the lines from ``position`` on, without copying: a flood must stay cheap."""
        if position == len(data):
            return 0
        self._skipping = not data.endswith(b"\n")
        return data.count(b"\n", position) + self._skipping
