"""Parses lines of output: their levels, and their fields if they are JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import orjson

from vconnect.names import LogLevel

from .text import MAX_LINE_BYTES, decode_line, strip_controls

Stream = Literal["stdout", "stderr", "log", "host", "state"]

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
# The words that say the same as the level that the host shows before the line. A trace is shown as
# DEBUG in the host's log.
_SAME_WORDS = frozenset("debug info warn warning error".split())
_SEPARATOR = re.compile(r"\s*(?:[:|]|-(?=\s))?\s*")
_LOGFMT = re.compile(r"(?:^|\s)(?:level|lvl|severity)=\"?([A-Za-z]+)")

#: How the message of an uncaught error begins. Python, Node, Java and .NET name its type.
UNCAUGHT = re.compile(
    r"thread '[^\n]{0,200}? panicked at "
    r"|\s*panic: |fatal error: |FATAL ERROR: |Fatal Python error: "
    r"|terminate called |\S+: .*: Assertion "
    r"|PHP Fatal error: |Unhandled exception\. "
    r"|Exception in thread |Caused by: "
    r"|(?:Uncaught )?(?:[\w$]+\.)*(?:[A-Z][\w$]*)?(?:Error|Exception|Rejection)(?: \[\w+\])?: "
    r"|(?:\w+\.)*(?:[A-Z]\w*)?(?:Error|Exception|Exit|Interrupt)$"
)
# What the error itself follows, after lines that are indented or at once.
_ANNOUNCED = re.compile(
    r"[\s+|]*(?:Exception Group )?Traceback \(|thread '[^\n]{0,200}? panicked at "
)
# What Python writes between the tracebacks of a chain.
_CHAINED = (
    "During handling of the above exception",
    "The above exception was the direct cause",
)


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a plugin's output.

    Attributes:
        seq: Its sequence number in the plugin's log; consecutive.
        time: When the host read it, in Unix seconds.
        stream: ``stdout``, ``stderr``, ``log`` (the native call), ``host`` for the host's own
            remarks about the output, or ``state`` for those about the plugin: its starts, its ends.
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
        """Format text and fields as one line, without the level, which is shown before it.

        It may still contain control characters.
        """
        text = without_level(self.text, self.level)
        if self.fields_json == _NO_FIELDS:
            return text
        words = [text, *(f"{key}={_shown(value)}" for key, value in self.fields.items())]
        return " ".join(filter(None, words))[:MAX_LINE_BYTES]


class Content(msgspec.Struct, frozen=True, gc=False):
    """The content of a line, as parsed."""

    level: LogLevel
    text: str
    fields_json: bytes = _NO_FIELDS


class LineParser:
    """Parses the lines of one stream; those that continue a record get its level.

    So the lines of a traceback have the level of the line that announces it, and an uncaught error
    is an error.
    """

    def __init__(self) -> None:
        self._level: LogLevel = "info"
        self._is_announced = False

    def parse(self, line: bytes) -> Content:
        """Parse a line as JSON if it is an object, else as text that may begin with a level."""
        # The test costs nothing; parsing every line as JSON would.
        parsed = _parse_json(line) if line.startswith(b"{") else None
        text = parsed.text if parsed is not None else decode_line(line)
        level = parsed.level if parsed is not None else find_level(text)
        if level is None:
            return Content(self._continued(text), text)
        self._level, self._is_announced = level, False
        return parsed or Content(level, text)

    def _continued(self, text: str) -> LogLevel:
        """Return the level of a line that has none."""
        if _ANNOUNCED.match(text):
            self._begin_error()
            self._is_announced = True
        elif UNCAUGHT.match(text):
            self._begin_error()
            self._is_announced = False
        elif self._is_announced:
            # What is indented comes before the error, such as the stack.
            self._is_announced = not text or text[0] in " \t"
        elif text and text[0] not in " \t" and not text.startswith(_CHAINED):
            self._level = "info"
        return self._level

    def _begin_error(self) -> None:
        # Logged by a program, it has the level of the line before; if not, it is an error.
        if self._level not in ("warn", "error"):
            self._level = "error"


def parse_line(line: bytes) -> Content:
    """Parse a line that continues none before it; see `LineParser`."""
    return LineParser().parse(line)


def from_call(level: str, message: str, fields: Mapping[str, Any]) -> Content:
    """Build the content of a record that a plugin sent as a call, with its level and fields."""
    # The record is kept all the same: a bad field is no reason to lose the message.
    encoded = _encode(fields) or orjson.dumps({"fields": "nested too deeply"})
    if len(encoded) > MAX_LINE_BYTES:
        encoded = orjson.dumps({"fields": f"{len(encoded)} bytes, more than {MAX_LINE_BYTES}"})
    return Content(_level_of(level), _one_line(message[:MAX_LINE_BYTES]), encoded)


def guess_level(text: str) -> LogLevel:
    """Find the level at the start of a line of text, or in ``level=``; else return ``info``."""
    return find_level(text) or "info"


def find_level(text: str) -> LogLevel | None:
    """Find the level at the start of a line of text, or in ``level=``, if it has one."""
    found = _LEADING.match(text)
    if found is not None:
        return _LEVEL_OF[(found["plain"] or found["framed"]).lower()]
    if "=" in text:
        found = _LOGFMT.search(text)
        if found is not None:
            return _LEVEL_OF.get(found[1].lower(), "info")
    return None


def without_level(text: str, level: LogLevel) -> str:
    """Remove a level from the start of a line that is shown after the same level.

    >>> without_level("ERROR example: no", "error")
    'example: no'
    """
    found = _LEADING.match(text)
    if found is None:
        return text
    word = "plain" if found["plain"] else "framed"
    # A word that says more than the level stays, such as CRITICAL.
    if found[word].lower() not in _SAME_WORDS or _LEVEL_OF[found[word].lower()] != level:
        return text
    begin, end = found.span(word)
    if word == "framed":
        begin, end = max(text.rfind(bracket, 0, begin) for bracket in "[<("), found.end()
    elif text[begin - 1 : begin] == "[" and text[end : end + 1] == "]":
        begin, end = begin - 1, end + 1
    separator = _SEPARATOR.match(text, end)
    assert separator is not None, "it matches the empty string"
    rest = text[separator.end() :]
    before = text[:begin].lstrip()
    return (before.rstrip() if rest.startswith("]") else before) + rest or text


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
        # A copy, because the record is kept, and the encoder does not give back what its buffer has
        # too much: that can be eighty times the text.
        return bytes(memoryview(orjson.dumps(fields)))
    except orjson.JSONEncodeError:
        return None


def _one_line(text: str) -> str:
    """Turn several lines into one, with visible line ends."""
    return strip_controls(text.replace("\n", "\\n"))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
