"""What the benchmark sends, and to whom."""

from __future__ import annotations

import orjson
import pytest

from vconnect.bench.works import PLUGINS, Work, all_works, event_for, events_of, plugin_name

WORKS = all_works()


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_a_payload_has_exactly_its_size(work):
    assert len(orjson.dumps(work.payload)) == work.payload_bytes


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_an_event_goes_to_just_as_many_plugins_as_the_work_says(work):
    wanting = [number for number in range(PLUGINS) if work.event in events_of(number)]
    assert wanting == list(range(work.plugins))


def test_each_line_of_the_table_is_one_of_its_kind():
    assert len({work.name for work in WORKS}) == len(WORKS)
    assert {work.kind for work in WORKS} == {"request", "chain", "fan-out"}
    assert max(work.plugins for work in WORKS) == PLUGINS


def test_only_requests_differ_in_what_is_in_flight_or_how_large_it_is():
    plain = Work(name="")
    for work in WORKS:
        if work.kind != "request":
            assert (work.in_flight, work.payload_bytes) == (plain.in_flight, plain.payload_bytes)


def test_names():
    assert (plugin_name(0), event_for(4)) == ("bench-0", "bench.first.4")
    assert events_of(PLUGINS) == []
    assert events_of(0) == sorted(events_of(0), key=lambda event: int(event.rpartition(".")[2]))
