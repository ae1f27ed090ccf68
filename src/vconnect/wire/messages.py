"""The meaning of messages: handshakes, dialects and answers (``docs/wire.md``), without I/O."""

# Every function takes and returns plain objects. The compiled core handles bytes, the server
# sockets.

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import orjson

from vconnect._framing import Event, EventName, encode_frame
from vconnect._names import NameCache
from vconnect.bounds import (
    MAX_CAPABILITIES,
    MAX_NAME_BYTES,
    MAX_VERSION_BYTES,
    cut,
    find_excess,
    shown,
    size_of,
)
from vconnect.errors import (
    HandshakeError,
    HostCallError,
    PayloadError,
    PluginReplyError,
    RemoteProtocolError,
)
from vconnect.names import NAME_RULE, RESERVED_PREFIX, canonical_name, is_valid_name

NATIVE_VERSIONS = (1,)
STOP = "stop"


# Events that the host itself sends, in the native dialect.
PING = "vconnect.ping"
CONFIG_CHECK = "vconnect.config.check"
CONFIG_UPDATE = "vconnect.config.update"
DRAIN = "vconnect.drain"
STOP_EVENT = "vconnect.stop"
CANCEL = "vconnect.cancel"

#: The call by which a plugin says that it can serve, if its handshake said that it cannot yet.
READY = "plugin.ready"

# Without a limit, plugins that call each other in a circle would do so forever.
MAX_HOPS = 8
"""The maximum length of a chain of calls host → plugin → host → plugin …, in plugins."""

# A version-00 `traceparent` has 55 characters; later versions may have more.
MAX_TRACE = 256
"""The characters of a plugin's `traceparent`."""

ERROR_CODES = frozenset(
    """
    bad_answer bad_request unknown_event unknown_call unknown_plugin permission_denied
    deadline_exceeded cancelled overloaded unavailable loop internal
    """.split()
)

# With ``"status":"ok"`` and no other keys than these, an object is an envelope even without data.
_ENVELOPE_KEYS = frozenset({"status", "flow", "payload"})

# The key of field 1 if that is a string: in protobuf, the number and the type share a byte.
_PROTOBUF_STRING_1 = 0x0A

# Characters of an error reply, whose texts may come from an application or an exception.
_MAX_CODE = 64
_MAX_WORDS = 1000


class Dialect(StrEnum):
    """How a session's messages are structured; agreed on in its handshake."""

    CLASSIC = "classic"  #: answers in order, no ids; what every existing plugin speaks
    NATIVE = "native"  #: ids, replies in any order; requested with ``protocol_versions``


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's first message, in either of its spellings.

    Attributes:
        plugin: The plugin's canonical name.
        version: The plugin's version as it reports it, or empty.
        priority: Its position in chains; higher comes first.
        capabilities: Events, families or wildcards that it handles.
        dialect: The dialect that it requests.
        protocol_version: The highest version that both support; ``None`` in the classic dialect.
        disable: Why the plugin cannot serve on this host, or empty.
        is_ready: Whether it can serve at once; otherwise it will call ``plugin.ready``.
        concurrency: How many events it handles at a time; 0 if it does not say.
    """

    plugin: str
    version: str = ""
    priority: int = 0
    capabilities: tuple[str, ...] = ()
    dialect: Dialect = Dialect.CLASSIC
    protocol_version: int | None = None
    disable: str = ""
    is_ready: bool = True
    concurrency: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's answer to an event, normalized.

    Attributes:
        ok: Whether the plugin reports success.
        data: The data of the answer; ``None`` if it has none.
        message: The plugin's error text if it failed.
        code: The plugin's error code if it failed and gave one.
        stop: Whether the chain ends here.
        replacement: The payload for the following plugins; ``UNSET`` leaves it unchanged.
    """

    ok: bool
    data: Any = None
    message: str = ""
    code: str = ""
    stop: bool = False
    replacement: Any = msgspec.UNSET


class NativeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the acknowledgment tells a native plugin in addition to its configuration.

    Attributes:
        protocol_version: The version that both will speak.
        host: The host's ``name`` and ``version``.
        max_frame_bytes: The largest payload of a frame that the plugin may get.
        max_answer_bytes: The largest payload of a frame that it may send.
        heartbeat_ms: The interval in which the plugin can expect pings, in milliseconds.
        window: The maximum number of events in flight.
        interface: The interface that both have agreed on; left out if the plugin asks for none.
    """

    protocol_version: int
    host: dict[str, str]
    max_frame_bytes: int
    max_answer_bytes: int
    heartbeat_ms: int
    window: int
    interface: str | msgspec.UnsetType = msgspec.UNSET


class PluginCall(msgspec.Struct, frozen=True, kw_only=True):
    """A native plugin's call to the host.

    Attributes:
        call: Its name.
        id: The plugin's number for it; ``None`` for a call without a reply.
        params: Its parameters.
        hops: How many plugins the chain of calls has passed through, as the plugin reports it.
        deadline_ms: How long the plugin waits for the reply, or ``None``.
        trace: A W3C ``traceparent``, or ``None``.
    """

    call: str
    id: int | None = None
    params: dict[str, Any] = {}
    hops: int = 0
    deadline_ms: float | None = None
    trace: Annotated[str, msgspec.Meta(max_length=MAX_TRACE)] | None = None


def parse_handshake(message: Any, versions: Sequence[int] = NATIVE_VERSIONS) -> Handshake:
    """Parse the first message of a connection.

    Args:
        message: The message, as parsed from JSON.
        versions: Versions of the native dialect that the host accepts.

    Raises:
        HandshakeError: ``bad_handshake``, ``nameless``, ``bad_name`` or ``version_mismatch``.
    """
    if not isinstance(message, dict):
        raise _bad("the first message is not an object; expected a handshake")
    plugin = _parse_name(message)
    version = _choose_version(message.get("protocol_versions"), versions)
    return Handshake(
        plugin=plugin,
        version=_version(message),
        priority=_typed(message, "priority", int, 0),
        capabilities=_capabilities(message),
        dialect=Dialect.CLASSIC if version is None else Dialect.NATIVE,
        protocol_version=version,
        disable=cut(_typed(message, "disable", str, "")),
        # A classic plugin could not say later that it is ready, so there the key means nothing.
        is_ready=version is None or _is_ready(message.get("ready")),
        concurrency=_concurrency(message),
    )


def claimed_name(message: Any) -> str:
    """Return the canonical name in a handshake that may be wrong in other ways, or empty."""
    if not isinstance(message, dict):
        return ""
    try:
        return _parse_name(message)
    except HandshakeError:
        return ""


def why_not_json(error: RemoteProtocolError) -> str:
    """Return what is wrong with text that is not JSON, without saying that it is a payload."""
    return str(error).removeprefix("payload is not JSON: ")


def protobuf_name(head: bytes) -> str:
    """Return the canonical name of the plugin whose first frame is a protobuf handshake.

    Later kits of v-connect-im speak protobuf instead of JSON. Their handshake begins with field 1,
    a string, which is the plugin's name.

    Args:
        head: The first bytes of the frame's payload, which is not JSON.

    Returns:
        The name, or an empty string if this is something else.

    >>> protobuf_name(bytes.fromhex("0a 0a 76 2e 70 6c 75 67 69 6e 2e 61 12 05"))
    'a'
    """
    if len(head) < 2 or head[0] != _PROTOBUF_STRING_1:
        return ""
    name = canonical_name(head[2 : 2 + head[1]].decode("ascii", "replace"))
    return name if len(head) >= 2 + head[1] and is_valid_name(name) else ""


def acknowledgment(config: dict[str, Any], terms: NativeTerms | None = None) -> dict[str, Any]:
    """Build the host's answer to an accepted handshake; ``terms`` are for the native dialect."""
    answer = {"status": "ok", "config": config}
    # A classic acknowledgment has the keys of the original host, and no others.
    return answer if terms is None else answer | msgspec.to_builtins(terms)


def refusal(error: HandshakeError) -> dict[str, Any]:
    """Build the host's answer to a refused handshake. The connection is closed afterwards."""
    return {"status": "error", "code": error.code, "message": str(error)}


def event_prefixes(event: str) -> tuple[bytes, bytes]:
    """Encode what precedes an event's payload, in the classic and in the native dialect.

    In the classic dialect the name has two keys: the documented client reads ``event``, the
    original Rust SDK ``event_type``. In the native dialect the opening brace and the keys that
    differ from call to call come first.
    """
    name = orjson.dumps(event)
    classic = b'{"event":%b,"event_type":%b,"payload":' % (name, name)
    return classic, b'"event":%b,"payload":' % name


#: Event names as they appear in frames; for `encode_event` and `Session.request`.
EVENT_NAMES = NameCache(lambda event: EventName(*event_prefixes(event), is_reserved(event), event))


def encode_event(event: str, payload: Any, max_frame_bytes: int, trace: str | None = None) -> Event:
    """Encode an event once for all sessions.

    Raises:
        PayloadError: The payload is not JSON, or too large.
    """
    return Event(EVENT_NAMES[event], payload, max_frame_bytes, trace)


def normalize_answer(message: dict[str, Any]) -> Answer:
    """Interpret a classic answer: an envelope, an error, or an object that is itself the data.

    ``"flow":"stop"`` counts at the top level and inside ``data``, where the original SDK puts it.
    A replacement payload counts only in an envelope: in a bare object ``payload`` is data. ``null``
    is the same as no value: plugins in many languages write it for what they do not have.
    """
    status = message.get("status")
    stop = message.get("flow") == STOP
    if status == "error":
        return Answer(
            ok=False,
            message=_as_text(message.get("message")),
            code=_as_text(message.get("code")),
            stop=stop,
        )
    # An object that merely has a key "status" is data, as with the original host.
    if status != "ok" or not ("data" in message or message.keys() <= _ENVELOPE_KEYS):
        return Answer(ok=True, data=message, stop=stop)
    data, payload = message.get("data"), message.get("payload")
    return Answer(
        ok=True,
        data=data,
        stop=stop or (isinstance(data, dict) and data.get("flow") == STOP),
        replacement=msgspec.UNSET if payload is None else payload,
    )


def parse_call(message: dict[str, Any]) -> PluginCall:
    """Parse a native plugin's call.

    Raises:
        HostCallError: ``bad_request``: a key is missing or has a wrong value.
    """
    try:
        call = msgspec.convert(_without_null(message), PluginCall)
    except msgspec.ValidationError as error:
        raise HostCallError("bad_request", f"the call cannot be read: {error}") from None
    # The core uses 0 for "no number", and the protocol has positive numbers only.
    if call.id is not None and call.id < 1:
        raise HostCallError("bad_request", f"id is {call.id}; expected a positive integer")
    if call.hops < 0:
        raise HostCallError("bad_request", f"hops is {call.hops}; expected 0 or more")
    if call.deadline_ms is not None and call.deadline_ms <= 0:
        raise HostCallError(
            "bad_request", f"deadline_ms is {call.deadline_ms}; expected a positive number"
        )
    return call


def ok_reply(number: int, data: Any) -> dict[str, Any]:
    """Build a native reply with ``data``, which is left out if it is ``None``."""
    # A missing key and null mean the same to the reader; the shorter form is sent.
    if data is None:
        return {"id": number, "status": "ok"}
    return {"id": number, "status": "ok", "data": data}


def error_reply(number: int, code: str, message: str) -> dict[str, Any]:
    """Build a native error reply."""
    return {"id": number, "status": "error", "code": code, "message": message}


def encode_error(number: int, code: str, message: str, max_frame_bytes: int) -> bytes:
    """Encode an error reply, whatever its words are: a call or an event must have an answer.

    Words that cannot be sent are replaced or shortened, and left out if nothing else helps.
    """
    code, message = _sendable(code)[:_MAX_CODE], _sendable(message)[:_MAX_WORDS]
    try:
        return encode_frame(error_reply(number, code, message), max_frame_bytes)
    except PayloadError:  # the limit may be very small
        return encode_frame(error_reply(number, code, ""))


def _sendable(text: str) -> str:
    """Replace half surrogate pairs, which JSON cannot represent."""
    return text.encode("utf-8", "replace").decode()


def check_event(event: object) -> None:
    """Refuse a name that an application may not give to an event.

    Raises:
        TypeError: It is not a string.
        PayloadError: It is empty, too long, not valid Unicode, or belongs to the host itself.
    """
    if not isinstance(event, str):
        raise TypeError(f"the event's name is {shown(event)}; expected a string")
    if not event:
        raise PayloadError("the event's name is empty; expected 1 to 255 bytes")
    try:
        size = len(event.encode())
    except UnicodeEncodeError:
        raise PayloadError(f"the event's name {shown(event)} has half a surrogate pair") from None
    if size > MAX_NAME_BYTES:
        raise PayloadError(f"the event's name has {size} bytes; the limit is {MAX_NAME_BYTES}")
    if is_reserved(event):
        raise PayloadError(
            f"the event's name is {shown(event)}; names that begin with {RESERVED_PREFIX} belong "
            "to the host itself"
        )


def is_reserved(event: str) -> bool:
    """Return whether an event belongs to the host itself."""
    return event.startswith(RESERVED_PREFIX)


def reply_error(plugin: str, answer: Answer) -> PluginReplyError:
    """Turn an error answer into an exception."""
    message = cut(answer.message) or "an error without words"
    return PluginReplyError(plugin, message, cut(answer.code, _MAX_CODE) or None)


def _parse_name(message: dict[str, Any]) -> str:
    key = "name" if message.get("plugin_no") is None else "plugin_no"
    raw = message.get(key)
    if raw is None:
        raise HandshakeError(
            "nameless", "the handshake gives no name; expected one as plugin_no or name"
        )
    for other in ("plugin_no", "name"):
        if not isinstance(message.get(other), str | None):
            raise _bad(f"{other} is {shown(message[other])}; expected a string")
    if not canonical_name(raw):
        raise _bad(f"{key} is {shown(raw)}; expected a non-empty string")
    plugin = canonical_name(raw)
    if not is_valid_name(plugin):
        raise HandshakeError(
            "bad_name", f"the handshake's {key} is {shown(raw)}; a name is {NAME_RULE}"
        )
    return plugin


def _choose_version(offered: Any, versions: Sequence[int]) -> int | None:
    # A classic plugin does not know the key.
    if offered is None:
        return None
    # isinstance() would accept true, because Python's bool is an int; 1.0 is not a version either.
    if not isinstance(offered, list) or not all(type(version) is int for version in offered):
        raise _bad(f"protocol_versions is {shown(offered)}; expected a list of integers")
    common = [version for version in versions if version in offered]
    if not common:
        raise HandshakeError(
            "version_mismatch",
            f"no protocol version in common: the plugin speaks {shown(offered)}, "
            f"this host {list(versions)}",
        )
    return max(common)


def _is_ready(value: Any) -> bool:
    if value is None:
        return True
    if type(value) is not bool:
        raise _bad(f"ready is {shown(value)}; expected true or false")
    return value


def _typed(message: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = message.get(key)
    if value is None:
        return default
    # The exact type: JSON's true is an int for isinstance().
    if type(value) is not kind:
        expected = "a string" if kind is str else "an integer"
        raise _bad(f"{key} is {shown(value)}; expected {expected}")
    return value


def _concurrency(message: dict[str, Any]) -> int:
    concurrency: int = _typed(message, "concurrency", int, 0)
    if concurrency < 0:
        raise _bad(f"concurrency is {concurrency}; expected a positive integer")
    return concurrency


def _version(message: dict[str, Any]) -> str:
    version: str = _typed(message, "version", str, "")
    if (size := size_of(version)) > MAX_VERSION_BYTES:
        raise _bad(f"version has {size} bytes; the limit is {MAX_VERSION_BYTES}")
    return version


def _capabilities(message: dict[str, Any]) -> tuple[str, ...]:
    value = message.get("capabilities")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _bad(f"capabilities is {shown(value)}; expected a list of strings")
    if excess := find_excess(value, MAX_CAPABILITIES):
        raise _bad(f"capabilities {excess}")
    return tuple(value)


def _without_null(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if value is not None}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else shown(value)


def _bad(text: str) -> HandshakeError:
    return HandshakeError("bad_handshake", text)
