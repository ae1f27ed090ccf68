"""All rows, in the order of the table."""

from __future__ import annotations

from . import fanout, frames, matching, payloads, roundtrips, rpc, scale, sdk
from .measure import Row


def all_rows() -> list[Row]:
    return [
        *roundtrips.rows(),
        *rpc.rows(),
        *sdk.rows(),
        *fanout.rows(),
        *scale.rows(),
        *payloads.rows(),
        *frames.rows(),
        *matching.rows(),
    ]
