"""Values as JSON, whatever plugins have put into them."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from vconnect.logs.records import LogRecord

# Fewer than the encoder writes, for what stands around it.
_MAX_LEVELS = 240


def encode(value: Any) -> bytes:
    """Encode ``value`` as JSON, in which structs become objects."""
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError:
        # A path or a line of output that is not UTF-8 contains lone surrogates, which JSON cannot
        # represent. One such name must not make all other plugins unavailable.
        return orjson.dumps(mended(value), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, LogRecord):
        return plain_record(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


def plain_record(record: LogRecord) -> dict[str, Any]:
    """Return a record of a log as `encode` takes it.

    Its fields are inserted as they are, encoded: decoded they may be twenty times as large.
    """
    plain = msgspec.structs.asdict(record)
    plain["fields"] = orjson.Fragment(plain.pop("fields_json"))
    return plain


def mended(value: Any, level: int = 0) -> Any:
    """Return a value that can be encoded, with words in place of what cannot.

    Args:
        value: The value.
        level: In how many others it is.
    """
    if isinstance(value, msgspec.Struct):
        value = _plain(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, dict | list | tuple) and level >= _MAX_LEVELS:
        return "nested too deeply"
    if isinstance(value, dict):
        return {mended(key): mended(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mended(item, level + 1) for item in value]
    return value
