"""Conditions: the rows of `benchmarks.matching` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .matching import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_matching(run_way, row, way):
    run_way(row, way)
