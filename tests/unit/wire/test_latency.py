"""The rows of latencies: cells, moments, labels, and the lines of a histogram."""

from __future__ import annotations

import itertools
import random

import pytest

from vconnect.wire._latency import EDGES_US, MAX_ROWS, OTHER, Row, Rows


def cell_of(us: float) -> int:
    row = Row("e")
    row.observe(us / 1e6)
    (cell,) = [at for at, count in enumerate(row.totals()[0]) if count]
    return cell


def test_cells_are_quarters_of_octaves_from_8_us_to_a_minute() -> None:
    assert (EDGES_US[0], EDGES_US[-1], len(EDGES_US)) == (8, 1 << 26, 93)
    for low, high in itertools.pairwise(EDGES_US[4:]):
        assert 1 < high / low <= 1.25
    assert list(EDGES_US) == sorted(set(EDGES_US))


@pytest.mark.parametrize("at", range(len(EDGES_US)))
def test_an_edge_belongs_to_the_cell_above_it(at: int) -> None:
    edge = EDGES_US[at]
    # Half a microsecond more, since a duration comes in floating seconds.
    assert cell_of(edge + 0.5) == at + 1
    assert cell_of(edge - 0.5) == at


@pytest.mark.parametrize(
    ("seconds", "cell"), [(0.0, 0), (-1.0, 0), (7e-6, 0), (1e6, 93), (68.0, 93)]
)
def test_what_is_beyond_the_edges_has_a_cell(seconds: float, cell: int) -> None:
    assert cell_of(seconds * 1e6) == cell


def test_the_last_minute_is_a_difference() -> None:
    row = Row("e")
    row.observe(0.001)
    row.count(0)
    row.keep(5)
    row.observe(0.001)
    row.observe(0.5)
    row.count(4)
    cells, seconds, outcomes = row.since(5)
    assert (sum(cells), outcomes) == (2, [0, 0, 0, 0, 1, 0, 0, 0, 0])
    assert seconds == pytest.approx(0.501)
    assert sum(row.since(6)[0]) == 3, "a moment at which it was not there"
    assert sum(row.since(5 + 8)[0]) == 2, "the same place"
    assert row.totals()[2] == [1, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("outcome", [-1, 9, 1 << 20])
def test_an_outcome_that_is_none_is_refused(outcome: int) -> None:
    with pytest.raises(ValueError, match="expected a number below 9"):
        Row("e").count(outcome)


def test_time_since_a_moment_is_recorded() -> None:
    row = Row("e")
    row.observe_since(0.0)
    assert row.totals()[0][-1] + sum(row.totals()[0][:-1]) == 1


def test_lines_have_running_sums_that_agree_with_the_cells() -> None:
    row = Row("e")
    made = random.Random(1)
    for _ in range(1000):
        row.observe(made.expovariate(1000))
    ends = tuple(f'le="{edge}"}} '.encode() for edge in EDGES_US)
    upto = tuple(range(1, len(EDGES_US) + 1))
    lines = row.buckets(b"x{", (*ends, b'le="+Inf"} '), (*upto, 94)).splitlines()
    numbers = [int(line.rpartition(b" ")[2]) for line in lines]
    cells = row.totals()[0]
    assert numbers == [sum(cells[: at + 1]) for at in range(94)]
    assert lines[0].startswith(b'x{le="8"} ')


def test_made_up_names_cost_a_bounded_number_of_rows() -> None:
    rows = Rows(str)
    for number in range(100_000):
        rows.row(f"made.up.{number}").count(0)
    found = rows.all()
    assert len(found) == MAX_ROWS + 1
    assert found[-1].event == OTHER
    assert sum(row.totals()[2][0] for row in found) == 100_000


def test_the_same_label_has_the_same_row_and_survives_new_labels() -> None:
    labels = {"a.b": "a"}
    rows = Rows(lambda event: labels.get(event, event))
    first = rows.row("a.b")
    assert rows.row("a.b") is first
    labels["a.b"] = "a.b"
    rows.forget_names()
    assert rows.row("a.b").event == "a.b"
    assert [row.event for row in rows.all()] == ["a", "a.b"]
