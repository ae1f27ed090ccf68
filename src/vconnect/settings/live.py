"""The settings in force, and the parts of them that the host's classes hold."""

# The idea: every class of the host reads its part when it needs a value, and none of them can write
# to it. So a change of the settings need not be carried to each of them: the parts themselves are
# brought up to date, all at once, between two turns of the event loop.

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from .model import Settings

P = TypeVar("P", bound=msgspec.Struct)


class LiveSettings:
    """The settings of a running host.

    Args:
        settings: The settings to begin with.

    Attributes:
        now: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.now = settings
        self._parts: dict[type[msgspec.Struct], msgspec.Struct] = {}

    def part(self, kind: type[P]) -> P:
        """Return the part that ``kind`` describes. Its values change with the settings."""
        if kind not in self._parts:
            self._parts[kind] = self.now.part(kind)
        return cast("P", self._parts[kind])

    def follow(self, settings: Settings) -> None:
        """Bring other settings into force, in every part that was handed out."""
        self.now = settings
        for kind, part in self._parts.items():
            _take_over(part, settings.part(kind))


def _take_over(part: msgspec.Struct, newer: msgspec.Struct) -> None:
    for name in part.__struct_fields__:
        value: Any = getattr(newer, name)
        if isinstance(value, msgspec.Struct):
            _take_over(getattr(part, name), value)
        else:
            msgspec.structs.force_setattr(part, name, value)
