"""Plugins made with the kit: the rows of `benchmarks.kit` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .kit import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_kit(run_way, row, way):
    run_way(row, way)
