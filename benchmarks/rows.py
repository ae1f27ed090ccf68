"""All rows, in the order of the table."""

from __future__ import annotations

from . import fanout, frames, roundtrips
from .measure import Row


def all_rows() -> list[Row]:
    return [*roundtrips.rows(), *fanout.rows(), *frames.rows()]
