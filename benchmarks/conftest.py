"""How rows become pytest-benchmark's benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .measure import Row, Way
from .peers import Peers

ROUNDS = 5
#: One round does about this many operations: a fraction of a second for the slowest.
OPERATIONS = 2_000


@pytest.fixture(scope="session")
def peers() -> Iterator[Peers]:
    with Peers() as built:
        yield built


@pytest.fixture
def run_way(benchmark, peers: Peers) -> Callable[[Row, Way], None]:
    """Benchmark one way of a row; a round is ``operations`` (see the extra information)."""

    def run(row: Row, way: Way) -> None:
        if lacking := peers.lacks(way.needs):
            pytest.skip(f"needs {', '.join(lacking)}")
        if not peers.can_place(row.placement):
            pytest.skip("needs another core")
        operations = max(1, OPERATIONS // row.step) * row.step
        benchmark.group = row.name
        benchmark.extra_info["operations"] = operations
        with peers.placed(row.placement), way.open(peers) as burst:
            benchmark.pedantic(burst, args=(operations,), rounds=ROUNDS, warmup_rounds=1)

    return run
