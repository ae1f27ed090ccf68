"""Fuzz the compiled frame decoder against the reference decoder."""

from __future__ import annotations

import sys

from tests.support.reference import ReferenceDecoder

from vconnect._framing import FrameDecoder
from vconnect.errors import RemoteProtocolError

_SETTINGS_BYTES = 2


def check(data: bytes) -> int:
    """Feed ``data`` to both decoders and compare what they return after each piece.

    The first byte chooses the limit on frames and the second the length of the pieces; the rest
    is the stream.

    Returns:
        How many frames were decoded.

    Raises:
        AssertionError: The decoders differ.
    """
    if len(data) < _SETTINGS_BYTES:
        return 0
    limit, step = data[0] + 1, data[1] + 1
    stream = data[_SETTINGS_BYTES:]
    reference, decoder = ReferenceDecoder(limit), FrameDecoder(limit)
    frames = 0
    for start in range(0, len(stream), step):
        piece = stream[start : start + step]
        expected = reference.feed(piece)
        code, payloads = _feed(decoder, piece)
        assert code == reference.code, (code, reference.code)
        assert payloads == expected, (payloads, expected)
        if code:
            return frames
        assert decoder.buffered_bytes == len(reference.buffer)
        frames += len(payloads)
    assert _finish(decoder) == ("incomplete" if reference.buffer else "")
    return frames


def _feed(decoder: FrameDecoder, piece: bytes) -> tuple[str, list[bytes]]:
    try:
        return "", decoder.feed(piece)
    except RemoteProtocolError as error:
        return error.code, []


def _finish(decoder: FrameDecoder) -> str:
    try:
        decoder.finish()
    except RemoteProtocolError as error:
        return error.code
    return ""


def main() -> None:
    """Run until a crash, or for as long as the options of libFuzzer allow."""
    import atheris

    atheris.instrument_all()  # the compiled decoder has no counters; the reference has them
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
