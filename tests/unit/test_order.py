"""The order of a chain, from what its plugins ask for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vconnect.order import Position, chain_order, dependents, find_cycle


def at(priority: int = 0, before: str = "", after: str = "") -> Position:
    return Position(priority, tuple(before.split()), tuple(after.split()))


def test_by_priority_then_by_name():
    positions = {"c": at(1), "b": at(1), "a": at(-1), "d": at(9)}
    assert chain_order(positions) == ["d", "b", "c", "a"]
    assert chain_order({}) == []


def test_before_and_after_win_over_priority():
    assert chain_order({"a": at(9, after="b"), "b": at(0), "c": at(5)}) == ["c", "b", "a"]
    assert chain_order({"a": at(9), "b": at(0, before="a"), "c": at(5)}) == ["b", "a", "c"]
    assert chain_order({"a": at(0, before="b"), "b": at(9, after="a")}) == ["a", "b"]


def test_a_whole_line():
    positions = {"a": at(5, after="b"), "b": at(4, after="c"), "c": at(3, after="d"), "d": at()}
    assert chain_order(positions) == ["d", "c", "b", "a"]
    assert find_cycle(positions, "a") == []


def test_names_of_nobody_count_for_nothing():
    positions = {"a": at(0, before="x y"), "b": at(1, after="z")}
    assert chain_order(positions) == ["b", "a"]
    assert find_cycle(positions, "a") == []


def test_a_cycle_is_named_from_whoever_is_asked_for():
    positions = {"a": at(before="b"), "b": at(before="c"), "c": at(before="a"), "d": at(after="a")}
    assert find_cycle(positions, "a") == ["a", "b", "c", "a"]
    assert find_cycle(positions, "c") == ["c", "a", "b", "c"]
    assert find_cycle(positions, "d") == []
    assert find_cycle({"a": at(before="a")}, "a") == ["a", "a"]
    assert find_cycle({"a": at(before="b", after="b"), "b": at()}, "a") == ["a", "b", "a"]


def test_who_is_in_a_cycle_comes_last_by_priority():
    positions = {"a": at(8, before="b"), "b": at(9, before="a"), "c": at(0), "d": at(1, after="c")}
    assert chain_order(positions) == ["c", "d", "b", "a"]


names = st.sampled_from("abcdef")
positions = st.dictionaries(
    names,
    st.builds(
        Position,
        st.integers(-2, 2),
        st.lists(names, max_size=2).map(tuple),
        st.lists(names, max_size=2).map(tuple),
    ),
)


@given(positions)
def test_nobody_is_lost_and_every_wish_that_can_be_is_met(given_positions):
    order = chain_order(given_positions)
    assert sorted(order) == sorted(given_positions)
    cycles = {name: find_cycle(given_positions, name) for name in given_positions}
    for cycle in filter(None, cycles.values()):
        assert cycle[0] == cycle[-1]
        for one, other in pairwise(cycle):
            wanted = other in given_positions[one].before or one in given_positions[other].after
            assert wanted
    if any(cycles.values()):
        return
    place = {name: order.index(name) for name in order}
    for name, position in given_positions.items():
        assert all(place[name] < place[other] for other in position.before if other in place)
        assert all(place[name] > place[other] for other in position.after if other in place)


def test_who_depends_on_whom():
    required = {"a": ["b", "c"], "b": ["c"], "c": [], "d": ["gone"]}
    assert dependents(required) == {
        "a": set(),
        "b": {"a"},
        "c": {"a", "b"},
        "d": set(),
        "gone": {"d"},
    }
