"""Parses a line of output: its level, and its fields if it is JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import orjson

from vconnect.names import LogLevel

from .text import MAX_LINE_BYTES, decode_line, strip_controls

Stream = Literal["stdout", "stderr", "log", "host"]

_NO_FIELDS = b"{}"

_SPELLINGS: Mapping[LogLevel, str] = {
    "trace": "trace verbose",
    "debug": "debug dbg",
    "info": "info inf information notice",
    "warn": "warn warning wrn",
    "error": "error err critical crit fatal panic alert emerg emergency",
}
_LEVEL_OF = {word: level for level, words in _SPELLINGS.items() for word in words.split()}
_LEVEL_KEYS = ("level", "severity", "lvl")
_MESSAGE_KEYS = ("message", "msg", "text")
# Dropped, because the host records its own time, and one time per line is enough.
_TIME_KEYS = ("time", "timestamp", "ts", "@timestamp")

_WORDS = "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL"
_STAMP = r"\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?"
# The start of a line: "ERROR name: ", "[error] ", "[TIME WARN name] ", "TIME - name - ERROR".
# In brackets case does not matter; without them, only uppercase is a level rather than a word.
_LEADING = re.compile(
    rf"\s*\[?(?:{_STAMP}\]?\s+)?(?:-\s+)?(?:[\w.]+ - )?"
    rf"(?:(?P<plain>{_WORDS})(?=[\]:\s|]|$)|[\[<(]\s*(?i:(?P<framed>{_WORDS}))\s*[\]>)])"
)
_LOGFMT = re.compile(r"(?:^|\s)(?:level|lvl|severity)=\"?([A-Za-z]+)")


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a plugin's output.

    Attributes:
        seq: Its sequence number in the plugin's log; consecutive.
        time: When the host read it, in Unix seconds.
        stream: ``stdout``, ``stderr``, ``log`` (the native call), or ``host`` for the host's own
            remarks about the output.
        level: Its level, parsed or guessed; see `parse_line`.
        text: The text, without line end and control characters.
        fields_json: A JSON object. It is kept encoded, because decoded it may be twenty times as
            large.
    """

    seq: int
    time: float
    stream: Stream
    level: LogLevel
    text: str
    fields_json: bytes = _NO_FIELDS

    @property
    def fields(self) -> dict[str, Any]:
        """The fields, decoded, by name."""
        fields: dict[str, Any] = orjson.loads(self.fields_json)
        return fields

    def line(self) -> str:
        """Format text and fields as one line, which may still contain control characters."""
        if self.fields_json == _NO_FIELDS:
            return self.text
        words = [self.text, *(f"{key}={_shown(value)}" for key, value in self.fields.items())]
        return " ".join(filter(None, words))[:MAX_LINE_BYTES]


class Content(msgspec.Struct, frozen=True, gc=False):
    """The content of a line, as parsed."""

    level: LogLevel
    text: str
    fields_json: bytes = _NO_FIELDS


def parse_line(line: bytes) -> Content:
    """Parse a line as JSON if it is an object, else as text that may begin with a level."""
    # The test costs nothing; parsing every line as JSON would.
    if line.startswith(b"{"):
        parsed = _parse_json(line)
        if parsed is not None:
            return parsed
    text = decode_line(line)
    return Content(guess_level(text), text)


def from_call(level: str, message: str, fields: Mapping[str, Any]) -> Content:
    """Build the content of a record that a plugin sent as a call, with its level and fields."""
    # The record is kept all the same: a bad field is no reason to lose the message.
    encoded = _encode(fields) or orjson.dumps({"fields": "nested too deeply"})
    if len(encoded) > MAX_LINE_BYTES:
        encoded = orjson.dumps({"fields": f"{len(encoded)} bytes, more than {MAX_LINE_BYTES}"})
    return Content(_level_of(level), _one_line(message[:MAX_LINE_BYTES]), encoded)


def guess_level(text: str) -> LogLevel:
    """Find the level at the start of a line of text, or in ``level=``; else return ``info``."""
    found = _LEADING.match(text)
    if found is not None:
        return _LEVEL_OF[(found["plain"] or found["framed"]).lower()]
    if "=" in text:
        found = _LOGFMT.search(text)
        if found is not None:
            return _LEVEL_OF.get(found[1].lower(), "info")
    return "info"


def _parse_json(line: bytes) -> Content | None:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    fields = _flattened(values)
    level = _level_of(_take(fields, _LEVEL_KEYS))
    message = _take(fields, _MESSAGE_KEYS)
    for key in _TIME_KEYS:
        fields.pop(key, None)
    encoded = _encode(fields)
    # Decoded and not encodable: as text, its level can still be guessed.
    if encoded is None:
        return None
    text = message if isinstance(message, str) else "" if message is None else _shown(message)
    return Content(level, _one_line(text), encoded)


def _flattened(values: dict[str, Any]) -> dict[str, Any]:
    """Flatten the ``fields`` object in which Rust's tracing nests message and fields."""
    inner = values.get("fields")
    if isinstance(inner, dict) and not any(key in values for key in _MESSAGE_KEYS):
        return {key: value for key, value in values.items() if key != "fields"} | inner
    return values


def _take(fields: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """Remove the first of ``keys`` that is present, and return its value."""
    for key in keys:
        if key in fields:
            return fields.pop(key)
    return None


def _level_of(value: Any) -> LogLevel:
    if isinstance(value, str):
        return _LEVEL_OF.get(value.lower(), "info")
    if isinstance(value, int):  # pino and bunyan: 10 trace, 20 debug, 30 info, 40 warn, 50 error
        levels: tuple[LogLevel, ...] = ("trace", "debug", "info", "warn", "error")
        # Out-of-range numbers are clamped; 60 is "fatal", which is an error here.
        return levels[min(max(value // 10 - 1, 0), 4)]
    return "info"


def _encode(fields: Mapping[str, Any]) -> bytes | None:
    """Encode fields; return ``None`` if they are nested too deeply for the encoder."""
    if not fields:
        return _NO_FIELDS
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:
        return None


def _one_line(text: str) -> str:
    """Turn several lines into one, with visible line ends."""
    return strip_controls(text.replace("\n", "\\n"))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
