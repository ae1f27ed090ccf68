"""The compiled decoder and stream against the reference: any bytes, any cuts."""

from __future__ import annotations

import asyncio
import random
import resource
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.reference import ReferenceDecoder
from tests.support.wire_kit import Owner, open_lane, open_stream, raw_frame, soon, until

from vconnect._framing import FrameDecoder
from vconnect.errors import RemoteProtocolError

LIMIT = 300
frames = st.binary(min_size=1, max_size=LIMIT + 2).map(raw_frame)
streams = st.lists(st.one_of(frames, frames, frames, st.binary(max_size=6)), max_size=12)
cuts = st.lists(st.integers(0, 4000), max_size=20)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(max_examples=1500, deadline=None)
@given(streams.map(b"".join), cuts)
def test_the_decoder_agrees_with_the_reference(data, at):
    reference, decoder = ReferenceDecoder(LIMIT), FrameDecoder(LIMIT)
    for piece in pieces(data, at):
        expected = reference.feed(piece)
        if reference.code:
            with pytest.raises(RemoteProtocolError) as broken:
                decoder.feed(piece)
            assert broken.value.code == reference.code
        else:
            assert decoder.feed(piece) == expected
            assert decoder.buffered_bytes == len(reference.buffer)


def peak_kib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


@pytest.mark.both_loops
async def test_a_hundred_thousand_frames_in_random_cuts():
    rng = random.Random(7)
    owner = Owner()
    seen = 0

    async with open_stream(owner) as (_, peer):

        async def send(count: int) -> None:
            """Send frames of all sizes, and check that the same ones arrive."""
            nonlocal seen
            sizes = [rng.choice((0, 1, 7, 100)) for _ in range(count)]
            sizes[rng.randrange(count)] = rng.choice((1_000, 20_000, 70_000, 400_000))
            data = b"".join(
                raw_frame(b'{"n":%d,"x":"%b"}' % (seen + n, b"x" * size))
                for n, size in enumerate(sizes)
            )
            at = [rng.randrange(len(data)) for _ in range(rng.randrange(40))]
            for piece in pieces(data, at):
                await peer.write(piece)
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
            await until(lambda: len(owner.messages) == count)
            for n, (message, size) in enumerate(zip(owner.messages, sizes, strict=True)):
                assert message["n"] == seen + n
                assert len(message["x"]) == size
            owner.messages.clear()
            seen += count

        await send(1000)  # what is needed once is there now
        before = peak_kib()
        for _ in range(100):
            await send(1000)
        assert peak_kib() - before < 32 * 1024
        assert owner.ends == []


@pytest.mark.both_loops
async def test_garbage_ends_connections_and_nothing_else():
    rng = random.Random(11)
    before = peak_kib()
    for _ in range(500):
        owner = Owner()
        # Half of them begin well, so that the garbage meets a stream in the midst of its work.
        data = raw_frame(b'{"n":1}') * rng.randrange(2) + rng.randbytes(rng.randrange(1, 200))
        async with open_lane(owner) as (lane, peer, _):
            call = lane.call(raw_frame(b"{}"), soon())
            await peer.write(data)
            peer.close()
            await owner.end()
            assert call.done()
            call.exception()
    assert peak_kib() - before < 32 * 1024
