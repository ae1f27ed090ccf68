"""gRPC and ZeroMQ: the rows of `benchmarks.rpc` for pytest-benchmark."""

from __future__ import annotations

import pytest

from .rpc import rows

WAYS = [(row, way) for row in rows() for way in row.ways]


@pytest.mark.parametrize(("row", "way"), WAYS, ids=str)
def test_rpc(run_way, row, way):
    run_way(row, way)
