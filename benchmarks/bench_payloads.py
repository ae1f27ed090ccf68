"""Large payloads: the rows of `benchmarks.payloads` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .payloads import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_payloads(run_way, row, way):
    run_way(row, way)
