"""How the client reads responses, and which hosts it trusts."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import aiohttp
import msgspec
import orjson

from vconnect.errors import AdminError, HostUnreachableError
from vconnect.packages.progress import Report, Step
from vconnect.safe_paths import is_given_to
from vconnect.sockets.credentials import peer_of

JSON_LINES = "application/jsonl"

T = TypeVar("T")


class _Line(msgspec.Struct):
    progress: Step


class _Last(msgspec.Struct):
    status: int = HTTPStatus.OK  # of a result, which has none
    error: Any = None  # of hosts of the first versions, which say no status


class EndingConnector(aiohttp.BaseConnector):
    """Leaves no connection behind: with a body that was refused unread, one would stay open."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._made = WeakSet[asyncio.BaseTransport]()

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        protocol = await super()._create_connection(*args, **options)
        assert protocol.transport is not None, "it has just been connected"
        self._made.add(protocol.transport)
        return protocol

    async def end(self) -> None:
        """End what a closed session has left."""
        for transport in list(self._made):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        await asyncio.sleep(0)  # the loop closes them now


class PortConnector(EndingConnector, aiohttp.TCPConnector):
    """Connects to a host by its address."""


class OwnConnector(EndingConnector, aiohttp.UnixConnector):
    """Connects to a host of ours or root's: another user's would get to know what is sent."""

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        protocol = await super()._create_connection(*args, **options)
        uid = peer_of(protocol.transport).uid
        if not self._is_trusted(uid):
            protocol.transport.abort()
            raise HostUnreachableError(
                f"the host at {self._path} belongs to user {uid}, and you are user {os.geteuid()}; "
                f"to talk to it, run this command as that user: sudo -u '#{uid}' vconnect ..."
            )
        return protocol

    def _is_trusted(self, uid: int) -> bool:
        me = os.geteuid()
        # Root administers the hosts of others, where nobody can have set a trap.
        return uid in (0, me) or (me == 0 and is_given_to(Path(self._path), uid))


async def follow_progress(answer: aiohttp.ClientResponse, report: Report) -> Any:
    """Report the lines of progress, and return what the last line has."""
    parts: list[bytes] = []  # of a line; the last one may be large
    async for chunk in answer.content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*parts, end])
            parts.clear()
            if (step := _step_of(line)) is None:
                return decode(_status_of(line), line)
            report(step)
        parts.append(rest)
    raise aiohttp.ClientPayloadError("it ended before the result")


def decode(status: int, body: bytes) -> Any:
    """Return the response's value, or raise the error that it describes."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Another program may listen at the path that `--admin` names.
        raise AdminError(status, "bad_answer", _not_ours(status)) from None
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return value
    match value:
        case {"code": str(code), "detail": str(detail), "next": str(step)}:
            raise AdminError(status, code, detail, step)
        # A host of the first versions.
        case {"error": {"code": str(code), "message": str(message)}}:
            raise AdminError(status, code, message)
        case _:
            raise AdminError(status, "bad_answer", _not_ours(status))


def converted(kind: type[T], value: Any) -> T:
    """Give a response its type; what a newer host has besides is left out.

    Raises:
        AdminError: It has another type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise AdminError(
            HTTPStatus.OK, "bad_answer", f"the response is not as expected: {error}"
        ) from None


def rows_of(value: Any, key: str) -> list[dict[str, Any]]:
    """Return the rows that a response has under a key; see `converted`."""
    return converted(list[dict[str, Any]], value.get(key) if isinstance(value, dict) else None)


def _step_of(line: bytes) -> Step | None:
    try:
        return msgspec.json.decode(line, type=_Line).progress
    except msgspec.MsgspecError:
        return None  # the result, or nothing of ours


def _status_of(line: bytes) -> int:
    """Return the status that a result would have had as a response of its own."""
    try:
        last = msgspec.json.decode(line, type=_Last)
    except msgspec.MsgspecError:
        return HTTPStatus.OK  # a result that is no object, or nothing of ours
    return last.status if last.error is None else HTTPStatus.INTERNAL_SERVER_ERROR


def _not_ours(status: int) -> str:
    return f"the response is not from a vconnect host: HTTP status {status}, unexpected content"
