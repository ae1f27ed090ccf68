"""Which plugin has which name, if several claim one."""

# The model is dpkg: what is installed keeps what it has, and a newcomer that wants the same is
# refused by name. Without knowing who was first, nobody gets it: a winner by the order of
# directories would be decided by whoever chooses its name best.

from __future__ import annotations

from collections.abc import Mapping


def settle(
    claims: Mapping[str, set[str]], before: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Decide who has each name.

    Args:
        claims: The names that each plugin gives itself, by plugin.
        before: Who had each name when that was last decided.

    Returns:
        Who has each name; and why plugins cannot be used, by plugin.

    >>> settle({"a": {"a"}, "b": {"b", "a"}}, {"a": "a"})[1]
    {'b': "its name 'a' belongs to a, which had it before"}
    >>> settle({"a": {"a"}, "b": {"b", "a"}}, {})[1]
    {'a': "its name 'a' is also one of b", 'b': "its name 'a' is also one of a"}
    """
    claimants: dict[str, set[str]] = {}
    for plugin, names in claims.items():
        for name in names:
            claimants.setdefault(name, set()).add(plugin)
    owners: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, plugins in sorted(claimants.items()):
        first = next(iter(plugins)) if len(plugins) == 1 else before.get(name)
        if first in plugins:
            owners[name] = first
        for plugin in sorted(plugins - {owners.get(name)}):
            others = ", ".join(sorted(plugins - {plugin}))
            problem = (
                f"belongs to {first}, which had it before"
                if name in owners
                else (f"is also one of {others}")
            )
            problems.setdefault(plugin, f"its name {name!r} {problem}")
    return owners, problems
