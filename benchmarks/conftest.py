"""How rows become pytest-benchmark's benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .measure import Row, Way, calibrate
from .peers import Peers

ROUNDS = 5
#: How long one round takes, about; the whole run stays below two minutes.
ROUND_S = 0.03

_LEFT_OUT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def peers() -> Iterator[Peers]:
    with Peers() as built:
        yield built


@pytest.fixture
def run_way(benchmark, peers: Peers) -> Callable[[Row, Way], None]:
    """Benchmark one way of a row; a round is ``operations`` (see the extra information).

    With ``--benchmark-disable`` every way does its smallest burst once.
    """

    def run(row: Row, way: Way) -> None:
        benchmark.group = row.name
        with peers.placed(row.placement), way.open(peers) as burst:
            operations = row.step if benchmark.disabled else calibrate(burst, row.step, ROUND_S)
            benchmark.extra_info["operations"] = operations
            benchmark.pedantic(burst, args=(operations,), rounds=ROUNDS)

    return run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run; the summary names it in one line."""
    here = Path(__file__).parent
    probe = Peers()
    try:
        reasons = {
            item: reason
            for item in items
            if item.path.is_relative_to(here) and (reason := _obstacle(probe, item))
        }
    finally:
        probe.close()
    if reasons:
        config.stash[_LEFT_OUT] = sorted(set(reasons.values()))
        config.hook.pytest_deselected(items=list(reasons))
        items[:] = [item for item in items if item not in reasons]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if reasons := config.stash.get(_LEFT_OUT, None):
        terminalreporter.write_line(f"benchmarks left out: {'; '.join(reasons)}")


def _obstacle(peers: Peers, item: pytest.Item) -> str | None:
    """Return why a way cannot run here, or ``None`` if it can."""
    assert isinstance(item, pytest.Function)
    parameters: dict[str, Any] = item.callspec.params
    row, way = parameters["row"], parameters["way"]
    if lacking := peers.lacks(way.needs):
        return f"{way} needs {', '.join(lacking)}"
    if not peers.can_place(row.placement):
        return f"{row} needs another core"
    return None
