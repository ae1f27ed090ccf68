"""A client of the administration interface, for programs and for the command line."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from vconnect.admin.answers import (
    AuditRecord,
    LogEntries,
    LogGap,
    LogRow,
    LogRows,
    PassedOverEntry,
    PluginList,
    SentPackage,
)
from vconnect.names import LogLevel
from vconnect.packages.progress import Report
from vconnect.plugins.crashes import CrashReport
from vconnect.seeing.happenings import Happening
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Trace
from vconnect.seeing.why import Why
from vconnect.trust.keyring import TrustedKey

from .connection import Connection, plugin_route, query, segment
from .responses import converted, rows_of
from .server_events import StreamEvent

_CHUNK_BYTES = 256 * 1024


class AdminClient(Connection):
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

    # Plugins.

    async def plugins(self, *, state: str = "", sort: str = "trouble") -> PluginList:
        """List the plugins.

        Args:
            state: Only those in this state, such as ``running``.
            sort: ``trouble``, ``name``, ``p99``, ``events`` or ``memory``.
        """
        keys = query(state=state, sort="" if sort == "trouble" else sort)
        return converted(PluginList, await self.get(f"/api/plugins{keys}"))

    async def status(self, name: str) -> PluginSummary:
        """Describe a plugin."""
        return converted(PluginSummary, await self.get(plugin_route(name, "status")))

    async def why(self, name: str) -> Why:
        """Say why a plugin does not serve, or that it does."""
        return converted(Why, await self.get(plugin_route(name, "why")))

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
        keys = query(
            lines=lines,
            level="" if level == "trace" else level,
            after=after,
            since=since or None,
            grep=grep,
            states=states,
        )
        return converted(LogEntries, await self.get(plugin_route(name, "logs") + keys))

    async def all_logs(
        self,
        plugins: Iterable[str] = (),
        *,
        host: bool = False,
        lines: int = 100,
        level: LogLevel = "trace",
        since: float = 0.0,
        grep: str = "",
    ) -> list[LogRow]:
        """Return what several plugins print and what happened to them, as one.

        Args:
            plugins: Names, or patterns such as ``chat-*``. Without any and without ``host``, all
                plugins and the host.
            host: Return what happened to the host, and to plugins that are not chosen, too.
            lines: The maximum number of records, of all together.
            level: The lowest level.
            since: Only records after this moment, in Unix seconds.
            grep: Only records with this text in them.
        """
        keys = _logs_query(plugins, host, lines, level, since, grep)
        return converted(LogRows, await self.get(f"/api/logs{keys}")).records

    async def follow_logs(
        self,
        plugins: Iterable[str] = (),
        *,
        host: bool = False,
        lines: int = 100,
        level: LogLevel = "trace",
        since: float = 0.0,
        grep: str = "",
    ) -> AsyncGenerator[LogRow | LogGap, None]:
        """Yield the same, and then what comes, for ever; come back by itself when the host does.

        A `LogGap` says that records were gone before they could be sent. Only the first connection
        raises if there is no host. See `all_logs` for the arguments.
        """
        route = "/api/logs" + _logs_query(plugins, host, lines, level, since, grep, follow=True)
        async with aclosing(self._follow(route)) as events:
            async for event in events:
                if event.kind == "log":
                    for row in event.data["records"]:
                        is_gap = "dropped" in row
                        yield converted(LogGap, row) if is_gap else converted(LogRow, row)

    async def crashes(self, name: str, *, since: float = 0.0) -> list[CrashReport]:
        """List a plugin's unexpected ends."""
        route = plugin_route(name, "crashes") + query(since=since or None)
        return await self._items(CrashReport, route)

    async def passed_over(self, name: str, *, since: float = 0.0) -> list[PassedOverEntry]:
        """List the events that passed a plugin over."""
        route = plugin_route(name, "passed-over") + query(since=since or None)
        return await self._items(PassedOverEntry, route)

    async def versions(self, name: str) -> list[dict[str, Any]]:
        """List the versions of a plugin in the store."""
        return rows_of(await self.get(plugin_route(name, "versions")), "versions")

    async def config(self, name: str) -> dict[str, Any]:
        """Return a plugin's configuration: ``values``, ``schema`` and ``etag``."""
        return converted(dict[str, Any], await self.get(plugin_route(name, "config")))

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
        return converted(
            dict[str, Any], await self._send("PUT", route, body, None, headers=headers)
        )

    # Orders. Each returns the plugin as it is afterwards.

    async def order(self, name: str, order: str, *, dry_run: bool = False) -> PluginSummary:
        """Give an order by its name, such as ``start``; the methods below do the same."""
        body = {"dry_run": True} if dry_run else None
        return converted(PluginSummary, await self.post(plugin_route(name, order), body))

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
        return rows_of(await self.post("/api/install", body, report), "changes")

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
        return rows_of(await self.post("/api/upgrade", body, report), "changes")

    async def rollback(
        self, name: str, version: str = "", *, dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Return to an earlier version of a plugin; by default to the one before."""
        body = {"version": version, "dry_run": dry_run}
        return rows_of(await self.post(plugin_route(name, "rollback"), body), "changes")

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
        return rows_of(await self.post("/api/uninstall", body), "changes")

    async def remove(
        self, name: str, *, purge: bool = False, force: bool = False, dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Remove one plugin, as `uninstall` does; an unknown one is an error here."""
        route = plugin_route(name) + query(purge=purge, force=force, dry_run=dry_run)
        return rows_of(await self._send("DELETE", route, None, None), "changes")

    async def send_package(self, package: str | Path) -> str:
        """Send a package to a host that cannot see its file, and return its source for `install`.

        The host keeps it for a day. Cancelling it leaves nothing there.

        Args:
            package: The file.

        Raises:
            OSError: The file cannot be read.
        """
        path = Path(package)
        digest = await asyncio.to_thread(_digest_of, path)
        headers = {"Content-Type": "application/octet-stream"}
        route = f"/api/blobs/{digest}"
        done = await self._send("PUT", route, _read(path), None, headers=headers)
        return converted(SentPackage, done).source

    async def rescan(self, *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Take in what was put into the plugin directory, or removed from it, by hand."""
        return rows_of(await self.post("/api/rescan", {"dry_run": dry_run}), "changes")

    async def verify(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Compare the files of plugins with those of their packages; no names mean all."""
        return rows_of(await self.post("/api/verify", {"names": list(names)}), "versions")

    async def outdated(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Look what the sources of plugins have now; no names mean all."""
        # It may have to fetch packages, which may take any time.
        route = "/api/outdated" + query(name=list(names))
        return rows_of(await self._send("GET", route, None, None), "plugins")

    async def search(self, word: str = "") -> dict[str, Any]:
        """Search the host's indexes."""
        return converted(
            dict[str, Any], await self._send("GET", f"/api/search{query(word=word)}", None, None)
        )

    async def info(self, name: str) -> dict[str, Any]:
        """Return what the indexes have of a plugin."""
        return converted(
            dict[str, Any], await self._send("GET", f"/api/info{query(name=name)}", None, None)
        )

    async def reload(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Let the host read its configuration again."""
        return converted(dict[str, Any], await self.post("/api/reload", {"dry_run": dry_run}))

    # Keys.

    async def trusted(self) -> list[TrustedKey]:
        """List the keys whose signatures count on the host."""
        return await self._items(TrustedKey, "/api/trusted")

    async def trust(
        self,
        key: str,
        *,
        plugins: Sequence[str] = (),
        sources: Sequence[str] = (),
        comment: str = "",
        not_after: str = "",
        succeeds: str = "",
        signature: str = "",
        dry_run: bool = False,
    ) -> TrustedKey:
        """Let the signatures of a key count.

        Args:
            key: The text of its file, or its line alone.
            plugins: The plugins that it may sign, as patterns; empty for all.
            sources: The beginnings of the sources that it may sign packages of; empty for all.
            comment: Whose it is.
            not_after: The date from when on it may sign nothing more, such as ``2027-01-31``.
            succeeds: The number of the trusted key that hands over to it.
            signature: The text of that key's signature of the file.
            dry_run: Only return what would be trusted.
        """
        body = {
            "key": key,
            "plugins": list(plugins),
            "sources": list(sources),
            "comment": comment,
            "not_after": not_after,
            "succeeds": succeeds,
            "signature": signature,
            "dry_run": dry_run,
        }
        return converted(TrustedKey, await self.post("/api/trusted", body))

    async def untrust(
        self, number: str, *, revoke: bool = False, reason: str = "", dry_run: bool = False
    ) -> TrustedKey:
        """Forget a key; with ``revoke``, remember that nothing counts that it has ever signed."""
        keys = query(revoke=revoke, reason=reason, dry_run=dry_run)
        route = f"/api/trusted/{segment(number)}{keys}"
        return converted(TrustedKey, await self._send("DELETE", route, None, None))

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
        return converted(dict[str, Any], await self.post("/api/events", body))

    async def event_names(self) -> list[str]:
        """Return the names of events that somebody has declared, configured or sent."""
        return await self._items(str, "/api/events/names")

    async def traces(
        self, *, event: str = "", plugin: str = "", slow_s: float = 0.0, limit: int = 100
    ) -> list[Trace]:
        """Return the last traces; see `stream` for those to come."""
        keys = query(event=event, plugin=plugin, slow_ms=slow_s * 1000 or None, limit=limit)
        return await self._items(Trace, f"/api/trace{keys}")

    async def keep_payloads(self, seconds: float = 300.0) -> float:
        """Keep the payloads of traces for a while; return until when, in Unix seconds."""
        done = await self.post("/api/trace/payloads", {"seconds": seconds})
        return float(done["until"])

    # The host.

    async def host(self) -> dict[str, Any]:
        """Describe the host."""
        return converted(dict[str, Any], await self.get("/api/host"))

    async def login_url(self) -> dict[str, Any]:
        """Return ``url``: an address of the page that logs in once."""
        return converted(dict[str, Any], await self.post("/api/login-url"))

    async def doctor(self) -> dict[str, Any]:
        """Return what the host finds when it checks itself: ``ok`` and ``checks``."""
        return converted(dict[str, Any], await self.get("/api/doctor"))

    async def audit(self, *, since: float = 0.0) -> list[AuditRecord]:
        """Return who has changed what."""
        return await self._items(AuditRecord, "/api/audit" + query(since=since or None))

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
        route = "/api/stream" + query(topics=",".join(topics), **filters)
        async with aclosing(self._follow(route, after)) as events:
            async for event in events:
                yield event


def _logs_query(
    plugins: Iterable[str],
    host: bool,
    lines: int,
    level: LogLevel,
    since: float,
    grep: str,
    *,
    follow: bool = False,
) -> str:
    return query(
        plugin=list(plugins),
        host=host,
        lines=lines,
        level="" if level == "trace" else level,
        since=since or None,
        grep=grep,
        follow=follow,
    )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _read(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
