"""What all methods of the client have in common: one connection, its errors and its streams."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from vconnect.admin.answers import OrderState
from vconnect.errors import AdminError, HostUnreachableError
from vconnect.packages.progress import Report
from vconnect.settings.paths import expand_home

from .responses import (
    JSON_LINES,
    OwnConnector,
    PortConnector,
    converted,
    decode,
    follow_progress,
)
from .server_events import BackOff, EventParser, StreamEvent

# Seconds. A query is answered at once unless the host hangs; an action may take any time.
QUESTION_TIMEOUT = 10.0
# A stream says something every 15 seconds. Seconds.
_SILENCE_TIMEOUT = 45.0
# Bytes.
_LARGE_BODY = 1 << 20

T = TypeVar("T")


def plugin_route(name: str, what: str = "") -> str:
    """Build the route of ``what`` for the plugin ``name``, which may contain any characters.

    >>> plugin_route("example", "status")
    '/api/plugins/example/status'
    >>> plugin_route("../x", "status")
    '/api/plugins/%2E%2E%2Fx/status'
    """
    # quote() leaves dots alone, and a segment of only dots would lead up the path.
    return "/".join(filter(None, ("/api/plugins", segment(name), what)))


def segment(text: str) -> str:
    """Return a text as one segment of a path, whatever is in it."""
    return quote(text, safe="").replace(".", "%2E")


def query(**keys: Any) -> str:
    """Build a query of the keys that have a value; of a list, each has one of its own.

    >>> query(lines=0, grep="", host=True, follow=False, plugin=["a", "b"])
    '?lines=0&host=true&plugin=a&plugin=b'
    """
    given = {key: "true" if value is True else value for key, value in keys.items()}
    text = urlencode({key: value for key, value in given.items() if _is_given(value)}, doseq=True)
    return f"?{text}" if text else ""


def _is_given(value: Any) -> bool:
    # Zero is a value.
    return value is not None and value is not False and value != ""


class Connection:
    """A connection to a host; see `AdminClient`, whose building blocks these methods are."""

    def __init__(
        self, place: str | Path, token: str | None = None, *, timeout: float | None = None
    ) -> None:
        self._is_url = str(place).startswith(("http://", "https://"))
        self._base = str(place).rstrip("/") if self._is_url else "http://vconnect"
        self._path: str | Path = str(place) if self._is_url else expand_home(place)
        self._token = token
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        # One connector for all requests of a command, which are few and to one host.
        self._connector = PortConnector() if self._is_url else OwnConnector(str(self._path))
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            # Set for each request instead, see `_send`.
            timeout=aiohttp.ClientTimeout(total=None),
            headers=headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._connector.end()

    async def get(self, route: str) -> Any:
        """Send a query. A building block: other methods know routes and types."""
        return await self._send("GET", route, None, self._timeout or QUESTION_TIMEOUT)

    async def post(
        self, route: str, body: Any = None, report: Report | None = None, *, key: str = ""
    ) -> Any:
        """Request an action and wait until it is done. A building block.

        Args:
            route: The route.
            body: What is sent, as JSON.
            report: Called with how far downloads are, if the route tells. Not with ``key``.
            key: An ``Idempotency-Key``: of several requests with the same one, only the first is
                carried out, and all get its response.
        """
        headers = {"Idempotency-Key": key} if key else {}
        return await self._send("POST", route, body, None, report, headers=headers)

    async def begin(self, route: str, body: Any = None, *, key: str = "") -> OrderState:
        """Request an action without waiting for it; see `order_state`. A building block.

        Args:
            route: The route.
            body: What is sent, as JSON.
            key: See `post`.
        """
        headers = {"Prefer": "respond-async", **({"Idempotency-Key": key} if key else {})}
        return converted(OrderState, await self._send("POST", route, body, None, headers=headers))

    async def order_state(self, number: str) -> OrderState:
        """Look what has become of an action; see `begin`.

        Args:
            number: The action's ``id``.
        """
        return converted(OrderState, await self.get(f"/api/orders/{segment(number)}"))

    async def put(self, route: str, body: Any) -> Any:
        """Replace something and wait until it is done. A building block."""
        return await self._send("PUT", route, body, None)

    async def _items(self, kind: type[T], route: str) -> list[T]:
        return converted(list[kind], (await self.get(route))["items"])  # type: ignore[valid-type]

    async def _follow(
        self, route: str, after: str | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of a stream, for ever; come back by itself when the host does."""
        back_off, is_first = BackOff(), True
        while True:
            try:
                async with aclosing(self._follow_once(route, after)) as events:
                    async for event in events:
                        after, is_first = event.id or after, False
                        back_off.reset()
                        yield event
                reason = "the host has closed the stream"
            except (HostUnreachableError, AdminError) as error:
                if is_first or not _is_passing(error):
                    raise
                reason = str(error)
            wait = back_off.next()
            yield StreamEvent("lost", {"reason": reason, "retry_s": wait})
            await asyncio.sleep(wait)

    async def _follow_once(
        self, route: str, after: str | None
    ) -> AsyncGenerator[StreamEvent, None]:
        parser = EventParser()
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=QUESTION_TIMEOUT, sock_read=_SILENCE_TIMEOUT
        )
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        try:
            async with self._session.get(
                URL(self._base + route, encoded=True), timeout=timeout, headers=headers
            ) as answer:
                if answer.content_type != "text/event-stream":
                    decode(answer.status, await answer.read())
                    raise AdminError(answer.status, "bad_answer", "the response is no stream")
                async for chunk in answer.content.iter_any():
                    for event in parser.feed(chunk):
                        yield event
        except ValueError as error:
            raise self._unreachable(f"the stream cannot be read: {error}") from None
        except TimeoutError:
            raise self._unreachable("the stream has fallen silent") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error.os_error.strerror or str(error.os_error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from None

    async def _send(
        self,
        method: str,
        route: str,
        body: Any,
        timeout: float | None,
        report: Report | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            async with self._session.request(
                method,
                # On a socket the host name is never resolved: the connector ignores it.
                URL(self._base + route, encoded=True),
                data=_encoded(body),
                headers={**(headers or {}), **({} if report is None else {"Accept": JSON_LINES})},
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:
                # A host of an older version knows nothing of lines.
                if report is not None and answer.content_type == JSON_LINES:
                    return await follow_progress(answer, report)
                return decode(answer.status, await answer.read())
        except TimeoutError:
            raise self._unreachable(f"no response within {timeout or 0:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error.os_error.strerror or str(error.os_error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> HostUnreachableError:
        # What came was no HTTP.
        if isinstance(error, aiohttp.ClientResponseError) and not self._is_url:
            return HostUnreachableError(
                f"{self._path} is a socket for plugins, not for administration; "
                "give --admin the host's admin.sock"
            )
        return self._unreachable(f"connection lost: {error}")

    def _unreachable(self, why: str) -> HostUnreachableError:
        return HostUnreachableError(
            f"no vconnect host answers at {self._path} ({why}); start one with: vconnect serve"
        )


def _is_passing(error: HostUnreachableError | AdminError) -> bool:
    """Return whether a later try may succeed."""
    if isinstance(error, HostUnreachableError):
        return True
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == "unknown_plugin"


def _encoded(body: Any) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    """Return a body as it is sent: JSON, unless it is bytes already."""
    if body is None or isinstance(body, AsyncIterable):
        return body
    encoded = body if isinstance(body, bytes) else orjson.dumps(body)
    # A large one is sent in parts, so that the loop does other work meanwhile.
    return encoded if len(encoded) < _LARGE_BODY else io.BytesIO(encoded)
