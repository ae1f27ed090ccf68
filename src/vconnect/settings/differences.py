"""What has changed between two settings, key by key, and what each change needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .effects import EFFECTS, OPTION_EFFECTS, Effect
from .model import PluginOptions, Settings

#: What is shown instead of a value that may be a secret.
HIDDEN = "***"
_ABSENT = msgspec.UNSET
_encode = msgspec.json.Encoder(order="sorted").encode


class Difference(
    msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}
):
    """A key that has changed.

    Attributes:
        key: The key, such as ``event_timeout``, ``config.limits.rate`` or ``timeout``.
        before: Its value until now; left out if it had none.
        after: Its new value; left out if it has none.
        effect: What the change needs; see `Effect`.
    """

    key: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET
    effect: Effect

    @property
    def root(self) -> str:
        """The key without what is inside of it, such as ``env``."""
        return self.key.partition(".")[0]


def host_differences(old: Settings, new: Settings) -> list[Difference]:
    """Compare the keys of the host, without the tables of single plugins."""
    tables = ("options", "config")
    keys = [key for key in Settings.__struct_fields__ if key not in tables]
    found = [one for key in keys for one in _compare(key, old, new, EFFECTS[key])]
    before, after = _indexes(old), _indexes(new)
    # The first one that has a name decides, so their order is more than one of keys.
    if before != after and sorted(before) == sorted(after):
        found.append(
            Difference(key="sources", before=before, after=after, effect=EFFECTS["sources"])
        )
    return found


def _indexes(settings: Settings) -> list[str]:
    return [place for place, source in settings.sources.items() if source.index]


def option_differences(old: PluginOptions, new: PluginOptions) -> list[Difference]:
    """Compare two tables ``[plugins.options.NAME]``."""
    keys = PluginOptions.__struct_fields__
    found = [one for key in keys for one in _compare(key, old, new, OPTION_EFFECTS[key])]
    return [_without_null(one) for one in found]


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], hidden: frozenset[tuple[str, ...]] = frozenset()
) -> list[Difference]:
    """Compare two configurations of a plugin, value by value.

    Args:
        old: The configuration until now.
        new: The other one.
        hidden: The places of values that are not shown.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    found = []
    for path in [*before, *(path for path in after if path not in before)]:
        one, other = before.get(path, _ABSENT), after.get(path, _ABSENT)
        if not is_same(one, other):
            shown = [HIDDEN if path in hidden and v is not _ABSENT else v for v in (one, other)]
            key = ".".join(("config", *path))
            found.append(Difference(key=key, before=shown[0], after=shown[1], effect="asked"))
    return found


def leaves(
    table: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of nested tables with its path. An empty table counts as a value."""
    for key, value in table.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same, also in their types: 1 is not true, nor 1.0."""
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return _encode(one) == _encode(other)


def _without_null(one: Difference) -> Difference:
    """Return a difference of options, in which ``None`` is no value but that of the host."""
    before, after = (_ABSENT if value is None else value for value in (one.before, one.after))
    return msgspec.structs.replace(one, before=before, after=after)


def _compare(
    key: str, old: msgspec.Struct, new: msgspec.Struct, effect: Effect
) -> list[Difference]:
    before, after = getattr(old, key), getattr(new, key)
    if is_same(before, after):
        return []
    one, other = msgspec.to_builtins(before), msgspec.to_builtins(after)
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [Difference(key=key, before=one, after=other, effect=effect)]
    # A table of tables is shown by its entries.
    hide = key == "env"
    found = []
    for name in [*one, *(name for name in other if name not in one)]:
        was, will = one.get(name, _ABSENT), other.get(name, _ABSENT)
        if not is_same(was, will):
            shown = [HIDDEN if hide and value is not _ABSENT else value for value in (was, will)]
            found.append(
                Difference(key=f"{key}.{name}", before=shown[0], after=shown[1], effect=effect)
            )
    return found
