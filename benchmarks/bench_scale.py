"""A thousand plugins: the rows of `benchmarks.scale` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .scale import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_scale(run_way, row, way):
    run_way(row, way)
