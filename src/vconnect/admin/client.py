"""The command line's end of the administration interface."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
import orjson
from yarl import URL

from vconnect.errors import AdminError, HostUnreachableError
from vconnect.packages.progress import Report, Step
from vconnect.safe_paths import is_given_to
from vconnect.settings.paths import expand_home
from vconnect.sockets.credentials import peer_of

JSON_LINES = "application/jsonl"
# Seconds. A query is answered at once unless the host hangs; an action may take any time.
QUESTION_TIMEOUT = 10.0


def plugin_route(name: str, what: str) -> str:
    """Build the route of ``what`` for the plugin ``name``, which may contain any characters.

    >>> plugin_route("example", "status")
    '/api/plugins/example/status'
    >>> plugin_route("../x", "status")
    '/api/plugins/%2E%2E%2Fx/status'
    """
    # quote() leaves dots alone, and a segment of only dots would lead up the path.
    return f"/api/plugins/{quote(name, safe='').replace('.', '%2E')}/{what}"


class _Line(msgspec.Struct):
    progress: Step


class AdminClient:
    """Sends requests to a running host over its administration socket.

    Use it as ``async with AdminClient(path) as client``. Every method returns the decoded response.

    Raises (every method):
        HostUnreachableError: No host listens at the path, or the connection was lost.
        AdminError: The host responded with an error; the message is the host's.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = expand_home(path)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # One connector for all requests of a command, which are few and to one host.
            connector=_OwnConnector(str(self._path)),
            # Set for each request instead, see `_send`.
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Content-Type": "application/json"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, route: str) -> Any:
        """Send a query."""
        return await self._send("GET", route, None, QUESTION_TIMEOUT)

    async def post(self, route: str, body: Any = None, report: Report | None = None) -> Any:
        """Request an action, and wait until it is done.

        Args:
            route: The route.
            body: What is sent, as JSON.
            report: Called with how far downloads are, if the route tells.
        """
        return await self._send("POST", route, body, None, report)

    async def put(self, route: str, body: Any) -> Any:
        """Replace something, and wait until it is done."""
        return await self._send("PUT", route, body, None)

    async def _send(
        self,
        method: str,
        route: str,
        body: Any,
        timeout: float | None,
        report: Report | None = None,
    ) -> Any:
        try:
            async with self._session.request(
                method,
                # The host name is never resolved: the connector always uses the socket.
                URL(f"http://vconnect{route}", encoded=True),
                data=None if body is None else orjson.dumps(body),
                headers={} if report is None else {"Accept": JSON_LINES},
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:
                # A host of an older version knows nothing of lines.
                if report is not None and answer.content_type == JSON_LINES:
                    return await _follow(answer, report)
                return _decode(answer.status, await answer.read())
        except TimeoutError:
            raise self._unreachable(f"no response within {QUESTION_TIMEOUT:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error.os_error.strerror or str(error.os_error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(f"connection lost: {error}") from None

    def _unreachable(self, why: str) -> HostUnreachableError:
        return HostUnreachableError(
            f"no vconnect host answers at {self._path} ({why}); start one with: vconnect serve"
        )


class _OwnConnector(aiohttp.UnixConnector):
    """Connects to a host of ours or root's: another user's would get to know what is sent."""

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        protocol = await super()._create_connection(*args, **options)
        transport = protocol.transport
        assert transport is not None, "it has just been connected"
        uid = peer_of(transport).uid
        if not self._is_trusted(uid):
            transport.abort()
            raise HostUnreachableError(
                f"the host at {self._path} belongs to user {uid}, and you are user {os.geteuid()}; "
                f"to talk to it, run this command as that user: sudo -u '#{uid}' vconnect ..."
            )
        return protocol

    def _is_trusted(self, uid: int) -> bool:
        me = os.geteuid()
        # Root administers the hosts of others, where nobody can have set a trap.
        return uid in (0, me) or (me == 0 and is_given_to(Path(self._path), uid))


async def _follow(answer: aiohttp.ClientResponse, report: Report) -> Any:
    """Report the lines of progress, and return what the last line has."""
    parts: list[bytes] = []  # of a line; the last one may be large
    async for chunk in answer.content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*parts, end])
            parts.clear()
            if (step := _step_of(line)) is None:
                return _decode(_status_of(line), line)
            report(step)
        parts.append(rest)
    raise aiohttp.ClientPayloadError("it ended before the result")


def _step_of(line: bytes) -> Step | None:
    try:
        return msgspec.json.decode(line, type=_Line).progress
    except msgspec.MsgspecError:
        return None  # the result, or nothing of ours


def _status_of(line: bytes) -> int:
    """Return the status that a result would have had as a response of its own."""
    is_error = line.startswith(b'{"error":')
    return HTTPStatus.INTERNAL_SERVER_ERROR if is_error else HTTPStatus.OK


def _decode(status: int, body: bytes) -> Any:
    """Return the response's value, or raise the error that it describes."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Another program may listen at the path that `--admin` names.
        raise AdminError(status, "bad_answer", _not_ours(status)) from None
    if status == HTTPStatus.OK:
        return value
    match value:
        case {"error": {"code": str(code), "message": str(message)}}:
            raise AdminError(status, code, message)
        case _:
            raise AdminError(status, "bad_answer", _not_ours(status))


def _not_ours(status: int) -> str:
    return f"the response is not from a vconnect host: HTTP status {status}, unexpected content"
