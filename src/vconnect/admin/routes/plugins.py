"""The routes for plugins: what they are, why they do not serve, what they print, and orders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from vconnect.admin.answers import PluginList
from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.bodies import body_of, query_of
from vconnect.admin.http.encoding import json_reply
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route
from vconnect.admin.manager import Manager
from vconnect.logs.ring import LogPage
from vconnect.names import LogLevel
from vconnect.plugins.crashes import CrashReport
from vconnect.plugins.passed_over import WORDS
from vconnect.seeing.summary import STATES, PluginSummary, without_payloads
from vconnect.seeing.why import Why

ACTIONS = (
    *("start", "stop", "restart", "kill", "enable", "disable", "release"),
    "close-circuit",
)

# Beyond 2**53, JavaScript and others cannot represent an integer exactly.
_Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Lines = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
# What the host compares is a substring; expressions are the client's business, because one can hold
# the interpreter for ever.
Substring = Annotated[str, msgspec.Meta(max_length=256)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query or body without keys."""


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/plugins``.

    Attributes:
        state: Only plugins in this state, such as ``running``.
        sort: ``trouble`` (the default), ``name``, ``p99``, ``events`` or ``memory``.
    """

    state: str = ""
    sort: str = "trouble"


class LogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``GET /api/plugins/{name}/logs``.

    Attributes:
        lines: The maximum number of records.
        level: The lowest level to return.
        after: The ``next`` of an earlier response, to continue from there.
        since: Only records after this moment, in Unix seconds.
        grep: Only records with this text in them.
        states: Whether to return what the host says about the plugin instead of its output.
        host: Whether to return both, in the order in which they came.
    """

    lines: Lines = 100
    level: LogLevel = "trace"
    after: _Number | None = None
    since: float = 0.0
    grep: Substring = ""
    states: bool = False
    host: bool = False


class SinceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query for what came after a moment, in Unix seconds."""

    since: float = 0.0


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an order.

    Attributes:
        dry_run: Only return the plugin, so that a client can say what would be done.
    """

    dry_run: bool = False


_SORTS: dict[str, Callable[[PluginSummary], Any]] = {
    "trouble": lambda _: 0,  # the order in which they come
    "name": lambda one: one.name,
    "p99": lambda one: -(one.latency.p99_s if one.latency else -1.0),
    "events": lambda one: -(one.events_per_s or -1.0),
    "memory": lambda one: -(one.rss_bytes or -1),
}


class PluginRoutes:
    """The handlers.

    Args:
        manager: The manager.
        host: The host's name.
    """

    def __init__(self, manager: Manager, host: str) -> None:
        self._manager = manager
        self._host = host

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        orders: dict[str, Any] = {
            "role": "operate",
            "handler": self.act,
            "body": OrderRequest,
            "answer": PluginSummary,
            "codes": ("unknown_plugin", "conflict", "start_failed"),
        }
        one = "/api/plugins/{name}"
        return [
            Route(
                "GET",
                "/api/plugins",
                "view",
                self.plugins,
                "List the plugins",
                query=ListQuery,
                answer=PluginList,
            ),
            Route(
                "GET",
                "/v1/plugins/runtime/list",
                "view",
                self.original_list,
                "List the plugins as the original server does",
            ),
            self._about(one, self.status, "Describe a plugin", PluginSummary),
            self._about(one + "/status", self.status, "Describe a plugin", PluginSummary),
            self._about(one + "/why", self.why, "Say why a plugin does not serve", Why),
            self._about(
                one + "/logs", self.logs, "Return what a plugin prints", LogPage, query=LogQuery
            ),
            self._about(
                one + "/crashes",
                self.crashes,
                "List a plugin's unexpected ends",
                list[CrashReport],
                query=SinceQuery,
            ),
            self._about(
                one + "/passed-over",
                self.passed_over,
                "List the events that passed a plugin over",
                None,
                query=SinceQuery,
            ),
            *(
                Route(
                    method="POST",
                    path=f"{one}/{action}",
                    summary=f"{action.replace('-', ' ').capitalize()} a plugin",
                    order=action,
                    **orders,
                )
                for action in ACTIONS
            ),
        ]

    def _about(
        self,
        path: str,
        handler: Callable[[Asked], Awaitable[Reply]],
        summary: str,
        answer: Any,
        query: Any = Nothing,
    ) -> Route:
        return Route(
            "GET",
            path,
            "view",
            handler,
            summary,
            query=query,
            answer=answer,
            codes=("unknown_plugin",),
        )

    async def plugins(self, asked: Asked) -> Reply:
        """List the plugins."""
        wanted = query_of(asked, ListQuery)
        if wanted.sort not in _SORTS:
            known = ", ".join(_SORTS)
            raise Problem("bad_query", f"sort: got {wanted.sort!r}; expected one of: {known}")
        if wanted.state and wanted.state not in STATES:
            known = ", ".join(STATES)
            raise Problem("bad_query", f"state: got {wanted.state!a}; expected one of: {known}")
        plugins = [
            _shown(asked, one)
            for one in self._manager.runtime_summaries()
            if not wanted.state or one.state == wanted.state
        ]
        overview = self._manager.overview
        return json_reply(
            {
                "host": self._host,
                "generated_at": overview.now(),
                "window_s": overview.minute.window_s,
                "plugins": sorted(plugins, key=_SORTS[wanted.sort]),
            }
        )

    async def original_list(self, _: Asked) -> Reply:
        """Answer as the original server does, for tools that were written for it."""
        plugins = [
            {"name": one.name, "version": one.version or None, "status": one.status}
            for one in self._manager.runtime_summaries()
        ]
        return json_reply({"plugins": plugins})

    async def status(self, asked: Asked) -> Reply:
        """Describe a plugin."""
        query_of(asked, Nothing)
        return json_reply(_shown(asked, self._manager.summary(asked.names["name"])))

    async def why(self, asked: Asked) -> Reply:
        """Say why a plugin does not serve."""
        query_of(asked, Nothing)
        return json_reply(self._manager.why(asked.names["name"]))

    async def logs(self, asked: Asked) -> Reply:
        """Return what a plugin prints."""
        wanted = query_of(asked, LogQuery)
        page = self._manager.plugin_logs(
            asked.names["name"],
            lines=wanted.lines if not (wanted.grep or wanted.since) else 100_000,
            level=wanted.level,
            after=wanted.after,
            states=wanted.states,
            host=wanted.host,
        )
        if wanted.grep or wanted.since:
            found = [
                record
                for record in page.records
                if wanted.grep in record.text and record.time > wanted.since
            ]
            first = found[: wanted.lines] if wanted.after is not None else found[-wanted.lines :]
            is_cut = wanted.after is not None and len(first) < len(found)
            upto = first[-1].seq if is_cut else page.next
            page = msgspec.structs.replace(page, records=tuple(first), next=upto)
        return json_reply(page)

    async def crashes(self, asked: Asked) -> Reply:
        """List a plugin's unexpected ends."""
        wanted = query_of(asked, SinceQuery)
        crashes = self._manager.summary(asked.names["name"]).crashes
        return json_reply(
            {"items": [one for one in crashes if one.at > wanted.since], "next": None}
        )

    async def passed_over(self, asked: Asked) -> Reply:
        """List the events that passed a plugin over."""
        wanted = query_of(asked, SinceQuery)
        rows = self._manager.registry.get(asked.names["name"]).passed_over.rows
        items = [
            {**msgspec.structs.asdict(row), "words": WORDS[row.reason]}
            for row in rows
            if row.last > wanted.since
        ]
        return json_reply({"items": items, "next": None})

    async def act(self, asked: Asked) -> Reply:
        """Carry out an order, and describe the plugin afterwards."""
        body = await body_of(asked, OrderRequest, optional=True)
        name = asked.names["name"]
        action = asked.path.rstrip("/").rpartition("/")[2]
        if not body.dry_run:
            method = {"close-circuit": "close_circuit"}.get(action, f"{action}_plugin")
            await getattr(self._manager, method)(name, by=asked.who.name if asked.who else "")
        # The state after the order, which saves the client a second request.
        return json_reply(self._manager.summary(name))


def _shown(asked: Asked, summary: PluginSummary) -> PluginSummary:
    """Return of a plugin what the sender may see."""
    return summary if asked.role == "operate" else without_payloads(summary)
