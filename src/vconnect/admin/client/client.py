"""A client of the administration interface, for programs and for the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import orjson
from yarl import URL

from vconnect.admin.answers import AuditRecord, LogEntries, PassedOverEntry, PluginList
from vconnect.errors import AdminError, HostUnreachableError
from vconnect.names import LogLevel
from vconnect.packages.progress import Report
from vconnect.plugins.crashes import CrashReport
from vconnect.seeing.happenings import Happening
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Trace
from vconnect.seeing.why import Why
from vconnect.settings.paths import expand_home

from .responses import JSON_LINES, OwnConnector, decode, follow_progress
from .server_events import BackOff, EventParser, StreamEvent

# Seconds. A query is answered at once unless the host hangs; an action may take any time.
QUESTION_TIMEOUT = 10.0
# A stream says something every 15 seconds. Seconds.
_SILENCE_TIMEOUT = 45.0

T = TypeVar("T")


def plugin_route(name: str, what: str) -> str:
    """Build the route of ``what`` for the plugin ``name``, which may contain any characters.

    >>> plugin_route("example", "status")
    '/api/plugins/example/status'
    >>> plugin_route("../x", "status")
    '/api/plugins/%2E%2E%2Fx/status'
    """
    # quote() leaves dots alone, and a segment of only dots would lead up the path.
    return f"/api/plugins/{quote(name, safe='').replace('.', '%2E')}/{what}"


class AdminClient:
    """Asks a running host, and gives it orders.

    Use it as ``async with AdminClient(path) as client``. Queries end after ten seconds; orders wait
    until they are carried out. Where answers are dictionaries, their fields are those of the HTTP
    interface (``docs/administration.md``). Texts in them come from plugins: escape them before a
    terminal or a page shows them.

    Args:
        place: The path of the host's administration socket, or an address such as
            ``http://127.0.0.1:8080``.
        token: The token for an address.
        timeout: Seconds for a query; by default ten.

    Raises (every method):
        HostUnreachableError: No host answers there, or the connection was lost.
        AdminError: The host responded with an error; the words are the host's.
    """

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
        self._session = aiohttp.ClientSession(
            # One connector for all requests of a command, which are few and to one host.
            connector=aiohttp.TCPConnector() if self._is_url else OwnConnector(str(self._path)),
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

    # Plugins.

    async def plugins(self, *, state: str = "", sort: str = "trouble") -> PluginList:
        """List the plugins.

        Args:
            state: Only those in this state, such as ``running``.
            sort: ``trouble``, ``name``, ``p99``, ``events`` or ``memory``.
        """
        query = _query(state=state, sort="" if sort == "trouble" else sort)
        return _as(PluginList, await self.get(f"/api/plugins{query}"))

    async def status(self, name: str) -> PluginSummary:
        """Describe a plugin."""
        return _as(PluginSummary, await self.get(plugin_route(name, "status")))

    async def why(self, name: str) -> Why:
        """Say why a plugin does not serve, or that it does."""
        return _as(Why, await self.get(plugin_route(name, "why")))

    async def logs(
        self,
        name: str,
        *,
        lines: int = 100,
        level: LogLevel = "trace",
        after: int | None = None,
        since: float = 0.0,
        grep: str = "",
        states: bool = False,
    ) -> LogEntries:
        """Return what a plugin prints.

        Args:
            name: The plugin.
            lines: The maximum number of records.
            level: The lowest level.
            after: The ``next`` of an earlier answer, to go on from there.
            since: Only records after this moment, in Unix seconds.
            grep: Only records with this text in them.
            states: Return what the host says about the plugin instead.
        """
        query = _query(
            lines=lines,
            level="" if level == "trace" else level,
            after=after,
            since=since or None,
            grep=grep,
            states="true" if states else "",
        )
        return _as(LogEntries, await self.get(plugin_route(name, "logs") + query))

    async def crashes(self, name: str, *, since: float = 0.0) -> list[CrashReport]:
        """List a plugin's unexpected ends."""
        route = plugin_route(name, "crashes") + _query(since=since or None)
        return await self._items(CrashReport, route)

    async def passed_over(self, name: str, *, since: float = 0.0) -> list[PassedOverEntry]:
        """List the events that passed a plugin over."""
        route = plugin_route(name, "passed-over") + _query(since=since or None)
        return await self._items(PassedOverEntry, route)

    async def versions(self, name: str) -> list[dict[str, Any]]:
        """List the versions of a plugin in the store."""
        return _rows(await self.get(plugin_route(name, "versions")), "versions")

    async def config(self, name: str) -> dict[str, Any]:
        """Return a plugin's configuration: ``values``, ``schema`` and ``etag``."""
        return _as(dict[str, Any], await self.get(plugin_route(name, "config")))

    async def set_config(
        self,
        name: str,
        values: Mapping[str, Any] | None = None,
        *,
        unset: Sequence[str] = (),
        save: bool = False,
        dry_run: bool = False,
        etag: str | None = None,
    ) -> dict[str, Any]:
        """Change a plugin's configuration, and return what has changed.

        Args:
            name: The plugin.
            values: New values by key.
            unset: Keys that get back their former values.
            save: Whether to write the configuration file, too.
            dry_run: Only check it.
            etag: That of `config`; the change is refused if another one came between.
        """
        body = {"set": dict(values or {}), "unset": list(unset), "save": save, "dry_run": dry_run}
        headers = {} if etag is None else {"If-Match": f'"{etag}"'}
        route = plugin_route(name, "config")
        return _as(dict[str, Any], await self._send("PUT", route, body, None, headers=headers))

    # Orders. Each returns the plugin as it is afterwards.

    async def order(self, name: str, order: str, *, dry_run: bool = False) -> PluginSummary:
        """Give an order by its name, such as ``start``; the methods below do the same."""
        body = {"dry_run": True} if dry_run else None
        return _as(PluginSummary, await self.post(plugin_route(name, order), body))

    async def start(self, name: str) -> PluginSummary:
        """Start a plugin, and wait until it is ready."""
        return await self.order(name, "start")

    async def stop(self, name: str) -> PluginSummary:
        """Stop a plugin, and wait until its last process has ended."""
        return await self.order(name, "stop")

    async def restart(self, name: str) -> PluginSummary:
        """Replace a plugin's process by a new one, without a gap."""
        return await self.order(name, "restart")

    async def kill(self, name: str) -> PluginSummary:
        """Kill a plugin's process; its restart policy decides what follows."""
        return await self.order(name, "kill")

    async def enable(self, name: str) -> PluginSummary:
        """Allow a plugin to be started, and start it."""
        return await self.order(name, "enable")

    async def disable(self, name: str) -> PluginSummary:
        """Stop a plugin, and let nobody start it."""
        return await self.order(name, "disable")

    async def release(self, name: str) -> PluginSummary:
        """Lift a plugin's quarantine."""
        return await self.order(name, "release")

    async def close_circuit(self, name: str) -> PluginSummary:
        """Ask a plugin again although its circuit is open."""
        return await self.order(name, "close-circuit")

    # Packages. Changes are rows with the name, the result and the versions of each plugin.

    async def install(
        self, sources: Sequence[str], *, report: Report | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Install packages.

        Args:
            sources: Paths, URLs, or names in an index.
            report: Called with how far downloads are.
            **options: ``upgrade``, ``start``, ``frozen``, ``grant``, ``allow_similar`` and
                ``dry_run``.
        """
        body = {"sources": list(sources), **options}
        return _rows(await self.post("/api/install", body, report), "changes")

    async def upgrade(
        self, names: Sequence[str], *, report: Report | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Install what the plugins' sources have now.

        Args:
            names: The plugins.
            report: Called with how far downloads are.
            **options: ``grant``, ``digests``, ``dry_run``.
        """
        body = {"names": list(names), **options}
        return _rows(await self.post("/api/upgrade", body, report), "changes")

    async def rollback(
        self, name: str, version: str = "", *, dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Return to an earlier version of a plugin; by default to the one before."""
        body = {"version": version, "dry_run": dry_run}
        return _rows(await self.post(plugin_route(name, "rollback"), body), "changes")

    async def uninstall(
        self,
        names: Sequence[str],
        *,
        purge: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> list[dict[str, Any]]:
        """Remove plugins; with ``purge`` their data, too."""
        body = {"names": list(names), "purge": purge, "force": force, "dry_run": dry_run}
        return _rows(await self.post("/api/uninstall", body), "changes")

    async def rescan(self, *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Take in what was put into the plugin directory, or removed from it, by hand."""
        return _rows(await self.post("/api/rescan", {"dry_run": dry_run}), "changes")

    async def verify(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Compare the files of plugins with those of their packages; no names mean all."""
        return _rows(await self.post("/api/verify", {"names": list(names)}), "versions")

    async def outdated(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Look what the sources of plugins have now; no names mean all."""
        return _rows(await self.post("/api/outdated", {"names": list(names)}), "plugins")

    async def search(self, word: str = "") -> dict[str, Any]:
        """Search the host's indexes."""
        return _as(dict[str, Any], await self.post("/api/search", {"word": word}))

    async def info(self, name: str) -> dict[str, Any]:
        """Return what the indexes have of a plugin."""
        return _as(dict[str, Any], await self.post("/api/info", {"name": name}))

    async def reload(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Let the host read its configuration again."""
        return _as(dict[str, Any], await self.post("/api/reload", {"dry_run": dry_run}))

    # Events.

    async def emit(
        self, event: str, payload: Any, *, timeout: float | None = None, trace: bool = False
    ) -> dict[str, Any]:
        """Send an event through the chain, and return its outcome."""
        return await self._send_event(event, payload, timeout=timeout, trace=trace)

    async def broadcast(
        self, event: str, payload: Any, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Send an event to all plugins that want it at the same time."""
        return await self._send_event(event, payload, timeout=timeout, mode="broadcast")

    async def request(
        self, plugin: str, event: str, payload: Any, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Send an event to one plugin only."""
        return await self._send_event(event, payload, timeout=timeout, plugin=plugin)

    async def _send_event(self, event: str, payload: Any, **fields: Any) -> dict[str, Any]:
        # Only what was given is sent, so that the host's defaults apply to the rest.
        given = {key: value for key, value in fields.items() if value}
        body = {"event": event, "payload": payload, **given}
        return _as(dict[str, Any], await self.post("/api/events", body))

    async def event_names(self) -> list[str]:
        """Return the names of events that somebody has declared, configured or sent."""
        return await self._items(str, "/api/events/names")

    async def traces(
        self, *, event: str = "", plugin: str = "", slow_s: float = 0.0, limit: int = 100
    ) -> list[Trace]:
        """Return the last traces; see `stream` for those to come."""
        query = _query(event=event, plugin=plugin, slow_ms=slow_s * 1000 or None, limit=limit)
        return await self._items(Trace, f"/api/trace{query}")

    async def keep_payloads(self, seconds: float = 300.0) -> float:
        """Keep the payloads of traces for a while; return until when, in Unix seconds."""
        done = await self.post("/api/trace/payloads", {"seconds": seconds})
        return float(done["until"])

    # The host.

    async def host(self) -> dict[str, Any]:
        """Describe the host."""
        return _as(dict[str, Any], await self.get("/api/host"))

    async def login_url(self) -> dict[str, Any]:
        """Return ``url``: an address of the page that logs in once."""
        return _as(dict[str, Any], await self.post("/api/login-url"))

    async def doctor(self) -> dict[str, Any]:
        """Return what the host finds when it checks itself: ``ok`` and ``checks``."""
        return _as(dict[str, Any], await self.get("/api/doctor"))

    async def audit(self, *, since: float = 0.0) -> list[AuditRecord]:
        """Return who has changed what."""
        return await self._items(AuditRecord, "/api/audit" + _query(since=since or None))

    async def happenings(self) -> list[Happening]:
        """Return what happened lately."""
        return await self._items(Happening, "/api/happenings")

    async def stream(
        self,
        topics: Iterable[str] = ("plugins", "metrics", "passed", "happenings"),
        *,
        after: str | None = None,
        **filters: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield what happens, for ever; come back by itself when the host does.

        An event ``lost`` says that the host has gone; a ``snapshot`` follows if something was
        missed. Only the first connection raises if there is no host.

        Args:
            topics: ``plugins``, ``metrics``, ``passed``, ``happenings``, ``audit``, ``trace``, and
                ``logs:NAME``.
            after: The id of the last event that was seen, to go on after it.
            **filters: ``level`` of logs; ``event``, ``plugin`` and ``slow_ms`` of traces.
        """
        route = "/api/stream" + _query(topics=",".join(topics), **filters)
        back_off, is_first = BackOff(), True
        while True:
            try:
                async for event in self._stream_once(route, after):
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

    async def _stream_once(self, route: str, after: str | None) -> AsyncIterator[StreamEvent]:
        parser = EventParser()
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=QUESTION_TIMEOUT, sock_read=_SILENCE_TIMEOUT
        )
        headers = {} if after is None else {"Last-Event-ID": after}
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
            raise self._unreachable(f"connection lost: {error}") from None

    # The building blocks of all others.

    async def get(self, route: str) -> Any:
        """Send a query. A building block: the methods above know routes and types."""
        return await self._send("GET", route, None, self._timeout or QUESTION_TIMEOUT)

    async def post(self, route: str, body: Any = None, report: Report | None = None) -> Any:
        """Request an action and wait until it is done. A building block.

        Args:
            route: The route.
            body: What is sent, as JSON.
            report: Called with how far downloads are, if the route tells.
        """
        return await self._send("POST", route, body, None, report)

    async def put(self, route: str, body: Any) -> Any:
        """Replace something and wait until it is done. A building block."""
        return await self._send("PUT", route, body, None)

    async def _items(self, kind: type[T], route: str) -> list[T]:
        return _as(list[kind], (await self.get(route))["items"])  # type: ignore[valid-type]

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
                data=None if body is None else orjson.dumps(body),
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
            raise self._unreachable(f"connection lost: {error}") from None

    def _unreachable(self, why: str) -> HostUnreachableError:
        return HostUnreachableError(
            f"no vconnect host answers at {self._path} ({why}); start one with: vconnect serve"
        )


def _is_passing(error: HostUnreachableError | AdminError) -> bool:
    """Return whether a later try may succeed."""
    if isinstance(error, HostUnreachableError):
        return True
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == "unknown_plugin"


def _query(**keys: Any) -> str:
    """Build a query of the keys that have a value."""
    given = {key: value for key, value in keys.items() if value is not None and value != ""}
    return f"?{urlencode(given)}" if given else ""


def _as(kind: type[T], value: Any) -> T:
    """Give an answer its type; what a newer host has besides is left out."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise AdminError(
            HTTPStatus.OK, "bad_answer", f"the response is not as expected: {error}"
        ) from None


def _rows(value: Any, key: str) -> list[dict[str, Any]]:
    return _as(list[dict[str, Any]], value.get(key) if isinstance(value, dict) else None)
