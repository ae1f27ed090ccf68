"""Structs that turn into plain JSON, for web frameworks and logs."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson


class Plain(msgspec.Struct, frozen=True):
    """The base of what callers get from the host."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dictionary of what JSON has: dictionaries, lists, text and numbers."""
        return msgspec.json.decode(self.to_json(), type=dict[str, Any])

    def to_json(self) -> bytes:
        """Return it as JSON in UTF-8."""
        return msgspec.json.encode(self, enc_hook=_as_sent)


def _as_sent(value: Any) -> Any:
    """Return a value of a type that only the encoder of payloads knows, as plugins get it."""
    return orjson.loads(orjson.dumps(value))
