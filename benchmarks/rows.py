"""All rows, in the order of the table."""

from __future__ import annotations

from . import fanout, frames, kit, payloads, roundtrips, rpc, scale
from .measure import Row


def all_rows() -> list[Row]:
    return [
        *roundtrips.rows(),
        *rpc.rows(),
        *kit.rows(),
        *fanout.rows(),
        *scale.rows(),
        *payloads.rows(),
        *frames.rows(),
    ]
