"""Fan-outs and chains: the rows of `benchmarks.fanout` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .fanout import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_fanout(run_way, row, way):
    run_way(row, way)
