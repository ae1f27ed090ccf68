"""Round trips: the rows of `benchmarks.roundtrips` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .roundtrips import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_roundtrips(run_way, row, way):
    run_way(row, way)
