"""The order of plugins in a chain, and in starts and stops."""

# A chain is ordered by priority, unless a plugin asks to come before or after another. Starts and
# stops are ordered by requirements. These are functions over names; the registry decides which
# plugins are in a chain.

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import msgspec


class Position(msgspec.Struct, frozen=True):
    """A plugin's position relative to others.

    Attributes:
        priority: Higher comes first; the name decides between equal priorities.
        before: Canonical names of plugins that this one precedes, whatever the priorities.
        after: Canonical names of plugins that this one follows, whatever the priorities.
    """

    priority: int = 0
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def dependents(required: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Map each plugin to those that require it, which must stop before it.

    >>> dependents({"a": ["b"], "b": []})
    {'a': set(), 'b': {'a'}}
    """
    found: dict[str, set[str]] = {name: set() for name in required}
    for name, others in required.items():
        for other in others:
            found.setdefault(other, set()).add(name)
    return found


def chain_order(positions: Mapping[str, Position]) -> list[str]:
    """Return the names in chain order.

    Among the plugins that may come next, the one with the highest priority does. Whoever asks for
    an order gives way: a plugin that wants to be before another counts as one of at least its
    priority, and one that wants to be after another waits for it. So no third plugin comes between
    that either of them would be in front of.

    Plugins in a cycle come last, by priority only; `find_cycle` detects cycles, so that they can be
    refused before.

    >>> filter, early = Position(100), Position(0, before=("filter",))
    >>> chain_order({"filter": filter, "reply": Position(10), "early": early})
    ['early', 'filter', 'reply']
    """
    # Kahn's algorithm, with a heap in place of the queue so that priorities decide.
    followers = _followers(positions)
    ahead = dict.fromkeys(positions, 0)
    for names in followers.values():
        for name in names:
            ahead[name] += 1
    ranks = {name: _rank(name, positions) for name in positions}
    ready = [ranks[name] for name in positions if not ahead[name]]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, name = heapq.heappop(ready)
        ordered.append(name)
        for follower in followers[name]:
            ahead[follower] -= 1
            if not ahead[follower]:
                heapq.heappush(ready, ranks[follower])
    # A cycle is refused when a plugin starts, but plugins that are not up count here too.
    caught = positions.keys() - set(ordered)
    by_priority = sorted((-positions[name].priority, name) for name in caught)
    return ordered + [name for _, name in by_priority]


def find_cycle(positions: Mapping[str, Position], start: str) -> list[str]:
    """Return a cycle through ``start``, which comes first and last; empty if there is none."""
    followers = _followers(positions)
    came_from: dict[str, str] = {}
    to_visit = [start]
    while to_visit:
        name = to_visit.pop()
        for follower in sorted(followers[name]):
            if follower == start:
                return [*_path_to(name, start, came_from), start]
            if follower not in came_from:
                came_from[follower] = name
                to_visit.append(follower)
    return []


def _path_to(name: str, start: str, came_from: Mapping[str, str]) -> list[str]:
    path = [name]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _followers(positions: Mapping[str, Position]) -> dict[str, set[str]]:
    """Map each name to those that must come after it; unknown names are ignored."""
    followers: dict[str, set[str]] = {name: set() for name in positions}
    for name, position in positions.items():
        followers[name].update(other for other in position.before if other in positions)
        for other in position.after:
            if other in positions:
                followers[other].add(name)
    return followers


def _rank(name: str, positions: Mapping[str, Position]) -> tuple[int, str]:
    """Rank by the highest priority of the plugin and of those that it asks to be before."""
    reached, to_visit = {name}, [name]
    while to_visit:
        for other in positions[to_visit.pop()].before:
            if other in positions and other not in reached:
                reached.add(other)
                to_visit.append(other)
    return -max(positions[one].priority for one in reached), name
