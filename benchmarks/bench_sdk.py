"""Plugins made with the SDK: the rows of `benchmarks.sdk` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .sdk import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_kit(run_way, row, way):
    run_way(row, way)
